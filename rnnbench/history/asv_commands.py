"""`asv run` and `asv publish` on a private copy of the results, so that no fault of a run reaches what is recorded.

asv writes its files in place, one after the other, and stops at one that was cut off. Here it works
in a folder beside its environments, on the files that it can use; when it is done, each file that it
has written there is put in place at once. One command of a kind runs at a time in a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import html
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnbench import variants
from rnnbench.history import asv_files, files, printable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_PATIENCE = 5  # seconds
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Ended(BaseException):
    """A signal has asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Failed(Exception):
    """asv can't do it, or its results can't be put in place; the message says why."""


def run(arguments: Sequence[str]) -> int:
    """Do what `asv run` does with these arguments, and return its exit status.

    Raises Failed, or Ended at a signal, with the results as they were before.
    """
    from asv.commands.run import Run
    from asv.machine import Machine, MachineCollection

    device = os.environ.get("RNNBENCH_DEVICE", "cpu")
    if device not in variants.DEVICES:
        raise Failed(f"RNNBENCH_DEVICE={device}: it must be one of {', '.join(variants.DEVICES)}")
    config, options = _configured("run", arguments)
    existing = [environment.startswith("existing") for environment in options.env_spec]
    if existing and all(existing):
        # What is stored at a commit is this checkout's code, not another's that the interpreter may have installed.
        first = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("ASV_PYTHONPATH")]))
        # Read by asv in a process that times, and by Python in those that such a one starts.
        os.environ["ASV_PYTHONPATH"] = os.environ["PYTHONPATH"] = first
    if any(existing) and not (options.set_commit_hash or options.dry_run):
        _say("asv stores nothing of an existing interpreter unless told the commit: add --set-commit-hash HEAD")
    results = Path(config.results_dir)
    with _signals_raise() as received, _alone("run", config) as folder:
        _check_writable(results, results / (options.machine or Machine.get_unique_machine_name()))
        for leftover in results.rglob(f"*{files.PARTIAL}"):
            leftover.unlink()
        private, machines = folder / "results", folder / "machines.json"
        _copy_machines(Path(MachineCollection.get_machine_file_path()), machines, options.machine)
        copied = {_copy(path, private / path.relative_to(results)) for path in _usable(results)}
        before = {path: path.stat().st_mtime_ns for path in copied}
        config.results_dir = str(private)
        status = _asv(Run, config, options, _machine_file=str(machines))
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what follows takes milliseconds, and is not to stop halfway
        if received:
            raise Ended(received[0])
        # A run's results come last: they are nothing without their machine.
        written = [path for path in private.rglob("*.json") if path.stat().st_mtime_ns != before.get(path)]
        for path in sorted(written, key=lambda path: (path.name != "machine.json", path.name != "benchmarks.json")):
            target = results / path.relative_to(private)
            if path in copied and path.name not in ("machine.json", "benchmarks.json"):
                _keep_figures(path, target)
            _put_in_place(path, target, known=path in copied)
    return status


def publish(arguments: Sequence[str]) -> int:
    """Do what `asv publish` does with these arguments, and return its exit status.

    The dashboard of before stays until the new one is complete. Raises Failed, or Ended at a signal.
    """
    from asv.commands.publish import Publish

    config, options = _configured("publish", arguments)
    results, dashboard = Path(config.results_dir), Path(options.html_dir or config.html_dir)
    with _signals_raise(), _alone("publish", config) as folder:
        private = folder / "results"
        for path in _usable(results):
            _copy(path, private / path.relative_to(results))
        _escape_code(private / "benchmarks.json")
        config.results_dir, options.html_dir = str(private), str(folder / "html")
        status = _asv(Publish, config, options)
        if dashboard.exists():
            dashboard.rename(folder / "earlier")
        dashboard.parent.mkdir(parents=True, exist_ok=True)
        (folder / "html").rename(dashboard)
    return status


COMMANDS = {"run": run, "publish": publish}


