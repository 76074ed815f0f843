"""The CUDA layer's kernels compile for GPUs that aren't there: without a warning, and with the weights in registers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "rnnbench" / "fused" / "include"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What the compiler says, a line for each kernel."""
    nvrtc = next(Path(sys.prefix, "nvrtc").glob("nvidia/*/lib/libnvrtc.so.*"), None)
    if nvrtc is None:
        pytest.skip("NVRTC isn't in the environment's folder nvrtc: make .venv/test")
    folder = tmp_path_factory.mktemp("compile")
    parts = ("", "_rows", "_tiles", "_steps", "_product")
    text = "".join((INCLUDE / f"lstm_cuda{part}.cu").read_text() for part in parts)
    source = f'static const char rnnbench_lstm_cuda_source[] = R"RNNBENCH({text})RNNBENCH";\n'
    (folder / "lstm_cuda_source.h").write_text(source)
    program = folder / "program"
    warnings = ["-std=c++14", "-Wall", "-Wextra", "-Werror"]
    includes = [f"-I{folder}", f"-I{INCLUDE}"]
    subprocess.run(["g++", *warnings, *includes, HERE / "compile_program.cpp", "-o", program, "-ldl"], check=True)
    run = subprocess.run([program, nvrtc], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    return run.stdout.splitlines()


@pytest.mark.parametrize(("architecture", "count"), [("sm_80", 15), ("sm_89", 15), ("sm_90", 24)])
def test_every_kernel_compiles_without_a_warning_and_keeps_its_weights_in_registers(lines, architecture, count):
    found = [line for line in lines if line.startswith(architecture)]
    assert len(found) == count
    for line in found:
        assert "warning" not in line.lower(), line
        assert re.search(r"Used \d+ registers", line), line
        assert not re.search(r"[1-9]\d* bytes spill", line), line


def test_sizes_up_to_1024_keep_their_weights_on_the_chip_of_hopper(lines):
    assert not [line for line in lines if line.startswith("sm_90") and " steps:" in line]
