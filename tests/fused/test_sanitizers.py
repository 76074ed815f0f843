"""The C++ code by itself, under AddressSanitizer and UndefinedBehaviorSanitizer, on every kind of vectors."""

import platform
import subprocess
from pathlib import Path

import pytest

import rnnbench.fused

PROGRAM = Path(__file__).with_name("lstm_program.cpp")
INCLUDE = Path(rnnbench.fused.__file__).parent / "include"
# Without optimisation no wrong access is taken out, and the compiler takes half as long.
FLAGS = ["-O0", "-fno-math-errno", "-pthread", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def compiled(program, source, *flags):
    return subprocess.run(["g++", *FLAGS, *flags, source, "-o", program], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sanitizers")
    source = folder / "empty.cpp"
    source.write_text("int main() { return 0; }\n")
    if compiled(folder / "empty", source).returncode != 0:
        pytest.skip("g++ has no sanitizers here (on Debian and Ubuntu: apt-get install libasan8 libubsan1)")


def runs(flags):
    """Return whether this processor runs what the flags let the compiler use."""
    if platform.machine() != "x86_64":
        return flags == ["-march=native"]
    processor = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return all(flag.removeprefix("-m") in processor for flag in flags if not flag.startswith("-march"))


@pytest.mark.parametrize(
    "flags",
    [["-march=native"], ["-mavx2", "-mfma"], ["-march=x86-64"]],
    ids=["this processor", "AVX2", "any"],
)
def test_odd_shapes_run_without_a_fault_and_agree_with_plain_loops(sanitizers, tmp_path, flags):
    if not runs(flags):
        pytest.skip(f"this processor doesn't run {' '.join(flags)}")
    program = tmp_path / "program"
    compiling = compiled(program, PROGRAM, f"-I{INCLUDE}", *flags)
    assert compiling.returncode == 0, compiling.stderr
    run = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 mistakes" in run.stdout
    assert run.stderr == ""
