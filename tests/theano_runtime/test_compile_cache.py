"""Test Theano's compile cache when processes share it, files are cut off, or a process is killed.

The next process must repair the cache without help.
"""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnbench import theano_runtime

SEED = int(os.environ.get("RNNBENCH_TEST_SEED", secrets.randbelow(10**6)))

# Compiles a few small modules, besides those that every process loads.
PROGRAM = """
import numpy as np
from rnnbench import theano_runtime
tensor = theano_runtime.prepare().tensor
x = tensor.fmatrix()
function = tensor.basic.theano.function([x], [tensor.tanh(x) * 2 + 1, tensor.dot(x, x.T)])
value = np.arange(6, dtype="float32").reshape(2, 3)
for found, expected in zip(function(value), (np.tanh(value) * 2 + 1, value @ value.T)):
    np.testing.assert_allclose(found, expected, rtol=1e-5)
"""


@pytest.fixture
def draw():
    """Return a random generator. A failing test prints its seed."""
    print(f"RNNBENCH_TEST_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """Return a copy of the user's cache of precompiled headers."""
    theano_runtime.prepare()
    folder = tmp_path_factory.mktemp("headers")
    shutil.copytree(theano_runtime.cache(), folder / "rnnbench")
    return folder


@pytest.fixture
def cache(tmp_path, compile_cache):
    """Return a compile cache with only the modules that take long to compile."""
    for name in ("cutils_ext", "lazylinker_ext", "scan_perform"):
        for folder in Path(compile_cache).glob(f"compiledir_*/{name}"):
            shutil.copytree(folder, tmp_path / folder.parent.name / name)
    return tmp_path


@pytest.fixture
def start(cache, headers, environment):
    """Return a function that starts a program in a new process with these caches."""

    def start(program=PROGRAM, **options):
        flags = {"THEANO_FLAGS": f"base_compiledir={cache},compile.wait=1", "XDG_CACHE_HOME": str(headers)}
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", program]
        return subprocess.Popen(command, env=environment | flags, stdout=pipe, stderr=pipe, text=True, **options)

    return start


def succeed(*processes):
    """Wait until all processes have succeeded, and return what they wrote to stderr."""
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "".join(errors)
    return "".join(errors)


def test_processes_fill_a_cache_together(start):
    succeed(start(), start())


def test_a_module_that_was_cut_off_is_compiled_again(start, cache, draw):
    succeed(start())
    for pattern in ("*.so", "key.pkl", "lazylinker_ext/__init__.py"):
        # Search again each time, because Theano compiles a module that was cut off into a new folder.
        path = draw.choice([path for path in sorted(cache.rglob(pattern)) if "scan_perform" not in path.parts])
        size = draw.randrange(path.stat().st_size)
        os.truncate(path, size)
        errors = succeed(start())
        assert path.suffix != ".so" or f"{path} was cut off: Theano compiles it again" in errors, size


def test_a_header_that_was_cut_off_is_compiled_again(start, headers, cache, draw):
    for header in headers.rglob("*.gch"):
        os.truncate(header, draw.randrange(header.stat().st_size))
    succeed(start())


def test_a_process_that_was_killed_leaves_a_cache_that_works(start, cache, draw):
    for _ in range(2):
        process = start(start_new_session=True)
        time.sleep(draw.uniform(1, 6))
        os.killpg(process.pid, signal.SIGKILL)  # kills the compiler too
        process.communicate()
        succeed(start())
        for module in cache.glob("compiledir_*/tmp*"):
            shutil.rmtree(module)


def test_a_loaded_module_that_another_process_removed_is_compiled_again(start):
    program = """
import os, shutil
from theano.gof.cc import get_module_cache
modules = get_module_cache()
keys = {entry: key for key, entry in modules.entry_from_key.items()}
known = {hash: data.get_entry() for hash, data in modules.module_hash_to_key_data.items() if "/tmp" in data.get_entry()}
assert known
for hash, entry in known.items():
    shutil.rmtree(os.path.dirname(entry))
    assert modules._get_from_hash(hash, keys[entry]) is None
function = theano_runtime.prepare().function([x], [tensor.tanh(x) * 2 + 1])
np.testing.assert_allclose(function(value)[0], np.tanh(value) * 2 + 1, rtol=1e-5)
"""
    succeed(start(PROGRAM + program))
