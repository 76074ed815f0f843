"""Fixtures that tests share: networks that each test run compiles once, the command line, and Python processes."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from helpers import HELPERS, log

from rnnbench import Network, prepared, theano_runtime, variants
from rnnbench.cli import main
from rnnbench.variants import Variant

# The user's environment, copied before Theano's setup adds to it.
_ENVIRONMENT = dict(os.environ)


def pytest_configure(config: pytest.Config) -> None:
    # A background job of a shell ignores SIGINT, and so would the programs that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The C code of Theano's scan loop imports in a way that Python now warns about. Its first import, with an
    # empty cache, leaves files open until the garbage collector closes them.
    for ignored in ("ignore:can't resolve package:ImportWarning", "ignore:unclosed file:ResourceWarning"):
        config.addinivalue_line("filterwarnings", ignored)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A process runs Theano on one device only, and most tests need the CPU. So the GPU's tests run last.
    items.sort(key=lambda item: item.get_closest_marker("gpu") is not None)


@pytest.fixture(autouse=True)
def keep_log() -> Iterator[None]:
    """Let no test change what the next one prints."""
    with log.kept():
        yield


@pytest.fixture(scope="session")
def scan() -> Callable[..., Network]:
    """Return a function from (batch, seq, hidden, depth) to scan's network. It builds each network once.

    The benchmarks use the same function, so tests and benchmarks share the compiled networks.
    """
    return lambda *sizes: prepared("scan", *sizes).network


@pytest.fixture(scope="session")
def need() -> Callable[[str, str], None]:
    """Return a function that skips a test if a variant can't run on a device. It asks once for each variant."""
    reason = functools.cache(lambda name, device: variants.available(device, [name])[name])

    def need(name: str, device: str) -> None:
        if said := reason(name, device):
            pytest.skip(said)

    return need


@pytest.fixture
def add_variant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Variant], None]:
    """Return a function that adds a variant to the registry. The variant's file is in tests/helpers."""

    def add(row: Variant) -> None:
        monkeypatch.setattr(variants, "__path__", [*variants.__path__, str(HELPERS)])
        monkeypatch.setitem(variants.VARIANTS, row.name, row)

    return add


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The user's environment variables, without those that Theano's setup in this process added."""
    return dict(_ENVIRONMENT)


@pytest.fixture(scope="session")
def compile_cache() -> str:
    """The folder of Theano's compile cache. A process that uses another folder compiles for minutes."""
    return str(theano_runtime.prepare().config.base_compiledir)


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python with some arguments, and with changes to the user's environment."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=_ENVIRONMENT | changes, capture_output=True, text=True, timeout=600)

    return run


_BUILD = """
import sys
from rnnbench import Workload, build
variant, device = sys.argv[1:]
network = build(variant, Workload(2, 3, 4, 1), device=device)
network.forward, network.train
from theano.gof.cc import get_module_cache
loaded, found, compiled = get_module_cache().stats
print(found > 0, compiled)
"""


@pytest.fixture
def second_build(python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[str, str], str]:
    """Return a function that builds a variant in another process, and returns the last line of its output.

    The line says whether Theano found modules in its compile cache, and how many it compiled: "True 0", for example.
    """

    def run(variant: str, device: str) -> str:
        build = python("-c", _BUILD, variant, device)
        assert build.returncode == 0, build.stderr
        return build.stdout.splitlines()[-1]

    return run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[[Sequence[str]], tuple[object, str, str]]:
    """Return a function that runs rnnbench with some arguments in this process.

    It returns the exit status, the standard output and the error output.
    """

    def run(arguments: Sequence[str]) -> tuple[object, str, str]:
        try:
            status: object = main(arguments)
        except SystemExit as exiting:
            status = exiting.code
        return status, *capsys.readouterr()

    return run
