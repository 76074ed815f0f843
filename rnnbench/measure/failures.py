"""One sentence for each failure that a user can do something about."""

from __future__ import annotations

import re
import sys
from types import TracebackType

from rnnbench.measure.clock import ImpossibleTime

# What a message of CUDA, of cuDNN or of a framework on top of them means, and what to do. The first match counts. The
# words are those of the CUDA driver, which PyTorch, XLA and libgpuarray repeat, and their own for a full memory.
_PASSING = {
    re.compile(words, re.IGNORECASE): advice
    for words, advice in {
        "out of memory|OUT_OF_MEMORY|ALLOC_FAILED|could not allocate|RESOURCE_EXHAUSTED|failed to allocate": (
            "the device is out of memory: end other programs on it, or choose smaller sizes"
        ),
        "uncorrectable ECC|ECC_UNCORRECTABLE|GPU is lost|GPU_IS_LOST|fallen off the bus|uncorrectable NVLink|"
        "NVLINK_UNCORRECTABLE|hardware error|GPU requires reset|\\bXid\\b": (
            "the GPU has failed: dmesg shows its Xid; reset it (nvidia-smi --gpu-reset) or restart the machine"
        ),
        "busy or unavailable|DEVICE_?S?_?UNAVAILABLE|exclusive.{0,20}(device|thread|process)|MPS client failed": (
            "another program holds the GPU for itself: end it, or change the compute mode (nvidia-smi -c DEFAULT)"
        ),
        "illegal (memory access|instruction|address)|ILLEGAL_(ADDRESS|INSTRUCTION)|unspecified launch failure|"
        "LAUNCH_(FAILED|TIMEOUT)|launch timed out|device-side assert|misaligned address|invalid program counter": (
            "a kernel crashed on the GPU: time it again; if it fails again, report it to the framework's authors"
        ),
    }.items()
}
_LASTING = {
    re.compile(words, re.IGNORECASE): advice
    for words, advice in {
        "unsupported (toolchain|PTX|display driver)|UNSUPPORTED_PTX|no kernel image|NO_BINARY_FOR_GPU|"
        "driver version is insufficient|INSUFFICIENT_DRIVER|SYSTEM_DRIVER_MISMATCH|system not yet initialized|"
        "forward compatibility was attempted|COMPAT_NOT_SUPPORTED": (
            "the GPU's driver doesn't fit the GPU or the framework: `rnnbench doctor --device cuda` shows its version"
        ),
        "no CUDA-capable device|ERROR_NO_DEVICE|invalid device ordinal|CUDA_ERROR_INVALID_DEVICE": (
            "no GPU can be used: nvidia-smi lists those of the driver, and CUDA_VISIBLE_DEVICES may hide them"
        ),
    }.items()
}
_CUDNN = re.compile(r"cudnn|mixed dnn version", re.IGNORECASE)
_FULL_DISK = re.compile("No space left on device|Disk quota exceeded")
# asv raises this about a process that it timed, after it has printed what the process printed.
_ALREADY_SAID = re.compile("Subprocess failed: (.*\n)*failed: ")


def sentence(problem: BaseException) -> str | None:
    """Return one line that says what went wrong and what to do; None for an unknown failure."""
    text = str(problem)
    # The first line says what happened; the frameworks add pages about the graph.
    line = text.strip().partition("\n")[0] or type(problem).__name__
    if isinstance(problem, ImpossibleTime):
        return line
    if _FULL_DISK.search(text):
        return f"a disk is full: free some space ({line})"
    if isinstance(problem, OSError) and problem.filename:
        return f"a file can't be used: {line}"
    return explain(f"out of memory: {text}" if isinstance(problem, MemoryError) else text, line)


def explain(text: str, line: str = "") -> str | None:
    """Return one line on a message of CUDA, cuDNN or a framework: what it means and what to do; None if it is unknown.

    The line ends with `line`, the part of the message that says what happened; by default with the message's first.
    """
    line = line or text.strip().partition("\n")[0]
    for words, advice in (_PASSING | _LASTING).items():
        if words.search(text):
            return f"{advice} ({line})"
    if _CUDNN.search(line):
        return f"cuDNN failed: `rnnbench doctor --device cuda` shows which cuDNN is used ({line})"
    return None


def is_passing(problem: BaseException) -> bool:
    """Return whether a GPU failed in a way that says nothing about what can run on it, such as a full memory."""
    return any(words.search(str(problem)) for words in _PASSING)


def print_failure(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """Print a known failure as one sentence, or else its traceback, to stderr.

    Assign this function to `sys.excepthook`.
    """
    if _ALREADY_SAID.match(str(problem)):
        return
    if line := sentence(problem):
        print(f"failed: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)
