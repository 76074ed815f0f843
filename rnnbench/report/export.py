"""The figures in the form of github.com/glample/rnn-benchmarks, for its README."""

from __future__ import annotations

from collections import defaultdict

from rnnbench.network.shapes import Shape
from rnnbench.report.formats import in_unit, number
from rnnbench.report.tables import Report, Row
from rnnbench.variants import VARIANTS

# All of that repository's figures are of one sequence length and one layer, which it names once.
_SEQ, _DEPTH = 30, 1

_METHOD = """\
As in the tables above, a time is that of a training example, of an LSTM without peepholes whose input layer is as wide
as its hidden one. Otherwise than there, the network returns the hidden states of all steps, the loss is the mean
squared error over them, `Train` is forward and backward without an update, and a time is the median of single calls on
a batch, not a mean. `Compile` is from a started Python, its imports included, to the first train step, with compiled
code already on disk; it was timed once for each number of layers."""


def rnn_benchmarks(report: Report) -> str:
    """Return the LSTM's sections as Markdown: a heading a setting, a row a library, in µs per example."""
    settings: dict[Shape, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    compiles: dict[tuple[str, int], Row] = {}
    for row in report.rows:
        if row.figure.quantity in ("train", "forward"):
            settings[row.figure.shape][row.implementation][row.figure.quantity] = row
        elif row.figure.quantity == "build_train_warm":
            compiles.setdefault((row.implementation, row.figure.shape.depth), row)

    lines = ["## LSTM", "", *(f"   * {_plain(fact)}" for fact in _host(report.facts)), "", _METHOD]
    section = None
    for shape, implementations in settings.items():
        heading = f"Batch Size {shape.batch}"
        if (shape.seq, shape.depth) != (_SEQ, _DEPTH):
            heading += f", Sequence Length {shape.seq}, {shape.depth} Layer{'s' if shape.depth > 1 else ''}"
        if heading != section:
            lines += ["", f"### {heading}"]
            section = heading
        lines += [
            "",
            f"#### Hidden Size {shape.hidden}",
            "",
            "| Library | Compile (s) | Train (µs) | Forward only (µs) |",
            "| ------------- | ------------- | ------------- | ------------- |",
        ]
        for implementation, rows in implementations.items():
            variant = next(iter(rows.values())).figure.variant
            label = VARIANTS[variant].label if variant in VARIANTS else variant
            library = _plain(implementation.replace(variant, label, 1))
            figures = [compiles.get((implementation, shape.depth)), rows.get("train"), rows.get("forward")]
            lines.append(f"| {library} | {' | '.join(map(_shown, figures))} |")
    return "\n".join(lines) + "\n"


def _host(facts: dict[str, str]) -> list[str]:
    software = ", ".join(f"{name} {facts[key]}" for key, name in (("cuda", "CUDA"), ("cudnn", "cuDNN")) if key in facts)
    return [fact for fact in (facts.get("gpu"), facts.get("cpu"), software) if fact]


def _shown(row: Row | None) -> str:
    if row is None:
        return "n/a"
    value, _, _ = in_unit(row.figure)
    return row.figure.state if value is None else number(value)


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<")
