"""The figures published in 2016 for a GTX TITAN X, and how their measurement differs from ours.

titan_x.csv has every figure of two public tables: cudnn-rnn-benchmarks
(github.com/MaximumEntropy/cudnn_rnn_theano_benchmarks) and github.com/glample/rnn-benchmarks.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from rnnbench.history import Figure
from rnnbench.network.shapes import Shape

TITAN_X = "titan-x"
_DATE = 1451606400000  # 2016-01-01: only the year is known


class Source(NamedTuple):
    """A public table of figures."""

    variants: dict[str, str]  # from the name of a published version to our nearest variant; others keep their name
    differences: tuple[str, ...]  # sentences: how its measurement differs from ours


DEFAULT = "cudnn-rnn-benchmarks"
SOURCES = {
    DEFAULT: Source(
        {"Theano": "scan", "cuDNN Theano": "cudnn"},
        (
            "The TITAN X figures are from cudnn-rnn-benchmarks (2016), measured with CUDA 7.5, cuDNN 5, a Xeon X5650 "
            "and Theano with libgpuarray.",
            "Their scan looped over the examples of the batch, with the steps of the sequence as rows. So it took as "
            "many steps as the batch has examples.",
            "With three layers, their scan computed the gradients of the last layer's parameters only.",
            "Their cuDNN skipped the first layer's product with the inputs, and all of its weights were zero.",
            "Their clock didn't wait for the GPU.",
            "Every call of theirs copied the outputs to the host. Our calls don't.",
            "Their cuDNN launched its kernels one by one. Since commit 7bbe5f47, ours launches a repeated call as a "
            "CUDA graph.",
        ),
    ),
    "rnn-benchmarks": Source(
        {"Theano": "scan"},
        (
            "These figures are from rnn-benchmarks (2016), measured with CUDA 7.5, cuDNN 5, a Xeon E5-2630L v3 and "
            "Theano's first GPU back end.",
            "Their network returned the last hidden state only. Ours returns the hidden states of all steps.",
            "Their Train included an SGD update. Ours has none.",
            "Their Torch (the Lua library) and their TensorFlow have no counterpart among our implementations.",
        ),
    ),
}


def figures(source: str = DEFAULT) -> Iterator[Figure]:
    """Yield the LSTM times of a source in seconds per batch; the environment of each figure is the source."""
    text = resources.files(__package__).joinpath("titan_x.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if row["cell"] != "lstm" or row["source"] != source:
            continue
        shape = Shape(*(int(row[name]) for name in Shape._fields))
        variant = SOURCES[source].variants.get(row["version"], row["version"])
        for quantity in ("train", "forward"):
            seconds = float(row[f"{quantity}_us_per_example"]) * shape.batch / 1e6
            yield Figure(
                machine=TITAN_X,
                commit="",
                date=_DATE,
                environment=source,
                benchmark="",
                variant=variant,
                quantity=quantity,
                network="lstm",
                shape=shape,
                state="ok",
                value=seconds,
                low=None,
                high=None,
                samples=1,
                medians=(),
                version="",
                marks=None,
                software=None,
                threads="",
            )
