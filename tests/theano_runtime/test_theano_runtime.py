"""Test how Theano is set up: it respects the user's settings, and refuses settings that make Theano slow.

Each case runs in its own process, because Theano reads its settings only once. All processes share one
compile cache, because filling another takes time. docs/method.md has the figures.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rnnbench import Unavailable, theano_runtime
from rnnbench.theano_runtime import cuda, users_settings

PREPARE = """
import json, operator, sys
{first}
from rnnbench import Unavailable, theano_runtime
try:
    config = theano_runtime.prepare().config
except Unavailable as reason:
    print(json.dumps({{"unavailable": str(reason)}}))
else:
    names = ("gcc.cxxflags", "blas.ldflags", "floatX", "allow_gc", "exception_verbosity", "base_compiledir")
    print(json.dumps({{name: operator.attrgetter(name)(config) for name in names}}))
"""

AS_A_CHILD = """
import subprocess, sys
from rnnbench import Unavailable, theano_runtime
from rnnbench.theano_runtime import cuda
theano_runtime.prepare()
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[1]]).returncode)
"""


@pytest.fixture(scope="module")
def prepare(python, environment, compile_cache):
    """Return a function that sets Theano up in a new process and returns its settings or the reason for refusing."""

    def run(flags="", first="", through=(), **changes):
        cache = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        flags = ",".join(filter(None, [f"base_compiledir={compile_cache}", flags]))
        changes = {"THEANO_FLAGS": flags, "XDG_CACHE_HOME": cache} | changes
        result = python("-c", *through, PREPARE.format(first=first), **changes)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="module")
def plain(prepare):
    """Return Theano's settings without any settings of the user."""
    return prepare()


def test_without_user_settings_ours_apply(plain, compile_cache):
    assert plain["floatX"] == "float32"
    assert plain["allow_gc"] is False
    assert plain["exception_verbosity"] == "low"
    assert plain["base_compiledir"] == compile_cache
    assert " -O3 " in plain["gcc.cxxflags"]
    assert re.search(r" -march=\w", plain["gcc.cxxflags"])


def test_no_compiler_flag_breaks_nan(plain):
    assert not re.search("fast-math|finite-math|-Ofast", plain["gcc.cxxflags"])


def test_theano_flags_override_our_settings(prepare, plain):
    assert prepare("exception_verbosity=high,allow_gc=True") == plain | {
        "exception_verbosity": "high",
        "allow_gc": True,
    }


def test_theanorc_overrides_our_settings_but_not_theano_flags(prepare, plain, tmp_path):
    (tmp_path / ".theanorc").write_text(
        "[global]\nexception_verbosity = high\nallow_gc = True\n[gcc]\ncxxflags = -DUSERS\n"
    )
    settings = prepare("allow_gc=False", HOME=str(tmp_path))
    assert settings["exception_verbosity"] == "high"
    assert settings["allow_gc"] is False
    # The user's compiler flags are added to ours, because nothing compiles without ours.
    assert settings["gcc.cxxflags"].split() == [*plain["gcc.cxxflags"].split(), "-DUSERS"]


def test_files_named_by_theanorc_are_read(prepare, plain, tmp_path):
    (tmp_path / "one").write_text("[global]\nexception_verbosity = high\n")
    (tmp_path / "two").write_text("[global]\nallow_gc = True\n")
    both = os.pathsep.join(str(tmp_path / name) for name in ("one", "two"))
    assert prepare(THEANORC=both) == plain | {"exception_verbosity": "high", "allow_gc": True}


def test_compiler_flags_in_theano_flags_are_added_to_ours(prepare, plain):
    settings = prepare("gcc.cxxflags=-DUSERS -DOTHERS")
    assert settings["gcc.cxxflags"].split() == [*plain["gcc.cxxflags"].split(), "-DUSERS", "-DOTHERS"]


