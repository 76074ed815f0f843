"""Run `asv run` and `asv publish` on a private copy of the results, so that a failed run can't damage them.

asv writes its files in place, one after the other, and stops at a truncated file. Here asv works in a folder beside
its environments, on copies of the valid files. When it is done, each file that it has written replaces the original
atomically. A checkout runs only one `run` and one `publish` at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import functools
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from rnnbench import variants
from rnnbench.history import asv_files, files, machine, printable, site, work_tree

HOME = Path(".asv")  # of a checkout: asv's environments, and locks and private folders of our commands

# The error output of each benchmark that failed in the last `run` of this process. rnnbench.asv_plugin fills it.
failures: dict[str, str] = {}

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_RESEND_SECONDS = 5
_RESULTS_PAGE = "index.html"  # the dashboard's page of results, from asv's pages beside it
_STATISTICS = range(5, 12)  # the columns of a result's statistics and samples in asv's files
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Ended(BaseException):
    """A signal told this process to end; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Failed(Exception):
    """asv failed, or its results can't be put in place; the message says why."""


def run(arguments: Sequence[str], private: Path | None = None) -> int:
    """Run `asv run` with these arguments, store its results and return its exit status.

    With the argument --strict, which asv doesn't know, a figure in doubt doesn't replace an earlier one that isn't.
    With `private` everything that the run reads and writes is in this folder: the results, the environments, and
    .asv-machine.json instead of the one in the home folder. So many processes can run in a checkout at once.

    Raises Failed if asv fails or the results can't be written, and Ended at a signal. No earlier result is lost.
    """
    from asv.commands.run import Run
    from asv.machine import Machine, MachineCollection

    device = os.environ.get("RNNBENCH_DEVICE") or "cpu"
    if device not in variants.DEVICES:
        raise Failed(f"RNNBENCH_DEVICE={device}: it must be one of {', '.join(variants.DEVICES)}")
    strict = "--strict" in arguments
    config, options = _configured("run", [argument for argument in arguments if argument != "--strict"])
    if options.profile:
        raise Failed("profiles aren't stored with the results: use asv profile BENCHMARK, which shows one")
    failures.clear()
    machine_file = Path(MachineCollection.get_machine_file_path())
    if private:
        config.results_dir, config.env_dir = str(private / "results"), str(private / "asv" / "env")
        machine_file = private / ".asv-machine.json"
    existing = [environment.startswith("existing") for environment in options.env_spec]
    if existing and all(existing):
        # Time this checkout's code, even if the interpreter has another copy of rnnbench installed.
        import_path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("ASV_PYTHONPATH")]))
        # asv passes ASV_PYTHONPATH to each process that times; the processes that it starts read PYTHONPATH.
        os.environ["ASV_PYTHONPATH"] = os.environ["PYTHONPATH"] = import_path
    if any(existing) and not (options.set_commit_hash or options.dry_run):
        _say("asv won't store these results: with an existing interpreter, add --set-commit-hash HEAD")
    for changed in work_tree.changed("HEAD", "existing" if any(existing) else ""):
        _say(f"uncommitted changes in {changed}/ are timed: these figures are marked as uncommitted")
    results = Path(config.results_dir)
    with _signals_raise() as received, exclusive_folder("run", Path(config.env_dir).parent) as folder:
        _check_writable(results, results / (options.machine or Machine.get_unique_machine_name()))
        for leftover in results.rglob(f"*{files.PARTIAL}"):
            leftover.unlink()
        private, machines = folder / "results", folder / "machines.json"
        known = _copy_machines(machine_file, machines, options.machine)
        if described := known.get(options.machine or Machine.get_unique_machine_name()):
            machine.check(described, device)
        copied = {_copy(path, private / path.relative_to(results)) for path in _valid_files(results)}
        before = {path: path.stat().st_mtime_ns for path in copied}
        config.results_dir = str(private)
        status = _call_asv(Run, config, options, _machine_file=str(machines))
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # don't stop halfway; the rest takes milliseconds
        if received:
            raise Ended(received[0])
        # Write the results last: they can't be read without their machine.json and benchmarks.json.
        written = [path for path in private.rglob("*.json") if path.stat().st_mtime_ns != before.get(path)]
        for path in sorted(written, key=lambda path: (path.name != "machine.json", path.name != "benchmarks.json")):
            target = results / path.relative_to(private)
            if path in copied and path.name not in ("machine.json", "benchmarks.json"):
                _keep_earlier_figures(path, target, strict)
            _put_in_place(path, target, known=path in copied)
    return status


