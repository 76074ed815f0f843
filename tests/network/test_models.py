"""The named networks."""

import pytest

from rnnbench.network.models import FAMILIES, MODELS, workload
from rnnbench.network.workload import Workload

# Each model's parameters, counted by hand from its source: per layer and direction (inputs + hidden + 1)·gates·hidden.
# A GRU has hidden more biases.
PARAMETERS = {
    "deepbench-lstm": 1025 * 4 * 512,
    "deepbench-lstm-1536": 3073 * 4 * 1536,
    "deepbench-gru": 3073 * 3 * 1536 + 1536,
    "deepspeech2": 3521 * 1760,
    "gnmt-encoder": 2 * 2049 * 4 * 1024,
    "rnnt-encoder": (240 + 1024 + 1 + 1024 + 1024 + 1) * 4 * 1024,
    "rnnt-prediction": 2 * 641 * 4 * 320,
    "kernelbench-lstm": (128 + 256 + 1 + 5 * 513) * 4 * 256,
    "kernelbench-gru-bidirectional": 2 * ((128 + 256 + 1 + 5 * (512 + 256 + 1)) * 3 * 256 + 6 * 256),
    "flashrnn": 1537 * 4 * 768,
    "asr-unequal": 2 * (123 + 320 + 1 + 3 * (640 + 320 + 1)) * 4 * 320,
    "serving": 1025 * 4 * 512,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_models_workload_has_the_parameters_of_its_source(name):
    work = workload(name)
    assert sum(array.size for layer in work.weights for array in layer.values()) == PARAMETERS[name]


def test_every_model_says_where_it_comes_from():
    assert all(model.source for model in MODELS.values())


def test_the_unequal_lengths_are_those_of_the_source():
    lengths = workload("asr-unequal").lengths
    assert lengths.max() == 1000
    assert 500 <= lengths.min() < 600


@pytest.mark.parametrize(("family", "kind"), [("lstm", "lstm"), ("gru", "gru"), ("rnn", "rnn_tanh")])
def test_a_familys_workload_is_as_wide_as_its_hidden_states(family, kind):
    assert workload(family, (7, 5, 3, 2)) == Workload(7, 5, 3, 2, kind=kind)


def test_a_model_can_have_another_shape():
    assert workload("rnnt-encoder", (1, 4, 8, 2)) == Workload(1, 4, 8, 2, input_size=240)


def test_a_workload_needs_a_known_network():
    with pytest.raises(ValueError, match="'lstn': it must be one of lstm, gru, rnn, deepbench-lstm"):
        workload("lstn", (1, 1, 1, 1))


def test_a_family_needs_a_shape():
    with pytest.raises(ValueError, match="lstm: give a shape"):
        workload("lstm")


def test_no_model_is_named_like_a_family():
    assert not set(MODELS) & set(FAMILIES)