def _configured(command: str, arguments: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """Return asv's configuration, with its plugins loaded, and the command's options, as asv itself reads them."""
    from asv.commands import make_argparser
    from asv.config import Config
    from asv.console import log
    from asv.plugin_manager import plugin_manager

    options = make_argparser()[0].parse_args([command, *arguments])
    log.enable(options.verbose)
    if options.config:
        options.config = os.path.abspath(options.config)
        os.chdir(os.path.dirname(options.config))
    try:
        config = Config.load(options.config)
        asv_files.check("asv.conf.json", vars(config))
    # Whatever is wrong in the file, down to what asv's own reader stumbles over.
    except Exception as error:
        raise Failed(f"{options.config or 'asv.conf.json'} can't be used: {error}") from error
    for plugin in config.plugins:
        try:
            plugin_manager.import_plugin(plugin)
        except ImportError as error:
            raise Failed(f"the plugin {plugin} can't be loaded: {error}") from error
    return config, options


def _asv(command: Any, config: Any, options: argparse.Namespace, **more: Any) -> int:
    from asv import util
    from asv.console import log

    try:
        return command.run_from_conf_args(config, options, **more) or 0
    except util.UserError as error:
        raise Failed(str(error) or "asv says above what it stopped at") from error
    except OSError as error:
        raise Failed(f"{error}: what was there before is as it was") from error
    finally:
        with contextlib.suppress(BrokenPipeError):
            log.flush()


@contextlib.contextmanager
def _alone(command: str, config: Any) -> Iterator[Path]:
    """Yield a new folder, once no other process does the same here; it is removed in the end."""
    home = Path(config.env_dir).parent
    folder = home / command
    home.mkdir(parents=True, exist_ok=True)
    # The lock is the kernel's: it goes with the process, however that ends.
    with (home / f"{command}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another {command} is under way in this checkout: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            _say(f"an earlier {command} was ended midway: what it had not recorded is lost, all else is as it was")
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def _signals_raise() -> Iterator[list[int]]:
    """Let signals raise Ended, so that what was begun is undone, and let what is started end with this process.

    Yields the list of the signals that came.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        # Where Python runs some callbacks it passes over what is raised: it is raised again.
        signal.alarm(_PATIENCE)
        raise Ended(received[0])

    def pass_over(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Ended):
            sys.__unraisablehook__(unraisable)

    libc = ctypes.CDLL(None)
    # asv starts its programs with a function to call in the child, which is when Python calls this one.
    os.register_at_fork(after_in_child=lambda: libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL))
    # What nohup has started outlives its terminal.
    heeded = [number for number in _SIGNALS if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN)]
    handlers = {number: signal.signal(number, end) for number in heeded}
    hook, sys.unraisablehook = sys.unraisablehook, pass_over
    try:
        yield received
    finally:
        signal.alarm(0)
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _check_writable(*folders: Path) -> None:
    """Raise Failed where results couldn't be put in place: better now than after an hour."""
    for folder in folders:
        if folder.is_dir():
            try:
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise Failed(f"nothing was run: {folder} can't be written: {error.strerror}") from error


def _usable(results: Path) -> Iterator[Path]:
    """Yield the files of results that asv can use, and name each other one."""
    for path in sorted(results.rglob("*.json")):
        try:
            asv_files.load(path)
        except ValueError as reason:
            _say(f"leaving out {path}: {reason}")
        else:
            yield path


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    return target


def _copy_machines(source: Path, target: Path, wanted: str | None) -> None:
    try:
        known = asv_files.load(source) if source.exists() else {}
    except ValueError as reason:
        raise Failed(f"{source} can't be used: {reason}; `rnnbench machine NAME` writes it anew") from reason
    if not known or wanted not in (None, *known):
        name = wanted or "NAME"
        raise Failed(f"{source} doesn't describe the machine: `rnnbench machine {name}` does")
    _copy(source, target)


def _escape_code(path: Path) -> None:
    """asv's pages take the benchmarks' code for markup: let them show it as it is."""
    if path.exists():
        benchmarks = json.loads(path.read_bytes())
        for benchmark in benchmarks.values():
            if isinstance(benchmark, dict):
                benchmark["code"] = html.escape(benchmark["code"])
        path.write_text(json.dumps(benchmarks))


def _keep_figures(path: Path, recorded: Path) -> None:
    """Keep the figure on record of each shape that this run has none of: the machine may be at fault."""
    content, earlier = (json.loads(file.read_bytes()) for file in (path, recorded))
    for name, row in content["results"].items():
        old = earlier["results"].get(name, [None])
        # Of the same parameters and version.
        if old[0] is None or old[1:3] != row[1:3]:
            continue
        values = row[0] or [None] * len(old[0])
        # NaN is n/a: a driver that is gone, say.
        absent = [shape for shape, now in enumerate(values) if now is None or now != now]
        kept = [shape for shape in absent if isinstance(old[0][shape], (int, float)) and old[0][shape] == old[0][shape]]
        if not kept:
            continue
        _say(f"{name} failed, or can't run, where it has figures on record, which are kept: {len(kept)}")
        row += [None] * (len(old) - len(row))
        shapes = [", ".join(sizes) for sizes in itertools.product(*row[1])]
        states = earlier.get("state", {}).get(name, {})
        kept_states = {shapes[shape]: states[shapes[shape]] for shape in kept if shapes[shape] in states}
        if kept_states:
            content.setdefault("state", {}).setdefault(name, {}).update(kept_states)
        # The result, and after the columns on the whole benchmark its statistics and samples.
        for column in (0, *range(5, len(old))):
            if old[column] is not None:
                row[column] = row[column] or [None] * len(values)
                for shape in kept:
                    row[column][shape] = old[column][shape]
    path.write_text(json.dumps(content))


def _put_in_place(source: Path, target: Path, known: bool) -> None:
    """Replace a file of the results; one that couldn't be used stays, under a name that asv doesn't read."""
    content = source.read_bytes()
    try:
        if not known and target.exists():
            aside = target.with_name(f"{target.name}.broken")
            target.rename(aside)
            _say(f"{target} couldn't be used: it is kept as {aside.name}")
        if not target.exists() or target.read_bytes() != content:
            files.write(target, content)
    except OSError as error:
        raise Failed(f"{target} is as it was: it can't be written: {error.strerror}") from error


def _say(line: str) -> None:
    print(f"rnnbench: {printable(line)}", file=sys.stderr, flush=True)
