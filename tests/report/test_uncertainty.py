"""Tests of the intervals, by the spread between processes, and of ties."""

import json
import math
import random
import statistics

import pytest
from helpers import recorded, synthetic
from helpers.reports import SHAPE, find_row, train_times

from rnnbench import history
from rnnbench.history import selftest
from rnnbench.network.shapes import GRIDS
from rnnbench.report import formats, tables, uncertainty
from rnnbench.report.uncertainty import Deviation, Interval, Spread

SIZES = ", ".join(map(str, SHAPE))


@pytest.mark.parametrize(
    ("freedom", "exact"), [(3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)]
)
def test_students_quantile(freedom, exact):
    assert uncertainty._student(freedom) == pytest.approx(exact, rel=0.01)


def test_the_samples_of_a_figure_are_split_by_process(two_machines):
    samples = [1.0] * 20 + [1.1] * 7 + [1.3] * 9
    content = train_times(Scan=1.0)
    content["lstm.ScanLSTM.time_train"][synthetic.COLUMNS.index("samples")][0] = samples

    def medians(*counts):
        states = [{"marks": [], **({"samples": count} if count else {})} for count in counts]
        stored = {"lstm.ScanLSTM.time_train": {SIZES: states}} if counts else {}
        synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content, state=stored)
        (figure,) = history.read(*history.runs(two_machines, "north"))
        return figure.medians

    assert medians(20, 7, 9) == (1.0, 1.1, 1.3)
    assert medians(20, 7, None) == medians(None, None, None) == (1.0, 1.0, 1.3)  # 12 samples each
    assert medians(20, 16, 9) == medians(None, None, None)  # the numbers don't fit the samples
    assert medians(None) == (1.0,)
    assert medians() == ()


def test_the_interval_is_that_of_the_formula():
    deviations = [Deviation(math.log(seconds), 2e-4 * number, 1) for number, seconds in enumerate((1, 2, 4, 8), 1)]
    spread = Spread(9e-4, {"scan": deviations})
    figure = a_figure("scan", 2.0, (1.9, 2.1))
    freedom = 3 + 4
    variance = (3 * 9e-4 + 2e-4 * (1 + 2 + 3 + 4)) / freedom
    factor = math.exp(uncertainty._student(freedom) * math.sqrt(variance / 2))
    assert uncertainty.interval(figure, spread) == pytest.approx((2 / factor, 2 * factor, True))
    # A figure of one process of another implementation has the spread of all, and a wider interval.
    wide = uncertainty.interval(a_figure("torch", 2.0, (2.0,)), spread)
    assert wide.high == pytest.approx(2 * math.exp(uncertainty._student(3) * math.sqrt(9e-4)))
    assert wide.high > 2 * factor


def test_without_several_processes_the_interval_is_the_quartiles():
    assert uncertainty.spread([a_figure("scan", 1.0, (1.0,)), a_figure("scan", 1.0, ())]) is None
    assert uncertainty.spread([a_figure("scan", 1.0, (0.9, 1.1))] * 2) is None  # two degrees of freedom are too few
    assert uncertainty.spread([a_figure("scan", 1.0, (0.9, 1.1))] * 3) is not None
    assert uncertainty.interval(a_figure("scan", 1.0, ()), None) == (0.99, 1.01, False)
    assert uncertainty.interval(a_figure("scan", 1.0, ())._replace(samples=1), None) is None


def test_intervals_cover_another_process():
    """Of made-up figures that are timed in two processes, the ratio's interval covers the truth in 95 of 100."""
    draw = random.Random(18)
    covered = count = 0
    for _ in range(60):
        figures = []
        for variant, sigma in (("scan", 0.02), ("torch", 0.1)):
            for _ in range(10):
                medians = tuple(math.exp(draw.gauss(0, sigma)) for _ in range(2))
                figures.append(a_figure(variant, statistics.median(medians), medians))
        spread = uncertainty.spread(figures)
        for one, other in zip(figures[:10], figures[10:], strict=True):
            ratio = uncertainty.ratio(
                one.value, uncertainty.interval(one, spread), other.value, uncertainty.interval(other, spread)
            )
            covered += ratio.low <= 1 <= ratio.high
            count += 1
    assert 0.92 <= covered / count <= 0.99


@pytest.mark.parametrize(
    ("machine", "commit"), [("h100", "fc372c93"), ("epyc-2core-2", "267da566"), ("epyc-2core", "b392ba30")]
)
def test_recorded_processes_lie_within_the_intervals_of_the_others(machine, commit):
    figures = [
        figure
        for run in history.runs(recorded.HISTORY, machine, commit)
        for figure in history.read(run)
        if figure.quantity in tables.CALLS
    ]
    covered = []
    for place, figure in enumerate(figures):
        if len(figure.medians) == 2:
            others = uncertainty.spread(figures[:place] + figures[place + 1 :])
            first, second = (
                uncertainty.interval(figure._replace(value=median, medians=(median,)), others)
                for median in figure.medians
            )
            ratio = uncertainty.ratio(figure.medians[0], first, figure.medians[1], second)
            covered.append(ratio.low <= 1 <= ratio.high)
    assert len(covered) >= 50
    assert 0.9 <= statistics.mean(covered) <= 0.99


