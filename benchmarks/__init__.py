"""What asv runs. Each class is a variant; its parameters are a shape. They import public names of rnnbench alone."""

import sys

from rnnbench import print_failure

sys.excepthook = print_failure
