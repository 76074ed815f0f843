"""Test the registry: which variants can run here, and the reasons that it gives for the others."""

import os
import time

import pytest

from rnnbench import Unavailable, Workload, build, variants
from rnnbench.network.workload import KINDS

SMALL = Workload(2, 3, 4, 1)


def test_scan_runs_on_the_cpu_and_cudnn_does_not():
    reasons = variants.available(device="cpu")
    assert reasons.keys() == variants.VARIANTS.keys() >= {"scan", "cudnn"}
    assert reasons["scan"] is None
    assert reasons["cudnn"]


@pytest.mark.parametrize("device", variants.DEVICES)
def test_every_reason_is_one_line(device):
    for reason in variants.available(device).values():
        assert reason is None or (reason.strip() and "\n" not in reason)


def test_the_cpu_is_the_default():
    assert variants.available() == variants.available("cpu")


@pytest.mark.parametrize("name", ["lstm", "", "Scan", None], ids=repr)
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(ValueError, match="must be one of") as problem:
        build(name, SMALL)
    assert f"variant={name!r}" in str(problem.value)
    assert all(known in str(problem.value) for known in variants.VARIANTS)


@pytest.mark.parametrize("device", ["gpu", "", "CPU", None, 0], ids=repr)
def test_an_unknown_device_is_refused(device):
    for call in (lambda: build("scan", SMALL, device=device), lambda: variants.available(device)):
        with pytest.raises(ValueError, match="it must be one of cpu, cuda") as problem:
            call()
        assert f"device={device!r}" in str(problem.value)


@pytest.mark.parametrize("device", variants.DEVICES)
def test_build_raises_the_reason_why_a_variant_cannot_run(device):
    for name, reason in variants.available(device).items():
        if reason is not None:
            with pytest.raises(Unavailable) as problem:
                build(name, SMALL, device=device)
            assert f"{name} can't run on {device}" in str(problem.value)
            assert reason in str(problem.value)


def test_a_workload_larger_than_memory_is_refused_at_once():
    work = Workload(batch=10**6, seq=10**4, hidden=1024, depth=1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    start = time.perf_counter()
    with pytest.raises(Unavailable) as problem:
        build("scan", work)
    assert time.perf_counter() - start < 1
    for part in ("batch=1000000", "seq=10000", "hidden=1024", "depth=1"):
        assert part in str(problem.value)
    for size in (work.least_memory, memory):
        assert f"{size / 2**30:.1f} GiB" in str(problem.value)


def test_a_workload_slightly_larger_than_memory_is_refused():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    one_step, two_steps = (Workload(1000, seq, 10, 1).least_memory for seq in (1, 2))
    seq = (memory - one_step) // (two_steps - one_step) + 2
    assert Workload(1000, seq - 1, 10, 1).least_memory <= memory
    with pytest.raises(Unavailable, match="choose smaller sizes"):
        build("scan", Workload(1000, seq, 10, 1))


def test_importing_rnnbench_imports_no_framework(python):
    frameworks = {"theano", "torch", "jax", "tensorflow", "scipy", "scipy_openblas32"}
    run = python("-c", "import sys, rnnbench, rnnbench.cli; print(*{name.split('.')[0] for name in sys.modules})")
    assert run.returncode == 0, run.stderr
    assert "numpy" in run.stdout.split()
    assert not frameworks & set(run.stdout.split())


def test_available_imports_no_framework(python):
    run = python("-c", "import sys, rnnbench; rnnbench.variants.available(); print('theano' in sys.modules)")
    assert run.stdout == "False\n", run.stderr


@pytest.mark.parametrize("name", ["scan", "cudnn", "fused"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_theanos_variants_support_all_but_a_few_networks(name, kind, bidirectional, unequal):
    work = Workload(
        2, 3, 4, 1, kind=kind, input_size=5, bidirectional=bidirectional, least_length=2 if unequal else None
    )
    reason = variants.supports(name, work)
    if name == "fused" and kind != "lstm":
        assert reason == f"it doesn't compute {kind}, only lstm"
    else:
        assert reason is None
