"""The data of the results page: an index of all records, and a file for each record.

A record is what one machine measured at one commit. Texts and statistics are made here. The page only lays them out,
and divides figures by each other, because a visitor chooses what is compared.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnbench import history
from rnnbench.history import selftest
from rnnbench.history.benchmark_names import ON_GPUS
from rnnbench.measure import state
from rnnbench.measure.floor import floor
from rnnbench.network import models, precision
from rnnbench.network.models import GROUPS
from rnnbench.network.shapes import PARAM_NAMES
from rnnbench.report import absence, formats, plot, published, summary
from rnnbench.report.tables import (
    CALLS,
    Contenders,
    Report,
    Row,
    bench_command,
    compare,
    contenders,
    day,
    is_wrong,
    noun,
    rank,
)
from rnnbench.variants import VARIANTS, is_ours

# The words in the address, each with its name on the page.
_WORDS = {name: "strict" if name == "float32" else name for name in precision.PRECISIONS}
PRECISIONS = {_WORDS[name]: text for name, text in precision.PRECISIONS.items()}

# By group of networks: the position of each of its subjects, which stands for it in the data.
_POSITIONS = {group: {one: place for place, one in enumerate(models.subjects(group))} for group in GROUPS}
_RANKED = (*CALLS, "error_outputs", "error_gradients")

_GRID_NAMES = {
    "quick": "quick: three small shapes",
    "seed": "seed: the ten shapes published in 2016",
    "full": "full: all 36 shapes",
    "models": "models: networks of real models",
}
_GPU_PEAKS = "The peak rates come from the GPU's properties."
_CPU_PEAKS = (
    "The peak rates were measured. On a shared machine, whose speed changes, a time can come close to that floor."
)
_MEGA = 1e-6  # the page shows megabytes
_COSTS = {
    "device_train": "Train on the GPU (µs per example)",
    "device_forward": "Forward on the GPU (µs per example)",
    "build_train_warm": "Build, train, warm (s)",
    "build_forward_warm": "Build, forward, warm (s)",
    "build_train_cold": "Build, train, cold (s)",
    "build_forward_cold": "Build, forward, cold (s)",
    "memory": "Memory (MB)",
    "error_outputs": "Error, outputs",
    "error_gradients": "Error, gradients",
}


def index(
    machines: Mapping[str, Mapping[str, str]],
    verdicts: Mapping[str, Sequence[selftest.Verdict]],
    findings: Mapping[str, str | None],
    records: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    project: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the index: the machines with their facts and records, and what is the same for all records.

    Takes each machine's facts, its selftest's verdicts, the sentences of its selftests and the summaries of its records
    by group of networks (see `record`), by the machine's name, and the addresses and documents of the project.
    """
    measured = [group for group in GROUPS if any(group in groups for groups in records.values())]
    return {
        "machines": [
            {
                "name": machine,
                "hardware": summary.hardware_of(facts),
                "facts": _facts(facts),
                "selftest": findings.get(machine),
                "detectable": selftest.detectable(verdicts[machine]),
                "peaks": _GPU_PEAKS if "gpu" in facts else _CPU_PEAKS,
                "networks": {
                    group: {
                        "absent": absence.of_variants(facts, group),
                        "large": _too_large(facts, group),
                        "records": of_group,
                    }
                    for group, of_group in records[machine].items()
                },
            }
            for machine, facts in machines.items()
        ],
        "networks": {group: _network(group) for group in measured or ["lstm"]},
        "precisions": PRECISIONS,
        "rivals": {_WORDS[one]: [_WORDS[each] for each in found] for one, found in precision.RIVALS.items()},
        "variants": {name: [row.label, row.description, is_ours(name)] for name, row in VARIANTS.items()},
        "costs": _COSTS,
        "failed": absence.FAILED,
        "marks": state.MARKS,
        "units": formats.UNITS,
        "digits": {"ratio": _digits(formats.RATIO_DIGITS), "percent": _digits(formats.PERCENT_DIGITS)},
        "project": project,
    }


