"""rnnbench: what a fused recurrent network buys over a framework's loop, measured and checked."""

from rnnbench import reference, variants
from rnnbench.variants import Network, Unavailable, build
from rnnbench.workload import Workload

__version__ = "0.1.0"

__all__ = ["Network", "Unavailable", "Workload", "build", "reference", "variants"]
