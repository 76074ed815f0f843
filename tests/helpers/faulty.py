"""A variant that returns the reference's results in float32, with a fault that the test chooses."""

from dataclasses import replace

import numpy as np

from rnnbench import Unavailable, reference
from rnnbench.network.contract import unsupported
from rnnbench.network.workload import KINDS


def supports(work):
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    def __init__(self, work, device, fault=None):
        self._work = work
        self._fault = fault
        if fault == "clipped inputs":
            self._work = replace(work)
            self._work.inputs[:] = work.inputs.clip(-10, 10)

    def outputs(self):
        if self._fault == "out of memory":
            raise MemoryError
        if self._fault == "an unknown failure":
            raise ZeroDivisionError("no kernel does that\nApply node that caused the error: ...")
        if self._fault == "a size it can't run":
            raise Unavailable("no kernel does that\nApply node that caused the error: ...")
        with np.errstate(all="ignore"):
            outputs = reference.outputs(self._work).astype("float32")
        if self._fault == "NaN becomes 0":
            outputs[np.isnan(outputs)] = 0
        if self._fault == "swapped steps":
            outputs[[-2, -1]] = outputs[[-1, -2]]
        if self._fault == "steps after the end":
            outputs += 1 - self._work.mask
        if self._fault == "backward direction missing" and self._work.bidirectional:
            outputs[:, :, self._work.hidden :] = 0
        if self._fault == "Inf":
            outputs[-1, -1, -1] = np.inf
        return outputs[:-1] if self._fault == "missing step" else outputs

    def gradients(self):
        if self._fault == "no gradients":
            raise Unavailable("it can't train")
        with np.errstate(all="ignore"):
            expected = reference.gradients(self._work)
        layers = [{name: array.astype("float32") for name, array in layer.items()} for layer in expected]
        if self._fault == "flat gradients" and np.isnan(self._work.inputs).any():
            layers[0]["b"][:] = 0
        if self._fault == "last parameter off":
            layers[-1][list(layers[-1])[-1]] += 1
        if self._fault == "1e-4 off":
            layers[-1]["U"] *= np.float32(1 + 1e-4)
        if self._fault == "NaN":
            layers[-1]["b"][0] = np.nan
        if self._fault == "swapped gates":
            layers[0]["W"] = np.roll(layers[0]["W"], self._work.hidden, axis=1)
        return layers[:-1] if self._fault == "missing layer" else layers
