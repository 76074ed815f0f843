"""Every variant computes with the requested number of threads."""

import math
import os

import pytest

from rnnbench import Workload, variants
from rnnbench.measure import container, threads
from rnnbench.variants import Unavailable

VARIABLES = ("OMP_NUM_THREADS", *threads._LIBRARY_VARIABLES)

# Prints the library's own number of threads after a network is built.
OBSERVED = """
import sys
from rnnbench import Workload, build
from rnnbench.measure import openblas
build(sys.argv[1], Workload(2, 3, 4, 1))
if sys.argv[1] == "scan":
    print(openblas.load().scipy_openblas_get_num_threads())
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
def test_a_variants_library_computes_with_the_requested_threads(name, count, need, python):
    need(name, "cpu")
    run = python("-c", OBSERVED, name, OMP_NUM_THREADS=str(count), OPENBLAS_NUM_THREADS="", MKL_NUM_THREADS="")
    assert run.stdout == f"{count}\n", run.stderr


def test_the_default_is_one_thread_per_processor(groups):
    assert threads.number() == 12


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A container's view of Linux's control groups, on a computer with 12 processors and without a quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)))
    monkeypatch.setattr(container, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(container, "_GROUPS", tmp_path / "groups")
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path / "groups"


@pytest.mark.parametrize(
    ("own", "files", "count"),
    [
        ("0::/", {"cpu.max": "100000 100000"}, 1),
        ("0::/", {"cpu.max": "350000 100000"}, 3),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 12),
        ("0::/", {"cpu.max": "broken"}, 12),
        # The quota of an outer group binds the inner one, and a container may hide its own group.
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, 2),
        ("0::/hidden", {"cpu.max": "200000 100000"}, 2),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 12),
        ("3:cpuset:/", {"cpu.max": "200000 100000"}, 12),
    ],
)
def test_a_containers_quota_limits_the_threads(own, files, count, groups):
    container._OWN_GROUPS.write_text(f"{own}\n")
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{text}\n")
    assert threads.processors() == threads.number() == count


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/", {"memory.max": str(2**26)}, 2**26),
        ("0::/a/b", {"a/memory.max": str(2**26), "a/b/memory.max": "max"}, 2**26),
        ("5:memory:/", {"memory/memory.limit_in_bytes": str(2**26)}, 2**26),
        ("0::/", {"memory.max": "max"}, None),
    ],
)
def test_a_containers_memory_limits_the_sizes(own, files, limit, groups):
    """Linux kills a process that takes more, without a word."""
    container._OWN_GROUPS.write_text(f"{own}\n")
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{text}\n")
    assert container.memory() == (limit or math.inf)
    if limit:
        with pytest.raises(Unavailable, match=r"this machine has 0\.1 GiB"):
            variants.require("scan", Workload(128, 200, 1024, 3))


@pytest.mark.parametrize(
    ("own", "files", "seconds"),
    [
        ("0::/", {"cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000"}, 2.5),
        ("0::/a", {"cpu.stat": "usage_usec 9", "a/cpu.stat": "throttled_usec 2500000"}, 2.5),
        ("3:cpu,cpuacct:/", {"cpu/cpu.stat": "nr_throttled 3\nthrottled_time 2500000000"}, 2.5),
        ("0::/", {"cpu.stat": "broken"}, 0),
        ("0::/", {}, 0),
    ],
)
def test_the_time_for_which_a_quota_stopped_a_container_is_read(own, files, seconds, groups):
    container._OWN_GROUPS.write_text(f"{own}\n")
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{text}\n")
    assert container.stopped() == seconds


@pytest.mark.parametrize(
    ("cores", "order"),
    [
        ([(0, 0), (0, 1), (0, 0), (0, 1)], [0, 2, 1, 3]),  # the second processors of all cores come last
        ([(0, 0), (1, 0), (0, 1), (1, 1)], [0, 2, 1, 3]),  # the sockets alternate
        ([], [0, 1, 2, 3]),
    ],
)
def test_the_processors_of_a_core_and_of_a_socket_are_neighbours(cores, order, tmp_path, monkeypatch):
    for processor, (socket, core) in enumerate(cores):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{socket}\n")
        (folder / "core_id").write_text(f"{core}\n")
    monkeypatch.setattr(threads, "_TOPOLOGY", f"{tmp_path}/cpu{{}}/topology")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert threads.by_core() == order


def test_a_chosen_number_of_threads_overrides_the_quota(groups, monkeypatch):
    groups.mkdir()
    (groups / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.number() == 3


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
