"""The command line, as a user calls it."""

import pytest

from rnnbench import __version__, variants
from rnnbench.cli import main
from rnnbench.grids import GRIDS, asv_filter


def run(arguments, capsys):
    """Return the exit status, and what went to the standard and to the error output."""
    try:
        status = main(arguments)
    except SystemExit as leaving:
        status = leaving.code
    return status, *capsys.readouterr()


@pytest.mark.parametrize("device", variants.DEVICES)
def test_variants_says_of_each_whether_it_runs(device, capsys):
    status, output, errors = run(["variants", "--device", device], capsys)
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert (status, errors) == (0, "")
    assert lines == {name: reason or f"runs on {device}" for name, reason in variants.available(device).items()}


def test_the_device_is_the_cpu_unless_said(capsys):
    assert run(["variants"], capsys) == run(["variants", "--device", "cpu"], capsys)


@pytest.mark.parametrize("grid", GRIDS)
def test_filter_prints_the_pattern_alone(grid, capsys):
    assert run(["filter", grid], capsys) == (0, asv_filter(grid) + "\n", "")


def test_version(capsys):
    assert run(["--version"], capsys) == (0, __version__ + "\n", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["variants", "filter"]),
        (["nothing"], ["nothing", "variants", "filter"]),
        (["filter"], ["grid"]),
        (["filter", "huge"], ["huge", *GRIDS]),
        (["filter", "quick", "seed"], ["seed"]),
        (["variants", "--device", "tpu"], ["tpu", *variants.DEVICES]),
        (["variants", "--devise", "cpu"], ["--devise"]),
    ],
    ids=" ".join,
)
def test_wrong_arguments_name_what_is_allowed(arguments, named, capsys):
    status, output, errors = run(arguments, capsys)
    assert (status, output) == (2, "")
    assert all(word in errors for word in named)


def test_it_runs_as_a_module(python):
    run = python("-m", "rnnbench", "filter", "seed")
    assert (run.returncode, run.stdout, run.stderr) == (0, asv_filter("seed") + "\n", "")


def test_a_wrong_argument_gives_no_traceback(python):
    run = python("-m", "rnnbench", "filter", "huge")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert all(grid in run.stderr for grid in GRIDS)


def test_a_missing_compiler_is_a_reason_and_no_failure(python, tmp_path):
    run = python("-m", "rnnbench", "variants", PATH=str(tmp_path))
    assert (run.returncode, run.stderr) == (0, "")
    assert "install g++" in run.stdout
