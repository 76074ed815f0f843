"""Runs that are killed, hit a full disk or overlap lose no stored results, and the next run needs no repair.

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

from rnnbench.history import asv_commands, asv_files

TIMED, OTHER = "lstm.ScanLSTM.time_forward", "lstm.ScanLSTM.time_train"
BUILT = "compile.ScanWarmBuild.timeraw_forward"
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
BIN = Path(sys.executable).parent
SEED = int(os.environ.get("RNNBENCH_TEST_SEED", secrets.randbelow(10**6)))


@pytest.fixture
def draw():
    """A random generator; a failed test shows its seed."""
    print(f"RNNBENCH_TEST_SEED={SEED}")
    return random.Random(SEED)


class Checkout(Clone):
    """A clone of the repository with results of every benchmark at HEAD; its runs use this interpreter."""

    def __init__(self, folder, environment):
        super().__init__(folder, environment)
        self.results = self.path / "results"
        self.head = self.git("rev-parse", "HEAD")
        assert self.finish(self.start())[0] == 0
        (self.file,) = (self.results / "test").glob(f"{self.head[:8]}-*.json")
        content = json.loads(self.file.read_text())
        content["results"] = synthetic.full_grid() | content["results"]
        self.file.write_text(json.dumps(content))
        assert self.finish(self.start())[0] == 0  # because asv rounds the figures when it rewrites them

    def command(self, benchmark=TIMED):
        return [
            *(str(BIN / "rnnbench"), "run", "--environment", f"existing:{sys.executable}"),
            *("--set-commit-hash", self.head, "--machine", "test", "--record-samples"),
            *(f"--attribute={setting}" for setting in ("rounds=1", "repeat=1", "warmup_time=0")),
            *("--bench", rf"{benchmark}\(32, 30, 128, 1\)"),
        ]

    def start(self, benchmark=TIMED, command=None, **options):
        """Start `rnnbench run`, or another command."""
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
        """Wait for a process to end; return its exit status and stderr."""
        said = process.communicate(timeout=300)[1]
        return process.returncode, said

    def recorded(self):
        """Return the content of each results file, by path; fail if a file is invalid."""
        for path in self.results.rglob("*.json"):
            asv_files.load(path)
        # Python parses every NaN to one object, so that contents with NaN compare as equal.
        return {path: json.loads(path.read_text()) for path in self.results.rglob("*.json")}

    def changed(self, before):
        """Return the benchmarks with changed figures; fail if anything else changed."""
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
        """Yield the process ID and the command line of each process that works on this checkout."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if bytes(self.path) in command:
                    yield int(process.name), command

    def at_work(self):
        """Return the processes that still work on this checkout after up to 5 seconds."""
        for _ in range(50):
            processes = list(self.processes())
            if not processes:
                break
            time.sleep(0.1)
        return processes

    def end_a_run(self, draw, seconds):
        """End a run after up to this many seconds; return the signal, the exit status, and if anything was stored."""
        before, number = self.recorded(), draw.choice(ENDS)
        process = self.start()
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(number)
        status, _ = self.finish(process)
        changed = self.changed(before)
        assert changed <= {TIMED}
        assert self.at_work() == []
        return number.name, status, bool(changed)

    def seconds_of_a_run(self):
        start = time.monotonic()
        assert self.finish(self.start())[0] == 0
        return time.monotonic() - start


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, environment):
    return Checkout(tmp_path_factory.mktemp("faults"), environment)


def test_a_run_ended_at_any_moment_loses_no_results(checkout, draw):
    seconds = checkout.seconds_of_a_run()
    for _ in range(8):
        checkout.end_a_run(draw, seconds)
    before = checkout.recorded()
    assert checkout.finish(checkout.start())[0] == 0
    assert checkout.changed(before) == {TIMED}
    assert {path.name for path in checkout.file.parent.iterdir()} == {"machine.json", checkout.file.name}


