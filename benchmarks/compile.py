"""Seconds from a started Python to a variant's first result, in a process of its own.

That is what a user waits for: importing the framework, building the graph, compiling it, and the
first call. Warm: everything is in the compile cache. Cold: the cache is empty.
"""

from .common import DEVICE, Sizes, of_each_variant, require, watch

# The statement runs in a fresh interpreter, which knows nothing of this module.
_SETUP = """
from rnnbench import Workload, build
work = Workload{sizes}
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


class _Build(Sizes):
    variant: str
    before = ""

    number = 1
    rounds = 1
    repeat = 3
    warmup_time: float = 0

    def setup(self, *sizes):
        require(self.variant, *sizes)
        watch(self.variant, *sizes)

    def timeraw_forward(self, *sizes):
        return self._code("forward", sizes)

    def timeraw_train(self, *sizes):
        return self._code("train", sizes)

    def _code(self, function, sizes):
        statement = _STATEMENT.format(variant=self.variant, device=DEVICE, function=function)
        return statement, self.before + _SETUP.format(sizes=sizes)


class _WarmBuild(_Build):
    # asv then calls once before it times: a process that fills the cache.
    warmup_time = 0.001


class _ColdBuild(_Build):
    before = _EMPTY_CACHE


globals().update(of_each_variant(_WarmBuild) | of_each_variant(_ColdBuild, lambda variant: variant.caches))