def record(
    runs: Sequence[history.Run], facts: Mapping[str, str], verdicts: Sequence[selftest.Verdict]
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return a summary of a record for the index and the record's own data, by the group of networks."""
    figures: dict[str, list[history.Figure]] = defaultdict(list)
    for run in runs:
        for figure in history.read(run, unavailable=True):
            figures[models.group(figure.network)].append(figure)
    return {
        group: _record(group, figures[group], runs[0], facts, selftest.detectable(verdicts))
        for group in GROUPS
        if group in figures or (group == "lstm" and not figures)
    }


def _record(
    group: str,
    figures: Sequence[history.Figure],
    run: history.Run,
    facts: Mapping[str, str],
    detectable: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    # Only these figures affect the sentences and the ranking.
    ranked = [figure for figure in figures if figure.value and figure.quantity in _RANKED]
    rows = compare(ranked, (), facts, detectable)
    report = Report(dict(facts), run.commit, day(run.date), None, "", (), None, detectable, rows, group)
    calls = [row for row in rows if row.figure.quantity in CALLS]
    competing = {key: found for key, found in contenders(rows).items() if len(found) > 1}
    standings = rank(competing, detectable)
    timed = {row.figure.subject for row in calls}
    grids = models.grids(group)
    described = {
        "commit": report.commit,
        "date": report.date.isoformat(),
        "implementations": len({row.figure.variant for row in calls}),
        "shapes": len(timed),
        # The page opens at the record with the most figures that compete with another one.
        "answers": sum(map(len, competing.values())),
        "costs": sorted({figure.quantity for figure in figures if figure.value is not None} - {*CALLS}),
    }
    content = {
        "grid": next((name for name, grid in grids.items() if timed <= {*grid}), [*grids][-1]),
        "implementations": _implementations(group, figures, calls),
        "sentences": _sentences(report, competing),
        "ranking": formats.ranking(standings, noun(report)),
        "notes": [*formats.ranking_notes(report, standings), *formats.unchecked(report)],
        "intervals": formats.interval_note(report),
        "covers": any(row.interval.covers_processes for row in calls if row.interval),
        "growth": _growth(calls),
        "floors": _floors(tuple(facts.items()), group),
        "software": formats.software(calls, noun(report)),
    }
    return described, content


def _network(group: str) -> dict[str, Any]:
    """Return what the page needs of a group of networks: its words, and its subjects by their positions."""
    are_models = group == models.ALL_MODELS
    positions = _POSITIONS[group]
    return {
        "title": GROUPS[group],
        "noun": "model" if are_models else "shape",
        "shapes": [shape for _, shape in positions],
        "names": [name for name, _ in positions] if are_models else None,
        "grids": {
            name: [_GRID_NAMES[name], [positions[one] for one in grid]] for name, grid in models.grids(group).items()
        },
        "unsupported": _unsupported() if are_models else {},
        "published": [_published(name) for name in published.SOURCES] if group == "lstm" else [],
        "command": bench_command(group),
    }


def _unsupported() -> dict[str, dict[str, list[int]]]:
    """Return the models that implementations can't compute: their positions by reason and implementation."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for subject, position in _POSITIONS[models.ALL_MODELS].items():
        for variant in VARIANTS:
            if reason := absence.unsupported(variant, subject):
                found[reason][variant].append(position)
    return found


def _implementations(group: str, figures: Iterable[history.Figure], rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return each variant and environment with its figures by quantity.

    A figure is a list: the position of its subject, its value, the ends of its interval, its text, the number of
    samples, and its marks if it has any. A figure that failed has no value. Figures that are n/a are left out, and so
    is an environment without any other figure if another one has some.
    """
    texts = {id(row.figure): (*(row.interval or (None, None))[:2], formats.value_text(row)) for row in rows}
    found: dict[tuple[str, str], dict[str, list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
    wrong: dict[tuple[str, str], set[int]] = defaultdict(set)
    versions: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    positions = _POSITIONS[group]
    for figure in figures:
        key, quantity = (figure.variant, figure.environment), figure.quantity
        quantities = found[key]
        # Older results can have shapes that the full grid has no more. The page leaves these out.
        if figure.state == "n/a" or (position := positions.get(figure.subject)) is None:
            continue
        if quantity in CALLS:
            versions[key][quantity] = figure.version
        elif quantity.startswith("error") and is_wrong(figure):
            wrong[key].add(position)
        text = texts.get(id(figure)) or (figure.low, figure.high, _cost_text(figure))
        row = [position, figure.value, *text, figure.samples]
        quantities[quantity].append([*row, figure.marks] if figure.marks else row)
    measured = Counter(variant for (variant, _), quantities in found.items() if quantities)
    return [
        {
            "name": variant,
            "label": f"{variant} ({environment})" if measured[variant] > 1 else variant,
            "environment": environment,
            "precision": _WORDS[precision.of_variant(variant)],
            "wrong": sorted(wrong[variant, environment]),
            "versions": versions[variant, environment],
            "figures": quantities,
        }
        for (variant, environment), quantities in sorted(found.items())
        if quantities or not measured[variant]
    ]


def _cost_text(figure: history.Figure) -> str:
    if figure.value is None:
        return figure.state
    if figure.quantity in ON_GPUS:
        return formats.number(formats.in_unit(figure, figure.value) or 0)
    return formats.number(figure.value * _MEGA if figure.quantity == "memory" else figure.value)


def _sentences(report: Report, competing: Contenders) -> dict[str, dict[str, str]]:
    """Return the answer in a sentence for each grid and precision in which implementations compete."""
    sentences: dict[str, dict[str, str]] = {}
    present = {computed_in for _, _, computed_in in competing}
    for (name, grid), computed_in in itertools.product(models.grids(report.group).items(), sorted(present)):
        part = {key: found for key, found in competing.items() if key[0] in grid and key[2] == computed_in}
        if any(call == "train" for _, call, _ in part):
            sentences.setdefault(name, {})[_WORDS[computed_in]] = summary.answer(report, computed_in, part)
    return sentences


def _growth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return how time grows: for each call and each size the fixed sizes, and each implementation's line and slope."""
    found = []
    for quantity in CALLS:
        of_call = [row for row in rows if row.figure.quantity == quantity]
        for axis in plot.AXES:
            base, lines = plot.lines(of_call, axis)
            if base is None:
                continue
            found.append(
                {
                    "call": quantity,
                    "axis": axis,
                    "fixed": ", ".join(f"{name} {getattr(base, name)}" for name in PARAM_NAMES if name != axis),
                    "lines": [
                        {
                            "label": label,
                            "slope": plot.slope_text(plot.slope(line, axis)),
                            "points": [[getattr(row.figure.shape, axis), row.figure.value] for row in line],
                        }
                        for label, line in lines.items()
                    ],
                }
            )
    return found


def _digits(digits: Iterable[tuple[float, int]]) -> list[tuple[float | None, int]]:
    """Return the rule of rounding for the page; JSON has no infinity."""
    return [(None if below == math.inf else below, decimals) for below, decimals in digits]


def _facts(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the facts of a machine as names and texts; rates and sizes have units."""
    return [(name.replace("_", " "), _with_unit(name, value)) for name, value in facts.items() if name != "machine"]


def _with_unit(name: str, value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return value
    if name == "ram":
        return f"{number / 1e9:.0f} GB"
    if name == "memory_bandwidth":
        return f"{formats.number(number / 1e9)} GB/s"
    if name.endswith("_flops"):
        return f"{formats.number(number / 1e12)} TFLOP/s"
    return value


def _too_large(facts: Mapping[str, str], group: str) -> dict[int, str]:
    """Return the reason why the machine can't run a subject, by the subject's position."""
    reasons = {position: absence.too_large(subject, facts) for subject, position in _POSITIONS[group].items()}
    return {position: reason for position, reason in reasons.items() if reason}


@functools.cache  # all records of a machine have the same
def _floors(facts: tuple[tuple[str, str], ...], group: str) -> dict[str, dict[str, list[Any]]]:
    """Return the floor of each subject in seconds, and the peak rate that sets it, by precision and call."""
    of_machine = dict(facts)
    return {
        word: {
            # The end of a variant's name is enough to tell the precision.
            call: [
                floor(shape, call, precision.ENDS.get(computed_in, ""), of_machine, network)
                for network, shape in _POSITIONS[group]
            ]
            for call in CALLS
        }
        for computed_in, word in _WORDS.items()
    }


def _published(name: str) -> dict[str, Any]:
    """Return a source of published figures; times are in seconds a batch, variants our nearest ones."""
    figures: dict[str, dict[str, list[list[Any]]]] = {}
    for row in compare(list(published.figures(name)), (), {}):
        figure = row.figure
        position = _POSITIONS[figure.network].get(figure.subject)
        if position is not None and figure.variant in VARIANTS:
            line = [position, figure.value, None, None, formats.value_text(row), 1]
            figures.setdefault(figure.variant, {}).setdefault(figure.quantity, []).append(line)
    return {
        "name": name,
        "differences": published.SOURCES[name].differences,
        "implementations": [
            {
                "name": variant,
                "label": variant,
                "environment": name,
                "precision": "strict",
                "wrong": [],
                "figures": quantities,
            }
            for variant, quantities in figures.items()
        ],
    }
