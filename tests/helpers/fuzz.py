"""Give rnnbench random input of every kind, and check that it answers in a sentence and in time.

`PYTHONPATH=tests python -m helpers.fuzz INPUTS [SEED]`, or `make test-fuzz INPUTS=100000`. The inputs are command
lines, the environment, configurations, descriptions of machines, results, files of sweeps and addresses of the results
page. Most inputs are given to the commands in this process, which takes 2 to 20 ms. A sample gets a process of its own.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import http.server
import io
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

from asv import commands as asv_parsers

from helpers import ROOT, recorded, synthetic
from rnnbench import cli, variants
from rnnbench.cli import main
from rnnbench.cluster.sweep import HOME, Canary, Sweep
from rnnbench.history import asv_files, live_selftest, nodes, selftest
from rnnbench.history import machine as machines
from rnnbench.measure import threads, variables
from rnnbench.network.contract import Unavailable

LIMIT = 20  # seconds for one input
COMMIT = synthetic.commit_hash(0)
NAMES = ("lstm.ScanLSTM.time_train", "lstm.CudnnLSTM.time_train", "memory.ScanMemory.track_train")


def words(text):
    """Return the words of a text. A list with quotes would be a page long."""
    return text.split()


TEXTS = ["", "\n", "\x1b[2J", "\u202e", "\udcff", "a" * 300, "ü", "٣"]
TEXTS += words(".. ../../x / /dev/null - -- -1 <b> %s {} * ~ __proto__ $HOME ~nobody 1e400 nan 0x10 a=b = : , ' \"")
NUMBERS = [0, 1, -1, 0.0, 1e-320, 1e308, -1e308, 10**400, 2**63, float("nan"), float("inf"), -float("inf"), True, None]
# These commands end at once in an empty folder, whatever their arguments are. All others also get an option that ends
# them before they start work.
QUICK = words("variants doctor filter report history readme run publish preview compare sweep gather")
OTHERS = words("verify machine interleave selftest time")
ENDINGS = {"time": ["--python", "./no-such-python"]}
WORDS = words(
    """--device --grid --format --export --machine --commit --against --results --help --version --strict --table --call
    --variants --summary --theano --port --html --seconds --least --json --shapes --seed --environment --config --bench
    --dry-run --html-dir --kind --inputs --bidirectional --lengths --sweep --python --plot --csv --watch --executor
    --minutes --running --settings --network --least -h -v variants report cpu cuda quick full csv json north HEAD
    HEAD^! scan fused summary train titan-x 32x30x128 7x3x5x2 gru rnn_relu rnnt-encoder hidden=1:9 models all local
    slurm . existing: RESULTS file.svg"""
)
WORDS += [COMMIT[:8]]
VARIABLES = [*threads.VARIABLES, *variables._GIT, *(row.name for row in variables._REFUSED), variables.SLOWDOWN]
VARIABLES += words(
    """THEANO_FLAGS THEANORC HOME XDG_CACHE_HOME RNNBENCH_CUDA RNNBENCH_DEVICE CUDA_HOME CUDA_PATH PATH COLUMNS LINES
    TERM NO_COLOR LANG LC_ALL TMPDIR CPATH LIBRARY_PATH"""
)
VALUES = words("1 0 2,3 cpu cuda cuda1 device=cuda1 floatX=float16, base_compiledir= a=' \" /tmp")
SETTINGS = words("executor partition account minutes running sbatch no_such_setting")
TOML = words(
    "1 0 -1 1e400 nan true 'gpu' 'local' 'slurm' [1] [] {} {a=1} 2026-11-26 \"\\u0000\" '' 99999999999999999999"
)
PARAMETERS = words("machine commit network precision grid baseline only against sort x toString")
KNOWN = words(f"h100 {recorded.COMMIT} f seed strict tf32 titan-x scan,cudnn times:2 lstm fastest")


class Wrong(AssertionError):
    """A command answered an input with a traceback, or not in time."""


def text(draw):
    """Return a text: one that is known to be difficult, or random characters."""
    if draw.random() < 0.5:
        return draw.choice(TEXTS)
    alphabets = ["abc019._-", "a=.,'\"\\ /~", "".join(map(chr, range(1, 256))), "äλ中\u202e\ufeff🙂\ud800\udc80"]
    return "".join(draw.choices(draw.choice(alphabets), k=draw.randrange(12)))


def argument(draw):
    """Return a text that the system can pass to a program: without a zero byte or half of a surrogate pair."""
    return text(draw).replace("\0", "").replace("\ud800", "")


def value(draw, depth=2):
    """Return a value that JSON can hold."""
    kind = draw.randrange(4 if depth else 2)
    if kind == 0:
        return draw.choice(NUMBERS)
    if kind == 1:
        return text(draw)
    if kind == 2:
        return [value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {text(draw): value(draw, depth - 1) for _ in range(draw.randrange(4))}


def changed(draw, document):
    """Return a JSON document with some values replaced, removed or moved to another key, as bytes."""
    if draw.random() < 0.03:
        return json.dumps(value(draw)).encode()
    content = copy.deepcopy(document)
    for _ in range(draw.randint(1, 3)):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(place[key], (dict, list)) and place[key] and draw.random() < 0.8:
                place = place[key]
                continue
            action = draw.randrange(3)
            if action == 0 or isinstance(place, list):
                place[key] = value(draw)
            else:
                moved = place.pop(key)
                if action == 1:
                    place[text(draw)] = moved
            break
    data = json.dumps(content).encode()
    damage = draw.random()
    if damage < 0.05:
        return data[: draw.randrange(len(data) + 1)]
    if damage < 0.1:
        spot = draw.randrange(len(data) + 1)
        return data[:spot] + draw.randbytes(draw.randrange(1, 9)) + data[spot + draw.randrange(9) :]
    if damage < 0.11:
        return draw.choice([b"", b"[" * 10**5, b'{"a":' * 10**5, b"\xff\xfe", b"null", b"{}"])
    return data


def settings(draw):
    """Return the text of a file of settings of a sweep: mostly TOML, with values of every type."""
    lines = []
    for key in draw.sample(SETTINGS, draw.randrange(len(SETTINGS) + 1)):
        lines.append(f"{key} = {draw.choice(TOML) if draw.random() < 0.8 else text(draw)}")
    if draw.random() < 0.5:
        lines += ["[sbatch]", *(f"{json.dumps(text(draw))} = {draw.choice(TOML)}" for _ in range(draw.randrange(4)))]
        if draw.random() < 0.5:
            lines.append(f"cpus-per-task = {draw.choice(TOML)}")
    return "\n".join(lines)


class Inputs:
    """A folder with valid files, and a method for each kind of input, which gives the commands one of that kind."""

    def __init__(self, folder):
        self._valid, self._work = folder / "valid", folder / "work"
        synthetic.write_machine(self._valid, "north")
        content = {name: row for name, row in synthetic.full_grid().items() if name in NAMES}
        states = {"32, 30, 128, 1": [{"marks": ["busy"], "threads": 2, "samples": 20, "libraries": {}, "cudnn": None}]}
        path = synthetic.write_run(self._valid, "north", COMMIT, content, state={NAMES[0]: states})
        # Few shapes make a report quick.
        self._run = json.loads(path.read_text())
        for row in self._run["results"].values():
            row[:] = [column[:2] if isinstance(column, list) and len(column) == 36 else column for column in row]
            row[1] = [["32"], ["30"], ["128"], ["1", "3"]]
        path.write_text(json.dumps(self._run))
        self._machine = json.loads((self._valid / "north" / "machine.json").read_text())
        described = {"code": "", "param_names": ["a"], "params": [["1"]], "type": "time", "unit": "s", "version": "1"}
        self._benchmarks = {"version": 2} | {name: {**described, "name": name} for name in NAMES}
        self._configuration = json.loads((ROOT / "asv.conf.json").read_text())
        source, shape = ("0123abcd", "2026-11-26"), "32, 30, 128, 1"
        selftest.save([selftest.Verdict(*source, NAMES[0], shape, 1.0, 14, 0.05, 1.1, 60, 1)] * 3, folder)
        row = live_selftest.Row(*source, "scan", shape, "train", 1.0, 0.05, 20, 1000, 990, 0, 10, 20.5)
        live_selftest.save([row] * 3, folder)
        nodes.save([nodes.Time(COMMIT, f"n{number}", "", "scan", shape, 1.0 + number) for number in range(3)], folder)
        self._rows = {module.FILE: (folder / module.FILE).read_bytes() for module in (selftest, live_selftest, nodes)}
        self._repository = folder / "repository"
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run([*git, "init", "--quiet", self._repository], check=True)
        commit = ["commit", "--quiet", "--allow-empty", "--message=One"]
        subprocess.run([*git, "-C", self._repository, *commit], check=True)
        self._sweep = self._swept(folder)

    def _swept(self, folder):
        """Return the files of a sweep that timed two shapes, by name."""
        canary = Canary("quick", "lstm", ("scan",), ("existing:python",))
        sweep = Sweep(folder / "sweep", "north", COMMIT, "cpu", canary)
        sweep.write("north/machine.json", self._machine)
        described = {"param_names": ["a", "b", "c", "d"], "params": [["32"], ["30"], ["128"], ["1"]]}
        of_sweep = {name: {**self._benchmarks[name], **described} for name in NAMES}
        sweep.write("benchmarks.json", {"version": 2, **of_sweep})
        run = {**self._run, "results": {NAMES[0]: [*self._run["results"][NAMES[0]]]}}
        row = run["results"][NAMES[0]]
        row[0], row[1] = row[0][:1], [["32"], ["30"], ["128"], ["1"]]
        row[5:] = [column[:1] if isinstance(column, list) else column for column in row[5:]]
        task = {"node": "n1", "implementations": ["scan"], "grids": [["quick", "lstm"]], "seconds": 1.5}
        for name in ("32x30x128x1", "128x30x128x1"):
            sweep.write(f"done/{name}.json", {**task, "failures": {"scan": "It failed"}, "runs": [run]})
        sweep.write("failed/1x1x1x1.json", {"node": "n1", "sentence": "It failed"})
        sweep.write("unfit/n2.json", {"sentence": "Its GPU is lost"})
        sweep.write("submitted/1.json", {"32x30x128x1": "", "128x30x128x1": "", "1x1x1x1": "", "2x1x1x1": ""})
        for number in (1, 2):
            time_of_canary = nodes.Time(COMMIT, f"n{number}", "", "scan", "32, 30, 128, 1", 1.0)
            sweep.write(f"canary/n{number}.json", time_of_canary._asdict())
        sweep.write("gathered.json", {"32x30x128x1": 1.5})
        sweep.write("sweep.json", {"machine": "north", "commit": COMMIT, "device": "cpu", "canary": list(canary)})
        paths = sweep.folder.rglob("*.json")
        return {str(path.relative_to(sweep.folder)): json.loads(path.read_text()) for path in paths}

    def give(self, kind, draw):
        """Give the commands an input of this kind; return the exit status."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        os.chdir(self._work)
        before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
        try:
            return getattr(self, kind)(draw)
        finally:
            os.environ.clear()
            os.environ.update(before)
            signal.signal(signal.SIGTERM, handler)

    def command_line(self, draw):
        command = draw.choice([*QUICK, *QUICK, *OTHERS, argument(draw)])
        words = [draw.choice(WORDS) if draw.random() < 0.7 else argument(draw) for _ in range(draw.randrange(6))]
        words = [str(self._valid) if word == "RESULTS" else word for word in words]
        if command in ("report", "history", "readme") and draw.random() < 0.5:
            words = ["--results", str(self._valid), *words]
        if command not in QUICK:
            words = [*words, *ENDINGS.get(command, ["--no-such-option"])]
        return self._call([command, *words], draw)

    def environment(self, draw):
        for _ in range(draw.randint(1, 3)):
            os.environ[draw.choice(VARIABLES)] = draw.choice(VALUES) if draw.random() < 0.5 else argument(draw)
        device = draw.choice(variants.DEVICES)
        with contextlib.suppress(Unavailable):
            threads.number()
            threads.processors()
        commands = [["variants", "--device", device], ["doctor"], ["report", "--results", str(self._valid)]]
        commands += [["filter", "quick", "--theano"], ["history"], ["compare", ".", "HEAD"], ["publish"], ["run"]]
        return self._call(draw.choice(commands), draw)

    def configuration(self, draw):
        if draw.random() < 0.5:
            Path("asv.conf.json").write_bytes(changed(draw, self._configuration))
            # asv would clone what "repo" names, and there are no results to publish or to continue.
            return self._call(["publish"], draw, statuses=(1,))
        file = self._work / "settings.toml"
        file.write_bytes(settings(draw).encode(errors="replace" if draw.random() < 0.9 else "surrogatepass"))
        os.chdir(self._repository)
        options = [argument(draw) if draw.random() < 0.1 else word for word in words("--executor slurm --minutes 5")]
        options = options if draw.random() < 0.3 else []
        command = ["sweep", "quick", "scan", "--machine", "north", "--settings", str(file), "--dry-run", *options]
        return self._call(command, draw)

    def machine(self, draw):
        self._put("machine.json", changed(draw, self._machine))
        self._put(f"{COMMIT[:8]}-virtualenv-py3.11.json", json.dumps(self._run).encode())
        machines._earlier(Path("results/north/machine.json"))
        Path(".asv-machine.json").write_bytes(changed(draw, {"north": self._machine, "version": 1}))
        for path in (Path("results/north/machine.json"), Path(".asv-machine.json")):
            with contextlib.suppress(ValueError):
                asv_files.load(path)
        commands = [["history"], ["report"], ["report", "--machine", "north", "--format", "json"]]
        return self._call(draw.choice(commands), draw)

    def results(self, draw):
        self._put("machine.json", json.dumps(self._machine).encode())
        self._put(f"{COMMIT[:8]}-virtualenv-py3.11.json", changed(draw, self._run))
        Path("results/benchmarks.json").write_bytes(changed(draw, self._benchmarks))
        for name, rows in self._rows.items():
            if draw.random() < 0.3:
                spot = draw.randrange(len(rows))
                self._put(name, rows[:spot] + argument(draw).encode(errors="replace") + rows[spot + 1 :])
        with contextlib.suppress(ValueError):
            asv_files.load(next(Path("results/north").glob(f"{COMMIT[:8]}-*")))
        formats = [
            ["report"],
            ["report", "--format", draw.choice(["json", "csv", "markdown"])],
            ["report", "--summary"],
        ]
        formats += [
            ["history", "--grid", "quick"],
            ["report", "--against", draw.choice(["titan-x", COMMIT[:8], "north"])],
        ]
        return self._call(draw.choice(formats), draw)

    def sweep(self, draw):
        folder = HOME / f"north-{COMMIT[:8]}"
        broken = draw.sample(sorted(self._sweep), draw.randint(1, 2))
        for name, content in self._sweep.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            data = changed(draw, content) if name in broken else json.dumps(content).encode()
            (folder / name).write_bytes(data)
        if draw.random() < 0.3:
            self._put("machine.json", changed(draw, self._machine))
            self._put(f"{COMMIT[:8]}-virtualenv-py3.11.json", changed(draw, self._run))
        return self._call(draw.choice([["gather"], ["gather", "--machine", "north"], ["sweep", "--watch"]]), draw)

    def _call(self, arguments, draw, statuses=(0, 1, 2)):
        """Run a command, a few of them in a process of their own; return its exit status."""
        if draw.random() >= REAL:
            return call(arguments, statuses)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "rnnbench", *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
        check(arguments, done.returncode, done.stdout, done.stderr, statuses)
        return done.returncode

    def _put(self, name, content):
        path = Path("results", "north", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def call(arguments, statuses=(0, 1, 2)):
    """Run a command in this process. Raise Wrong unless it ends with one of these statuses, a message, and in time."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as leaving:
            status = leaving.code or 0
    for stream in (output, errors):
        stream.flush()
    check(arguments, status, output.buffer.getvalue(), errors.buffer.getvalue(), statuses)
    return status


def check(arguments, status, output, errors, statuses):
    """Raise Wrong unless a command ended with one of these statuses, and with a message if that isn't 0."""
    said = errors or ("--watch" in arguments and output)  # the failed shapes of a sweep are what it was asked for
    if status not in statuses or (status and not said) or b"Traceback" in errors:
        raise Wrong(f"{arguments}: status {status!r}: {errors.decode(errors='replace')[-2000:]}")


@contextlib.contextmanager
def limited():
    """Raise Wrong in a block that takes longer than LIMIT."""

    def stop(number, frame):
        raise Wrong(f"it took longer than {LIMIT} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def address(draw):
    """Return a query of the results page's address."""
    parts = []
    for _ in range(draw.randrange(6)):
        part = draw.choice(KNOWN) if draw.random() < 0.6 else text(draw).encode(errors="replace").decode()
        # Some addresses are escaped as a link's are, others are as someone typed them.
        escaped = "".join(f"%{byte:02X}" for byte in part.encode()) if draw.random() < 0.5 else part
        parts.append(f"{draw.choice(PARAMETERS)}={escaped}" if draw.random() < 0.95 else part)
    return "&".join(parts)


# Each address is shown as by the browser's back button. An address may be one that the browser refuses.
SHOW = """addresses => {
    for (const address of addresses) {
        try { history.replaceState(null, '', '?' + address); } catch (refused) { continue; }
        window.dispatchEvent(new PopStateEvent('popstate'));
        if (!document.querySelector('h1') || document.querySelector('img[src=x]')) { return address; }
    }
    return null;
}"""


def check_addresses(site, browser, addresses):
    """Open the results page, and show it these addresses; raise Wrong at an error of the page's scripts."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        tab = browser.new_page()
        errors = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        tab.wait_for_selector("#results:not([hidden])")
        for start in range(0, len(addresses), 50):
            some = addresses[start : start + 50]
            begin = time.monotonic()
            broken = tab.evaluate(SHOW, some)
            tab.wait_for_timeout(20)
            if broken is not None or errors or time.monotonic() - begin > LIMIT:
                raise Wrong(f"the page fails at one of the addresses {some}: {broken} {errors}")
        tab.close()
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that prints nothing."""

    def log_message(self, *arguments):
        pass


# The share of each kind among the inputs; addresses need a browser.
SHARES = {
    **{"command_line": 0.35, "environment": 0.1, "configuration": 0.1, "machine": 0.1, "results": 0.15, "sweep": 0.1}
}
ADDRESSES = 0.1
# The share of inputs whose command gets a process of its own, which takes a hundred times as long.
REAL = 0.01


def campaign(inputs, seed, kinds=SHARES):
    """Give this many inputs; return how many of each kind ended with which status. Raise Wrong if there are faults."""
    tally, faults = Counter(), []
    here = os.getcwd()
    with (
        tempfile.TemporaryDirectory(prefix="rnnbench-fuzz-") as folder,
        warnings.catch_warnings(),
        # Making the parsers takes longer than all the rest.
        mock.patch.object(cli, "_parser", functools.cache(cli._parser)),
        mock.patch.object(asv_parsers, "make_argparser", functools.cache(asv_parsers.make_argparser)),
    ):
        warnings.simplefilter("ignore")
        place = Inputs(Path(folder))
        try:
            for kind in kinds:
                for number in range(round(inputs * SHARES[kind])):
                    # A wrong input can be repeated alone.
                    name = f"{seed}/{kind}/{number}"
                    try:
                        with limited():
                            status = place.give(kind, random.Random(name))
                    except Exception as problem:
                        faults.append(f"input {name}: {problem!r}\n{traceback.format_exc(-3)}")
                        print(faults[-1], flush=True)
                    else:
                        tally[kind, status] += 1
        finally:
            os.chdir(here)
    if faults:
        raise Wrong(f"{len(faults)} of {inputs} inputs: {faults[0]}")
    return tally


def addresses(inputs, seed):
    """Return the addresses of a campaign of this many inputs."""
    return [address(random.Random(f"{seed}/address/{number}")) for number in range(round(inputs * ADDRESSES))]


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    from helpers.dashboard import History

    count = int(sys.argv[1])
    seed = sys.argv[2] if len(sys.argv) > 2 else str(secrets.randbelow(10**6))
    print(f"seed {seed}", flush=True)
    for (kind, status), number in sorted(campaign(count, seed).items()):
        print(f"{number:7} × {kind.replace('_', ' ')}: status {status}", flush=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=chromium)
        shown = addresses(count, seed)
        check_addresses(History(Path(folder)).publish()[0], browser, shown)
        print(f"{len(shown):7} × address of the results page")
    print("tracebacks: 0, hangs: 0")
