"""The time from a started Python to a variant's first result, in seconds, in a process of its own.

A user waits for these steps: importing the framework, building the graph, compiling it, and the first call.
In a warm build everything is in the compile cache. In a cold build the cache is empty.
"""

from rnnbench import classes_for_variants, prepared

from .common import Shapes

# asv runs the code in a fresh interpreter, which doesn't import this module.
_SETUP = """
import sys
from rnnbench import Workload, build, print_failure
sys.excepthook = print_failure
work = Workload{shape}
work.inputs, work.targets, work.weights
"""
_EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder.name
for name in ("THEANO_FLAGS", "PYTENSOR_FLAGS"):
    flags = os.environ.get(name)
    os.environ[name] = ",".join(filter(None, [flags, "base_compiledir=" + folder.name]))
"""
_STATEMENT = """
network = build("{variant}", work, device="{device}")
network.{function}()
network.synchronize()
"""


class _Build(Shapes):
    variant: str
    before = ""

    number = 1
    rounds = 1
    repeat = 3
    warmup_time: float = 0

    def setup(self, *shape):
        case = prepared(self.variant, *shape)
        case.require()
        case.watch()

    def timeraw_forward(self, *shape):
        return self._code("forward", shape)

    def timeraw_train(self, *shape):
        return self._code("train", shape)

    def _code(self, function, shape):
        device = prepared(self.variant, *shape).device
        statement = _STATEMENT.format(variant=self.variant, device=device, function=function)
        return statement, self.before + _SETUP.format(shape=shape)


class _WarmBuild(_Build):
    # Any time above 0 makes asv run one untimed process first, which fills the cache.
    warmup_time = 0.001


class _ColdBuild(_Build):
    before = _EMPTY_CACHE


globals().update(classes_for_variants(_WarmBuild) | classes_for_variants(_ColdBuild, lambda variant: variant.caches))
