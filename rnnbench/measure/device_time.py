"""The device's own time of a call, without the time in which the GPU waits for the host.

A kernel that only waits holds the GPU while the host queues the call. Then it is released, and the GPU runs the call
as fast as it can. Two CUDA events around the call's work tell the time. NVBench's blocking kernel does the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import statistics

from rnnbench.measure import gpu
from rnnbench.network.contract import Network, Unavailable

_SAMPLES = 20
# A waiting kernel ends after this time by itself, so that nothing hangs.
_HELD_SECONDS = 1.0
_PROBE_SECONDS = 0.02
_NULL_STREAM = None  # the frameworks' blocking streams wait for it, and it waits for them
_MAPPED, _NOT_READY = 2, 600  # CU_MEMHOSTALLOC_DEVICEMAP, CUDA_ERROR_NOT_READY

# It waits until the host writes to `page`, and notes in the next number that it gave up.
_KERNEL = b"""
.version 6.0
.target sm_70
.address_size 64
.visible .entry hold(.param .u64 page, .param .u64 nanoseconds)
{
    .reg .u64 %page, %bound, %start, %now;
    .reg .u32 %released;
    .reg .pred %done;
    ld.param.u64 %page, [page];
    ld.param.u64 %bound, [nanoseconds];
    mov.u64 %start, %globaltimer;
WAIT:
    ld.relaxed.sys.global.u32 %released, [%page];
    setp.ne.u32 %done, %released, 0;
    @%done bra DONE;
    mov.u64 %now, %globaltimer;
    sub.u64 %now, %now, %start;
    setp.lt.u64 %done, %now, %bound;
    @%done bra WAIT;
    mov.u32 %released, 1;
    st.relaxed.sys.global.u32 [%page+4], %released;
DONE:
    ret;
}
\0"""


def seconds(network: Network, function: str) -> float:
    """Return the median device time of a network's "forward" or "train" on a whole batch, in seconds.

    The function must have been called before. Raises Unavailable, with the reason, if the call's device time can't be
    told: if the GPU can't be held, or the call waits for it.
    """
    call = getattr(network, function)
    with gpu.primary_context(), _Holder() as holder:
        network.synchronize()
        holder.hold(_PROBE_SECONDS)
        held = _Event()
        held.record()
        call()
        network.synchronize()
        if not held.is_over():
            raise Unavailable("its work doesn't wait for CUDA's default stream, so the GPU can't be held for it")
        samples = []
        for _ in range(_SAMPLES):
            start, end = _Event(), _Event()
            network.synchronize()
            holder.hold(_HELD_SECONDS)
            start.record()
            call()
            end.record()
            holder.release()
            network.synchronize()
            end.wait()
            if holder.gave_up:
                raise Unavailable("the call waits for the GPU, or queues more work than CUDA's driver takes at once")
            samples.append(end.seconds_since(start))
    return statistics.median(samples)


class _Holder:
    """Holds the default stream by a kernel that waits. A context manager; its CUDA context must be current."""

    def __enter__(self) -> _Holder:
        self._module, self._kernel, self._page = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        gpu.call("cuMemHostAlloc", ctypes.byref(self._page), ctypes.c_size_t(8), _MAPPED)
        gpu.call("cuModuleLoadData", ctypes.byref(self._module), _KERNEL)
        gpu.call("cuModuleGetFunction", ctypes.byref(self._kernel), self._module, b"hold")
        self._words = (ctypes.c_uint32 * 2).from_address(self._page.value or 0)
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
        with contextlib.suppress(Unavailable):
            gpu.call("cuCtxSynchronize")
            gpu.call("cuModuleUnload", self._module)
            gpu.call("cuMemFreeHost", self._page)

    def hold(self, seconds: float) -> None:
        """Hold the stream until `release`, or for this time."""
        self._words[:] = [0, 0]
        page, bound = ctypes.c_uint64(self._page.value or 0), ctypes.c_uint64(round(seconds * 1e9))
        arguments = (ctypes.c_void_p * 2)(*(ctypes.addressof(argument) for argument in (page, bound)))
        gpu.call("cuLaunchKernel", self._kernel, 1, 1, 1, 1, 1, 1, 0, _NULL_STREAM, arguments, None)

    def release(self) -> None:
        self._words[0] = 1

    @property
    def gave_up(self) -> bool:
        """Whether the time of the last `hold` ran out. Read it when the GPU is idle."""
        return bool(self._words[1])


class _Event:
    """A CUDA event on the default stream: it is over when the work queued before it is."""

    def __init__(self) -> None:
        self._event = ctypes.c_void_p()
        gpu.call("cuEventCreate", ctypes.byref(self._event), 0)

    def __del__(self) -> None:
        with contextlib.suppress(Unavailable):
            gpu.call("cuEventDestroy_v2", self._event)

    def record(self) -> None:
        gpu.call("cuEventRecord", self._event, _NULL_STREAM)

    def wait(self) -> None:
        gpu.call("cuEventSynchronize", self._event)

    def is_over(self) -> bool:
        return gpu.call("cuEventQuery", self._event, also=_NOT_READY) == 0

    def seconds_since(self, earlier: _Event) -> float:
        milliseconds = ctypes.c_float()
        gpu.call("cuEventElapsedTime", ctypes.byref(milliseconds), earlier._event, self._event)
        return milliseconds.value / 1000
