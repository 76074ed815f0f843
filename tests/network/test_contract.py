"""The contract: the reasons why a variant can't compute a workload."""

import pytest

from rnnbench import Workload
from rnnbench.network.contract import unsupported
from rnnbench.variants import VARIANTS, supports, workload

OTHERS = [
    ({"kind": "gru"}, {"kinds": ("lstm", "gru")}),
    ({"input_size": 3}, {"other_inputs": True}),
    ({"bidirectional": True}, {"bidirectional": True}),
    ({"least_length": 2}, {"unequal_lengths": True}),
    ({"precision": "bfloat16"}, {"precisions": ("float32", "bfloat16")}),
]


@pytest.mark.parametrize(("network", "ability"), OTHERS, ids=lambda each: "-".join(each))
def test_a_network_is_unsupported_until_the_variant_has_the_ability(network, ability):
    work = Workload(2, 3, 4, 1, **network)
    assert "\n" not in unsupported(work)
    assert unsupported(work, **ability) is None


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_supports_the_lstm_of_the_grids(name):
    assert supports(name, Workload(2, 3, 4, 1)) is None


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variants_workload_has_its_precision(name):
    assert workload(name, Workload(2, 3, 4, 1)).precision == VARIANTS[name].precision
