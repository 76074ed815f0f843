"""A clone of this repository, for tests that run the real asv."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import ROOT

SHAPE = r"\(32, 30, 128, 1\)"


class Clone:
    """A clone of this repository. It has its own home folder, and shares the compile cache of the test run."""

    def __init__(self, folder, environment, machine="test"):
        self.path = folder / "rnnbench"
        home = folder / "home"
        home.mkdir()
        cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        flags = [os.environ.get("THEANO_FLAGS", ""), f"base_compiledir={Path.home() / '.theano'}"]
        self.environment = {
            **environment,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(cache),
            "THEANO_FLAGS": ",".join(filter(None, reversed(flags))),
            "GIT_CONFIG_GLOBAL": os.devnull,
            # While another program uses a core, threads that wait for each other take a hundred times as long.
            "OMP_NUM_THREADS": "1",
        }
        subprocess.run(["git", "clone", "--quiet", ROOT, self.path], check=True)
        self.git("config", "user.name", "test")
        self.git("config", "user.email", "test@localhost")
        if machine:
            self.call("rnnbench", "machine", machine)

    def git(self, *arguments):
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def asv(self, *arguments):
        return self.call("asv", *arguments)

    def call(self, program, *arguments, status=0):
        command = [Path(sys.executable).with_name(program), *arguments]
        done = subprocess.run(
            command, cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def run(self, benchmark, commits, *arguments):
        pattern = f"({benchmark}){SHAPE}"
        return self.asv("run", "--machine", "test", "--record-samples", "--bench", pattern, *arguments, commits)

    def commit(self, message):
        self.git("commit", "--all", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def files(self, commit):
        return list((self.path / "results" / "test").glob(f"{commit[:8]}-*.json"))

    def states(self, commit):
        (file,) = self.files(commit)
        return json.loads(file.read_text())["state"]

    def result(self, commit, benchmark):
        """Return the result and the samples that asv stored for a benchmark, in the only shape that ran."""
        (file,) = self.files(commit)
        return self.stored(file, benchmark)

    def stored(self, file, benchmark):
        stored = json.loads(file.read_text())
        row = dict(zip(stored["result_columns"], stored["results"][benchmark], strict=False))
        position = 0  # SHAPE is the first combination of the parameters
        return {name: row[name][position] for name in ("result", "samples") if row.get(name)}
