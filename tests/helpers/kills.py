"""Kill commands that write, each at a random moment, and check that no recorded figure is lost or changed.

`PYTHONPATH=tests python -m helpers.kills KILLS [SEED]`, or `make test-kills KILLS=1000`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from helpers import HELPERS, ROOT, synthetic
from rnnbench.asv_plugin import StatefulResults
from rnnbench.cluster import contents
from rnnbench.history import asv_files, files

TIMED, ALSO_TIMED = "lstm.SpinningLSTM.time_forward", "lstm.SpinningLSTM.time_train"
OTHER = "lstm.ScanLSTM.time_train"
ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# All commands that write anything but temporary files, and compare, which must write nothing.
COMMANDS = (
    *("run", "asv run", "asv rm", "interleave", "sweep", "gather", "machine", "publish", "readme", "selftest"),
    *("report", "time", "compare"),
)
OLDER = "0123abcd" * 5
MARKED = "One\n<!-- table: test@{commit} -->\nold\n<!-- end -->\n"

# An implementation of known times that needs no framework. All processes of the checkout know it.
SPINNING = f"""
import os
from rnnbench import variants
if os.environ.get("ONLY_SPINNING"):
    variants.VARIANTS.clear()
variants.VARIANTS["spinning"] = variants.Variant("spinning", "Spinning", "It spins", ("cpu",))
variants.__path__.append({str(HELPERS)!r})
from rnnbench.variants import spinning
spinning.SECONDS = 0.01  # a processor needs half of it at the quick grid's largest shape
"""
# Write the files of one selftest after the other. Each has rows of its own.
SELFTESTS = """
import itertools, sys
from pathlib import Path
from rnnbench.history import live_selftest, selftest
for number in itertools.count():
    source, count = ("0123abcd", "2026-11-26"), 400 + 400 * (number % 2)
    row = selftest.Verdict(*source, "b" * 50, "32, 30, 128, 1", 1.0, 14, 0.05, 1.1, 60, number % 2)
    selftest.save([row] * count, Path("results/test"))
    row = live_selftest.Row(*source, "scan", "32, 30, 128, 1", "train", 1.0, 0.05, 20, 1000, 990, 0, number % 2, 20.5)
    live_selftest.save([row] * count, Path("results/test"))
    if number == 1:
        print("written", flush=True)
    if number == int(sys.argv[1]):
        break
