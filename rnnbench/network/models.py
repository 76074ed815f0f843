"""Networks of real models and known benchmarks, each with a name to quote; and the families that asv times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.network.workload import Workload

# Each family that asv times on the shapes of a grid, and its kind of workload.
FAMILIES = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}
# The networks that a report shows together, with the title of each group. The last one has all of MODELS.
ALL_MODELS = "models"
GROUPS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", ALL_MODELS: "Models"}

Subject = tuple[str, Shape]  # what a figure is about: a family or a model, and its shape


class Model(NamedTuple):
    """One named network: its shape, the other fields of its Workload, and where its sizes come from, in Markdown.

    Results name it. So a name keeps its sizes, and other sizes get another name.
    """

    shape: Shape
    fields: dict[str, Any]
    source: str


_DEEPBENCH = "[DeepBench](https://github.com/baidu-research/DeepBench)"
_ONEDNN = "[oneDNN's benchdnn](https://github.com/oneapi-src/oneDNN/tree/main/tests/benchdnn/inputs/rnn)"
_KERNELBENCH = "[KernelBench](https://github.com/ScalingIntelligence/KernelBench)"
_RNNT = "[MLPerf's speech recognition](https://github.com/mlcommons/inference)"

MODELS = {
    "deepbench-lstm": Model(
        Shape(batch=64, seq=25, hidden=512, depth=1),
        {},
        f"{_DEEPBENCH}, training set: an LSTM of machine translation",
    ),
    "deepbench-lstm-1536": Model(
        Shape(batch=16, seq=50, hidden=1536, depth=1),
        {},
        f"{_DEEPBENCH}, training set: its LSTM of 50 steps",
    ),
    "deepbench-gru": Model(
        Shape(batch=32, seq=375, hidden=1536, depth=1),
        {"kind": "gru"},
        f"{_DEEPBENCH}, training set: a GRU of speech recognition. DeepBench asks for ReLU in its candidate, "
        "this one has tanh",
    ),
    "deepspeech2": Model(
        Shape(batch=32, seq=100, hidden=1760, depth=1),
        {"kind": "rnn_relu"},
        f"A layer of [Deep Speech 2](https://arxiv.org/abs/1512.02595), as in {_ONEDNN} (deepspeech2-training). "
        "DeepBench has it with 50 steps",
    ),
    "gnmt-encoder": Model(
        Shape(batch=128, seq=50, hidden=1024, depth=1),
        {"bidirectional": True},
        "The first layer of [Google's translation system](https://arxiv.org/abs/1609.08144), with the batch and the "
        "longest sentence of [NVIDIA's training]"
        "(https://github.com/NVIDIA/DeepLearningExamples/tree/master/PyTorch/Translation/GNMT)",
    ),
    "rnnt-encoder": Model(
        Shape(batch=32, seq=256, hidden=1024, depth=2),
        {"input_size": 240},
        f"{_RNNT} (RNN-T), the encoder's first two layers: 3 frames of 80 features a step. The batch and the steps, "
        "7.7 s of speech, are ours",
    ),
    "rnnt-prediction": Model(
        Shape(batch=1, seq=1, hidden=320, depth=2),
        {},
        f"{_RNNT} (RNN-T), the prediction network at one step, as it runs for each letter. {_ONEDNN} has one layer of "
        "it",
    ),
    "kernelbench-lstm": Model(
        Shape(batch=10, seq=512, hidden=256, depth=6),
        {"input_size": 128},
        f"{_KERNELBENCH}, level 3, problem 35. Its states start at random, these at zero",
    ),
    "kernelbench-gru-bidirectional": Model(
        Shape(batch=10, seq=512, hidden=256, depth=6),
        {"kind": "gru", "input_size": 128, "bidirectional": True},
        f"{_KERNELBENCH}, level 3, problem 41. Its states start at random, these at zero",
    ),
    "flashrnn": Model(
        Shape(batch=16, seq=1024, hidden=768, depth=1),
        {},
        "[FlashRNN](https://github.com/NX-AI/flashrnn), its speed benchmark with one head",
    ),
    "asr-unequal": Model(
        Shape(batch=32, seq=1000, hidden=320, depth=4),
        {"input_size": 123, "bidirectional": True, "least_length": 500},
        "[stefbraun/rnn_benchmarks](https://github.com/stefbraun/rnn_benchmarks), 4x320/CTC-long: speech recognition "
        "on sentences of 500 to 1000 steps. Its loss is CTC, this one the mean squared error",
    ),
    "serving": Model(
        Shape(batch=1, seq=50, hidden=512, depth=1),
        {},
        f"Ours: one request to a server. {_DEEPBENCH}'s inference set has it with 25 steps",
    ),
}


def workload(network: str, shape: Sequence[int] | None = None) -> Workload:
    """Return the workload of a network at a shape (batch, seq, hidden, depth), drawn from seed 0.

    `network` is one of FAMILIES or the name of one of MODELS. A model without a shape has its own.
    Raises ValueError if there is no such network, or if a family has no shape.
    """
    if network in MODELS:
        model = MODELS[network]
        return Workload(*(shape or model.shape), **model.fields)
    if network not in FAMILIES:
        raise ValueError(f"{network!r}: it must be one of {', '.join([*FAMILIES, *MODELS])}")
    if shape is None:
        raise ValueError(f"{network}: give a shape (batch, seq, hidden, depth)")
    return Workload(*shape, kind=FAMILIES[network])


def group(network: str) -> str:
    """Return the group, one of GROUPS, to which a family or a model belongs."""
    return ALL_MODELS if network in MODELS else network


def group_of(grid: str, network: str) -> str:
    """Return the group of a grid: of a family's grid the family `network`, of "models" or a model's name the models."""
    return ALL_MODELS if grid == ALL_MODELS or grid in MODELS else network


def grids(group: str) -> dict[str, tuple[Subject, ...]]:
    """Return the grids of a group by name, the one with all of its subjects last. The models are one grid."""
    if group == ALL_MODELS:
        return {ALL_MODELS: tuple((name, model.shape) for name, model in MODELS.items())}
    return {name: tuple((group, shape) for shape in shapes) for name, shapes in GRIDS.items()}


def subjects(group: str) -> tuple[Subject, ...]:
    """Return all subjects of a group."""
    return list(grids(group).values())[-1]


def label(network: str, shape: Shape, separator: str = "×") -> str:
    """Return the name of a subject: a model's own, or a family's sizes, such as 32×30×128×1."""
    return network if network in MODELS else separator.join(map(str, shape))
