"""rnnbench verify: every variant agrees with the reference at any size, and a wrong variant is caught."""

import importlib
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnbench import Workload, reference, variants, verify
from rnnbench.network.contract import unsupported
from rnnbench.network.shapes import GRIDS
from rnnbench.network.workload import KINDS
from rnnbench.variants import Variant

RUNNING = [name for name, reason in variants.available("cpu").items() if reason is None]


def rows(output):
    """Return the table's rows of figures, each split into words."""
    return [line.split() for line in output.splitlines() if re.match(r" +\d+ +\d+ × \d+", line)]


def seq(work):
    return str(work.seq) if work.least_length is None else f"{work.least_length}–{work.seq}"


def kind(work):
    return f"{work.kind}, both directions" if work.bidirectional else work.kind


@pytest.fixture
def register(add_variant, monkeypatch):
    """Return a function that registers one faulty variant and removes all others."""

    def register_only(fault, tolerance=1e-5, trains=True):
        for name in list(reversed(variants.VARIANTS)):  # they come back in their order
            monkeypatch.delitem(variants.VARIANTS, name)
        options = {"fault": fault}
        row = Variant("faulty", "Faulty", "It errs", ("cpu",), tolerance=tolerance, trains=trains, options=options)
        add_variant(row)

    return register_only


@pytest.mark.parametrize("name", RUNNING)
def test_a_variant_agrees_with_the_reference_at_any_size(name):
    # At a hidden size of 1 or 2 gradients can cancel so far that float32 has too few digits. Only the example has 1.
    @settings(deadline=None, max_examples=5, database=None)
    @example(Workload(1, 1, 1, 1))
    @given(st.builds(Workload, st.integers(1, 40), st.integers(1, 20), st.integers(3, 72), st.integers(1, 2)))
    def agrees(work):
        (check,) = verify.checks([name], [work], "cpu")
        assert check.fault is None

    agrees()


def test_every_variant_that_can_run_has_a_row_for_each_shape(run):
    status, output, errors = run(["verify", "--shapes", "1", "--seed", "7"])
    assert (status, errors) == (0, "")
    works = [*(Workload(*shape) for shape in GRIDS["quick"]), *verify.draw(1, seed=7)]
    expected = [
        f"{work.depth} {work.batch} × {seq(work)} {work.input_size} → {work.hidden} {kind(work)} {name}".split()
        for work in works
        for name in RUNNING
        if variants.supports(name, work) is None
    ]
    assert [row[: len(known)] for row, known in zip(rows(output), expected, strict=True)] == expected
    for row, known in zip(rows(output), expected, strict=True):
        assert all(0 <= float(error) <= float(row[-1]) for error in row[len(known) : -1] if error != "n/a")
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
    assert all(check.fault is None for check in verify.checks(["faulty"], [Workload(5, 3, 9, 2)], "cpu"))
    assert any(check.fault for check in verify.extreme_checks(["faulty"], "cpu"))


def test_only_the_outputs_of_a_variant_that_cannot_train_are_checked(register, run):
    register("no gradients", trains=False)
    status, output, errors = run(["verify", "--shapes", "0"])
    assert (status, errors) == (0, "")
    assert all(row[10:13] == ["n/a"] * 3 for row in rows(output))
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
        (check,) = verify.checks(["faulty"], [Workload(5, 3, 7, 2)], "cpu")
        assert check.fault is None if end is None else check.fault.endswith(end)


def test_a_fault_in_a_later_layer_is_found(register):
    register("1e-4 off")
    (check,) = verify.checks(["faulty"], [Workload(5, 3, 7, 3)], "cpu")
    assert "the gradient of U in layer 3 has the error 1.00e-04" in check.fault
    assert check.largest("U") == pytest.approx(1e-4, rel=1e-2)


def test_a_correct_variant_passes_and_the_seed_repeats_the_run(register, run):
    register(None)
    status, output, errors = run(["verify", "--shapes", "4"])
    assert (status, errors) == (0, "")
    seed = int(re.search(r"--seed (\d+)", output)[1])
    drawn = list(verify.checks(["faulty"], verify.draw(4, seed), "cpu"))
    assert output.endswith("\n".join(verify.table(drawn).splitlines()[2:]) + "\n")
    assert verify.draw(4, seed) != verify.draw(4, seed + 1)


def test_drawn_shapes_reach_the_least_and_the_largest_sizes():
    works = verify.draw(2000, seed=0)
    sizes = [(work.batch, work.seq, work.hidden, work.depth, work.input_size) for work in works]
    assert tuple(map(min, zip(*sizes, strict=True))) == (1, 1, 8, 1, 1)
    assert tuple(map(max, zip(*sizes, strict=True))) == (40, 20, 72, 3, 80)


