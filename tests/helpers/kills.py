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

from helpers import HELPERS, ROOT, synthetic
from rnnbench.asv_plugin import StatefulResults
from rnnbench.history import asv_files, files

TIMED, OTHER = "lstm.SpinningLSTM.time_forward", "lstm.ScanLSTM.time_train"
ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMANDS = ("run", "asv run", "asv rm", "machine", "publish", "readme", "selftest")
OLDER = "0123abcd" * 5
MARKED = "One\n<!-- table: test@{commit} -->\nold\n<!-- end -->\n"

# An implementation of known times that needs no framework.
SPINNING = f"""
from rnnbench import variants
variants.VARIANTS["spinning"] = variants.Variant("spinning", "Spinning", "It spins", ("cpu",))
variants.__path__.append({str(HELPERS)!r})
"""
# Write one selftest after the other. Each has rows of its own.
SELFTESTS = """
import itertools, sys
from pathlib import Path
from rnnbench.history import selftest
for number in itertools.count():
    row = selftest.Verdict("0123abcd", "2026-11-26", "b" * 50, "32, 30, 128, 1", 1.0, 14, 0.05, 1.1, 60, number % 2)
    selftest.save([row] * (400 + 400 * (number % 2)), Path("results/test"))
    if number == 1:
        print("written", flush=True)
    if number == int(sys.argv[1]):
        break
"""


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
        with (self.path / "benchmarks" / "__init__.py").open("a") as file:
            file.write(SPINNING)
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
        timing = [
            *("run", "--environment", f"existing:{sys.executable}", "--set-commit-hash", self.head),
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
            "asv rm": [*asv, "rm", "-y", "machine=test", f"commit_hash={OLDER}", f"benchmark={OTHER}"],
        }

    def start(self, command):
        # A signal to the whole group is what Ctrl-C and a batch system send.
        return subprocess.Popen(
            self.commands[command],
            **{"cwd": self.path, "env": self.environment, "start_new_session": True, "text": True},
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
        start = time.monotonic()
        self.finish(command)
        seconds = time.monotonic() - start
        self.restore(before)
        return seconds

    def recorded(self):
        """Return the content of the files that hold figures or describe machines."""
        paths = [*self.results.rglob("*.json"), *self.results.rglob("*.csv"), self.home / ".asv-machine.json"]
        return {path: path.read_bytes() for path in paths}

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
        before = self.recorded()
        self.document.write_text(self.old_document)
        process = self.start(command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        with contextlib.suppress(ProcessLookupError):
            # asv's own children would outlive a killed asv.
            (os.kill if command == "run" else os.killpg)(process.pid, number)
        said = process.communicate(timeout=60)[0]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if command != "selftest" and number != signal.SIGKILL and command not in ("asv run", "asv rm"):
            # While Python starts, Ctrl-C has no other answer than a traceback.
            starting = said.rstrip().endswith("KeyboardInterrupt") or "<frozen importlib" in said
            self.expect(starting or "Traceback" not in said, f"a traceback: {said}")
        changed = self.check(before)
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
                self.expect(len(lines) in (401, 801) and after[path].endswith(b"\n"), f"{path} is cut off")
                continue
            old, new = json.loads(before[path]), json.loads(after[path])
            if path.name in (".asv-machine.json", "machine.json"):
                self.expect(old == new, f"{path} has changed")
                continue
            same = [
                {name: row for name, row in part.items() if name not in (TIMED, OTHER)}
                for part in (old["results"], new["results"], old["state"], new["state"])
            ]
            self.expect(str(same[0]) == str(same[1]) and same[2] == same[3], f"{path} has other figures or states")
            for name in (TIMED, OTHER):
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
        self.expect(self.published() == self.pages, "the dashboard is not whole")
        return {path.name for path in changed}

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
