"""rnnbench selftest measures what rnnbench compare finds, and stores it in a file of its own."""

import random
import warnings

import pytest
from asv.results import iter_results_paths
from helpers import recorded, synthetic

from rnnbench.history import ResultsWarning, live_selftest, selftest
from rnnbench.history.live_selftest import Row
from rnnbench.live.interval import FASTER, SLOWER, UNSURE
from rnnbench.network.shapes import Shape

SAME = Row("0123abcd", "2026-11-26", "fused", "32, 30, 128, 1", "train", 0.003, 0.0, 20, 1000, 2, 1, 40, 21.5)
SLOWED = [
    SAME._replace(slowdown=slowdown, slower=slower, faster=0, unsure=1000 - slower, took=took)
    for slowdown, slower, took in ((0.02, 700, 55.0), (0.05, 990, 20.4), (0.1, 1000, 18.0))
]


def pairs(center, spread, count=20):
    draw = random.Random(1)
    return [center + draw.gauss(0, spread) for _ in range(count)]


def test_comparisons_drawn_from_pairs_of_the_same_code_are_rarely_wrong():
    # All of these pairs lie on one side. With the same code that is chance: the sides might as well be swapped.
    counts, number = live_selftest._compare(pairs(0.01, 0.001), 0.0, most_pairs=30)
    assert counts[SLOWER] + counts[FASTER] <= 20
    assert sum(counts.values()) == live_selftest._COMPARISONS
    assert 9 <= number <= 30


def test_comparisons_drawn_from_slowed_pairs_find_them():
    counts, number = live_selftest._compare(pairs(0.05, 0.005), 0.05, most_pairs=30)
    assert counts == {SLOWER: live_selftest._COMPARISONS}
    assert number == 9


def test_a_slowdown_below_the_default_least_change_is_asked_for():
    # Comparisons that ask for changes of 3% would call it no change of more than 3%.
    counts, _ = live_selftest._compare(pairs(0.02, 0.002), 0.02, most_pairs=30)
    assert counts == {SLOWER: live_selftest._COMPARISONS}


def test_comparisons_without_time_for_nine_pairs_are_unsure():
    counts, _ = live_selftest._compare(pairs(0.5, 0.01), 0.5, most_pairs=8)
    assert counts == {UNSURE: live_selftest._COMPARISONS}


def test_live_processes_are_timed_at_every_slowdown(monkeypatch):
    monkeypatch.setattr(live_selftest, "_PAIRS", 1)
    monkeypatch.setattr(live_selftest, "_SLOWDOWNS", (0.0, 9.0))
    told = []
    rows = live_selftest.measure(["fused"], [Shape(2, 3, 4, 1)], "cpu", told.append)
    assert [(row.slowdown, row.function) for row in rows] == [
        (slowdown, function) for function in ("forward", "train") for slowdown in (0.0, 9.0)
    ]
    assert all((row.implementation, row.shape, row.timed) == ("fused", "2, 3, 4, 1", 1) for row in rows)
    assert all(row.slower == row.compared for row in rows if row.slowdown)
    assert told == ["fused at 2 × 3 × 4 × 1: 1 pairs of live processes"]


def test_the_sentence_names_the_smallest_slowdown_that_is_found():
    assert live_selftest.sentence([SAME, *SLOWED]) == (
        "On this machine rnnbench compare finds a slowdown of 5% in 990 of 1000 comparisons, in 20 s; it called 3 of "
        "1000 comparisons of the same code changed (selftest of 2026-11-26 at 0123abcd)."
    )
    assert "doesn't reliably find even a slowdown of 2%" in live_selftest.sentence([SAME, SLOWED[0]])
    found = SLOWED[0]._replace(slower=990)
    assert "rnnbench compare with --least 1 finds a slowdown of 2%" in live_selftest.sentence([SAME, found])


def test_a_machines_findings_have_a_sentence_of_each_selftest(tmp_path):
    assert live_selftest.findings(tmp_path) is None
    live_selftest.save([SAME, *SLOWED], tmp_path)
    of_compare = live_selftest.sentence([SAME, *SLOWED])
    assert live_selftest.findings(tmp_path) == of_compare
    verdicts = selftest.read(recorded.HISTORY / "h100")
    selftest.save(verdicts, tmp_path)
    assert live_selftest.findings(tmp_path) == f"{selftest.sentence(verdicts)} {of_compare}"


def test_the_table_has_a_row_for_each_figure_and_slowdown():
    lines = live_selftest.table([SAME, *SLOWED]).splitlines()
    assert len(lines) == 2 + 4
    assert lines[-1].split()[-6:] == ["10%", "1000", "0", "0", "1000", "18"]


def test_stored_rows_are_read_again_and_asv_ignores_them(tmp_path):
    synthetic.write(tmp_path, 1, machines=("north",))
    live_selftest.save([SAME, *SLOWED], tmp_path / "north")
    assert live_selftest.read(tmp_path / "north") == [SAME, *SLOWED]
    assert live_selftest.read(tmp_path / "south") == []
    assert len(list(iter_results_paths(str(tmp_path)))) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("slower", "1001"), ("faster", "-1"), ("compared", "0"), ("seconds", "nan"), ("slowdown", "-1"), ("took", "x")],
)
def test_a_file_with_an_impossible_value_is_left_out_with_a_warning(column, value, tmp_path):
    live_selftest.save([SAME._replace(**{column: value}), *SLOWED], tmp_path)
    with pytest.warns(ResultsWarning, match="it isn't as rnnbench writes it"):
        assert live_selftest.read(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"commit\n1\n", b"a,b\n" + b"1," * 10**5])
def test_a_broken_file_is_left_out(content, tmp_path):
    (tmp_path / live_selftest.FILE).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        assert live_selftest.read(tmp_path) == []


def test_unprintable_text_in_the_file_is_replaced(tmp_path):
    live_selftest.save([SAME._replace(commit="\x1b[2J"), *SLOWED], tmp_path)
    assert "\x1b" not in live_selftest.sentence(live_selftest.read(tmp_path))