def test_drawn_networks_are_of_every_kind_direction_input_size_and_length():
    works = verify.draw(2000, seed=0)
    assert all({work.kind for work in works[start : start + 4]} == set(KINDS) for start in range(0, 2000, 4))
    networks = [
        (work.kind, work.input_size != work.hidden, work.bidirectional, work.least_length is None) for work in works
    ]
    assert len(set(networks)) == 4 * 2 * 2 * 2
    assert all(networks.count(network) > 45 for network in set(networks))
    assert {work.least_length == work.seq for work in works if work.least_length and work.seq > 1} == {False, True}


@pytest.mark.parametrize(
    ("work", "where"),
    [
        (Workload(5, 3, 9, 2, kind="gru", input_size=4), ", kind=gru, input_size=4: .* of c in layer 2 "),
        (
            Workload(5, 3, 9, 2, bidirectional=True, least_length=2),
            ", bidirectional=True, least_length=2: .*, backward ",
        ),
    ],
    ids=["gru", "bidirectional"],
)
def test_a_fault_names_the_network_the_layer_and_the_direction(work, where, register):
    register("last parameter off")
    (check,) = verify.checks(["faulty"], [work], "cpu")
    assert re.search(f"batch=5, seq=3, hidden=9, depth=2{where}has the error", check.fault)


@pytest.mark.parametrize("fault", ["steps after the end", "backward direction missing"])
def test_a_variant_that_is_wrong_for_other_networks_only_is_found(fault, register):
    register(fault)
    usual, other = verify.checks(
        ["faulty"], [Workload(5, 3, 9, 2), Workload(5, 3, 9, 2, bidirectional=True, least_length=1)], "cpu"
    )
    assert usual.fault is None
    assert "its outputs has the error" in other.fault


def test_checks_keep_no_data(register):
    register(None)
    work = Workload(5, 3, 9, 2)
    (check,) = verify.checks(["faulty"], [work], "cpu")
    assert check.work == work
    assert not {"inputs", "targets", "weights"} & (vars(check.work).keys() | vars(work).keys())


def test_a_network_that_a_variant_does_not_support_is_left_out_once_with_the_reason(register, run, monkeypatch):
    register(None)
    monkeypatch.setattr(importlib.import_module("rnnbench.variants.faulty"), "supports", unsupported, raising=False)
    status, output, errors = run(["verify", "--shapes", "8", "--seed", "1"])
    assert (status, errors) == (0, "")
    reason = (
        "faulty can't run one of the networks: faulty can't compute this network: it doesn't compute gru, only lstm\n"
    )
    assert output.count(reason) == 1
    assert not re.search("gru.*faulty", output.split("tolerance")[1])


def test_gradients_of_relu_may_jump_where_a_sum_is_close_to_0(register):
    work = Workload(5, 3, 9, 2, kind="rnn_relu")
    looser = reference.gradient_tolerance(work, 2e-3)
    assert 2e-3 < looser < 1
    register("1e-4 off", 2e-3)
    (check,) = verify.checks(["faulty"], [work], "cpu")
    assert (check.tolerance, check.gradient_tolerance) == (2e-3, looser)
    assert verify.table([check]).endswith(f"  0.002, gradients {looser:.2g}")
    register("1e-4 off", 1e-5)
    (check,) = verify.checks(["faulty"], [work], "cpu")
    assert "the gradient of U in layer 2 has the error 1.00e-04, over 1e-05" in check.fault  # no sum is so close


def test_a_shape_too_large_for_the_memory_is_left_out_with_its_reason(register):
    register(None)
    too_large, small = Workload(10**6, 10**4, 1024, 1), Workload(2, 3, 4, 1)
    left_out, checked = verify.checks(["faulty"], [too_large, small], "cpu")
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
    (check,) = verify.checks(["faulty"], [Workload(2, 3, 4, 1)], "cpu")
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
        assert re.fullmatch(
            rf"rnnbench: faulty failed at batch=\d+, seq=\d+, hidden=\d+, depth=\d+[^:]*: {words}", line
        )


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--seed", "4294967296"], ["--shapes", "-1"], ["--shapes", "x"]]
)
def test_a_wrong_number_is_refused(arguments, run):
    status, _, errors = run(["verify", *arguments])
    assert status == 2
    assert f"argument {arguments[0]}: {arguments[1]}: it must be an integer from 0 to 4294967295" in errors
