"""Test that Theano's recurrent C code compiles with our cudnn.h, and needs each of its definitions."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from rnnbench.theano_runtime import cuda

# Prints a program with the C code that Theano generates for all its recurrent operations.
GENERATE = """
import os, sys
os.environ["THEANO_FLAGS"] = "device=cpu,cxx=,blas.ldflags="
sys.path.append(sys.argv[1])
from theano.gpuarray import dnn
dnn.version = lambda raises=True: 90000
ops = [dnn._DropoutDescriptor(None), dnn._RNNDescriptor(None), dnn._RNNParamSize(None),
       dnn.GpuDnnRNNOp("lstm", "unidirectional"), dnn.GpuDnnRNNGradInputs("lstm", True, True),
       dnn.GpuDnnRNNGradWeights()]
print("#include <Python.h>\\n#include <numpy/arrayobject.h>\\n#include <cassert>")
print("#include <cudnn.h>")  # Theano may include it before libgpuarray's
for header in ["gpuarray/error.h", *ops[0].c_headers()]:
    print(f"#include <{header}>")
print(dict(zip(ops[0].func_files, ops[0].func_codes))[ops[0].func_files[0]]
      .split("#section support_code")[1].split("#section init_code")[0])
for op in ops:
    print(op.func_codes[1].split("#section support_code")[1])
for mode, gates in (("rnn_relu", 1), ("rnn_tanh", 1), ("lstm", 4), ("gru", 3)):
    outputs = [f"o{i}" for i in range(4 * gates)]
    code = dnn._RNNSplitParams(mode).c_code(None, "n", ["v", "layer", "desc", "isize", "type"],
                                          outputs, {"fail": "return 1;", "params": "handle"})
    print(f"int split_{mode}(PyGpuArrayObject *v, int layer, cudnnRNNDescriptor_t desc,"
          f" PyArrayObject *isize, int type, cudnnHandle_t handle) {{")
    print("PyGpuArrayObject " + ", ".join("*" + o for o in outputs) + ";" + code + "return 0; }")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """Return the path of a program with Theano's recurrent C code."""
    pytest.importorskip("six")
    command = [sys.executable, "-W", "ignore", "-c", GENERATE, str(cuda.DEBIAN_PYTHON)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no Theano with pygpu here: {done.stderr.strip().splitlines()[-1]}")
    path = tmp_path_factory.mktemp("program") / "program.cpp"
    path.write_text(done.stdout)
    return path


@pytest.fixture(scope="module")
def real() -> list[str]:
    """Return the compiler's arguments for the real headers of cuDNN, CUDA and libgpuarray."""
    pieces = {piece.name: piece for piece in cuda.find()}
    for name in ("cudnn", "headers", "pygpu", "libgpuarray"):
        if pieces[name].reason:
            pytest.skip(pieces[name].reason)
    numpy = pytest.importorskip("numpy")
    spec = importlib.util.find_spec("theano")
    if spec is None or spec.origin is None:
        pytest.skip("Theano was not found")
    gpuarray = Path(spec.origin).parent / "gpuarray"  # found, not imported
    folders = [sysconfig.get_path("include"), numpy.get_include(), str(gpuarray)]
    folders += [str(gpuarray / "c_code"), str(pieces["pygpu"].path)]
    for name in ("cudnn", "headers", "libgpuarray"):
        folders += [str(folder) for folder in pieces[name].includes]
    return [argument for folder in folders for argument in ("-I", folder)]


def compile_check(source: str, arguments: list[str], header: Path = cuda.HEADERS) -> str:
    """Compile a program with our header first on the include path, and return g++'s errors."""
    command = ["g++", "-x", "c++", "-fsyntax-only", "-w", "-I", str(header), *arguments, "-"]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, input=source, text=True, capture_output=True, env=environment)
    return done.stderr


FORCED_IN = ["-I", str(cuda.HEADERS.parent), "-include", "rnnbench_theano.h"]


@pytest.mark.parametrize("first", [[], FORCED_IN], ids=["alone", "after the header of all modules"])
def test_theanos_code_compiles(program, real, first):
    assert compile_check(program.read_text(), [*first, *real]) == ""


@pytest.mark.parametrize("math", ["CUDNN_FMA_MATH", "CUDNN_DEFAULT_MATH"])
def test_code_with_a_chosen_math_type_and_algorithm_compiles(program, real, math):
    algorithm = "-DRNNBENCH_RNN_ALGORITHM=CUDNN_RNN_ALGO_STANDARD"
    choices = [f"-DRNNBENCH_RNN_MATH_TYPE={math}", algorithm]
    assert compile_check(program.read_text(), [*choices, *real]) == ""


@pytest.mark.parametrize("first", [[], FORCED_IN], ids=["alone", "after the header of all modules"])
def test_theanos_test_program_compiles_without_python_headers(real, first):
    folders = [part for part in real if part not in ("-I", sysconfig.get_path("include"))]
    arguments = [argument for folder in folders for argument in ("-I", folder)]
    body = "#include <cudnn.h>\n#include <cudnn_helper.h>\nint main() { return 0; }\n"
    assert compile_check(body, [*first, *arguments]) == ""


def test_every_function_of_our_header_is_needed(program, real, tmp_path):
    """Theano's code fails to compile when any one of our definitions is missing."""
    text = (cuda.HEADERS / "cudnn.h").read_text()
    defined = set(re.findall(r"^static inline cudnnStatus_t (cudnn\w+)\(", text, re.MULTILINE))
    assert len(defined) == 9
    for name in defined:
        (tmp_path / "cudnn.h").write_text(re.sub(rf"\b{name}\(", f"absent_{name}(", text))
        assert f"'{name}' was not declared" in compile_check(program.read_text(), real, tmp_path)


def test_a_call_to_an_undefined_function_does_not_compile(program, real):
    source = program.read_text() + "\nint more() { return cudnnRNNForwardInference(0); }\n"
    assert "cudnnRNNForwardInference" in compile_check(source, real)


def test_theanos_code_copies_a_reserve_with_our_function(program, real):
    """Theano's own copy would ignore how the two buffers are aligned."""
    command = ["g++", "-x", "c++", "-E", "-P", "-w", "-I", str(cuda.HEADERS), *real, "-"]
    source = program.read_text()
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=True)
    assert "rnnbench::move_reserve(*oreserve, 0, reserve, 0, ressize)" in done.stdout
