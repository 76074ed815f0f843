"""What CUDA, cuDNN and the frameworks say when a GPU fails becomes a sentence. The messages are real ones."""

import pytest

from rnnbench.measure import failures, gpu

ASYNCHRONOUS = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below..."
)
THEANO = "\nApply node that caused the error: GpuFromHost<None>(inputs)\nToposort index: 0\nInputs types: [...]"
MESSAGES = {
    "out of memory": [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB.",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes.",
        "RESOURCE_EXHAUSTED: Failed to allocate request for 176.00MiB (184549376B) on device ordinal 0",
        f"cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory{THEANO}",
        "CUDNN_STATUS_ALLOC_FAILED",
        "Error allocating 71323200 bytes of device memory (out of memory). Driver report 10526720 bytes free",
    ],
    "the GPU has failed": [
        f"CUDA error: uncorrectable ECC error encountered{ASYNCHRONOUS}",
        "waiting for the GPU failed: uncorrectable ECC error encountered (CUDA error 214)",
        "INTERNAL: failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error",
        "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.  Reboot the system",
        "NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.",
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        f"cuEventSynchronize: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered{THEANO}",
    ],
    "another program holds the GPU": [
        f"CUDA error: CUDA-capable device(s) is/are busy or unavailable{ASYNCHRONOUS}",
        "cuda runtime error (46) : all CUDA-capable devices are busy or unavailable",
        "cuDevicePrimaryCtxRetain: CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
    ],
    "a kernel crashed on the GPU": [
        f"CUDA error: an illegal memory access was encountered{ASYNCHRONOUS}",
        "CUDA error: unspecified launch failure",
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: device-side assert triggered",
        "INTERNAL: Failed to launch CUDA kernel: fusion_1560: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access",
        f"cuMemcpyDtoHAsync: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure{THEANO}",
    ],
    "the GPU's driver doesn't fit": [
        "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
        "CUDA error: no kernel image is available for execution on the device",
        "CUDA driver version is insufficient for CUDA runtime version",
        "CUDA error: system not yet initialized",
        "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported display driver / cuda driver combination",
    ],
    "no GPU can be used": [
        "No CUDA GPUs are available: no CUDA-capable device is detected",
        "failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
        "CUDA error: invalid device ordinal",
    ],
    "cuDNN failed": ["cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "Mixed dnn version. The header is version 8"],
}


@pytest.mark.parametrize(("meaning", "message"), [(key, text) for key, texts in MESSAGES.items() for text in texts])
def test_a_message_of_a_gpu_becomes_a_sentence(meaning, message):
    sentence = failures.sentence(RuntimeError(message))
    assert meaning in sentence
    assert sentence.endswith(f"({message.partition(chr(10))[0]})")
    assert "\n" not in sentence
    assert failures.explain(message) == sentence


@pytest.mark.parametrize(("meaning", "message"), [(key, texts[0]) for key, texts in MESSAGES.items()])
def test_a_gpu_that_fails_now_is_not_one_that_can_run_nothing(meaning, message):
    passing = {"out of memory", "the GPU has failed", "another program holds the GPU", "a kernel crashed on the GPU"}
    assert failures.is_passing(RuntimeError(message)) == (meaning in passing)


@pytest.mark.parametrize("problem", [ValueError("a size is wrong"), KeyError("W"), RuntimeError(""), AssertionError()])
def test_other_failures_are_not_explained(problem):
    assert failures.sentence(problem) is None


def test_a_memory_error_of_python_is_known_by_its_type():
    assert failures.sentence(MemoryError()).startswith("the device is out of memory")


class LostDevice:
    """The driver of a GPU that has fallen off the bus: every call fails."""

    def __getattr__(self, name):
        return lambda *arguments: 999


def test_the_state_of_a_lost_gpu_is_unknown(monkeypatch):
    """It is asked for when a process ends, and the figures that were taken before are still stored."""
    monkeypatch.setattr(gpu, "driver", LostDevice)
    monkeypatch.setattr(gpu, "_nvml_status", lambda *arguments: 0)
    assert gpu.state().programs is None
    monkeypatch.setattr(gpu, "_nvml_status", lambda *arguments: 15)  # NVML_ERROR_GPU_IS_LOST
    assert set(gpu.state()) == {None}
