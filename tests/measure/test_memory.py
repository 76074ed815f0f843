"""Peak memory: all memory that a call takes counts, even if the call gives it back before it ends."""

import numpy as np
import pytest

from rnnbench import Unavailable
from rnnbench.measure import memory

MIB = 2**20


def touch(size):
    return np.ones(size, np.uint8)


@pytest.fixture(autouse=True)
def _needs_linux():
    try:
        memory.peak_memory(lambda: None)
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_memory_that_a_call_takes_counts():
    assert memory.peak_memory(lambda: touch(64 * MIB)) == pytest.approx(64 * MIB, rel=0.02)


def test_memory_given_back_before_the_end_counts():
    def call():
        touch(64 * MIB)
        touch(1 * MIB)

    assert memory.peak_memory(call) == pytest.approx(64 * MIB, rel=0.02)


def test_memory_taken_together_adds_up():
    assert memory.peak_memory(lambda: [touch(32 * MIB), touch(32 * MIB)]) == pytest.approx(64 * MIB, rel=0.02)


def test_a_call_that_takes_nothing_has_no_peak():
    assert 0 <= memory.peak_memory(lambda: None) < 2 * MIB


def test_memory_from_before_does_not_count():
    held = touch(64 * MIB)
    touch(128 * MIB)  # an earlier and higher peak
    # malloc may reuse up to 32 MiB of memory that it has kept, which is no growth. 48 MiB is above that.
    assert memory.peak_memory(lambda: touch(48 * MIB)) == pytest.approx(48 * MIB, rel=0.1)
    assert held.any()


def test_a_system_that_keeps_no_peak_is_refused_by_the_missing_file(tmp_path, monkeypatch):
    file = tmp_path / "missing" / "clear_refs"
    monkeypatch.setattr(memory, "_RESET", file)
    called = []
    with pytest.raises(Unavailable, match=str(file)):
        memory.peak_memory(lambda: called.append(1))
    assert not called
