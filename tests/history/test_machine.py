"""The machine's facts. A CPU keeps the highest peak rates that it has shown."""

import json
import sys
from pathlib import Path

import pytest

from rnnbench import theano_runtime
from rnnbench.history import machine
from rnnbench.measure import gpu, hardware, threads
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable


@pytest.fixture(scope="module")
def facts():
    return machine.describe("here", "cpu", Path("/nowhere"))


def write_machine_json(folder, content):
    path = folder / "here" / "machine.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)


@pytest.mark.alone
def test_the_peak_rates_are_plausible(facts):
    assert 1e9 < float(facts["float32_flops"]) < hardware.limit("cpu")
    assert 1e8 < float(facts["memory_bandwidth"]) < 1e13


# A product of 2048 × 2048 in a Theano function. Prints its FLOP/s.
PRODUCT = """
import statistics, time
import numpy as np
from rnnbench import theano_runtime
theano = theano_runtime.prepare()
matrix = theano.shared(np.ones((2048, 2048), "float32"))
product = theano.function([], theano.Out(theano.tensor.dot(matrix, matrix), borrow=True))
seconds = []
for _ in range(20):
    start = time.perf_counter()
    product()
    seconds.append(time.perf_counter() - start)
print(2 * 2048**3 / statistics.median(seconds))
"""


@pytest.mark.alone
def test_no_product_is_twice_as_fast_as_the_peak_rate(facts, python):
    """NumPy 1.23.5 doesn't know Intel's Emerald Rapids. There its products took six times as long as Theano's.

    A shared host's own speed changed by a third within seconds.
    """
    if reason := theano_runtime.unavailable():
        pytest.skip(reason)
    run = python("-c", PRODUCT)
    assert float(run.stdout) < 2 * float(facts["float32_flops"]), run.stderr


def test_the_peak_rate_is_measured_without_openblas_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy_openblas32", None)
    monkeypatch.setattr(hardware, "_SECONDS", 0.1)
    assert 1e9 < hardware.product_rate() < hardware.limit("cpu")


def test_a_limit_on_this_process_does_not_lower_the_peak_rate(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ${OMP_NUM_THREADS:-7}${OPENBLAS_NUM_THREADS}${NPROC}\n")
    python.chmod(0o755)
    monkeypatch.setattr(machine.sys, "executable", str(python))
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "1")
    assert machine._product_rate() == 7


def test_every_fact_is_text_and_asvs_own_facts_are_included(facts):
    assert all(isinstance(fact, str) for fact in facts.values())
    assert facts["machine"] == "here"
    assert {"arch", "cpu", "num_cpu", "os", "ram"} <= facts.keys()


def test_peak_rates_in_the_results_are_kept(facts, tmp_path):
    highest = {"float32_flops": "1e+20", "memory_bandwidth": "1e+19"}
    write_machine_json(tmp_path, json.dumps(facts | highest | {"version": 1}))
    assert machine.describe("here", "cpu", tmp_path) == facts | highest


@pytest.mark.parametrize(
    ("earlier", "kept"), [(None, False), ("9e10", False), ("9.8e10", True), ("1e12", True), ("?", False)]
)
def test_only_a_clearly_higher_rate_replaces_an_earlier_one(earlier, kept):
    assert machine._peak(1e11, earlier) == (earlier if kept else "1e+11")


def test_peak_rates_are_kept_when_the_kernel_was_updated(facts, tmp_path):
    earlier = facts | {"os": "Linux 1.0", "ram": "1", "float32_flops": "1e+20", "memory_bandwidth": "1e+19"}
    write_machine_json(tmp_path, json.dumps(earlier))
    described = machine.describe("here", "cpu", tmp_path)
    assert (described["float32_flops"], described["os"]) == ("1e+20", facts["os"])


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "[" * 10**5, '{"a":' * 10**5])
def test_a_broken_description_in_the_results_has_no_facts(text, tmp_path):
    (tmp_path / "machine.json").write_text(text)
    assert machine._earlier(tmp_path / "machine.json") == {}
    assert machine._earlier(tmp_path / "nothing.json") == {}


@pytest.mark.parametrize("content", [[], None, {}])
def test_peak_rates_are_measured_if_the_results_have_none_of_this_machine(content, facts, tmp_path):
    write_machine_json(tmp_path, json.dumps(content))
    described = machine.describe("here", "cpu", tmp_path)
    assert described.keys() == facts.keys()


@pytest.mark.parametrize("home", ["absent", "a-file"])
def test_a_home_that_cannot_be_written_is_named(home, facts, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "describe", lambda *_: facts)
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    with pytest.raises(OSError, match=rf"{home}/.asv-machine.json can't be written .*: set HOME to a folder"):
        machine.save("here", "cpu")


@pytest.mark.parametrize("changed", [{"cpu": "6502"}, {"num_cpu": "512", "arch": "z80"}])
def test_the_name_of_another_computer_is_refused(changed, facts, tmp_path, run, monkeypatch):
    write_machine_json(tmp_path / "results", json.dumps(facts | changed))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    status, _, errors = run(["machine", "here"])
    assert status == 1
    assert "results/here has figures of another computer or device" in errors
    assert all(f"its {key} is {fact}, not {facts[key]}" in errors for key, fact in changed.items())
    assert not (tmp_path / ".asv-machine.json").exists()


def test_figures_of_a_cpu_and_a_gpu_need_two_names(facts):
    on_gpu = facts | {"gpu": "NVIDIA H100"}
    for first, second in ((facts, on_gpu), (on_gpu, facts)):
        with pytest.raises(Doubtful, match="its gpu is"):
            machine._check_hardware(first, second, "here")
    machine._check_hardware(on_gpu, on_gpu, "here")
    machine._check_hardware(on_gpu, {}, "here")
    machine._check_hardware(on_gpu | {"num_cpu": "512"}, on_gpu, "here")  # a rented GPU comes with other processors


def test_a_run_under_the_name_of_another_computer_is_refused(facts):
    """The two may share a home folder."""
    machine.check(facts, "cpu")
    with pytest.raises(Doubtful, match=r"describes another computer or device as here \(its cpu is 6502, not "):
        machine.check(facts | {"cpu": "6502"}, "cpu")
    with pytest.raises(Doubtful, match="its gpu is NVIDIA H100, not unknown"):
        machine.check(facts | {"gpu": "NVIDIA H100"}, "cpu")


def test_a_run_whose_gpu_is_gone_says_what_the_driver_says(facts, monkeypatch):
    def name():
        raise Unavailable("NVIDIA's driver failed: no CUDA-capable device is detected (CUDA error 100)")

    monkeypatch.setattr(machine.gpu, "name", name)
    with pytest.raises(Doubtful, match="the NVIDIA H100 of here can't be used: NVIDIA's driver failed: no CUDA"):
        machine.check(facts | {"gpu": "NVIDIA H100"}, "cuda")
    machine.check(facts, "cuda")


class Driver:
    """A driver that knows one device; nvidia-smi may name another one, or be missing."""

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        device._obj.value = 7
        return 0

    def cuDeviceGetName(self, text, length, device):  # noqa: N802
        text.value = f"Device {device.value} "[: length - 1].encode()
        return 0


def test_the_driver_names_the_gpu_that_is_used(monkeypatch):
    monkeypatch.setattr(gpu, "driver", Driver)
    monkeypatch.setenv("PATH", "")
    assert gpu.name() == "Device 7"
