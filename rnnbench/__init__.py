"""rnnbench measures and checks what a fused recurrent network gains over a framework's loop.

These names are the stable interface. asv runs today's benchmarks with yesterday's code. So a name that benchmarks/
imports can be added here, but not renamed or removed.
"""

from rnnbench import variants
from rnnbench.cases import classes_for_variants, prepared
from rnnbench.measure.failures import print_failure
from rnnbench.measure.memory import peak_memory
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.models import MODELS, workload
from rnnbench.network.shapes import PARAM_NAMES, PARAMS
from rnnbench.network.workload import Workload
from rnnbench.variants import build

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "PARAMS",
    "PARAM_NAMES",
    "Network",
    "Unavailable",
    "Workload",
    "build",
    "classes_for_variants",
    "peak_memory",
    "prepared",
    "print_failure",
    "reference",
    "variants",
    "workload",
]
