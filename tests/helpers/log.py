"""Python's log, which asv sets up for a whole process."""

import contextlib
import logging
from collections.abc import Iterator

from rnnbench.history import asv_commands


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Put the log back as it was. asv's commands add to it, and with --verbose all libraries print."""
    log = logging.getLogger()
    level, handlers = log.level, log.handlers.copy()
    try:
        yield
    finally:
        log.setLevel(level)
        log.handlers[:] = handlers
        asv_commands._enable_log.cache_clear()