def test_a_run_warns_if_asv_will_not_store_its_results(checkout):
    before = checkout.recorded()
    without_commit = [word for word in checkout.command() if word not in ("--set-commit-hash", checkout.head)]
    said = checkout.finish(checkout.start(command=without_commit))[1]
    assert said.startswith(
        "rnnbench: asv won't store these results: with an existing interpreter, add --set-commit-hash HEAD"
    )
    assert checkout.changed(before) == set()
    assert "won't store" not in checkout.finish(checkout.start(command=[*without_commit, "--dry-run"]))[1]


# asv times BUILT in a child of the benchmark's process; both must import the checkout.
@pytest.mark.parametrize(("where", "benchmark"), [("True", TIMED), ("sys.argv[0] == '-c'", BUILT)])
def test_an_existing_interpreter_imports_the_checkouts_code(checkout, where, benchmark):
    source = checkout.path / "rnnbench" / "__init__.py"
    code = source.read_text()
    source.write_text(f"import sys\nif {where}: raise SystemExit('this is the checkout')\n{code}")
    process = checkout.start(benchmark)
    said, _ = process.communicate(timeout=300)
    source.write_text(code)
    assert process.returncode != 0
    assert "this is the checkout" in said


@pytest.mark.parametrize("number", ENDS)
def test_an_ended_run_or_the_next_one_reports_it(checkout, number):
    before = checkout.recorded()
    process = checkout.start()
    for line in process.stdout:
        if "Benchmarking" in line:
            break
    process.send_signal(number)
    status, said = checkout.finish(process)
    if number == signal.SIGKILL:
        said = checkout.finish(checkout.start(OTHER))[1]
        assert said.startswith("rnnbench: an earlier run didn't finish: the results that it hadn't stored are lost")
    else:
        assert status == 128 + number
        assert said == f"rnnbench: stopped by {number.name}: all earlier results are unchanged\n"
    assert TIMED not in checkout.changed(before)


def test_a_figure_in_doubt_replaces_a_sure_one_only_without_strict(tmp_path, capsys):
    def write(name, value, *marks):
        shapes = ("sure then busy", "busy then busy", "unknown then busy", "sure then sure")
        states = {shape: [{"marks": one}] for shape, one in zip(shapes, marks, strict=True) if one is not None}
        row = [[value] * 4, [[*shapes]], "1", 0, 0, [value] * 4]
        (tmp_path / name).write_text(json.dumps({"results": {TIMED: row}, "state": {TIMED: states}}))

    for strict in (False, True):
        write("earlier", 1.0, [], ["busy"], None, [])
        write("now", 2.0, ["busy"], ["busy"], ["busy"], [])
        asv_commands._keep_earlier_figures(tmp_path / "now", tmp_path / "earlier", strict)
        stored = json.loads((tmp_path / "now").read_text())
        expected = [1.0 if strict else 2.0, 2.0, 2.0, 2.0]
        assert (stored["results"][TIMED][0], stored["results"][TIMED][5]) == (expected, expected)
        assert stored["state"][TIMED]["sure then busy"] == [{"marks": [] if strict else ["busy"]}]
        assert (f"{TIMED} is in doubt; its earlier figures are kept" in capsys.readouterr().err) == strict


def test_a_killed_benchmark_keeps_its_earlier_figure(checkout):
    before = checkout.recorded()
    figure = checkout.result(checkout.head, TIMED)
    process = checkout.start()
    timing = []
    while not timing and process.poll() is None:
        time.sleep(0.01)
        # The process that times has the benchmark's name among its arguments.
        timing = [process_id for process_id, command in checkout.processes() if f"\0{TIMED}".encode() in command]
    os.kill(timing[0], signal.SIGKILL)
    status, said = checkout.finish(process)
    assert status == 2
    kept = f"{TIMED} failed or can't run; its earlier figures are kept, for this number of shapes: 1"
    assert said == f"rnnbench: {kept}\n"
    assert checkout.result(checkout.head, TIMED) == figure
    assert checkout.changed(before) <= {TIMED}


