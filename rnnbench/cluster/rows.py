"""The rows of asv's results files: a task keeps one shape of them, and gather puts the shapes together again.

A row is a list: the results, the parameters, the version, when it started, how long it took, and then columns of
statistics and samples. The results and these columns have one value for each combination of the parameters, or are
null. Empty columns at the end are left out.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from rnnbench.history.figures import MOST_COMBINATIONS

Row = list[Any]

_NOT_SELECTED = float("nan")  # asv's result at a combination that it didn't run, or that can't run
_FIRST_COLUMN = 5  # of those with one value for each combination, beside the results


def compact(document: dict[str, Any], parameters: str) -> dict[str, Any]:
    """Return the content of a results file, with one combination of parameters alone."""
    wanted = tuple(parameters.split(", "))
    results = {}
    for name, row in document["results"].items():
        position = _positions(*map(tuple, row[1])).get(wanted)
        if position is not None:
            values, _, version, started, duration, *columns = row
            results[name] = [
                values and [values[position]],
                [[parameter] for parameter in wanted],
                version,
                started,
                duration,
                *(column and [column[position]] for column in columns),
            ]
    return {**document, "results": results}


def put(row: Row | None, one: Row, params: Sequence[Sequence[str]], replace: bool) -> tuple[Row, bool]:
    """Put a compact row into one with all combinations; return that row, and whether it has changed.

    `params` are the parameters that the row gets beside its own. An earlier figure stays unless `replace` is set, and
    always if the new one failed or is n/a. A row of another version of the benchmark, or of another number of
    parameters, isn't kept.
    """
    if len(params) != len(one[1]):
        params = [[]] * len(one[1])
    params = [list(dict.fromkeys([*values, *own])) for values, own in zip(params, one[1], strict=True)]
    changed = row is None or row[2] != one[2] or len(row[1]) != len(params)
    if row is None or changed:
        row = [None, [list(names) for names in params], *one[2:_FIRST_COLUMN]]
        row[0] = [_NOT_SELECTED] * len(_positions(*map(tuple, params)))
    elif row[1] != params:
        row = _widened(row, params)
    positions = _positions(*map(tuple, row[1]))
    position = positions[tuple(names[0] for names in one[1])]
    value, earlier = one[0] and one[0][0], row[0] and row[0][position]
    failed_anew = value is None and earlier is not None
    if (measured(earlier) and not (replace and measured(value))) or not (measured(value) or failed_anew):
        return row, changed
    _set(row, 0, position, value, len(positions))
    for column in range(_FIRST_COLUMN, max(len(row), len(one))):
        _set(row, column, position, one[column] and one[column][0] if column < len(one) else None, len(positions))
    row[3] = max(filter(None, (row[3], one[3])), default=None)
    return row, True


def _widened(row: Row, params: Sequence[Sequence[str]]) -> Row:
    """Return a row with further parameters, at which it has no figures."""
    together = [list(dict.fromkeys([*own, *more])) for own, more in zip(row[1], params, strict=True)]
    if together == row[1]:
        return row
    positions, earlier = _positions(*map(tuple, together)), _positions(*map(tuple, row[1]))
    wide = [[_NOT_SELECTED] * len(positions), together, *row[2:_FIRST_COLUMN], *[None] * len(row[_FIRST_COLUMN:])]
    for combination, old in earlier.items():
        for column in (0, *range(_FIRST_COLUMN, len(row))):
            _set(wide, column, positions[combination], row[column] and row[column][old], len(positions))
    return wide


def _set(row: Row, column: int, position: int, value: Any, length: int) -> None:
    row += [None] * (column + 1 - len(row))
    if row[column] is None and value is not None:
        row[column] = [None] * length
    if row[column] is not None:
        row[column][position] = value


def is_whole(row: Row) -> bool:
    """Return whether each column of a row has one value for each combination of its parameters, or is null."""
    if len(row) < _FIRST_COLUMN or any(len(set(values)) != len(values) for values in row[1]):
        return False
    count = math.prod(map(len, row[1]))
    columns = [row[0], *row[_FIRST_COLUMN:]]
    return count <= MOST_COMBINATIONS and all(column is None or len(column) == count for column in columns)


def measured(value: Any) -> bool:
    """Return whether a result is a number: it didn't fail, and isn't n/a."""
    return value is not None and value == value


@functools.cache
def _positions(*params: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    return {combination: position for position, combination in enumerate(itertools.product(*params))}
