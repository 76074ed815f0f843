"""Runs that are ended, starved or doubled: nothing recorded is lost, and the next run needs no repair.

`PYTHONPATH=tests python tests/history/test_faults.py RUNS [SEED]` ends that many runs, each at a random moment.
"""

import contextlib
import json
import os
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from helpers import synthetic
from helpers.clone import Clone

from rnnbench.history import asv_files

TIMED, OTHER = "lstm.ScanLSTM.time_forward", "lstm.ScanLSTM.time_train"
BUILT = "compile.ScanWarmBuild.timeraw_forward"
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
BIN = Path(sys.executable).parent
SEED = int(os.environ.get("RNNBENCH_TEST_SEED", secrets.randbelow(10**6)))


@pytest.fixture
def draw():
    """A random generator; its seed is shown where a test fails."""
    print(f"RNNBENCH_TEST_SEED={SEED}")
    return random.Random(SEED)


class Checkout(Clone):
    """A clone whose runs use this interpreter, with figures of every benchmark on record at the head's commit."""

    def __init__(self, folder, environment):
        super().__init__(folder, environment)
        self.results = self.path / "results"
        self.head = self.git("rev-parse", "HEAD")
        assert self.finish(self.start())[0] == 0
        (self.file,) = (self.results / "test").glob(f"{self.head[:8]}-*.json")
        content = json.loads(self.file.read_text())
        content["results"] = synthetic.full_grid() | content["results"]
        self.file.write_text(json.dumps(content))
        assert self.finish(self.start())[0] == 0  # asv rounds what it writes anew

    def command(self, benchmark=TIMED):
        return [
            *(str(BIN / "rnnbench"), "run", "--environment", f"existing:{sys.executable}"),
            *("--set-commit-hash", self.head, "--machine", "test", "--record-samples"),
            *(f"--attribute={setting}" for setting in ("rounds=1", "repeat=1", "warmup_time=0")),
            *("--bench", rf"{benchmark}\(32, 30, 128, 1\)"),
        ]

    def start(self, benchmark=TIMED, command=None, **options):
        """Start a run, or another command."""
        return subprocess.Popen(
            command or self.command(benchmark),
            cwd=self.path,
            env=self.environment | options.pop("environment", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def finish(self, process):
        """Wait for its end; return its exit status and what it said of itself."""
        said = process.communicate(timeout=300)[1]
        return process.returncode, said

    def recorded(self):
        """What is on record, by file; it fails at a file that isn't as asv writes it."""
        for path in self.results.rglob("*.json"):
            asv_files.load(path)
        # Its NaNs are one object, which equals itself.
        return {path: json.loads(path.read_text()) for path in self.results.rglob("*.json")}

    def changed(self, before):
        """Return the benchmarks whose figures are others now; nothing else may be."""
        after = self.recorded()
        changed = set()
        for part in ("results", "state"):
            old, new = before[self.file].get(part, {}), after[self.file].get(part, {})
            changed |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        for content in (before, after):
            content[self.file] = {**content[self.file], "results": None, "durations": None, "state": None}
        assert after == before
        return changed

    def processes(self):
        """Yield the number and the command of each process that works on this checkout."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if bytes(self.path) in command:
                    yield int(process.name), command

    def at_work(self):
        """Return the processes that still work on this checkout, after a moment to end."""
        for _ in range(50):
            found = list(self.processes())
            if not found:
                break
            time.sleep(0.1)
        return found

    def end_one(self, draw, seconds):
        """End a run at a random moment of the seconds that one takes; return how, and whether it was recorded."""
        before, number = self.recorded(), draw.choice(ENDS)
        process = self.start()
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(number)
        status, _ = self.finish(process)
        changed = self.changed(before)
        assert changed <= {TIMED}
        assert self.at_work() == []
        return number.name, status, bool(changed)

    def seconds_of_one(self):
        start = time.monotonic()
        assert self.finish(self.start())[0] == 0
        return time.monotonic() - start


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, environment):
    return Checkout(tmp_path_factory.mktemp("faults"), environment)


def test_a_run_that_is_ended_at_any_moment_loses_nothing(checkout, draw):
    seconds = checkout.seconds_of_one()
    for _ in range(8):
        checkout.end_one(draw, seconds)
    before = checkout.recorded()
    assert checkout.finish(checkout.start())[0] == 0
    assert checkout.changed(before) == {TIMED}
    assert {path.name for path in checkout.file.parent.iterdir()} == {"machine.json", checkout.file.name}


def test_a_run_that_asv_will_not_store_says_so(checkout):
    before = checkout.recorded()
    untold = [word for word in checkout.command() if word not in ("--set-commit-hash", checkout.head)]
    said = checkout.finish(checkout.start(command=untold))[1]
    assert said.startswith("rnnbench: asv stores nothing of an existing interpreter unless told the commit: add --set")
    assert checkout.changed(before) == set()
    assert "stores nothing" not in checkout.finish(checkout.start(command=[*untold, "--dry-run"]))[1]


# A build is timed in a process that the benchmark's starts.
@pytest.mark.parametrize(("where", "benchmark"), [("True", TIMED), ("sys.argv[0] == '-c'", BUILT)])
def test_an_existing_interpreter_computes_with_the_checkouts_code(checkout, where, benchmark):
    source = checkout.path / "rnnbench" / "__init__.py"
    code = source.read_text()
    source.write_text(f"import sys\nif {where}: raise SystemExit('this is the checkout')\n{code}")
    process = checkout.start(benchmark)
    said, _ = process.communicate(timeout=300)
    source.write_text(code)
    assert process.returncode != 0
    assert "this is the checkout" in said


@pytest.mark.parametrize("number", ENDS)
def test_a_run_that_is_ended_says_so_or_the_next_one_does(checkout, number):
    before = checkout.recorded()
    process = checkout.start()
    for line in process.stdout:
        if "Benchmarking" in line:
            break
    process.send_signal(number)
    status, said = checkout.finish(process)
    if number == signal.SIGKILL:
        said = checkout.finish(checkout.start(OTHER))[1]
        assert said.startswith("rnnbench: an earlier run was ended midway: what it had not recorded is lost")
    else:
        assert status == 128 + number
        assert said == f"rnnbench: ended by {number.name}: what was recorded before is as it was\n"
    assert TIMED not in checkout.changed(before)


def test_a_shape_that_is_killed_keeps_the_figure_on_record(checkout):
    before = checkout.recorded()
    figure = checkout.result(checkout.head, TIMED)
    process = checkout.start()
    timing = []
    while not timing and process.poll() is None:
        time.sleep(0.01)
        # asv's runner has the benchmark's name among its arguments.
        timing = [number for number, command in checkout.processes() if f"\0{TIMED}".encode() in command]
    os.kill(timing[0], signal.SIGKILL)
    status, said = checkout.finish(process)
    assert status == 2
    assert said == f"rnnbench: {TIMED} failed, or can't run, where it has figures on record, which are kept: 1\n"
    assert checkout.result(checkout.head, TIMED) == figure
    assert checkout.changed(before) <= {TIMED}


def test_two_runs_at_once_are_both_recorded(checkout):
    before = checkout.recorded()
    both = [checkout.start(benchmark) for benchmark in (TIMED, OTHER)]
    ended = [checkout.finish(process) for process in both]
    assert [status for status, _ in ended] == [0, 0]
    assert sum("another run is under way in this checkout: waiting" in said for _, said in ended) == 1
    assert checkout.changed(before) == {TIMED, OTHER}


def test_a_shape_that_can_no_longer_run_keeps_the_figure_on_record(checkout):
    before = checkout.recorded()
    figure = checkout.result(checkout.head, TIMED)
    # As where a library is gone.
    status, said = checkout.finish(checkout.start(environment={"THEANO_FLAGS": "cxx="}))
    assert (status, "which are kept: 1" in said) == (0, True)
    assert checkout.result(checkout.head, TIMED) == figure
    assert checkout.changed(before) <= {TIMED}


def test_a_disk_that_is_full_after_any_number_of_bytes_loses_nothing(checkout, draw):
    before = checkout.recorded()
    size = checkout.file.stat().st_size
    failures = 0
    for _ in range(4):
        # Writing further fails, as on a full disk.
        most = draw.choice([draw.randrange(50_000), draw.randrange(size)])
        limited = checkout.start(preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        status, said = checkout.finish(limited)
        changed = checkout.changed(dict(before))
        failures += status == 1
        assert (changed == set()) if status else (changed == {TIMED})
        assert "File too large" in said if status else not said
        before = checkout.recorded()
    assert failures
    assert checkout.finish(checkout.start())[0] == 0


# A shell in namespaces of its own, where it may mount; results are mounted anew, run on, and copied out.
MOUNTED = """
set -e
cp -r results "$1/kept"
{mount}
status=0
"${{@:2}}" || status=$?
cp -r results "$1/after"
exit $status
"""
FULL = "mount -t tmpfs -o size={size}k none results && cp -r $1/kept/. results"
READ_ONLY = "mount --bind results results && mount -o remount,bind,ro results"


def in_a_namespace(checkout, mount, folder):
    """Run with the results mounted so; return the exit status, what was said, and whether the results are the same."""
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", folder]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this system lets no process mount in a namespace of its own")
    script = MOUNTED.format(mount=mount)
    shell = ["unshare", "--map-root-user", "--mount", "bash", "-c", script, "bash", folder, *checkout.command()]
    status, said = checkout.finish(checkout.start(command=shell))
    return status, said, tree(folder / "after") == tree(folder / "kept")


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_loses_nothing(checkout, tmp_path):
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in checkout.results.rglob("*.json"))
    status, said, same = in_a_namespace(checkout, FULL.format(size=used + 100), tmp_path)
    assert (status, same) == (1, True)
    assert f"{checkout.file.name} is as it was: it can't be written: No space left on device" in said


def test_read_only_results_are_said_before_anything_is_timed(checkout, tmp_path):
    if os.geteuid() == 0:
        status, said, same = in_a_namespace(checkout, READ_ONLY, tmp_path)
        assert same
    else:
        before = checkout.recorded()
        checkout.results.chmod(0o555)
        status, said = checkout.finish(checkout.start())
        checkout.results.chmod(0o755)
        assert not checkout.changed(before)
    assert status == 1
    assert said.startswith("rnnbench: nothing was run: results can't be written: ")


def test_a_file_that_was_cut_off_stops_no_run_and_is_kept(checkout, draw):
    whole = checkout.file.read_bytes()
    part = whole[: draw.randrange(len(whole))]
    checkout.file.write_bytes(part)
    status, said = checkout.finish(checkout.start())
    aside = checkout.file.with_name(f"{checkout.file.name}.broken")
    assert status == 0
    assert f"leaving out results/test/{checkout.file.name}: it isn't JSON, or was cut off" in said
    assert f"kept as {aside.name}" in said
    assert aside.read_bytes() == part
    assert asv_files.load(checkout.file)["results"].keys() == {TIMED}
    aside.unlink()
    checkout.file.write_bytes(whole)


def test_machines_that_were_cut_off_are_named_and_described_anew(checkout):
    path = Path(checkout.environment["HOME"], ".asv-machine.json")
    part = path.read_bytes()[:-9]
    path.write_bytes(part)
    status, said = checkout.finish(checkout.start())
    assert status == 1
    assert f"{path} can't be used: it isn't JSON, or was cut off" in said
    checkout.call("rnnbench", "machine", "test")
    assert path.with_name(".asv-machine.json.broken").read_bytes() == part
    assert checkout.finish(checkout.start())[0] == 0


def test_a_file_is_written_at_once_or_not_at_all(tmp_path, draw):
    path = tmp_path / "file.json"
    versions = [bytes([letter]) * draw.randrange(1, 10**7) for letter in b"ab"]
    program = (
        "import sys; from pathlib import Path; from rnnbench.history import files\n"
        "versions = [bytes([int(letter)]) * int(size) for letter, size in zip(sys.argv[2::2], sys.argv[3::2])]\n"
        "while True:\n    for version in versions: files.write(Path(sys.argv[1]), version)"
    )
    sizes = [str(number) for version in versions for number in (version[0], len(version))]
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", program, path, *sizes])
        time.sleep(draw.uniform(0.1, 0.5))
        process.kill()
        process.wait()
        assert not path.exists() or path.read_bytes() in versions


# The wall clock leaps by up to a month, either way, whenever it is read; the monotonic one can't.
LEAPING = """
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long leap() { return (random() % 60 - 30) * 86400L; }
extern "C" int clock_gettime(clockid_t clock, timespec* now) {
    static auto real = (int (*)(clockid_t, timespec*))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += leap();
    return status;
}
extern "C" int gettimeofday(timeval* now, void*) throw() {
    timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    now->tv_sec = read.tv_sec, now->tv_usec = read.tv_nsec / 1000;
    return 0;
}
extern "C" time_t time(time_t* now) throw() {
    timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}
"""


def test_a_wall_clock_that_leaps_changes_no_time(checkout, tmp_path):
    library = tmp_path / "leaping.so"
    (tmp_path / "leaping.cpp").write_text(LEAPING)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", library, tmp_path / "leaping.cpp", "-ldl"], check=True)
    read = [sys.executable, "-c", "import time; print([round(time.time()) for _ in range(9)])"]
    leaps = subprocess.run(read, env={**os.environ, "LD_PRELOAD": library}, check=True, capture_output=True, text=True)
    assert len({moment // 86400 for moment in json.loads(leaps.stdout)}) > 1
    assert not time.get_clock_info("perf_counter").adjustable

    before = checkout.recorded()
    status, said = checkout.finish(checkout.start(environment={"LD_PRELOAD": str(library)}))
    assert (status, said) == (0, "")
    assert checkout.changed(before) == {TIMED}
    stored = checkout.result(checkout.head, TIMED)
    assert all(1e-4 < sample < 10 for sample in stored["samples"])


def campaign(runs, seed):
    """End runs at random moments; print each, and how many lost something, which ends the campaign."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder), dict(os.environ))
        seconds = checkout.seconds_of_one()
        print(f"seed {seed}: {runs} runs of {seconds:.1f} s", flush=True)
        tally = {}
        for _ in range(runs):
            ended = checkout.end_one(draw, seconds)
            tally[ended] = tally.get(ended, 0) + 1
        assert checkout.finish(checkout.start())[0] == 0
        for (name, status, recorded), count in sorted(tally.items()):
            print(f"{count:4} ended by {name}: exit status {status}, {'' if recorded else 'not '}recorded")
        print("lost: 0; the next run: recorded")


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SEED)
