"""Theano is imported without large modules that it hardly uses, and finds them when it uses them."""

import json
import sys

import pytest

PREPARE = "import json, sys; from rnnbench import theano_runtime; theano = theano_runtime.prepare(); "


@pytest.fixture
def evaluated(python):
    """Return a function that runs code in a process that has imported Theano, and in which setuptools can't warn."""

    def evaluate(expression):
        done = python("-W", "error::UserWarning", "-c", f"{PREPARE}{expression}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


def test_the_large_modules_are_not_imported(evaluated):
    loaded = evaluated("print(json.dumps([*sys.modules]))")
    assert not {"scipy.stats", "scipy.special", "scipy.signal", "scipy.optimize"} & {*loaded}
    if sys.version_info >= (3, 12):
        assert not {"setuptools", "distutils", "distutils.sysconfig"} & {*loaded}


def test_theano_finds_them_when_it_uses_them(evaluated):
    import scipy.special

    special = "theano.scalar.basic_scipy.erfinv.impl(0.5)"
    sparse = "theano.sparse.as_sparse_variable(scipy.sparse.eye(3, format='csr')).type.format"
    code = "import setuptools, distutils.spawn, scipy, theano.sparse; "
    found = evaluated(f"{code}print(json.dumps([{special}, {sparse}, scipy.stats.norm.cdf(0)]))")
    assert found == [scipy.special.erfinv(0.5), "csr", 0.5]


def test_the_root_logger_stays_as_it_is(evaluated):
    assert evaluated("import logging; print(json.dumps(type(logging.getLogger()).__name__))") == "RootLogger"


def test_theano_runs_without_scipy(python):
    code = "import sys; sys.modules['scipy'] = None; from rnnbench import theano_runtime; "
    done = python("-c", f"{code}theano = theano_runtime.prepare(); print(theano.function([], theano.tensor.ones(2))())")
    assert (done.returncode, done.stdout) == (0, "[1. 1.]\n"), done.stderr
