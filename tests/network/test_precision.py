"""Test the precision that a variant's name stands for."""

import pytest

from rnnbench import Workload
from rnnbench.network import precision
from rnnbench.network.workload import PRECISIONS
from rnnbench.variants import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_the_name_and_the_row_of_a_variant_say_the_same(name):
    row = VARIANTS[name]
    assert precision.of_variant(name) == ("tf32" if row.tf32 else row.options.get("products", row.precision))


def test_every_precision_of_a_workload_is_known():
    assert set(PRECISIONS) < set(precision.PRECISIONS)


@pytest.mark.parametrize(("kind", "scale"), [("float16", 256), ("bfloat16", 1), ("float32", 1)])
def test_only_float16_scales_the_loss(kind, scale):
    work = Workload(2, 15, 10, 1, precision=kind)
    assert work.loss_size == 300
    assert work.loss_scale == scale
