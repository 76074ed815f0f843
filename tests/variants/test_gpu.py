"""On a GPU: each variant computes what the reference does, at its own precision, and stays on the device."""

import contextlib
import ctypes
import importlib
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from rnnbench import Workload, build, reference, variants
from rnnbench.measure import cudnn_log, gpu, hardware, state
from rnnbench.measure.clock import DeviceClock, ImpossibleTime
from rnnbench.theano_runtime import cuda

pytestmark = [
    pytest.mark.gpu,
    # pygpu and Theano's GPU code do what Python and NumPy have since come to warn of.
    pytest.mark.filterwarnings("default"),
]

# A batch of one, a sequence of one, no size a multiple of anything; and one large enough for TF32 to show.
SHAPES = [(1, 1, 1, 1), (1, 13, 37, 1), (7, 1, 5, 2), (5, 3, 7, 3), (33, 7, 65, 3), (32, 30, 128, 1)]
LARGE = (32, 30, 512, 1)
# Of one test alone: Theano's calls that come again are started as graphs, and don't reach cuDNN's log.
HEARD = (9, 4, 40, 1)
# The GPU takes longer over this one than the host takes to ask for it.
SLOW = (128, 30, 1024, 1)
LONG = (128, 100, 1024, 1)
NOT_READY = 600  # CUDA_ERROR_NOT_READY
NAMES = [name for name, variant in variants.VARIANTS.items() if "cuda" in variant.devices]
THEANOS = {"scan", "cudnn", "cudnn_tf32"}

every_variant = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def network():
    """Return a function from a variant's name and sizes to its network on the GPU, each built once."""
    built = {}

    def get(name, *sizes):
        if reason := variants.available("cuda")[name]:
            pytest.skip(reason)
        if (name, sizes) not in built:
            built[name, sizes] = build(name, Workload(*sizes), device="cuda")
        return built[name, sizes]

    return get


def errors(network, sizes):
    """Return the errors of the outputs and of each gradient."""
    work = Workload(*sizes)
    found = [reference.error(network.outputs(), reference.outputs(work))]
    for layer, correct in zip(network.gradients(), reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        for name, array in layer.items():
            assert (array.shape, array.dtype) == (correct[name].shape, np.float32)
            if correct[name].any():
                found.append(reference.error(array, correct[name]))
            else:  # U's, in a sequence of one step
                assert not array.any()
    return found


@every_variant
@pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))
def test_outputs_and_gradients_agree_with_the_reference(network, name, sizes):
    assert max(errors(network(name, *sizes), sizes)) < variants.VARIANTS[name].tolerance


@every_variant
def test_only_a_tf32_variant_rounds_to_tf32(network, name):
    found = errors(network(name, *LARGE), LARGE)
    assert min(found) > 5e-5 if variants.VARIANTS[name].tf32 else max(found) < 1e-5


def arrays(results):
    """Yield the arrays of what a function returns: lists, tuples and dictionaries of them."""
    if isinstance(results, list | tuple | dict):
        for part in results.values() if isinstance(results, dict) else results:
            yield from arrays(part)
    else:
        yield results


def on_the_gpu(array):
    """Return whether it is one of libgpuarray's arrays, or one of PyTorch's or JAX's there."""
    if hasattr(array, "is_cuda"):
        return array.is_cuda
    return type(array).__name__ == "GpuArray" or {device.platform for device in array.devices()} == {"gpu"}


@every_variant
def test_results_stay_on_the_device(network, name):
    made = network(name, *SHAPES[-1])
    for function in (made.forward, made.train):
        results = function()
        for result in arrays(results):
            assert on_the_gpu(result)
        if name in THEANOS:
            nodes = [type(node.op).__name__ for node in function.maker.fgraph.toposort()]
            assert not {"HostFromGpu", "GpuFromHost"} & set(nodes)


@every_variant
def test_a_second_call_gives_the_same(network, name):
    made = network(name, *SHAPES[4])
    outputs, gradients = made.outputs(), made.gradients()
    made.train()
    assert np.array_equal(made.outputs(), outputs)
    for layer, first in zip(made.gradients(), gradients, strict=True):
        assert all(np.allclose(layer[key], first[key], rtol=0, atol=1e-6) for key in first)


def test_a_call_that_comes_again_computes_from_what_is_there_then(network):
    """From its second time on cuDNN's work is started as a CUDA graph, which holds addresses, no values."""
    made, work = network("cudnn", *SHAPES[4]), Workload(*SHAPES[4])
    weights = made._weights.get_value(borrow=True, return_internal_type=True)
    first = weights.copy()
    for _ in range(4):
        assert reference.error(made.outputs(), reference.outputs(work)) < 1e-5
        assert reference.largest_gradient_error(made.gradients(), reference.gradients(work)) < 1e-5
    weights[:] = 0
    for _ in range(4):
        assert not made.outputs().any()
    weights[:] = first
    assert reference.error(made.outputs(), reference.outputs(work)) < 1e-5
    assert reference.largest_gradient_error(made.gradients(), reference.gradients(work)) < 1e-5


