"""What every benchmark class has: the parameters, the version and the limit of time."""

from rnnbench import PARAM_NAMES, PARAMS


class Shapes:
    """The parameters of every benchmark: (batch, seq, hidden, depth)."""

    params = PARAMS
    param_names = PARAM_NAMES
    # asv starts a new series when this changes: raise it when the same name measures something else.
    version = "1"
    # Seconds without output until asv gives up; a first compile on a slow machine takes minutes.
    timeout = 1200
