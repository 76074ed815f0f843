"""rnnbench verify: every variant agrees with the reference at any size, and a wrong variant is caught."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnbench import variants, verify
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.variants import Variant

RUNNING = [name for name, reason in variants.available("cpu").items() if reason is None]


def rows(output):
    """Return the table's rows of figures, each split into words."""
    return [line.split() for line in output.splitlines() if re.match(r" +\d+ +\d+ × \d+ ", line)]


@pytest.fixture
def register(add_variant, monkeypatch):
    """Return a function that registers one faulty variant and removes all others."""

    def register_only(fault, tolerance=1e-5, trains=True):
        for name in list(variants.VARIANTS):
            monkeypatch.delitem(variants.VARIANTS, name)
        options = {"fault": fault}
        row = Variant("faulty", "Faulty", "It errs", ("cpu",), tolerance=tolerance, trains=trains, options=options)
        add_variant(row)

    return register_only


@pytest.mark.parametrize("name", RUNNING)
def test_a_variant_agrees_with_the_reference_at_any_size(name):
    # At a hidden size of 1 or 2 gradients can cancel so far that float32 has too few digits. Only the example has 1.
    @settings(deadline=None, max_examples=5, database=None)
    @example(Shape(1, 1, 1, 1))
    @given(st.builds(Shape, st.integers(1, 40), st.integers(1, 20), st.integers(3, 72), st.integers(1, 2)))
    def agrees(shape):
        (check,) = verify.checks([name], [shape], seed=0, device="cpu")
        assert check.fault is None

    agrees()


def test_every_variant_that_can_run_has_a_row_for_each_shape(run):
    status, output, errors = run(["verify", "--shapes", "1", "--seed", "7"])
    assert (status, errors) == (0, "")
    shapes = [*GRIDS["quick"], *verify.draw(1, seed=7)]
    expected = [
        [str(depth), str(batch), "×", str(seq), str(hidden), name]
        for batch, seq, hidden, depth in shapes
        for name in RUNNING
    ]
    assert [row[:6] for row in rows(output)] == expected
    for row in rows(output):
        assert all(0 <= float(error) <= float(row[-1]) for error in row[6:-1])
    for name, reason in variants.available("cpu").items():
        assert reason is None or f"{name} can't run: {reason}\n" in output


@pytest.mark.parametrize(
    ("fault", "parameter", "error"),
    [
        ("1e-4 off", "the gradient of U in layer 1", r"1\.00e-04"),
        ("swapped gates", "the gradient of W in layer 1", r"\S+"),
        ("swapped steps", "its outputs", r"\S+"),
        ("missing step", "its outputs", "inf"),
        ("missing layer", "the gradient of W in layer 1", "inf"),
        ("NaN", "the gradient of b in layer 1", "nan"),
        ("Inf", "its outputs", "inf"),
    ],
)
def test_a_wrong_variant_is_named_and_fails(fault, parameter, error, register, run):
    register(fault)
    status, output, errors = run(["verify", "--shapes", "0"])
    assert status == 1
    shape = "batch=32, seq=30, hidden=128, depth=1"
    pattern = f"rnnbench: faulty is wrong at {shape}: {parameter} has the error {error}, over 1e-05\n"
    assert re.fullmatch(pattern, errors)
    assert len(rows(output)) == 1  # verify stops at the first fault


@pytest.mark.parametrize("fault", ["clipped inputs", "NaN becomes 0", "flat gradients"])
def test_a_variant_that_is_wrong_at_extreme_inputs_only_is_found(fault, register):
    register(fault)
    assert all(check.fault is None for check in verify.checks(["faulty"], [Shape(5, 3, 9, 2)], 0, "cpu"))
    assert any(check.fault for check in verify.extreme_checks(["faulty"], "cpu"))


def test_only_the_outputs_of_a_variant_that_cannot_train_are_checked(register, run):
    register("no gradients", trains=False)
    status, output, errors = run(["verify", "--shapes", "0"])
    assert (status, errors) == (0, "")
    assert all(row[7:10] == ["n/a"] * 3 for row in rows(output))
    register("swapped steps", trains=False)
    assert run(["verify", "--shapes", "0"])[0] == 1


def test_a_variant_that_is_wrong_at_extreme_inputs_fails(register, run):
    register("NaN becomes 0")
    status, _, errors = run(["verify", "--shapes", "0"])
    assert status == 1
    where = "faulty is wrong at batch=5, seq=4, hidden=9, depth=2, with inputs of ±inf"
    assert errors == f"rnnbench: {where}: its outputs has the error inf, over 1e-05\n"