@pytest.mark.parametrize("flags", ["", "gcc.cxxflags=-DUSERS"], ids=["no flags", "flags"])
def test_a_child_process_gets_the_same_settings_as_its_parent(prepare, flags):
    assert prepare(flags, through=[AS_A_CHILD]) == prepare(flags)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("cxx=", "cxx"),
        ("blas.ldflags=", "blas.ldflags"),
        ("optimizer=None", "optimizer"),
        ("mode=FAST_COMPILE", "mode"),
        ("floatX=float64", "floatX"),
        ("linker=py", "linker"),
        ("device=cuda0", "device"),
    ],
    ids=lambda value: value,
)
def test_a_setting_that_makes_theano_slow_is_refused(prepare, tmp_path, flags, named):
    settings = prepare(flags, XDG_CACHE_HOME=str(tmp_path)) if named == "blas.ldflags" else prepare(flags)
    assert settings.keys() == {"unavailable"}
    assert named in settings["unavailable"]
    assert "\n" not in settings["unavailable"]
    assert len(settings["unavailable"]) < 200


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("cxx=clang++", "'clang++'"),
        ("cxx=/nowhere/g++", "/nowhere/g++, which is no program"),
        ("blas.ldflags=-lnosuch", "-lnosuch"),
        ("base_compiledir=/dev/null/cache", "/dev/null/cache can't be written"),
    ],
)
def test_a_setting_that_theano_would_fail_with_is_refused_before_theano_is_imported(monkeypatch, flags, words):
    monkeypatch.setenv("THEANO_FLAGS", flags)
    reason = users_settings.problem("cpu")
    assert reason is not None
    assert words in reason
    assert "\n" not in reason


@pytest.mark.parametrize("flags", ["cxx=g++", "cxx=/usr/bin/g++", "blas.ldflags=-lm"])
def test_a_setting_that_changes_nothing_is_accepted(monkeypatch, flags):
    monkeypatch.setenv("THEANO_FLAGS", flags)
    assert users_settings.problem("cpu") is None


def test_a_second_try_repeats_the_first_reason(prepare):
    first = """
from rnnbench import Unavailable, theano_runtime
from rnnbench.theano_runtime import later_versions
def fail():
    raise Unavailable("the first reason")
later_versions.restore_names = fail
try:
    theano_runtime.prepare()
except Unavailable:
    pass
"""
    assert prepare(first=first) == {"unavailable": "the first reason"}


@pytest.mark.parametrize("flag", ["device=cuda1", "init_gpu_device=cuda1", "device=cuda0000:01:00.0"])
def test_a_gpu_that_is_not_the_first_is_refused(flag, monkeypatch):
    """Memory, clocks and other programs are watched on the first one."""
    monkeypatch.setenv("THEANO_FLAGS", flag)
    assert "To time another GPU: CUDA_VISIBLE_DEVICES=1" in users_settings.problem("cuda")
    monkeypatch.setenv("THEANO_FLAGS", "device=cuda0")
    assert users_settings.problem("cuda") is None


def test_a_theanorc_that_makes_theano_slow_is_refused(prepare, tmp_path):
    (tmp_path / ".theanorc").write_text("[global]\nfloatX = float64\n")
    assert "floatX is 'float64'" in prepare(HOME=str(tmp_path))["unavailable"]


def test_a_missing_compiler_is_reported(prepare, tmp_path):
    assert "install g++" in prepare(PATH=str(tmp_path))["unavailable"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo g++: cannot execute cc1plus >&2; exit 1", "(g++: cannot execute cc1plus): install g++"),
        ("exit 0", "isn't GCC's compiler, or it is broken (it prints nothing): install g++"),
        ("echo '  clang -cc1 -target-cpu znver4' >&2", "isn't GCC's compiler"),
    ],
)
def test_a_compiler_that_is_not_what_it_seems_is_reported(script, words, prepare, tmp_path):
    (tmp_path / "g++").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "g++").chmod(0o755)
    assert words in prepare(PATH=f"{tmp_path}:{os.environ['PATH']}")["unavailable"]


def test_a_numpy_that_theano_cannot_use_is_reported(prepare):
    reason = prepare(first="import numpy; del numpy.float64")["unavailable"]
    assert reason.startswith("Theano can't be imported (module 'numpy' has no attribute 'float64'): ")
    assert "pip install" in reason


