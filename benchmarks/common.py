"""The base classes of the benchmarks: parameters, version and time limit, and the kinds that each network has."""

import rnnbench
from rnnbench import PARAM_NAMES, PARAMS, prepared, reference


class Shapes:
    """The parameters of most benchmarks: (batch, seq, hidden, depth)."""

    params: tuple = PARAMS
    param_names: tuple = PARAM_NAMES
    # Raise the version when a benchmark's method changes: asv then starts a new series.
    version = "1"
    # asv gives up after this many seconds without output. A first compile on a slow machine takes minutes.
    timeout = 1200


class _Benchmark(Shapes):
    variant: str
    group = "lstm"  # one of rnnbench's GROUPS of networks

    def case(self, *parameters):
        """Return the variant's case; raise NotImplementedError where an older commit's code lacks the network."""
        if self.group == "lstm":
            return prepared(self.variant, *parameters)
        models = getattr(rnnbench, "MODELS", None)
        if models is None or (self.group == "models" and parameters[0] not in models):
            raise NotImplementedError("this commit's code doesn't have this network")
        return prepared(self.variant, *parameters, group=self.group)


class _Times(_Benchmark):
    # Each sample is one call. Each of two processes takes 7 samples, then up to 20 within 2 s. docs/method.md says why.
    number = 1
    rounds = 2
    repeat = (7, 20, 2.0)
    warmup_time = 0

    def setup(self, *parameters):
        case = self.case(*parameters)
        self.network, self.timer = case.network, case.clock
        self.forward_flops, self.train_flops = case.workload.forward_flops, case.workload.train_flops

    def time_forward(self, *parameters):
        self.network.forward()
        self.timer.started(self.forward_flops)

    def time_train(self, *parameters):
        self.network.train()
        self.timer.started(self.train_flops)


class _DeviceTimes(_Benchmark):
    unit = "seconds"

    def setup(self, *parameters):
        self.prepared = self.case(*parameters)
        if not hasattr(self.prepared, "device_seconds"):
            raise NotImplementedError("this commit's code can't measure it")
        self.prepared.require()

    def track_forward(self, *parameters):
        return self.prepared.device_seconds("forward")

    def track_train(self, *parameters):
        return self.prepared.device_seconds("train")


class _Errors(_Benchmark):
    unit = "relative error"

    def setup(self, *parameters):
        case = self.case(*parameters)
        self.network, self.workload = case.network, case.workload

    def track_outputs(self, *parameters):
        return reference.error(self.network.outputs(), reference.outputs(self.workload))

    def track_gradients(self, *parameters):
        return reference.largest_gradient_error(self.network.gradients(), reference.gradients(self.workload))


def on_gpus(variant):
    """Return whether a row of the registry is made for GPUs."""
    return "cuda" in variant.devices