@pytest.mark.parametrize(
    ("one", "other", "detectable", "is_tie"),
    [
        (Interval(0.99, 1.01, True), Interval(1.04, 1.06, True), 0, False),
        (Interval(0.99, 1.01, True), Interval(1.04, 1.06, True), 0.1, True),
        (Interval(0.9, 1.1, True), Interval(0.95, 1.15, True), 0, True),
        (None, None, 0, False),
        (None, None, 0.1, True),
    ],
)
def test_a_lead_below_what_the_machine_can_tell_is_a_tie(one, other, detectable, is_tie):
    assert uncertainty.ratio(1, one, 1.05, other, detectable).is_tie == is_tie
    assert uncertainty.ratio(1.05, other, 1, one, detectable).is_tie == is_tie


def test_quartiles_give_the_widest_ratio():
    ratio = uncertainty.ratio(1, Interval(0.9, 1.2, False), 2, Interval(1.8, 2.1, True))
    assert ratio[:3] == pytest.approx((2, 1.8 / 1.2, 2.1 / 0.9))


def test_a_note_names_the_implementations_of_a_single_process():
    note = formats.interval_note(tables.make(recorded.HISTORY, "h100", "fc372c93"))
    assert note == (
        "In brackets: the interval that covers 95% of the spread between processes. One process timed scan, "
        "torch_compile, torch_loop; the others' spread widens the interval."
    )
    quartiles = (
        "In brackets: the quartiles of the samples. The spread between processes isn't known: it is often larger."
    )
    assert formats.interval_note(tables.make(recorded.HISTORY, "h100", "2a02b160")) == quartiles


def test_ties_are_shown_with_their_reason(two_machines):
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(Scan=1.2, Cudnn=1.0, Torch=2.0))
    row = formats.ranking(tables.standings(tables.make(two_machines, "north").rows)).rows[0]
    assert row[6] == "tie with scan, 1.20× (0.98–1.47)"  # synthetic's quartiles are 0.9 and 1.1 times a value
    assert row[-1] == "cudnn 2.0× (1.64–2.4) torch"
    verdicts = selftest.read(recorded.HISTORY / "h100")
    selftest.save(verdicts, two_machines / "north")
    report = tables.make(two_machines, "north")
    assert report.detectable == selftest.detectable(verdicts) == 0.1
    notes = formats.ranking_notes(report)
    assert "A tie: its interval contains 1, or the lead is below 10%, which this machine can't tell." in notes[0]
    assert notes[1] == selftest.sentence(verdicts)


def test_the_detectable_change_is_the_largest_one_tried_if_none_is_found():
    assert selftest.detectable(selftest.read(recorded.HISTORY / "epyc-2core")) == 0.2
    assert selftest.detectable([]) == 0


def test_a_report_says_whose_accuracy_was_not_measured(two_machines):
    content = train_times(Scan=1.0, Cudnn=1.0)
    commit = synthetic.commit_hash(0)
    synthetic.write_run(two_machines, "north", commit, content)
    assert formats.unchecked(tables.make(two_machines, "north")) == [
        "Accuracy was not measured in this run. To check it: rnnbench verify."
    ]
    content["accuracy.ScanAccuracy.track_outputs"] = synthetic.tracked([1e-7] * 36)
    synthetic.write_run(two_machines, "north", commit, content)
    report = tables.make(two_machines, "north")
    assert [find_row(report, name, "train").is_checked for name in ("scan", "cudnn")] == [True, False]
    (sentence,) = formats.unchecked(report)
    assert sentence == "Accuracy was not measured in this run for cudnn. To check it: rnnbench verify."
    assert sentence in formats.markdown_ranking(report)
    figures = json.loads(formats.as_json(report))["figures"]
    assert {
        record["implementation"]: record["accuracy_measured"] for record in figures if record["quantity"] == "train"
    } == {
        "scan": True,
        "cudnn": False,
    }


def test_numbers_near_1_keep_two_decimals_and_none_has_four_digits():
    assert [formats.ratio_text(value) for value in (1.03, 0.999, 1.994, 1.996, 9.96, 99.96, 0.5)] == [
        *("1.03", "1.00", "1.99", "2.0", "10.0", "100", "0.50")
    ]
    assert [formats.percent_text(share) for share in (0.0996, 0.0994, 0.0099, 0.00999, 1)] == [
        *("10%", "9.9%", "0.99%", "1.0%", "100%")
    ]


def a_figure(variant, seconds, medians):
    return history.Figure(
        *("north", "c" * 40, 0, "environment", "benchmark", variant, "train", "lstm", GRIDS["quick"][0], "ok", seconds),
        *(seconds * 0.99, seconds * 1.01, 40, medians, "1", (), None, ""),
    )


def test_impossible_times_have_no_interval_and_do_not_overflow():
    figures = [a_figure("scan", value, (1e-300, 1e299)) for value in (1e299, 1e-323, 1.0)]
    spread = uncertainty.spread(figures)
    assert [uncertainty.interval(figure, spread) is None for figure in figures[:2]] == [False, True]
    widest = uncertainty.interval(figures[2], spread)
    assert widest.high == pytest.approx(math.exp(10))
    assert not uncertainty.ratio(1e-300, None, 1e299, None).is_tie
    assert not uncertainty.ratio(1e299, None, 1e-300, None).is_tie