def test_a_theano_imported_before_the_set_up_is_refused(prepare):
    # Without our set-up Theano finds no compiler flags and no BLAS. These settings let it be imported.
    first = "from rnnbench.theano_runtime import later_versions; later_versions.restore_names(); import theano"
    settings = prepare("cxx=,blas.ldflags=-lm", first=first)
    assert "imported before" in settings["unavailable"]


def test_a_scan_loop_that_does_not_compile_is_refused(prepare):
    settings = prepare(first="sys.modules['theano.scan_module.scan_perform_ext'] = None")
    assert "scan loop doesn't compile" in settings["unavailable"]
    assert "\n" not in settings["unavailable"]


@pytest.mark.parametrize(("module", "package"), [("theano", "Theano"), ("scipy_openblas32", "scipy-openblas32")])
def test_a_missing_package_is_reported(prepare, module, package):
    find = "import importlib.util as util; find = util.find_spec\n"
    hide = f"util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)"
    reason = prepare(first=find + hide)["unavailable"]
    assert f"package {package} is missing" in reason
    assert "pip install" in reason


def test_a_setuptools_that_is_too_new_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pkg_resources" else find(name))
    version = importlib.metadata.version("setuptools")
    assert f"setuptools {version} has no pkg_resources" in str(theano_runtime.unavailable())


def test_processes_that_start_together_share_one_complete_header_folder(prepare, tmp_path):
    with ThreadPoolExecutor() as pool:
        settings = list(pool.map(lambda _: prepare(XDG_CACHE_HOME=str(tmp_path)), range(2)))
    assert settings[0] == settings[1]
    (folder,) = (tmp_path / "rnnbench").iterdir()  # no temporary folder is left
    assert f"-I{folder}" in settings[0]["gcc.cxxflags"].split()
    headers = {file.name for file in (Path(theano_runtime.__file__).parent / "include").glob("*.h")}
    assert {file.name for file in folder.iterdir()} == {*headers, "rnnbench_theano.h.gch", "sizes.txt"}
    assert (folder / "rnnbench_theano.h.gch").stat().st_size > 0


def test_a_header_that_cannot_be_precompiled_is_done_without(tmp_path, monkeypatch):
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *c++-header*) exit 1;; esac\nexec {shutil.which("g++")} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{compiler.parent}{os.pathsep}{os.environ['PATH']}")
    folder = theano_runtime._include_folder([])
    assert (folder / "rnnbench_theano.h").is_file()
    assert not list(folder.glob("*.gch"))
    compiler.unlink()  # with space on the disk again, say
    assert theano_runtime._include_folder([]) == folder
    assert list(folder.glob("*.gch"))


def test_a_second_process_gets_the_same_settings(prepare, plain):
    assert prepare() == plain


def test_preparing_twice_gives_the_same_module():
    assert theano_runtime.prepare() is theano_runtime.prepare() is sys.modules["theano"]


def test_a_process_has_one_device(monkeypatch, compile_cache):
    monkeypatch.setattr(cuda, "find", tuple)  # nothing is missing
    with pytest.raises(Unavailable, match=r"already runs Theano on cpu.*start another process for cuda"):
        theano_runtime.prepare("cuda")
    assert theano_runtime.prepare("cpu") is theano_runtime.prepare()


def test_a_second_process_compiles_nothing(scan, second_build):
    first = scan(32, 30, 128, 1)
    first.forward, first.train  # noqa: B018
    assert second_build("scan", "cpu") == "True 0"


def test_the_precompiled_header_is_used(prepare, plain):
    # g++ ignores it without a warning if its flags differ from the module's. Each module then compiles much slower.
    import sysconfig

    import numpy

    folder = next(word[2:] for word in plain["gcc.cxxflags"].split() if word.startswith("-I"))
    theano_flags = ["-g", "-m64", "-fPIC", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
    includes = [f"-I{numpy.get_include()}", f"-I{sysconfig.get_paths()['include']}"]
    flags = [*theano_flags, *plain["gcc.cxxflags"].split(), *includes]
    command = ["g++", *flags, "-H", "-fsyntax-only", "-x", "c++", "-"]
    log = subprocess.run(command, input="", capture_output=True, text=True, check=True).stderr
    assert f"! {folder}/rnnbench_theano.h.gch" in log
