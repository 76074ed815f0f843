"""The plans of the CUDA layer on tensor cores keep the rules of their kernel. No GPU is needed."""

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "rnnbench" / "fused" / "include"


def test_plans_on_tensor_cores_take_tiles_in_pairs_and_never_mistake_one_for_another(tmp_path):
    program = tmp_path / "program"
    source = HERE / "plans_program.cpp"
    subprocess.run(["g++", "-std=c++14", "-O2", "-Werror", f"-I{INCLUDE}", source, "-o", program, "-ldl"], check=True)
    run = subprocess.run([program], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    hopper, later = (int(number) for number in re.findall(r"capability \d+: (\d+)", run.stdout))
    assert hopper > 1000
    assert later == 0  # no later GPU has the instruction
