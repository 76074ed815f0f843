"""Networks of real models, by name: the time of a call, the GPU's own time, and the error. See docs/models.md."""

from rnnbench import classes_for_variants

from .common import _Benchmark, _DeviceTimes, _Errors, _Times, on_gpus


class _Models(_Benchmark):
    group = "models"
    # asv finds a parameter by its place. So these are names of this file's, not those that an older commit's code has.
    params = (
        (
            "deepbench-lstm",
            "deepbench-lstm-1536",
            "deepbench-gru",
            "deepspeech2",
            "gnmt-encoder",
            "rnnt-encoder",
            "rnnt-prediction",
            "kernelbench-lstm",
            "kernelbench-gru-bidirectional",
            "flashrnn",
            "asr-unequal",
            "serving",
        ),
    )
    param_names = ("model",)


class _Model(_Models, _Times):
    pass


class _Device(_Models, _DeviceTimes):
    pass


class _Accuracy(_Models, _Errors):
    pass


globals().update(
    classes_for_variants(_Model) | classes_for_variants(_Device, on_gpus) | classes_for_variants(_Accuracy)
)