def test_a_call_that_comes_again_is_started_as_a_whole(network):
    """The host is done with its part before the GPU; starting kernel by kernel it takes 99% of the call."""
    made = network("cudnn", *SHAPES[-1])
    shares = []
    for _ in range(50):
        made.synchronize()
        start = time.perf_counter()
        made.train()
        started = time.perf_counter()
        made.synchronize()
        shares.append((started - start) / (time.perf_counter() - start))
    assert min(shares) < 0.8


class Event:
    """A mark on the GPU's own time line, of the driver's NULL stream: every stream's work before it is done by then."""

    def __init__(self, context):
        self._context, self._event = context, ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(self._event), 0)

    def record(self):
        self._call("cuEventRecord", self._event, None)

    def seconds_since(self, earlier):
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), earlier._event, self._event)
        return milliseconds.value / 1000

    def _call(self, name, *arguments):
        with self._context:
            assert getattr(gpu.driver(), name)(*arguments) == 0


def context_of(name):
    """Return what makes the variant's context current: PyTorch leaves its own so."""
    if name in THEANOS:
        return importlib.import_module("theano.gpuarray.type").get_context(None)
    return contextlib.nullcontext()


@every_variant
def test_the_clock_agrees_with_the_gpus_events(network, name):
    if name.startswith("jax"):
        pytest.skip("JAX's streams don't wait for the driver's NULL stream, nor it for them")
    made = network(name, *LONG)
    made.train()
    clock, start, end = DeviceClock(made), Event(context_of(name)), Event(context_of(name))
    quotients = []
    for _ in range(10):
        before = clock()
        start.record()
        made.train()
        end.record()
        quotients.append((clock() - before) / end.seconds_since(start))
    assert statistics.median(quotients) == pytest.approx(1, abs=0.02)


@every_variant
def test_nothing_is_left_to_wait_for_after_a_variants_own_wait(network, name):
    """cuCtxSynchronize waits for all of a context's streams, whichever they are."""
    made = network(name, *LONG)
    made.train()
    made.synchronize()
    start = time.perf_counter()
    made.train()
    made.synchronize()
    waited = time.perf_counter()
    with context_of(name):
        assert gpu.driver().cuCtxSynchronize() == 0
    end = time.perf_counter()
    assert end - waited < 0.02 * (waited - start)


# What cuDNN computes with is known for these: ours ask for it, and JAX has no choice.
CHOICES = {
    "cudnn": ("STANDARD", "FMA"),
    "cudnn_tf32": ("STANDARD", "DEFAULT"),
    "jax_cudnn": ("STANDARD", "FMA"),
    "jax_cudnn_tf32": ("STANDARD", "DEFAULT"),
}


@every_variant
def test_what_cudnn_is_told_is_heard(network, name):
    made = network(name, *HEARD)
    with cudnn_log.listening() as heard:
        made.gradients()
    choice = heard.choice()
    if name in CHOICES:
        assert (choice.algorithm, choice.math_type) == CHOICES[name]
    elif variants.VARIANTS[name].module == "rnnbench.variants.torch":
        assert choice.math_type == ("DEFAULT" if variants.VARIANTS[name].tf32 else "FMA")
    else:
        assert choice is None


@every_variant
def test_calls_timed_together_take_the_sum_of_their_times(network, name):
    made = network(name, *LONG)
    clock = DeviceClock(made)

    def seconds(calls):
        """Return the seconds of so many calls, and those until the host has asked for them."""
        start = clock()
        for _ in range(calls):
            made.train()
        asked = time.perf_counter()
        return clock() - start, asked - start

    seconds(5)
    alone, launch = min(seconds(1) for _ in range(5))
    if launch > alone / 2:
        pytest.skip(f"asking for it takes {launch:.2g} of its {alone:.2g} s: calls that follow each other overlap")
    # In turns, since a GPU that has just rested is faster for a while.
    quotients = [seconds(5)[0] / sum(seconds(1)[0] for _ in range(5)) for _ in range(10)]
    assert statistics.median(quotients) == pytest.approx(1, abs=0.02)


def test_a_clock_that_waits_for_one_stream_only_is_found_out(network):
    """`GpuArray.sync()` waits for libgpuarray's stream, and cuDNN uses another."""
    made, work = network("cudnn", *LONG), Workload(*LONG)
    result = made.forward()
    made.synchronize()
    limit = hardware.limit("cuda")
    clock, hasty = DeviceClock(made, limit), DeviceClock(SimpleNamespace(synchronize=result.sync), limit)
    clock()
    made.forward()
    clock.started(work.forward_flops)
    clock()
    hasty()
    made.forward()
    hasty.started(work.forward_flops)
    with pytest.raises(ImpossibleTime):
        hasty()
    made.synchronize()


