"""The machine's facts. A CPU's peak rates are measured only once, because asv starts a new series at each new fact."""

import json
from pathlib import Path

import pytest

from rnnbench.history import machine
from rnnbench.measure import hardware, threads


@pytest.fixture(scope="module")
def facts():
    return machine.describe("here", "cpu", Path("/nowhere"))


def write_machine_json(folder, content):
    path = folder / "here" / "machine.json"
    path.parent.mkdir()
    path.write_text(content)


def test_the_peak_rates_are_plausible(facts):
    assert 1e9 < float(facts["float32_flops"]) < hardware.limit("cpu")
    assert 1e8 < float(facts["memory_bandwidth"]) < 1e13


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
    earlier = facts | {"float32_flops": "123", "memory_bandwidth": "456", "version": 1}
    write_machine_json(tmp_path, json.dumps(earlier))
    assert machine.describe("here", "cpu", tmp_path) == facts | {"float32_flops": "123", "memory_bandwidth": "456"}


@pytest.mark.parametrize("content", [{"ram": "1", "float32_flops": "123", "memory_bandwidth": "456"}, {}, [], None])
def test_peak_rates_are_measured_if_the_results_have_none_of_this_machine(content, facts, tmp_path):
    write_machine_json(tmp_path, json.dumps({**facts, **content} if content else content))
    described = machine.describe("here", "cpu", tmp_path)
    assert described["float32_flops"] != "123"
    assert described.keys() == facts.keys()


@pytest.mark.parametrize("home", ["absent", "a-file"])
def test_a_home_that_cannot_be_written_is_named(home, facts, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "describe", lambda *_: facts)
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    with pytest.raises(OSError, match=rf"{home}/.asv-machine.json can't be written .*: set HOME to a folder"):
        machine.save("here", "cpu")
