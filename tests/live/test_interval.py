"""The intervals of rnnbench compare hold the true ratio, however often it looks at them, and find slow-downs."""

import math

import numpy as np
import pytest
from scipy import stats

from rnnbench.live import interval
from rnnbench.live.interval import FASTER, SLOWER, UNSURE, Interval, Judge

MOST_PAIRS = 40
LEAST = 0.03


def judged(log_ratios):
    """Return a judge that has seen the pairs up to the first sure verdict, as a comparison does."""
    judge = Judge(LEAST)
    for number, log_ratio in enumerate(log_ratios, start=1):
        if judge.add(log_ratio, is_last=number == len(log_ratios)) and judge.verdict != UNSURE:
            break
    return judge


def draws(kind, comparisons, spread, seed=0):
    """Return a row of log ratios around 0 for each comparison; some of the kinds have many outliers."""
    random = np.random.default_rng(seed)
    size = comparisons, MOST_PAIRS
    values = {
        "normal": lambda: random.normal(size=size),
        "outliers": lambda: random.standard_t(1.5, size),
        "two speeds": lambda: random.normal(size=size) * random.choice([1, 20], size, p=[0.8, 0.2]),
        # Each pair swaps its sides by a coin, so even a bias becomes symmetric.
        "two values": lambda: random.choice([-1, 1], size) * random.uniform(0.9, 1, size),
    }[kind]()
    return spread * values


@pytest.mark.parametrize(
    ("kind", "spread"), [("normal", 0.03), ("outliers", 0.005), ("two speeds", 0.01), ("two values", 0.03)]
)
def test_at_most_one_of_100_comparisons_of_the_same_code_is_called_changed(kind, spread):
    comparisons = 600
    verdicts = [judged(row).verdict for row in draws(kind, comparisons, spread)]
    false_alarms = verdicts.count(SLOWER) + verdicts.count(FASTER)
    # If 1% were called changed, more than this would be seen once in 1,000 runs of this test.
    assert false_alarms <= stats.binom(comparisons, 0.01).ppf(0.999)


def test_the_intervals_of_all_looks_together_hold_the_true_ratio():
    comparisons, missed = 500, 0
    true = math.log(1.02)
    for row in draws("two speeds", comparisons, 0.01) + true:
        judge, holds = Judge(least=1e-9), True  # never sure, so it looks as often as it can
        for number, log_ratio in enumerate(row, start=1):
            if judge.add(log_ratio, is_last=number == MOST_PAIRS):
                holds = holds and judge.bounds.low <= math.exp(true) <= judge.bounds.high
        missed += not holds
    assert missed <= stats.binom(comparisons, interval.MISSES).ppf(0.999)


@pytest.mark.parametrize(("slowdown", "found"), [(0.05, 0.95), (0.03, 0.8)])
def test_slow_downs_are_found(slowdown, found):
    rows = draws("outliers", 200, 0.006) + math.log(1 + slowdown)
    verdicts = [judged(row).verdict for row in rows]
    assert verdicts.count(SLOWER) >= found * len(rows)
    assert FASTER not in verdicts


def test_faster_code_is_found_too():
    verdicts = [judged(row).verdict for row in draws("normal", 50, 0.01) - math.log(1.05)]
    assert verdicts.count(FASTER) >= 48


@pytest.mark.parametrize("pairs", [9, 14, 33])
@pytest.mark.parametrize("look", [1, 3])
def test_the_interval_holds_the_ratios_that_wilcoxons_test_does_not_refute(pairs, look):
    log_ratios = np.random.default_rng(pairs).normal(0.02, 0.03, pairs)
    bounds = interval.interval(log_ratios, look)
    level = interval.MISSES / (look * (look + 1))
    for ratio in np.linspace(0.95, 1.1, 60):
        refuted = stats.wilcoxon(log_ratios - math.log(ratio), method="exact").pvalue <= level
        assert (bounds.low <= ratio <= bounds.high) == (not refuted)


def test_the_looks_share_the_probability_of_a_miss():
    assert sum(1 / (look * (look + 1)) for look in range(1, 10_000)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("pairs", [0, 1, 8])
def test_too_few_pairs_give_no_bounds(pairs):
    bounds = interval.interval([0.5] * pairs, 1)
    assert (bounds.low, bounds.high) == (0, math.inf)
    assert interval.verdict(bounds, LEAST) == UNSURE


def test_a_judge_looks_at_few_numbers_of_pairs_and_at_the_last_one():
    judge = Judge(LEAST)
    looked = [number for number in range(1, 31) if judge.add(0.5 * (-1) ** number, is_last=number == 30)]
    assert looked == [9, 13, 19, 27, 30]
    assert judge.pairs == 30


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.001, 1.2, "slower"),
        (0.8, 0.999, "faster"),
        (0.98, 1.02, "no change of more than 3%"),
        (1.001, 1.02, "no change of more than 3%"),
        (0.98, 1.04, "not sure yet"),
        (0.96, 1.02, "not sure yet"),
    ],
)
def test_verdicts(low, high, words):
    assert interval.verdict(Interval(1.0, low, high), LEAST) == words
