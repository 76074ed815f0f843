"""Read and write asv's results, and run asv to record them."""

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
