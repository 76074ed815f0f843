"""rnnbench: what a fused recurrent network buys over a framework's loop, measured and checked."""

from rnnbench import variants
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.workload import Workload
from rnnbench.variants import build

__version__ = "0.1.0"

__all__ = ["Network", "Unavailable", "Workload", "build", "reference", "variants"]
