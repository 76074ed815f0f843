"""What was measured: asv's results, read and written, and the runs of asv that record them."""

from rnnbench.history.figures import (
    Figure,
    NotFound,
    ResultsWarning,
    Run,
    Software,
    machines,
    printable,
    read,
    runs,
)

__all__ = [
    "Figure",
    "NotFound",
    "ResultsWarning",
    "Run",
    "Software",
    "machines",
    "printable",
    "read",
    "runs",
]