"""
# Time everything once. The other rounds only narrow the intervals.
ONE_ROUND = """
import sys
from rnnbench.cli import main
from rnnbench.live import timing
timing._MOST_PROCESSES = 1
sys.exit(main())
"""
OLD_PLOT = "<svg/>"
# How many lines each file has.
LINES = {"selftest.csv": (401, 801), "selftest-compare.csv": (401, 801), "nodes.csv": (2,)}


class Damage(AssertionError):
    """A kill lost or changed a figure."""


class Place:
    """A small checkout with results of two commits, an implementation that needs no framework, and a home folder."""

    def __init__(self, folder, names=COMMANDS):
        from asv.machine import Machine

        self.path, self.home = folder / "checkout", folder / "home"
        self.home.mkdir(parents=True)
        shutil.copytree(ROOT / "benchmarks", self.path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
        (self.path / "rnnbench").symlink_to(ROOT / "rnnbench")
        for path in (self.path / "benchmarks").glob("*.py"):
            if path.stem not in ("__init__", "common", "lstm"):
                path.unlink()
        (self.path / "sitecustomize.py").write_text(SPINNING)
        (self.path / ".gitignore").write_text("/.asv\n/html\n/results\n")
        for name in ("asv.conf.json", "asv_plugin.py"):
            shutil.copy(ROOT / name, self.path)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **{"HOME": str(self.home), "PYTHONPATH": str(self.path), "OMP_NUM_THREADS": "1", "RNNBENCH_DEVICE": "cpu"},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        }
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message=One")
        self.head = self.git("rev-parse", "HEAD")
        self.results = self.path / "results"
        facts = {**Machine.get_defaults(), "float32_flops": "1e12", "memory_bandwidth": "1e11"}
        del facts["machine"]
        synthetic.write_machine(self.results, "test", **facts)
        machines = {name: {**facts, "machine": name} for name in ("test", "another")}
        (self.home / ".asv-machine.json").write_text(json.dumps({**machines, "version": 1}))
        state = {name: {"32, 30, 128, 1": [{"marks": ["busy"]}]} for name in (OTHER, "lstm.ScanLSTM.time_forward")}
        content = {name: row for name, row in synthetic.full_grid().items() if "Scan" in name or "Cudnn" in name}
        self.rewrite(synthetic.write_run(self.results, "test", OLDER, content, state=state))
        self.sweeps = self.path / ".asv" / "sweeps"
        self.plot = self.path / "plot.svg"
        self.plot.write_text(OLD_PLOT)
        self.document = self.path / "TABLE.md"
        self.old_document = MARKED.format(commit=OLDER[:8])
        self.document.write_text(self.old_document)
        # The first run names the file of HEAD. It then gets figures that no command here may change.
        self.finish("run")
        (self.file,) = self.results.glob(f"test/{self.head[:8]}-*.json")
        stored = json.loads(self.file.read_text())
        stored["results"] = content | stored["results"]
        stored["state"] = state | stored["state"]
        self.file.write_text(json.dumps(stored))
        self.rewrite(self.file)
        self.new_document, self.pages = None, None
        if "gather" in names:
            self.finish("sweep")
        self.seconds = {name: self.time(name) for name in names}
        self.new_document = self.document.read_text()
        self.pages = self.published()

    def rewrite(self, path):
        """Let asv round a file's figures now, because it rounds them whenever it writes them."""
        StatefulResults.load(str(path)).save(str(self.results))

    def git(self, *arguments):
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    @property
    def commands(self):
        """The commands that write, by name."""
        rnnbench, asv = (sys.executable, "-m", "rnnbench"), (sys.executable, "-m", "asv")
        here = f"existing:{sys.executable}"
        local = ["--executor", "local", "--environment", here, "--minutes", "5"]
        timing = [
            *("run", "--environment", here, "--set-commit-hash", self.head),
            *("--machine", "test", "--record-samples", "--attribute", "rounds=1", "--attribute", "repeat=2"),
            *("--bench", rf"{TIMED}\(32, 30, 128, 1\)"),
        ]
        return {
            "run": [*rnnbench, *timing],
            "asv run": [*asv, *timing],
            "machine": [*rnnbench, "machine", "test"],
            "publish": [*rnnbench, "publish"],
            "readme": [*rnnbench, "readme", self.document.name],
            "selftest": [sys.executable, "-c", SELFTESTS, "-1"],
            "interleave": [*rnnbench, "interleave", "quick", "--machine", "test", "--environment", here],
            "sweep": [*rnnbench, "sweep", "quick", "spinning", "--machine", "test", *local],
            "gather": [*rnnbench, "gather"],
            "report": [*rnnbench, "report", "--machine", "test", "--commit", OLDER, "--plot", self.plot.name],
            "time": [sys.executable, "-c", ONE_ROUND, "time", "2x3x4", "spinning", "--plot", self.plot.name],
            "compare": [*rnnbench, "compare", "spinning", "spinning", "2x3x4", "--seconds", "3"],
            "asv rm": [*asv, "rm", "-y", "machine=test", f"commit_hash={OLDER}", f"benchmark={OTHER}"],
        }

    def start(self, command):
        # A signal to the whole group is what Ctrl-C and a batch system send.
        if command == "gather":
            for ledger in self.sweeps.glob("*/gathered.json"):
                ledger.unlink()
        environment = self.environment | ({"ONLY_SPINNING": "1"} if command == "interleave" else {})
        return subprocess.Popen(
            self.commands[command],
            **{"cwd": self.path, "env": environment, "start_new_session": True, "text": True},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL},
        )

    def finish(self, command):
        """Run a command to its end; the selftests have none."""
        process = self.start(command)
        if command == "selftest":
            assert process.stdout.readline() == "written\n"
            os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate(timeout=300)[0]
        assert command == "selftest" or process.returncode == 0, f"{command}: {said}"

    def time(self, command):
        before = self.recorded()
        if command == "sweep":
            shutil.rmtree(self.sweeps, ignore_errors=True)  # a sweep that is done has nothing to do
        start = time.monotonic()
        self.finish(command)
        seconds = time.monotonic() - start
        self.restore(before)
        return seconds

    def recorded(self):
        """Return the content of the files that hold figures or describe machines."""
        paths = [*self.results.rglob("*.json"), *self.results.rglob("*.csv"), self.home / ".asv-machine.json"]
        return {path: path.read_bytes() for path in paths}

    def swept(self):
        """Return the content of the files of a sweep's tasks."""
        return {path: path.read_bytes() for kind in ("done", "canary") for path in self.sweeps.glob(f"*/{kind}/*.json")}

    def swept_figures(self):
        """Return the figures that the sweep has timed, as the results have them."""
        results = json.loads(self.file.read_text())["results"]
        return str([results[name] for name in (TIMED, ALSO_TIMED)])

    def restore(self, before):
        for path, content in before.items():
            if not path.exists() or path.read_bytes() != content:
                files.write(path, content)

    def published(self):
        """Return the names of the dashboard's files."""
        html = self.path / "html"
        return {str(path.relative_to(html)) for path in html.rglob("*") if path.is_file()}

    def kill(self, command, after, number):
        """End a command after some seconds with a signal, and check what it left; return what it changed."""
        if command == "sweep":
            self.forget_some(after)
        before, swept = self.recorded(), self.swept()
        if command == "gather":
            if not any(path.parent.name == "done" for path in swept):  # a sweep ended early has only timed its canary
                self.finish("sweep")
                swept = self.swept()
            self.finish(command)
            gathered = self.swept_figures()
            self.restore(before)
        self.document.write_text(self.old_document)
        self.plot.write_text(OLD_PLOT)
        process = self.start(command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        with contextlib.suppress(ProcessLookupError):
            # asv's own children would outlive a killed asv.
            (os.kill if command == "run" else os.killpg)(process.pid, number)
        said = process.communicate(timeout=60)[0]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.end_jobs()
        if command != "selftest" and number != signal.SIGKILL and command not in ("asv run", "asv rm"):
            # While Python starts, Ctrl-C has no other answer than a traceback.
            starting = said.rstrip().endswith("KeyboardInterrupt") or "<frozen importlib" in said
            self.expect(starting or "Traceback" not in said, f"a traceback: {said}")
        changed = self.check(before)
        after_it = self.swept()
        self.expect(all(after_it.get(path) == content for path, content in swept.items()), "a task's file has changed")
        for path in after_it:
            contents.load(path)
        changed |= {path.name for path in after_it.keys() - swept.keys()}
        if command == "gather":
            self.finish(command)
            self.expect(self.swept_figures() == gathered, "the next gather doesn't merge all figures")
            self.restore(before)
        self.restore({path: content for path, content in before.items() if path != self.file})
        return changed

    def check(self, before):
        """Raise Damage unless each file is as it was, or as the command writes it; return the changed files' names."""
        after = self.recorded()
        self.expect(before.keys() <= after.keys(), "a file is gone")
        for path in after:
            if path.suffix == ".json":
                asv_files.load(path)
        changed = {path for path in after if after[path] != before.get(path)}
        for path in changed - {self.results / "benchmarks.json"}:
            if path.suffix == ".csv":
                lines = after[path].decode().splitlines()
                self.expect(len(lines) in LINES[path.name] and after[path].endswith(b"\n"), f"{path} is cut off")
                continue
            old, new = json.loads(before[path]), json.loads(after[path])
            if path.name in (".asv-machine.json", "machine.json"):
                self.expect(old == new, f"{path} has changed")
                continue
            same = [
                {name: row for name, row in part.items() if name not in (TIMED, ALSO_TIMED, OTHER)}
                for part in (old["results"], new["results"], old["state"], new["state"])
            ]
            self.expect(str(same[0]) == str(same[1]) and same[2] == same[3], f"{path} has other figures or states")
            for name in (TIMED, ALSO_TIMED, OTHER):
                rows = [str(part["results"].get(name)) for part in (old, new)]
                states = [part["state"].get(name) for part in (old, new)]
                if name == OTHER and rows[1] == "None" and path != self.file:
                    self.expect(states[1] is None, "asv rm left a state")
                elif name == OTHER or rows[0] == rows[1]:
                    self.expect(rows[0] == rows[1] and states[0] == states[1], f"{name} has changed")
                else:
                    self.expect(states[1] and states[0] != states[1], f"{name} lost its state")
        text = self.document.read_text()
        self.expect(text in (self.old_document, self.new_document), "the document is cut off")
        if text != self.old_document:
            changed.add(self.document)
        plot = self.plot.read_text()
        if plot != OLD_PLOT:
            ElementTree.fromstring(plot)
            changed.add(self.plot)
        self.expect(self.published() == self.pages, "the dashboard is not whole")
        return {path.name for path in changed}

    def forget_some(self, number):
        """Let the next sweep begin anew or go on: remove its folder, or some of its tasks' files."""
        draw = random.Random(number)
        for folder in self.sweeps.iterdir():
            if draw.random() < 0.2:
                shutil.rmtree(folder)
        for path in self.swept():
            if draw.random() < 0.7:
                path.unlink()

    def end_jobs(self):
        """End the processes of this checkout that a sweep started: each job is a session of its own."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"PYTHONPATH={self.path}".encode() in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)

    @staticmethod
    def expect(holds, what):
        if not holds:
            raise Damage(what)


def campaign(kills, seed, names=COMMANDS):
    """End commands at random moments and return how many ended in which way; raise Damage at the first that damaged."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="rnnbench-kills-") as folder:
        place = Place(Path(folder), names)
        tally = Counter()
        for number in range(kills):
            command, end = draw.choice(names), draw.choice(ENDS)
            after = draw.uniform(0, 1.1 * place.seconds[command])
            try:
                changed = place.kill(command, after, end)
            except Damage as damage:
                raise Damage(f"kill {number + 1}, {command} after {after:.2f} s by {end.name}: {damage}") from damage
            tally[command, end.name, bool(changed)] += 1
        for command in names:
            place.finish(command)
    return tally


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(10**6)
    print(f"seed {seed}", flush=True)
    for (command, end, changed), count in sorted(campaign(int(sys.argv[1]), seed).items()):
        print(f"{count:5} × {command} ended by {end}: {'recorded' if changed else 'nothing changed'}")
    print("figures lost or changed: 0; each command works afterwards")
