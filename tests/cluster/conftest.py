"""A clone with tiny shapes, and a cluster of Slurm."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from asv.machine import Machine
from helpers import slurm
from helpers.clone import Clone

from rnnbench.cluster.sweep import Sweep

PARAMS = "PARAMS = ((2, 3), (4,), (5, 6), (1,))"
GRIDS = """    "quick": (Shape(2, 4, 5, 1), Shape(3, 4, 6, 1)),
    "seed": (Shape(2, 4, 5, 1), Shape(2, 4, 6, 1), Shape(3, 4, 5, 1), Shape(3, 4, 6, 1)),
"""


@pytest.fixture
def tiny(tmp_path, environment):
    """A clone whose grids have tiny shapes, and whose only benchmark is the time of a train step."""
    clone = Clone(tmp_path, environment, machine=None)
    shapes = clone.path / "rnnbench" / "network" / "shapes.py"
    text = re.sub(r"(?m)^PARAMS = .*$", PARAMS, shapes.read_text())
    shapes.write_text(re.sub(r'(?s)(GRIDS: .*?\{\n).*?(    "full")', rf"\1{GRIDS}\2", text))
    benchmarks = clone.path / "benchmarks"
    for path in benchmarks.glob("*.py"):
        if path.stem not in ("__init__", "common", "lstm"):
            path.unlink()
    common = benchmarks / "common.py"
    common.write_text(re.sub(r"(?s)    def time_forward.*?(?=    def time_train)", "", common.read_text()))
    # Neither the sweep's folder nor the results of other machines are needed.
    for folder in (clone.path / "results").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    clone.commit("Time tiny shapes")
    clone.environment["PYTHONPATH"] = str(clone.path)
    # Measuring the peak rates would take seconds.
    facts = {**Machine.get_defaults(), "machine": "class", "float32_flops": "1e11", "memory_bandwidth": "1e10"}
    (clone.path / "results" / "class").mkdir()
    (clone.path / "results" / "class" / "machine.json").write_text(json.dumps({**facts, "version": 1}))
    return clone


@pytest.fixture
def cluster():
    if reason := slurm.missing():
        pytest.skip(reason)
    # tmp_path is too long: the address of a socket has 108 bytes at most, and Slurm adds names to the folder's.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm.Cluster(Path(folder)) as running:
        yield running


class Swept:
    """The commands of a clone whose machine class is a cluster of Slurm."""

    def __init__(self, clone, cluster):
        self.clone, self.cluster = clone, cluster
        clone.environment |= cluster.environment
        self.results = clone.path / "results" / "class"

    def sweep(self, *arguments, status=0):
        options = ("--machine", "class", "--minutes", "5", *arguments)
        return self.clone.call("rnnbench", "sweep", *options, status=status)

    def watch(self, status=0):
        return self.clone.call("rnnbench", "sweep", "--watch", status=status)

    def gather(self):
        return self.clone.call("rnnbench", "gather")

    @property
    def folder(self):
        (folder,) = (self.clone.path / ".asv" / "sweeps").iterdir()
        return folder

    def names(self, kind):
        return sorted(path.stem for path in (self.folder / kind).glob("*.json"))

    def figures(self):
        """Return what the results have of scan's train step: samples by shape, and the nodes that timed it."""
        (path,) = self.results.glob("*-existing*.json")
        content = json.loads(path.read_text())
        row = dict(zip(content["result_columns"], content["results"]["lstm.ScanLSTM.time_train"], strict=False))
        shapes = [f"{batch}x4x{hidden}x1" for batch in (2, 3) for hidden in (5, 6)]
        samples = {shape: taken for shape, taken in zip(shapes, row["samples"], strict=True) if taken}
        states = content["state"]["lstm.ScanLSTM.time_train"]
        return samples, {state["node"] for of_shape in states.values() for state in of_shape}

    def job(self, name):
        """Return Slurm's number of a task's job."""
        jobs = {}
        for path in sorted((self.folder / "submitted").glob("*.json"), key=lambda path: int(path.stem)):
            jobs |= json.loads(path.read_text())
        return jobs[name]

    def running(self):
        """Return the node of each task that runs."""
        return {name: task["node"] for name, task in Sweep.load(self.folder).running().items()}

    def nodes_of_done(self):
        return [json.loads((self.folder / "done" / f"{name}.json").read_text())["node"] for name in self.names("done")]

    def wait_for_running(self, count):
        self.cluster.wait(lambda: len(self.running()) >= count, f"{count} running tasks")

    def wait_for(self, kind, count, seconds=120):
        self.cluster.wait(lambda: len(self.names(kind)) >= count, f"{count} files in {kind}/", seconds)


@pytest.fixture
def swept(tiny, cluster):
    return Swept(tiny, cluster)
