"""The benchmarks that asv runs. Each class measures one variant, and its parameters are a shape.

The modules import only public names of rnnbench, so that they also run with older code.
"""

import sys

from rnnbench import print_failure

sys.excepthook = print_failure
