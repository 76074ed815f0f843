"""The base class of all benchmarks: parameters, version and time limit."""

from rnnbench import PARAM_NAMES, PARAMS


class Shapes:
    """The parameters of every benchmark: (batch, seq, hidden, depth)."""

    params = PARAMS
    param_names = PARAM_NAMES
    # Raise the version when a benchmark's method changes: asv then starts a new series.
    version = "1"
    # asv gives up after this many seconds without output. A first compile on a slow machine takes minutes.
    timeout = 1200