def test_two_simultaneous_runs_are_both_stored(checkout):
    before = checkout.recorded()
    both = [checkout.start(benchmark) for benchmark in (TIMED, OTHER)]
    ended = [checkout.finish(process) for process in both]
    assert [status for status, _ in ended] == [0, 0]
    assert sum("another run is running in this checkout: waiting" in said for _, said in ended) == 1
    assert checkout.changed(before) == {TIMED, OTHER}


def test_a_benchmark_that_can_no_longer_run_keeps_its_earlier_figure(checkout):
    before = checkout.recorded()
    figure = checkout.result(checkout.head, TIMED)
    # Without a compiler the variant is unavailable, as it is when a library is missing.
    status, said = checkout.finish(checkout.start(environment={"THEANO_FLAGS": "cxx="}))
    assert (status, "are kept, for this number of shapes: 1" in said) == (0, True)
    assert checkout.result(checkout.head, TIMED) == figure
    assert checkout.changed(before) <= {TIMED}


def test_a_disk_full_after_any_number_of_bytes_loses_no_results(checkout, draw):
    before = checkout.recorded()
    size = checkout.file.stat().st_size
    failures = 0
    for _ in range(4):
        # Writing more than this to a file fails, as on a full disk.
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


# A shell in its own namespaces can mount. It copies results/, mounts over it, runs the command, and copies the outcome.
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
    """Run with results/ mounted this way; return the exit status, stderr, and whether the results are unchanged."""
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", folder]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this system lets no process mount in a namespace of its own")
    script = MOUNTED.format(mount=mount)
    shell = ["unshare", "--map-root-user", "--mount", "bash", "-c", script, "bash", folder, *checkout.command()]
    status, said = checkout.finish(checkout.start(command=shell))
    return status, said, tree(folder / "after") == tree(folder / "kept")


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_loses_no_results(checkout, tmp_path):
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in checkout.results.rglob("*.json"))
    status, said, same = in_a_namespace(checkout, FULL.format(size=used + 100), tmp_path)
    assert (status, same) == (1, True)
    assert f"{checkout.file.name} is unchanged: it can't be written: No space left on device" in said


def test_read_only_results_are_reported_before_anything_is_timed(checkout, tmp_path):
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
    assert said.startswith("rnnbench: nothing was run: results isn't writable: ")


def test_a_truncated_results_file_stops_no_run_and_is_kept(checkout, draw):
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


def test_a_truncated_machine_file_is_named_and_written_anew(checkout):
    path = Path(checkout.environment["HOME"], ".asv-machine.json")
    part = path.read_bytes()[:-9]
    path.write_bytes(part)
    status, said = checkout.finish(checkout.start())
    assert status == 1
    assert f"{path} can't be used: it isn't JSON, or was cut off" in said
    checkout.call("rnnbench", "machine", "test")
    assert path.with_name(".asv-machine.json.broken").read_bytes() == part
    assert checkout.finish(checkout.start())[0] == 0


def test_files_are_written_atomically(tmp_path, draw):
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


# Each read moves the wall clock by up to a month, either way. The monotonic clock can't leap.
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


def test_a_leaping_wall_clock_changes_no_measured_time(checkout, tmp_path):
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
    """End runs at random moments and print how many ended in which way; stop at the first that lost a result."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder), dict(os.environ))
        seconds = checkout.seconds_of_a_run()
        print(f"seed {seed}: {runs} runs of {seconds:.1f} s", flush=True)
        tally = {}
        for _ in range(runs):
            ended = checkout.end_a_run(draw, seconds)
            tally[ended] = tally.get(ended, 0) + 1
        assert checkout.finish(checkout.start())[0] == 0
        for (name, status, recorded), count in sorted(tally.items()):
            print(f"{count:4} ended by {name}: exit status {status}, {'' if recorded else 'not '}recorded")
        print("lost: 0; the next run: recorded")


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SEED)
