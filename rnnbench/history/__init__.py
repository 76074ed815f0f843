"""What was measured: asv's results, read and written, and the runs of asv that record them."""

from rnnbench.history.figures import (
    QUANTITIES,
    Figure,
    NotFound,
    ResultsWarning,
    Run,
    Software,
    describe,
    machines,
    printable,
    read,
    runs,
)

__all__ = [
    "QUANTITIES",
    "Figure",
    "NotFound",
    "ResultsWarning",
    "Run",
    "Software",
    "describe",
    "machines",
    "printable",
    "read",
    "runs",
]