def publish(arguments: Sequence[str]) -> int:
    """Run `asv publish` with these arguments and return its exit status.

    It prints only warnings, unless --verbose is given. The earlier dashboard stays until the new one is complete.
    Raises Failed if asv fails, and Ended at a signal.
    """
    from asv.commands.publish import Publish
    from asv.console import log

    config, options = _configured("publish", arguments)
    results, dashboard = Path(config.results_dir), Path(options.html_dir or config.html_dir)
    with _signals_raise(), exclusive_folder("publish", Path(config.env_dir).parent) as folder:
        _check_writable(dashboard)
        if dashboard.is_dir() and any(dashboard.iterdir()) and not (dashboard / "index.json").exists():
            raise Failed(f"{dashboard} has other files, which publish would remove: name a new or empty folder")
        private = folder / "results"
        site.copy(_valid_files(results), results, private)
        config.regressions_first_commits = site.known_commits(config.repo, config.regressions_first_commits)
        # "#" is asv's default. It leads nowhere.
        project, commit = site.links(config.repo, _RESULTS_PAGE)
        if config.project_url == "#":
            config.project_url = project
        if config.show_commit_url == "#":
            config.show_commit_url = commit
        config.results_dir, options.html_dir = str(private), str(folder / "html")
        quiet = contextlib.nullcontext() if options.verbose else log.set_level(logging.WARNING)
        with quiet, _unknown_commits_counted(config.repo):
            status = _call_asv(Publish, config, options)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # don't stop halfway
        try:
            files.replace_folder(folder / "html", dashboard)
        except OSError as error:
            raise Failed(f"{dashboard} can't be written: {error.strerror or error}") from error
    return status


COMMANDS = {"run": run, "publish": publish}


