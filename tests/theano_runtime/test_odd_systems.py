"""Theano compiles on systems that are set up unusually."""

import os
import pwd

import pytest

from rnnbench import Unavailable, theano_runtime

# Our header must be included: without it the module's function isn't declared. `first` changes the system.
COMPILE = """
import sys
{first}
from rnnbench import theano_runtime
theano_runtime.prepare()
from theano.gof.cmodule import GCC_compiler
code = '''
#ifndef RNNBENCH_THEANO_H
#error "our header is missing"
#endif
static struct PyModuleDef one = {{PyModuleDef_HEAD_INIT, "one", NULL, -1, NULL}};
PyMODINIT_FUNC PyInit_one(void) {{ return PyModule_Create(&one); }}
'''
print(GCC_compiler.compile_str("one", code, location=sys.argv[1], preargs=GCC_compiler.compile_args()).__name__)
"""


@pytest.fixture
def compiled(python, compile_cache, tmp_path):
    """Return a function that compiles a module in a new process, with code that comes first, and returns its name."""

    def run(first="", **changes):
        flags = f"base_compiledir={compile_cache}"
        done = python("-c", COMPILE.format(first=first), str(tmp_path), **{"THEANO_FLAGS": flags, **changes})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_cache_folder_with_a_space(compiled, tmp_path):
    """Theano splits the compiler's flags at spaces."""
    assert compiled(XDG_CACHE_HOME=str(tmp_path / "my cache")).endswith("one")


@pytest.mark.parametrize("library", ["libpython3.99.so", "libpython3.99.a"])
def test_a_python_without_a_shared_library(library, compiled):
    """As pyenv and uv build it. Theano would link each module to a library that is not there."""
    assert compiled(f"import sysconfig; sysconfig.get_config_vars()['LDLIBRARY'] = {library!r}").endswith("one")


def test_a_user_without_a_home_folder_is_told_what_to_do(monkeypatch):
    def unknown(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unavailable, match="set HOME to a folder that can be written"):
        theano_runtime.cache()
    assert os.path.expanduser("~/.theano") == "~/.theano"  # Theano would make a folder of this name
