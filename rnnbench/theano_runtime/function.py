"""Compile a network's graph.

This module imports Theano, so import it after `theano_runtime.prepare()`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any

import theano

# This rewrite merges symbolic slices of slices into dozens of small operations on sizes. They take
# longer to compile than the whole network, and save nothing, because the slices are views.
_EXCLUDED_REWRITES = ("local_subtensor_merge",)


def compiled(output: Any, device: str, without: Iterable[str] = ()) -> Callable[[], Any]:
    """Return a function that computes a variable or a list of variables.

    Each call overwrites the results of the call before. On a GPU the results stay there.
    `without` names Theano's rewrites to leave out.
    """

    def result(variable: Any) -> Any:
        return theano.Out(variable.transfer(None) if device == "cuda" else variable, borrow=True)

    results = [result(variable) for variable in output] if isinstance(output, list) else result(output)
    mode = theano.compile.get_default_mode().excluding(*_EXCLUDED_REWRITES, *without)
    # Theano makes very many objects that stay alive. Searching them for garbage slows down compiling
    # and the end of the process. docs/method.md has the figures.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        function = theano.function([], results, mode=mode)
        function.trust_input = True  # it has no arguments; without this each call compares all shared arrays
        return function
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
