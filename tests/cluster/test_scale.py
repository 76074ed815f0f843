"""A grid of 2,000 shapes and 8 implementations: how long planning and merging take, and in how much memory."""

import json
import subprocess
import sys

import pytest

# Runs in a process of its own, since the grid must be there before other modules read it, and for its memory.
PROGRAM = """
import json, itertools, os, resource, sys, time
from pathlib import Path
from rnnbench.network import shapes

shapes.PARAMS = (tuple(range(1, 11)), tuple(range(1, 11)), tuple(range(1, 11)), (1, 2))
shapes.GRIDS["full"] = tuple(shapes.Shape(*sizes) for sizes in itertools.product(*shapes.PARAMS))

from rnnbench.cluster import gather, plan
from rnnbench.cluster.sweep import Canary, Sweep
from rnnbench.history.benchmark_names import names_of

sys.path.insert(0, sys.argv[1])
from helpers import synthetic

folder = Path.cwd()
names = ("scan", "cudnn", "fused", "torch", "torch_loop", "torch_compile", "jax_scan", "jax_cudnn")
sweep = Sweep(folder / "sweep", "class", "a" * 40, "cuda", Canary("full", "lstm", names, ("existing:/python",)))
results = folder / "results"

start = time.perf_counter()
tasks = plan.missing(sweep, [("full", "lstm")], names, ("existing:/python",), results)
planned = time.perf_counter() - start

(sweep.folder / "done").mkdir(parents=True)
params = [[str(size) for size in sizes] for sizes in shapes.PARAMS]
benchmarks = [name for name in names_of("lstm", names) if name.endswith("time_train")]
(sweep.folder / "benchmarks.json").write_text(json.dumps(
    {name: {"name": name, "code": "", "param_names": list("bshd"), "params": params, "type": "time",
            "unit": "seconds", "version": "1"} for name in benchmarks} | {"version": 2}))
(sweep.folder / "class").mkdir()
(sweep.folder / "class" / "machine.json").write_text(json.dumps({"machine": "class", "gpu": "A GPU", "version": 1}))
for number, task in enumerate(tasks, 1):
    _, shape = task.subject
    one = [[str(size)] for size in shape]
    rows = {}
    for name in benchmarks:
        row = synthetic.sampled([number * 1e-6], repeat=40)
        row[1] = one
        rows[name] = row
    state = [{"seconds": 1, "marks": [], "node": "n", "samples": 20}] * 2
    document = {"commit_hash": "a" * 40, "env_name": "existing-python", "date": 1795354531000,
                "params": {"machine": "class"}, "python": "3.11", "requirements": {}, "env_vars": {},
                "result_columns": synthetic.COLUMNS, "results": rows, "durations": {},
                "state": {name: {task.parameters: state} for name in benchmarks}, "version": 2}
    (sweep.folder / "done" / f"{task.name}.json").write_text(json.dumps({
        "node": "n", "seconds": 1, "failures": {}, "implementations": names, "grids": task.grids, "runs": [document]}))

start = time.perf_counter()
first = gather.gather(sweep, results)
gathered = time.perf_counter() - start
megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
content = json.loads(next((results / "class").glob("a*.json")).read_text())
values = sorted(value for row in content["results"].values() for value in row[0])
start = time.perf_counter()
left = plan.missing(sweep, [("full", "lstm")], names, ("existing:/python",), results)
print(json.dumps([len(tasks), planned, first.figures, gathered, megabytes, values, len(left),
                  time.perf_counter() - start, gather.gather(sweep, results).figures]))
"""


@pytest.mark.slurm
def test_a_grid_of_2000_shapes_is_planned_and_gathered_quickly(tmp_path, environment):
    from helpers import ROOT

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "tests")],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tasks, planned, figures, gathered, megabytes, values, left, planned_again, figures_again = json.loads(done.stdout)
    print(f"planned: {planned:.2f} s, again {planned_again:.2f} s; gathered: {gathered:.2f} s, {megabytes:.0f} MB")
    assert (tasks, figures) == (2000, 16000)
    assert values == pytest.approx([1e-6 * number for number in range(1, 2001) for _ in range(8)])
    assert planned < 2
    assert gathered < 10
    assert megabytes < 500
    assert (left, figures_again) == (0, 0)
    assert planned_again < 2