@pytest.mark.parametrize("name", RUNNING)
def test_a_variant_agrees_with_the_reference_at_extreme_inputs(name):
    checks = list(verify.extreme_checks([name], "cpu"))
    assert [check.fault for check in checks] == [None] * len(checks)
    assert len(checks) == (len(verify._EXTREMES) if variants.VARIANTS[name].keeps_nan else 2)


def test_each_variant_has_its_own_tolerance(register):
    for tolerance, end in ((9e-5, "over 9e-05"), (1.1e-4, None)):
        register("1e-4 off", tolerance)
        (check,) = verify.checks(["faulty"], [Shape(5, 3, 7, 2)], seed=0, device="cpu")
        assert check.fault is None if end is None else check.fault.endswith(end)


def test_a_fault_in_a_later_layer_is_found(register):
    register("1e-4 off")
    (check,) = verify.checks(["faulty"], [Shape(5, 3, 7, 3)], seed=0, device="cpu")
    assert "the gradient of U in layer 3 has the error 1.00e-04" in check.fault
    assert check.largest("U") == pytest.approx(1e-4, rel=1e-2)


def test_a_correct_variant_passes_and_the_seed_repeats_the_run(register, run):
    register(None)
    status, output, errors = run(["verify", "--shapes", "4"])
    assert (status, errors) == (0, "")
    seed = int(re.search(r"--seed (\d+)", output)[1])
    drawn = list(verify.checks(["faulty"], verify.draw(4, seed), seed, "cpu"))
    assert output.endswith("\n".join(verify.table(drawn).splitlines()[2:]) + "\n")
    assert verify.draw(4, seed) != verify.draw(4, seed + 1)


def test_drawn_shapes_reach_the_least_and_the_largest_sizes():
    shapes = verify.draw(2000, seed=0)
    assert Shape(*map(min, zip(*shapes, strict=True))) == (1, 1, 8, 1)
    assert Shape(*map(max, zip(*shapes, strict=True))) == (40, 20, 72, 3)


def test_a_shape_too_large_for_the_memory_is_left_out_with_its_reason(register):
    register(None)
    too_large, small = Shape(10**6, 10**4, 1024, 1), Shape(2, 3, 4, 1)
    left_out, checked = verify.checks(["faulty"], [too_large, small], seed=0, device="cpu")
    assert "choose smaller sizes" in left_out.reason
    assert not left_out.errors
    assert checked.reason is None
    assert len(verify.table([left_out, checked]).splitlines()) == len(verify.table([checked]).splitlines()) == 3


def test_checking_nothing_is_a_failure(monkeypatch, run):
    monkeypatch.setattr(variants, "VARIANTS", {"cudnn": variants.VARIANTS["cudnn"]})
    status, output, errors = run(["verify"])
    assert (status, errors) == (1, "rnnbench: nothing could be checked on cpu\n")
    assert "cudnn can't run: it is made for cuda\n" in output


def test_sizes_that_a_call_refuses_are_left_out_with_the_reason(register):
    register("a size it can't run")
    (check,) = verify.checks(["faulty"], [Shape(2, 3, 4, 1)], seed=0, device="cpu")
    assert (check.reason, check.errors) == ("no kernel does that", {})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("out of memory", "the device is out of memory: .*"),
        # FlashRNN's kernels don't have every size, for example.
        ("an unknown failure", "ZeroDivisionError: no kernel does that"),
    ],
)
def test_a_check_that_fails_is_reported_in_a_sentence_and_the_others_go_on(fault, words, register, run):
    register(fault)
    status, _, errors = run(["verify", "--shapes", "1"])
    *lines, last = errors.splitlines()
    assert (status, last) == (1, "rnnbench: checks that failed: 4")
    assert len(lines) == 4
    for line in lines:
        assert re.fullmatch(rf"rnnbench: faulty failed at batch=\d+, seq=\d+, hidden=\d+, depth=\d+: {words}", line)


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--seed", "4294967296"], ["--shapes", "-1"], ["--shapes", "x"]]
)
def test_a_wrong_number_is_refused(arguments, run):
    status, _, errors = run(["verify", *arguments])
    assert status == 2
    assert f"argument {arguments[0]}: {arguments[1]}: it must be an integer from 0 to 4294967295" in errors
