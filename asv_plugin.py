"""What asv.conf.json loads: rnnbench's plugin, or without the packages that it needs, a line that says what they give.

With both, asv builds its environments with the Python that runs it.

This file isn't in the package, because importing anything of the package takes NumPy.
"""

import os
import sys

from asv.console import log

# asv searches the PATH for the Python of an environment. It must find the one that runs asv before any other.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])

try:
    # The plugin imports these only when it needs them.
    import fastjsonschema  # noqa: F401
    import jiter  # noqa: F401

    from rnnbench.asv_plugin import setup  # noqa: F401 - asv calls it
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] == "rnnbench":
        raise
    log.warning(
        f"{missing.name} is missing. asv works without it, but doesn't mark the figures of a busy machine, and has no "
        f"environment peers and no results page: {sys.executable} -m pip install '.[bench]'"
    )