PEAK = """
import sys
from rnnbench import Workload, build
from rnnbench.measure import memory
made = build(sys.argv[1], Workload(128, 30, 512, 1), device="cuda")
train = made.train
print(memory.peak_memory(lambda: (train(), made.synchronize()), "cuda"))
"""


@every_variant
def test_the_peak_of_memory_holds_what_a_train_step_keeps(name, python):
    if reason := variants.available("cuda")[name]:
        pytest.skip(reason)
    run = python("-c", PEAK, name)
    assert run.returncode == 0, run.stderr
    states = Workload(128, 30, 512, 1).targets.nbytes
    assert 2 * states < int(run.stdout.split()[-1]) < 200 * states


@pytest.mark.parametrize("name", ["scan", "cudnn"])
def test_a_second_process_compiles_nothing_again(network, name, second_build):
    first = network(name, 2, 3, 4, 1)
    first.forward, first.train  # noqa: B018
    assert second_build(name, "cuda") == "True 0"


OUT_OF_MEMORY = """
import ctypes, sys
import benchmarks  # it prints a known failure as a sentence
from rnnbench import prepared
from rnnbench.measure import gpu
driver = gpu.driver()
context, left, total, taken = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
assert driver.cuInit(0) == driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert driver.cuCtxPushCurrent_v2(context) == 0
assert driver.cuMemGetInfo_v2(ctypes.byref(left), ctypes.byref(total)) == 0
assert driver.cuMemAlloc_v2(ctypes.byref(taken), ctypes.c_size_t(left.value - 2 * 2**30)) == 0
assert driver.cuCtxPopCurrent_v2(ctypes.byref(context)) == 0
prepared(sys.argv[1], 32, 30, 128, 1).warm("train")
print("a small one runs", flush=True)
prepared(sys.argv[1], 128, 200, 1024, 3).warm("train")
"""


@pytest.mark.parametrize("name", ["scan", "cudnn", "torch", "jax_cudnn"])
def test_a_gpu_out_of_memory_is_said_in_a_sentence(name, python):
    if reason := variants.available("cuda")[name]:
        pytest.skip(reason)
    run = python("-c", OUT_OF_MEMORY, name, RNNBENCH_DEVICE="cuda")
    assert (run.returncode, run.stdout.splitlines()[-1]) == (1, "a small one runs")
    assert "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("failed: the device is out of memory: ")


def test_the_wait_is_for_all_of_the_work(network):
    """cuDNN's stream isn't libgpuarray's; the driver's stream 0 is done when every stream is."""
    made = network("cudnn", *SLOW)
    made.forward()
    made.synchronize()
    driver = ctypes.CDLL(str(next(piece.path for piece in cuda.find() if piece.name == "driver")))
    for _ in range(20):
        made.forward()
    before = driver.cuStreamQuery(None)
    made.synchronize()
    assert (before, driver.cuStreamQuery(None)) == (NOT_READY, 0)


def test_the_gpus_state_is_seen_while_it_works(network):
    made = network("scan", *SLOW)
    made.forward()
    first = state.look("cuda")
    for _ in range(200):
        made.forward()
    made.synchronize()
    between = state.between(first, state.look("cuda"))
    seen = between["gpu"]
    hidden = [name for name, value in seen.items() if value is None]
    if "sm_mhz" in hidden:
        pytest.skip("NVML is hidden here")
    assert 0 < seen["sm_mhz"] <= seen["sm_mhz_most"] < 10_000
    assert 0 < seen["memory_mhz"] <= seen["memory_mhz_most"] < 20_000
    assert set(hidden) <= {"held_back", "programs", "watts_limit", "memory_mhz_most"}
    assert 10 < seen["watts"] < 2000
    assert 10 < seen["celsius"] < 110
    assert isinstance(seen["reasons"], list)
    # For each of four policies no more than the time that it all took.
    assert 0 <= (seen["held_back"] or 0) <= 4 * between["seconds"]
    # This process computes there too, and is none of the others.
    assert seen["programs"] in (0, None)


COMPUTING = """
import sys
from rnnbench import Workload, build
made = build("scan", Workload(128, 30, 1024, 1), device="cuda")
made.forward()
made.synchronize()
print("computing", flush=True)
while True:
    made.forward()
    made.synchronize()
"""


def test_another_program_on_the_gpu_is_seen(network):
    network("scan", *SLOW).forward()
    if gpu.state().programs is None:
        pytest.skip("NVML's list of programs is hidden here")
    other = subprocess.Popen([sys.executable, "-c", COMPUTING], stdout=subprocess.PIPE, text=True)
    try:
        assert "computing" in other.stdout.readline()
        seen = state.now("cuda")
    finally:
        other.kill()
        other.communicate()
    assert seen["gpu"]["programs"] == 1
    assert "shared" in seen["marks"]