def _configured(command: str, arguments: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """Load asv's configuration and its plugins; return the configuration and the command's options, parsed by asv."""
    from asv.commands import make_argparser
    from asv.config import Config
    from asv.plugin_manager import plugin_manager

    options = make_argparser()[0].parse_args([command, *arguments])
    _enable_log(options.verbose)
    if options.config:
        options.config = os.path.abspath(options.config)
        os.chdir(os.path.dirname(options.config))
    try:
        config = Config.load(options.config)
        asv_files.check("asv.conf.json", vars(config))
    # asv's own parser raises exceptions of many types for a broken file.
    except Exception as error:
        raise Failed(f"{options.config or 'asv.conf.json'} can't be used: {error}") from error
    for plugin in config.plugins:
        try:
            plugin_manager.import_plugin(plugin)
        # The name may be no module's name, and a plugin's own code may raise anything.
        except Exception as error:
            raise Failed(f"asv.conf.json names the plugin {plugin}, which can't be loaded: {error}") from error
    return config, options


@functools.cache
def _enable_log(verbose: bool) -> None:
    """Let asv print, once: with each call it would print every line once more."""
    from asv.console import log

    log.enable(verbose)


def _call_asv(command: Any, config: Any, options: argparse.Namespace, **more: Any) -> int:
    from asv import util
    from asv.console import log

    try:
        return command.run_from_conf_args(config, options, **more) or 0
    except util.UserError as error:
        raise Failed(str(error) or "asv failed; its own message is above") from error
    except OSError as error:
        raise Failed(f"{error}. Everything stored earlier is unchanged") from error
    except BrokenProcessPool as error:  # Ctrl-C ends these processes too, or Linux for want of memory
        raise Failed("a process that wrote the dashboard was ended. The earlier dashboard is unchanged") from error
    finally:
        with contextlib.suppress(BrokenPipeError):
            log.flush()


@contextlib.contextmanager
def _unknown_commits_counted(repository: str) -> Iterator[None]:
    """Say in one line what asv's pages leave out. asv warns about each file of a commit that HEAD doesn't have."""
    count = 0

    def keep(record: logging.LogRecord) -> bool:
        nonlocal count
        is_unknown = record.getMessage().startswith("Couldn't find ")
        count += is_unknown
        return not is_unknown

    logger = logging.getLogger()  # asv's
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
    if count:
        advice = ": git fetch --unshallow brings them" if site.is_shallow(repository) else ""
        _say(f"asv's pages leave out the results of commits outside HEAD's history (files: {count}){advice}")


@contextlib.contextmanager
def exclusive_folder(command: str, home: Path = HOME) -> Iterator[Path]:
    """Wait until no other process runs this command in this checkout; then yield a new folder, and remove it after."""
    folder = home / command
    home.mkdir(parents=True, exist_ok=True)
    # The kernel releases this lock when the process ends, even if it is killed.
    with (home / f"{command}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another {command} is running in this checkout: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            _say(f"an earlier {command} didn't finish: the results that it hadn't stored are lost, all others are kept")
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def _signals_raise() -> Iterator[list[int]]:
    """Let signals raise Ended, so that this process cleans up, and let its child processes die with it.

    Yields the list of the signals received so far.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        # Python drops an exception that is raised inside some callbacks. The alarm raises it again later.
        signal.alarm(_RESEND_SECONDS)
        raise Ended(received[0])

    def hide_ended(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Ended):
            sys.__unraisablehook__(unraisable)

    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        for number in _SIGNALS:
            if signal.getsignal(number) is end:  # only this process cleans up
                signal.signal(number, signal.SIG_DFL)

    # Python runs this hook in each child that asv starts, because asv starts its children with a preexec_fn.
    os.register_at_fork(after_in_child=in_child)
    # Under nohup SIGHUP is ignored: leave it so, because such a run outlives its terminal.
    handled = [number for number in _SIGNALS if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN)]
    handlers = {number: signal.signal(number, end) for number in handled}
    hook, sys.unraisablehook = sys.unraisablehook, hide_ended
    try:
        yield received
    finally:
        signal.alarm(0)
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _check_writable(*folders: Path) -> None:
    """Raise Failed before a long run starts, if nothing can be written to one of these folders."""
    for folder in folders:
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise Failed(f"nothing was run: {place} isn't writable: {error.strerror}") from error


def _valid_files(results: Path) -> Iterator[Path]:
    """Yield the results files that asv can use, and print a line about each other one."""
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


def _copy_machines(source: Path, target: Path, wanted: str | None) -> dict[str, Any]:
    """Copy the user's .asv-machine.json and return its content.

    Raises Failed if it is invalid or doesn't describe the wanted machine.
    """
    try:
        known = asv_files.load(source) if source.exists() else {}
    except ValueError as reason:
        raise Failed(f"{source} can't be used: {reason}. To write it anew: rnnbench machine NAME") from reason
    if not known or wanted not in (None, *known):
        name = wanted or "NAME"
        raise Failed(f"{source} doesn't describe this machine. To describe it: rnnbench machine {name}")
    _copy(source, target)
    return known


def _keep_earlier_figures(path: Path, recorded: Path, strict: bool = False) -> None:
    """Copy the earlier figure of each shape for which this run has none: the machine may be at fault, not the code.

    If `strict`, a figure in doubt doesn't replace an earlier one that isn't.
    """
    content, earlier = (json.loads(file.read_bytes()) for file in (path, recorded))
    for name, row in content["results"].items():
        old = earlier["results"].get(name, [None])
        # Figures with other parameters or of another version of the benchmark aren't comparable.
        if old[0] is None or old[1:3] != row[1:3]:
            continue
        values = row[0] or [None] * len(old[0])
        # None means that the benchmark failed. NaN means that it can't run, e.g. because a driver is missing.
        absent = [shape for shape, value in enumerate(values) if value is None or value != value]
        known = [shape for shape, value in enumerate(old[0]) if isinstance(value, (int, float)) and value == value]
        shapes = [", ".join(sizes) for sizes in itertools.product(*row[1])]
        states, new_states = (each.get("state", {}).get(name, {}) for each in (earlier, content))
        sure = [shape for shape in known if strict and _is_doubtful(states.get(shapes[shape])) is False]
        doubtful = [shape for shape in sure if shape not in absent and _is_doubtful(new_states.get(shapes[shape]))]
        kept = [shape for shape in known if shape in absent]
        if kept:
            _say(f"{name} failed or can't run; its earlier figures are kept, for this number of shapes: {len(kept)}")
        if doubtful:
            _say(f"{name} is in doubt; its earlier figures are kept, for this number of shapes: {len(doubtful)}")
        kept += doubtful
        if not kept:
            continue
        row += [None] * (len(old) - len(row))
        kept_states = {shapes[shape]: states[shapes[shape]] for shape in kept if shapes[shape] in states}
        if kept_states:
            content.setdefault("state", {}).setdefault(name, {}).update(kept_states)
        # Columns with one value for each shape: 0 is the result, the others are its statistics and samples.
        for column in (0, *range(_STATISTICS.start, min(_STATISTICS.stop, len(old)))):
            if old[column] is not None:
                row[column] = row[column] or [None] * len(values)
                for shape in kept:
                    row[column][shape] = old[column][shape]
    path.write_text(json.dumps(content))


def _is_doubtful(states: Sequence[Mapping[str, Any]] | None) -> bool | None:
    """Return whether a process that took a figure's samples stored a mark; None if no state was stored."""
    return any(process["marks"] for process in states) if states else None


def _put_in_place(source: Path, target: Path, known: bool) -> None:
    """Replace a results file; rename an invalid target (not `known`) so that it is kept, but asv doesn't read it."""
    content = source.read_bytes()
    try:
        if not known and target.exists():
            aside = target.with_name(f"{target.name}.broken")
            target.rename(aside)
            _say(f"{target} can't be used: it is kept as {aside.name}")
        if not target.exists() or target.read_bytes() != content:
            files.write(target, content)
    except OSError as error:
        raise Failed(f"{target} is unchanged: it can't be written: {error.strerror}") from error


def _say(line: str) -> None:
    print(f"rnnbench: {printable(line)}", file=sys.stderr, flush=True)
