"""Functions that make results of one shape, and that look figures up in results, reports and Markdown tables."""

import json

from helpers import synthetic
from helpers.recorded import RESULTS
from rnnbench.network.shapes import Shape

SHAPE = Shape(32, 30, 128, 1)
PEAKS = {"float32_flops": "6.7e13", "tf32_flops": "4.9e14", "memory_bandwidth": "3.35e12"}
NAN = float("nan")


def stored_median(machine, benchmark, shape):
    """Return a figure in seconds per batch. It reads the results file without the code under test."""
    (path,) = (RESULTS / machine).glob("fcae1cdc-*.json")
    values, sizes, *_ = json.loads(path.read_text())["results"][benchmark]
    index = 0
    for choices, size in zip(sizes, shape, strict=True):
        index = index * len(choices) + choices.index(str(size))
    return values[index]


def unwrapped(text):
    """Return a text with single spaces for all white space, because a terminal's lines are short."""
    return " ".join(text.split())


def find_row(report, variant, quantity, shape=SHAPE, network="lstm"):
    (row,) = (
        row
        for row in report.rows
        if (row.figure.variant, row.figure.quantity, row.figure.subject) == (variant, quantity, (network, shape))
    )
    return row


def train_times(**values):
    """Return results with a train time, in seconds, at SHAPE for each variant."""
    return {f"lstm.{prefix}LSTM.time_train": at_first_shape(value) for prefix, value in values.items()}


def at_first_shape(value):
    """Return the row of a timed benchmark with a value at SHAPE, the first shape, and n/a at all others."""
    return synthetic.sampled([value, *[NAN] * 35])


def markdown_rows(text, first):
    """Return the rows of Markdown tables that begin with these cells, as lists of cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[: len(first)] == list(first)]
