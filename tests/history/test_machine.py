"""The machine's facts: a CPU's peak rates are measured once, since asv starts a new series at each new fact."""

import json
from pathlib import Path

import pytest

from rnnbench.history import machine
from rnnbench.measure import hardware


@pytest.fixture(scope="module")
def facts():
    return machine.describe("here", "cpu", Path("/nowhere"))


def put(folder, content):
    path = folder / "here" / "machine.json"
    path.parent.mkdir()
    path.write_text(content)


def test_the_peaks_are_below_the_limit_and_above_a_slow_cores(facts):
    assert 1e9 < float(facts["float32_flops"]) < hardware.limit("cpu")
    assert 1e8 < float(facts["memory_bandwidth"]) < 1e13


def test_every_fact_is_text_and_asvs_are_there(facts):
    assert all(isinstance(fact, str) for fact in facts.values())
    assert facts["machine"] == "here"
    assert {"arch", "cpu", "num_cpu", "os", "ram"} <= facts.keys()


def test_peaks_that_the_results_have_are_kept(facts, tmp_path):
    earlier = facts | {"float32_flops": "123", "memory_bandwidth": "456", "version": 1}
    put(tmp_path, json.dumps(earlier))
    assert machine.describe("here", "cpu", tmp_path) == facts | {"float32_flops": "123", "memory_bandwidth": "456"}


@pytest.mark.parametrize("content", [{"ram": "1", "float32_flops": "123", "memory_bandwidth": "456"}, {}, [], None])
def test_peaks_of_another_machine_or_none_are_measured(content, facts, tmp_path):
    put(tmp_path, json.dumps({**facts, **content} if content else content))
    found = machine.describe("here", "cpu", tmp_path)
    assert found["float32_flops"] != "123"
    assert found.keys() == facts.keys()
