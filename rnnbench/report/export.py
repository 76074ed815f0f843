"""Write a report in the form of the README of github.com/glample/rnn-benchmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rnnbench.history import NotFound
from rnnbench.network.shapes import Shape
from rnnbench.report.formats import in_unit, number
from rnnbench.report.tables import CALLS, Report, Row
from rnnbench.variants import VARIANTS

# All figures of that repository have this sequence length and depth. Its headings leave both out.
_SEQ, _DEPTH = 30, 1

_METHOD = """\
As in the tables above, times are per training example. The LSTM has no peepholes, and its input layer is as wide as its
hidden layer. Four things differ from the tables above. The network returns the hidden states of all steps. The loss is
the mean squared error over them. `Train` is forward and backward without an update. A time is the median of single
calls on a batch, not a mean."""
_COMPILE = """\
`Compile` is the time from the start of Python to the first train step. It includes the imports, but compiled code is
already on disk. It was measured once for each number of layers."""


def rnn_benchmarks(report: Report) -> str:
    """Return the section on LSTMs as Markdown, with a heading for each shape and a row for each library.

    Raises NotFound for a report of other networks.
    """
    if report.group != "lstm":
        raise NotFound("that form has LSTMs only: export without --network")
    rows_by_shape: dict[Shape, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    compiles: dict[tuple[str, int], Row] = {}
    for row in report.rows:
        if row.figure.quantity in CALLS:
            rows_by_shape[row.figure.shape][row.implementation][row.figure.quantity] = row
        elif row.figure.quantity == "build_train_warm":
            compiles.setdefault((row.implementation, row.figure.shape.depth), row)

    columns = ["Library", *(["Compile (s)"] if compiles else []), "Train (µs)", "Forward only (µs)"]
    lines = ["## LSTM", "", *(f"   * {_escape(fact)}" for fact in _setting(report)), "", _METHOD]
    lines += [_COMPILE] if compiles else []
    section = None
    for shape, implementations in rows_by_shape.items():
        heading = f"Batch Size {shape.batch}"
        if (shape.seq, shape.depth) != (_SEQ, _DEPTH):
            heading += f", Sequence Length {shape.seq}, {shape.depth} Layer{'s' if shape.depth > 1 else ''}"
        if heading != section:
            lines += ["", f"### {heading}"]
            section = heading
        lines += ["", f"#### Hidden Size {shape.hidden}", "", _line(columns), _line(["-------------"] * len(columns))]
        for implementation, rows in implementations.items():
            variant = next(iter(rows.values())).figure.variant
            label = VARIANTS[variant].label if variant in VARIANTS else variant
            library = _escape(implementation.replace(variant, label, 1))
            compiled = [compiles.get((implementation, shape.depth))] if compiles else []
            lines.append(_line([library, *map(_value_text, [*compiled, rows.get("train"), rows.get("forward")])]))
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _setting(report: Report) -> list[str]:
    """Return the hardware, CUDA and cuDNN, and the versions of the libraries."""
    facts = report.facts
    software = ", ".join(f"{name} {facts[key]}" for key, name in (("cuda", "CUDA"), ("cudnn", "cuDNN")) if key in facts)
    used = (row.figure.software for row in report.rows if row.figure.quantity in CALLS)
    libraries = sorted({library for each in used if each for library in each.libraries.split(", ") if library})
    return [fact for fact in (facts.get("gpu"), facts.get("cpu"), software, ", ".join(libraries)) if fact]


def _value_text(row: Row | None) -> str:
    if row is None:
        return "n/a"
    value = in_unit(row.figure, row.figure.value)
    return row.figure.state if value is None else number(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<")
