"""The figures published in 2016, of a GTX TITAN X, and how they were measured otherwise than ours.

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
_DATE = 1451606400000  # of the year 2016 no more is known


class Source(NamedTuple):
    """A public table."""

    variants: dict[str, str]  # our variant that is nearest to a published version; the others keep their published name
    differences: tuple[str, ...]  # in sentences


DEFAULT = "cudnn-rnn-benchmarks"
SOURCES = {
    DEFAULT: Source(
        {"Theano": "scan", "cuDNN Theano": "cudnn"},
        (
            "The TITAN X figures are cudnn-rnn-benchmarks', of 2016: CUDA 7.5, cuDNN 5, a Xeon X5650, Theano with "
            "libgpuarray.",
            "Their scan stepped over the batch, with the sequence's steps as rows: as many steps as examples.",
            "With three layers, their scan computed the gradients of the last layer's parameters alone.",
            "Their cuDNN left out the first layer's product with the inputs, and all of its weights were zero.",
            "Their clock didn't wait for the GPU; every call copied the outputs to the host, which ours don't.",
            "Their cuDNN started its kernels one by one; ours, since 7bbe5f47, starts a call that comes again as a "
            "CUDA graph.",
        ),
    ),
    "rnn-benchmarks": Source(
        {"Theano": "scan"},
        (
            "These figures are rnn-benchmarks', of 2016: CUDA 7.5, cuDNN 5, a Xeon E5-2630L v3, Theano's first GPU "
            "back end.",
            "Their network gave its last hidden state alone; ours gives every step's.",
            "Their Train included an SGD update; ours has none.",
            "Their Torch, which was Lua's, and their TensorFlow are compared with none of today's peers.",
        ),
    ),
}


def figures(source: str = DEFAULT) -> Iterator[Figure]:
    """Yield a source's times of the LSTM, in seconds a batch as in the history; their environment is the source."""
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
                shape=shape,
                state="ok",
                value=seconds,
                low=None,
                high=None,
                samples=1,
                version="",
                marks=None,
                software=None,
            )
