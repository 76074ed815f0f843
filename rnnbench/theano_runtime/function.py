"""Compiles a network's graph. Imports Theano: import it after `theano_runtime.prepare()`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any

import theano

# Merging symbolic slices of slices into one gives dozens of small operations on sizes, which take
# longer to rewrite and compile than the whole network; the slices are views and cost nothing.
_NEVER = ("local_subtensor_merge",)


def compiled(output: Any, device: str, without: Iterable[str] = ()) -> Callable[[], Any]:
    """Return a function that computes a variable, or a list of them, into memory that its next call writes again.

    On a GPU the results stay there. `without` names rewrites of Theano that are left out.
    """

    def result(variable: Any) -> Any:
        return theano.Out(variable.transfer(None) if device == "cuda" else variable, borrow=True)

    results = [result(each) for each in output] if isinstance(output, list) else result(output)
    mode = theano.compile.get_default_mode().excluding(*_NEVER, *without)
    # Theano makes a million objects, most of which live on. Looking for garbage among them takes a
    # third of the time, and half a second when the process ends.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return theano.function([], results, mode=mode)
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
