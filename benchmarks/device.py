"""The GPU's own time of a call on a whole batch, in seconds: the time of a call without waiting for the host."""

from rnnbench import classes_for_variants, prepared

from .common import Shapes


class _Device(Shapes):
    variant: str
    unit = "seconds"

    def setup(self, *shape):
        self.case = prepared(self.variant, *shape)
        if not hasattr(self.case, "device_seconds"):
            raise NotImplementedError("this commit's code can't measure it")
        self.case.require()

    def track_forward(self, *shape):
        return self.case.device_seconds("forward")

    def track_train(self, *shape):
        return self.case.device_seconds("train")


globals().update(classes_for_variants(_Device, lambda variant: "cuda" in variant.devices))
