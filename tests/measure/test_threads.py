"""Every variant computes with the requested number of threads."""

import os

import pytest

from rnnbench import variants
from rnnbench.measure import threads
from rnnbench.variants import Unavailable

VARIABLES = ("OMP_NUM_THREADS", *threads._LIBRARY_VARIABLES)

# Prints the library's own number of threads after a network is built.
OBSERVED = """
import ctypes, sys
from pathlib import Path
from rnnbench import Workload, build
build(sys.argv[1], Workload(2, 3, 4, 1))
if sys.argv[1] == "scan":
    import scipy_openblas32
    library = ctypes.CDLL(str(next(Path(scipy_openblas32.get_lib_dir()).glob("libscipy_openblas.*"))))
    print(library.scipy_openblas_get_num_threads())
else:
    import torch
    print(torch.get_num_threads())
"""


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize("name", ["scan", "torch"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_variants_library_computes_with_the_requested_threads(name, count, python):
    if reason := variants.available()[name]:
        pytest.skip(reason)
    run = python("-c", OBSERVED, name, OMP_NUM_THREADS=str(count), OPENBLAS_NUM_THREADS="", MKL_NUM_THREADS="")
    assert run.stdout == f"{count}\n", run.stderr


def test_the_default_is_one_thread_per_processor(monkeypatch):
    monkeypatch.setattr(threads, "_quotas", lambda: [1000.0])
    assert threads.number() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("own", "outer", "count"),
    [
        ("max 100000", "max 100000", 8),
        ("300000 100000", "max 100000", 3),
        ("max 100000", "250000 100000", 2),
        ("50000 100000", "400000 100000", 1),
        ("1600000 100000", None, 8),
        ("damaged", None, 8),
        (None, None, 8),
    ],
)
def test_the_default_keeps_within_a_quota_of_processor_time(own, outer, count, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(threads, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(threads, "_OWN_GROUP", tmp_path / "own")
    (tmp_path / "own").write_text("0::/outer/own\n")
    (tmp_path / "groups" / "outer" / "own").mkdir(parents=True)
    for folder, limit in (("outer/own", own), ("outer", outer)):
        if limit:
            (tmp_path / "groups" / folder / "cpu.max").write_text(f"{limit}\n")
    assert threads.number() == count
    monkeypatch.setattr(threads, "_OWN_GROUP", tmp_path / "absent")
    assert threads.number() == 8


def test_pinning_sets_every_librarys_variable_and_can_be_repeated(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    for _ in range(2):
        threads.pin()
        assert [os.environ[name] for name in VARIABLES] == ["3"] * len(VARIABLES)


@pytest.mark.parametrize("chosen", ["0", "-1", "two", "1.5", "1 2", "9999999", "\N{SUPERSCRIPT TWO}"])
def test_an_invalid_number_of_threads_is_refused(chosen, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    with pytest.raises(Unavailable, match="must be a number of threads"):
        threads.number()


@pytest.mark.parametrize("name", VARIABLES[1:])
def test_a_librarys_own_variable_with_another_number_is_refused(name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv(name, "2")
    assert threads.number() == 2
    monkeypatch.setenv(name, "1")
    with pytest.raises(Unavailable, match=f"{name} is '1'.*set OMP_NUM_THREADS instead"):
        threads.number()
