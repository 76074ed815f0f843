"""cuDNN's own log: it says with which algorithm and math type cuDNN computes a network.

While `listening`, cuDNN passes each entry of the log to this module, whichever framework calls cuDNN.
The log is switched off again before anything is timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# CUDNN_SEV_INFO_EN and cudnnCallback_t, from cudnn_graph.h (cuDNN 9) and cudnn_ops_infer.h (cuDNN 8).
_INFO = 1 << 3
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_NO_CALLBACK = _CALLBACK()

_MAPS = Path("/proc/self/maps")
_LIBRARY = re.compile(r"\s(/.*/libcudnn\.so[.\d]*)$")
_FUNCTION = re.compile(rb"function (cudnn\w+)\(\) called")
_ALGORITHM = re.compile(rb"\balgo:.*val=CUDNN_RNN_ALGO_(\w+)")
_MATH_TYPE = re.compile(rb"\bmathType:.*val=CUDNN_(\w+?)_MATH")


class Choice(NamedTuple):
    """How cuDNN computed a network, in cuDNN's own names. Several names are joined by commas."""

    version: str
    algorithm: str
    math_type: str


class Recorder:
    """The settings of the networks that cuDNN has computed so far."""

    def __init__(self, version: str = "") -> None:
        self.version = version
        self._settings = ("", "")  # algorithm and math type of the network that was described last
        self._computed: set[tuple[str, str]] = set()

    def choice(self) -> Choice | None:
        """Return how cuDNN computed; None if it computed no network."""
        if not self._computed:
            return None
        algorithms, math_types = (", ".join(sorted(set(names))) for names in zip(*self._computed, strict=True))
        return Choice(self.version, algorithms, math_types)

    def record(self, message: bytes) -> None:
        """Record a call's entry in the log: the function's name, then one line per argument."""
        function = _FUNCTION.search(message)
        name = function[1] if function else b""
        if name.startswith(b"cudnnSetRNNDescriptor"):
            algorithm, math_type = _ALGORITHM.search(message), _MATH_TYPE.search(message)
            self._settings = (algorithm[1].decode() if algorithm else "", math_type[1].decode() if math_type else "")
        # Frameworks also describe networks only to ask for their sizes, so only calls that compute count.
        elif name.startswith((b"cudnnRNNForward", b"cudnnRNNBackward")):
            self._computed.add(self._settings)


@contextlib.contextmanager
def listening() -> Iterator[Recorder]:
    """Yield a recorder of every thread's cuDNN calls. It records nothing if no cuDNN is loaded yet.

    A call that fails inside the block may not say why, since Theano then loses its error. Repeat the call outside the
    block to see the error.
    """
    libraries = [ctypes.CDLL(path) for path in _loaded()]
    recorder = Recorder(", ".join(map(version, libraries)))

    def receive(severity: int, data: int | None, details: int | None, message: int) -> None:
        try:
            recorder.record(_text(message))
        except (ctypes.ArgumentError, SystemError):
            return  # C code may call cuDNN to clean up after it has set a Python error; the error is lost here

    callback = _CALLBACK(receive)
    for library in libraries:
        library.cudnnSetCallback(_INFO, None, callback)
    try:
        yield recorder
    finally:
        for library in libraries:
            library.cudnnSetCallback(0, None, _NO_CALLBACK)


def version(library: ctypes.CDLL) -> str:
    """Return the version of a loaded cuDNN library, such as "9.19.0"."""
    number = library.cudnnGetVersion()
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _loaded() -> list[str]:
    """Return the paths of the cuDNN libraries in this process."""
    try:
        lines = _MAPS.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return sorted({match[1] for line in lines if (match := _LIBRARY.search(line))})


def _text(address: int) -> bytes:
    """Return cuDNN's message from memory: each line ends with a zero byte, and a second zero byte ends the last."""
    lines = []
    while line := ctypes.string_at(address):
        lines.append(line)
        address += len(line) + 1
    return b"\n".join(lines)
