"""Environment variables of others that must not reach what rnnbench does."""

from __future__ import annotations

import os

# `git rev-parse --local-env-vars` lists these. A git hook exports some of them.
_GIT = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


def forget_git() -> None:
    """Remove the variables that name git's repository from this process's environment.

    Git would use the repository that they name instead of the one in the current folder. So asv and selftest, which
    commit and check out in repositories of their own, would write to the user's.
    """
    for name in _GIT:
        os.environ.pop(name, None)
