"""Tests of the command line, as a user calls it."""

import re
import shlex
import socket

import pytest

from rnnbench import __version__, cli, theano_runtime, variants
from rnnbench.history.benchmark_names import asv_filter
from rnnbench.network.shapes import GRIDS
from rnnbench.theano_runtime.pieces import Piece


@pytest.mark.parametrize("device", variants.DEVICES)
def test_variants_says_what_each_is_and_whether_it_can_run(device, run):
    status, output, errors = run(["variants", "--device", device])
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    described = dict(line.split(": ", 1) for line in lines[::2])
    assert described == {name: row.description for name, row in variants.VARIANTS.items()}
    reasons = [
        f"cannot run: {reason}" if reason else f"runs on {device}" for reason in variants.available(device).values()
    ]
    assert [line.strip() for line in lines[1::2]] == reasons


def test_the_default_device_is_the_cpu(run):
    assert run(["variants"]) == run(["variants", "--device", "cpu"])


@pytest.mark.parametrize("device", [None, *variants.DEVICES])
def test_doctor_shows_every_piece_and_fails_for_an_unusable_device(device, run):
    status, output, errors = run(["doctor", *(["--device", device] if device else [])])
    pieces = theano_runtime.find(device or "cuda")
    assert errors == ""
    for piece in pieces:
        line = next(line for line in output.splitlines() if line.startswith(f"{piece.name} "))
        assert (piece.reason or str(piece.path)) in line
        assert piece.install is None or f"to install: {piece.install}\n" in output
    assert status == (1 if device and any(piece.reason for piece in pieces) else 0)
    *_, last = output.split("\n\n")
    verdicts = {"cpu": "CPU", "cuda": "GPU"}
    for name in [device] if device else variants.DEVICES:
        reason = theano_runtime.unavailable(name)
        assert f"{verdicts.pop(name)}: {f'not ready. {reason}' if reason else 'ready.'}\n" in last
    assert not any(f"{name}: " in last for name in verdicts.values())
    parts = [
        place for place, line in enumerate(output.splitlines()) if line in ("For the CPU:", "For an NVIDIA GPU too:")
    ]
    assert len(parts) == (0 if device else 2)
    if parts:
        assert output.splitlines()[parts[1] + 1].startswith(pieces[len(theano_runtime.find("cpu"))].name)


def test_doctor_says_how_to_install_a_missing_piece(run, monkeypatch):
    missing = Piece("libthing", reason="libthing was not found", install="get libthing")
    monkeypatch.setattr(theano_runtime.cuda, "find", lambda: (missing,))
    status, output, _ = run(["doctor", "--device", "cuda"])
    assert status == 1
    assert re.search("^libthing +missing  libthing was not found\n +to install: get libthing$", output, re.MULTILINE)
    assert output.endswith("\n\nGPU: not ready. libthing was not found: get libthing\n")
    assert run(["doctor"])[0] == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_filter_prints_only_the_pattern(grid, run):
    assert run(["filter", grid]) == (0, asv_filter(grid, device="cpu") + "\n", "")


@pytest.mark.parametrize("device", variants.DEVICES)
def test_filter_selects_theanos_implementations_for_a_device(device, run):
    names = [name for name, row in variants.VARIANTS.items() if row.extra == "theano" and device in row.devices]
    assert "scan" in names
    assert ("cudnn" in names) == (device == "cuda")
    expected = asv_filter("quick", names, device)
    assert run(["filter", "quick", "--theano", "--device", device]) == (0, expected + "\n", "")


def test_version(run):
    assert run(["--version"]) == (0, __version__ + "\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["variants", "doctor", "filter"]),
        (["nothing"], ["nothing", "variants", "filter"]),
        (["filter"], ["grid"]),
        (["filter", "huge"], ["huge", *GRIDS]),
        (["filter", "quick", "seed"], ["seed", *variants.VARIANTS]),
        (["interleave", "quick"], ["--machine", "--environment"]),
        (["interleave", "quick", "--environment", "peer:3.11"], ["peer:3.11", "existing:", "peers:", "virtualenv:"]),
        (["variants", "--device", "tpu"], ["tpu", *variants.DEVICES]),
        (["variants", "--devise", "cpu"], ["--devise"]),
    ],
    ids=" ".join,
)
def test_errors_on_wrong_arguments_list_the_allowed_ones(arguments, words, run):
    status, output, errors = run(arguments)
    assert (status, output) == (2, "")
    assert all(word in errors for word in words)


def test_it_runs_as_a_module(python):
    run = python("-m", "rnnbench", "filter", "seed")
    assert (run.returncode, run.stdout, run.stderr) == (0, asv_filter("seed", device="cpu") + "\n", "")


def test_a_wrong_argument_gives_no_traceback(python):
    run = python("-m", "rnnbench", "filter", "huge")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert all(grid in run.stderr for grid in GRIDS)


def test_a_missing_compiler_is_a_reason_and_not_a_failure(python, tmp_path):
    run = python("-m", "rnnbench", "variants", PATH=str(tmp_path))
    assert (run.returncode, run.stderr) == (0, "")
    assert "install g++" in run.stdout


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false"])
def test_an_interpreter_without_rnnbench_is_named(python, run):
    arguments = ["interleave", "quick", "--machine", "test", "--environment", f"existing:{python}"]
    status, output, errors = run(arguments)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnbench: {python} isn't a Python with rnnbench")


@pytest.mark.parametrize(
    "command",
    [
        *("time", "variants", "doctor", "verify", "filter", "machine", "run", "publish", "interleave", "selftest"),
        *("report", "history", "readme", "preview"),
    ],
)
def test_the_help_of_each_command_has_examples_that_it_accepts(command, run):
    status, output, _ = run([command, "--help"])
    assert status == 0
    examples = re.findall(rf"^  rnnbench ({command}\b(?:[^\\\n]|\\\n)*)$", output, re.MULTILINE)
    assert examples
    for example in examples:
        options, others = cli._parser().parse_known_args(shlex.split(example.replace("\\\n", " ")))
        assert options.command == command
        assert options.takes_others or not others


def test_a_port_that_is_taken_is_named_with_the_way_out(run, tmp_path):
    (tmp_path / "index.html").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, output, errors = run(["preview", "--html", str(tmp_path), "--port", str(port)])
    assert (status, output) == (1, "")
    assert errors == f"rnnbench: port {port} is taken: name another one with --port\n"
