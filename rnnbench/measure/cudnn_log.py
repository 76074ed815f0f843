"""What cuDNN is told to do, as its own log says: the algorithm and the math type of a network.

cuDNN calls a function of ours with each line of that log while `listening`, in whichever framework it works.
The log is switched off again before anything is timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Of cudnn_graph.h (cuDNN 9) and cudnn_ops_infer.h (8): CUDNN_SEV_INFO_EN, and cudnnCallback_t.
_CALLS = 1 << 3
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_NOBODY = _CALLBACK()

_MAPS = Path("/proc/self/maps")
_LIBRARY = re.compile(r"\s(/.*/libcudnn\.so[.\d]*)$")
_FUNCTION = re.compile(rb"function (cudnn\w+)\(\) called")
_ALGORITHM = re.compile(rb"\balgo:.*val=CUDNN_RNN_ALGO_(\w+)")
_MATH_TYPE = re.compile(rb"\bmathType:.*val=CUDNN_(\w+?)_MATH")


class Choice(NamedTuple):
    """How cuDNN computed a network, by its own names; of several ways all, with a comma between them."""

    version: str
    algorithm: str
    math_type: str


class Heard:
    """What has been heard so far."""

    def __init__(self, version: str = "") -> None:
        self.version = version
        self._settings = ("", "")  # of the network that was last described
        self._computed: set[tuple[str, str]] = set()

    def choice(self) -> Choice | None:
        """Return how cuDNN computed; None where it computed no network."""
        if not self._computed:
            return None
        algorithms, math_types = (", ".join(sorted(set(names))) for names in zip(*self._computed, strict=True))
        return Choice(self.version, algorithms, math_types)

    def note(self, message: bytes) -> None:
        """Take a call's entry in the log: its function's name, and then its arguments, a line each."""
        function = _FUNCTION.search(message)
        name = function[1] if function else b""
        if name.startswith(b"cudnnSetRNNDescriptor"):
            algorithm, math_type = _ALGORITHM.search(message), _MATH_TYPE.search(message)
            self._settings = (algorithm[1].decode() if algorithm else "", math_type[1].decode() if math_type else "")
        # A network is also described to ask for its size.
        elif name.startswith((b"cudnnRNNForward", b"cudnnRNNBackward")):
            self._computed.add(self._settings)


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Yield what is heard of cuDNN's calls until the end, of any thread; nothing where no cuDNN is loaded yet.

    A call that fails meanwhile may not say why: Theano then knows of no error. It says so when called again.
    """
    libraries = [ctypes.CDLL(path) for path in _loaded()]
    heard = Heard(", ".join(map(version, libraries)))

    def hear(severity: int, data: int | None, details: int | None, message: int) -> None:
        try:
            heard.note(_text(message))
        except (ctypes.ArgumentError, SystemError):
            return  # C code calls cuDNN to clean up when it has set Python's error, which is lost here

    take = _CALLBACK(hear)
    for library in libraries:
        library.cudnnSetCallback(_CALLS, None, take)
    try:
        yield heard
    finally:
        for library in libraries:
            library.cudnnSetCallback(0, None, _NOBODY)


def version(library: ctypes.CDLL) -> str:
    """Return the version of a cuDNN that is loaded, as people write it."""
    number = library.cudnnGetVersion()
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _loaded() -> list[str]:
    """Return the paths of the cuDNN libraries in this process."""
    try:
        lines = _MAPS.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return sorted({found[1] for line in lines if (found := _LIBRARY.search(line))})


def _text(address: int) -> bytes:
    """Return cuDNN's message: lines that each end with a zero, the last with two."""
    lines = []
    while line := ctypes.string_at(address):
        lines.append(line)
        address += len(line) + 1
    return b"\n".join(lines)
