"""What the CPU can do at most; a GPU's properties are read in test_cuda.py."""

from rnnbench import hardware


def test_measured_peaks_are_below_the_limit_and_above_a_slow_cores():
    found = hardware.peaks("cpu")
    assert found.keys() == {"float32_flops", "memory_bandwidth"}
    assert 1e9 < found["float32_flops"] < hardware.limit("cpu")
    assert 1e8 < found["memory_bandwidth"] < 1e13
