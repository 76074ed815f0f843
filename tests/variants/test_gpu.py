"""Test every variant on a GPU: it agrees with the reference within its tolerance, and its results stay on the GPU."""

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

from rnnbench import Unavailable, Workload, build, reference, variants
from rnnbench.measure import cudnn_log, device_time, gpu, hardware, state
from rnnbench.measure.clock import DeviceClock, ImpossibleTime
from rnnbench.network import precision
from rnnbench.theano_runtime import cuda

pytestmark = [
    pytest.mark.gpu,
    # Python and NumPy now warn about code in pygpu and Theano.
    pytest.mark.filterwarnings("default"),
]

# They include a batch of one, a sequence of one, and odd sizes.
SHAPES = [(1, 1, 1, 1), (1, 13, 37, 1), (7, 1, 5, 2), (5, 3, 7, 3), (33, 7, 65, 3), (32, 30, 128, 1)]
LARGE = (32, 30, 512, 1)  # large enough to show TF32's rounding
# Only one test uses this shape. cudnn.h launches repeated calls as graphs, which don't appear in cuDNN's log.
LOGGED = (9, 4, 40, 1)
# The GPU takes longer to run this shape than the host takes to launch it.
SLOW = (128, 30, 1024, 1)
LONG = (128, 100, 1024, 1)
NOT_READY = 600  # CUDA_ERROR_NOT_READY
NAMES = [name for name, variant in variants.VARIANTS.items() if "cuda" in variant.devices]
TWINS = "_tf32", "_fp16", "_bf16"
THEANO_VARIANTS = {name for name in NAMES if variants.is_ours(name)}

every_variant = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def network(need):
    """Return a function that returns a variant's network of some sizes on the GPU, and builds each only once."""
    built = {}

    def get(name, *sizes):
        need(name, "cuda")
        if (name, sizes) not in built:
            built[name, sizes] = build(name, Workload(*sizes), device="cuda")
        return built[name, sizes]

    return get


def errors(network, name, sizes):
    """Return the errors of a variant's outputs and of each gradient, except those that are zero."""
    work = variants.workload(name, Workload(*sizes))
    result = [reference.error(network.outputs(), reference.outputs(work))]
    for layer, correct in zip(network.gradients(), reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        for name, array in layer.items():
            assert (array.shape, array.dtype) == (correct[name].shape, np.float32)
            if correct[name].any():
                result.append(reference.error(array, correct[name]))
            else:  # U's gradient is zero if the sequence has one step
                assert not array.any()
    return result


@every_variant
@pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))
def test_outputs_and_gradients_agree_with_the_reference(network, name, sizes):
    assert max(errors(network(name, *sizes), name, sizes)) < variants.VARIANTS[name].tolerance


@every_variant
def test_only_a_twin_in_another_precision_rounds_to_it(network, name):
    large_errors = errors(network(name, *LARGE), name, LARGE)
    assert min(large_errors) > 5e-5 if name.endswith(TWINS) else max(large_errors) < 1e-5


def arrays(results):
    """Yield the arrays in a result, which may be nested lists, tuples and dictionaries."""
    if isinstance(results, list | tuple | dict):
        for part in results.values() if isinstance(results, dict) else results:
            yield from arrays(part)
    else:
        yield results


def on_the_gpu(array):
    """Return whether an array of libgpuarray, PyTorch or JAX is on the GPU."""
    if hasattr(array, "is_cuda"):
        return array.is_cuda
    return type(array).__name__ == "GpuArray" or {device.platform for device in array.devices()} == {"gpu"}


@every_variant
def test_results_stay_on_the_device(network, name):
    net = network(name, *SHAPES[-1])
    for function in (net.forward, net.train):
        results = function()
        for result in arrays(results):
            assert on_the_gpu(result)
        if name in THEANO_VARIANTS:
            nodes = [type(node.op).__name__ for node in function.maker.fgraph.toposort()]
            assert not {"HostFromGpu", "GpuFromHost"} & set(nodes)


@every_variant
def test_a_second_call_returns_the_same_results(network, name):
    net = network(name, *SHAPES[4])
    outputs, gradients = net.outputs(), net.gradients()
    net.train()
    assert np.array_equal(net.outputs(), outputs)
    for layer, first in zip(net.gradients(), gradients, strict=True):
        assert all(np.allclose(layer[key], first[key], rtol=0, atol=1e-6) for key in first)


def test_a_repeated_call_uses_the_current_weights(network):
    """cudnn.h launches a repeated call as a CUDA graph, which must store addresses and not values."""
    net, work = network("cudnn", *SHAPES[4]), Workload(*SHAPES[4])
    (vector,) = net._vectors
    weights = vector.get_value(borrow=True, return_internal_type=True)
    first = weights.copy()
    for _ in range(4):
        assert reference.error(net.outputs(), reference.outputs(work)) < 1e-5
        assert reference.largest_gradient_error(net.gradients(), reference.gradients(work)) < 1e-5
    weights[:] = 0
    for _ in range(4):
        assert not net.outputs().any()
    weights[:] = first
    assert reference.error(net.outputs(), reference.outputs(work)) < 1e-5
    assert reference.largest_gradient_error(net.gradients(), reference.gradients(work)) < 1e-5


def test_a_repeated_call_is_launched_as_a_whole(network):
    """The host finishes launching a graph well before the GPU finishes. Launching each kernel takes nearly as long.

    docs/method.md has the figures.
    """
    net = network("cudnn", *SHAPES[-1])
    shares = []
    for _ in range(50):
        net.synchronize()
        start = time.perf_counter()
        net.train()
        launched = time.perf_counter()
        net.synchronize()
        shares.append((launched - start) / (time.perf_counter() - start))
    assert min(shares) < 0.8


class Event:
    """A CUDA event on the driver's NULL stream. It completes after the earlier work on all streams."""

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
    """Return a context manager that makes a variant's CUDA context current. PyTorch's context already is."""
    if name in THEANO_VARIANTS:
        return importlib.import_module("theano.gpuarray.type").get_context(None)
    return contextlib.nullcontext()


@every_variant
def test_the_clock_agrees_with_the_gpus_events(network, name):
    if name.startswith("jax"):
        pytest.skip("JAX's streams and the driver's NULL stream don't wait for each other")
    net = network(name, *LONG)
    net.train()
    clock, start, end = DeviceClock(net), Event(context_of(name)), Event(context_of(name))
    quotients = []
    for _ in range(10):
        before = clock()
        start.record()
        net.train()
        end.record()
        quotients.append((clock() - before) / end.seconds_since(start))
    assert statistics.median(quotients) == pytest.approx(1, abs=0.02)


@every_variant
def test_synchronize_waits_for_all_work(network, name):
    """cuCtxSynchronize waits for all streams of a context, and must find them idle."""
    net = network(name, *LONG)
    net.train()
    net.synchronize()
    start = time.perf_counter()
    net.train()
    net.synchronize()
    waited = time.perf_counter()
    with context_of(name):
        assert gpu.driver().cuCtxSynchronize() == 0
    end = time.perf_counter()
    assert end - waited < 0.02 * (waited - start)


# The algorithm and math type that these must use: the Theano variants request them, and JAX has fixed ones.
CHOICES = {
    "cudnn": ("STANDARD", "FMA"),
    "cudnn_tf32": ("STANDARD", "DEFAULT"),
    "jax_cudnn": ("STANDARD", "FMA"),
    "jax_cudnn_tf32": ("STANDARD", "DEFAULT"),
}
# PyTorch's choices. FMA would mean that cuDNN doesn't use tensor cores.
TORCHS_MATH_TYPES = {"float32": "FMA", "tf32": "DEFAULT", "float16": "TENSOR_OP", "bfloat16": "DEFAULT"}


@every_variant
def test_cudnns_log_tells_the_algorithm_and_math_type(network, name):
    net = network(name, *LOGGED)
    with cudnn_log.listening() as heard:
        net.gradients()
    choice = heard.choice()
    if name in CHOICES:
        assert (choice.algorithm, choice.math_type) == CHOICES[name]
    elif variants.VARIANTS[name].module == "rnnbench.variants.torch":
        assert choice.math_type == TORCHS_MATH_TYPES[precision.of_variant(name)]
    else:
        assert choice is None


@every_variant
def test_five_calls_take_five_times_as_long_as_one(network, name):
    net = network(name, *LONG)
    clock = DeviceClock(net)

    def seconds(calls):
        """Return the seconds that some calls take, and the seconds until the host has launched them."""
        start = clock()
        for _ in range(calls):
            net.train()
        launched = time.perf_counter()
        return clock() - start, launched - start

    seconds(5)
    alone, launch = min(seconds(1) for _ in range(5))
    if launch > alone / 2:
        pytest.skip(f"launching takes {launch:.2g} of the call's {alone:.2g} s, so successive calls overlap")
    # Five calls and one call take turns, because a GPU is faster for a while after a rest.
    quotients = [seconds(5)[0] / sum(seconds(1)[0] for _ in range(5)) for _ in range(10)]
    assert statistics.median(quotients) == pytest.approx(1, abs=0.02)


def test_a_clock_that_waits_for_only_one_stream_raises(network):
    """`GpuArray.sync()` waits for libgpuarray's stream only, and cuDNN uses another stream."""
    net, work = network("cudnn", *LONG), Workload(*LONG)
    result = net.forward()
    net.synchronize()
    limit = hardware.limit("cuda")
    clock, early_clock = DeviceClock(net, limit), DeviceClock(SimpleNamespace(synchronize=result.sync), limit)
    clock()
    net.forward()
    clock.started(work.forward_flops)
    clock()
    early_clock()
    net.forward()
    early_clock.started(work.forward_flops)
    with pytest.raises(ImpossibleTime):
        early_clock()
    net.synchronize()


@every_variant
def test_a_calls_device_time_is_most_of_the_time_of_a_long_call(network, name):
    net, work = network(name, *LONG), Workload(*LONG)
    net.train()
    if name.startswith("jax"):
        with pytest.raises(Unavailable, match="doesn't wait for CUDA's default stream"):
            device_time.seconds(net, "train")
        return
    try:
        seconds = device_time.seconds(net, "train")
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert seconds > work.train_flops / hardware.limit("cuda", precision.of_variant(name))
    clock, times = DeviceClock(net), []
    for _ in range(10):
        before = clock()
        net.train()
        times.append(clock() - before)
    assert seconds < 1.05 * statistics.median(times)
    if name in ("cudnn", "fused", "torch"):  # the host keeps up with these
        assert seconds > 0.9 * statistics.median(times)


def test_a_call_that_waits_for_the_gpu_has_no_device_time(network):
    net = network("fused", *SHAPES[-1])
    waiting = SimpleNamespace(train=lambda: (net.train(), net.synchronize()), synchronize=net.synchronize)
    waiting.train()
    with pytest.raises(Unavailable, match="the call waits for the GPU"):
        device_time.seconds(waiting, "train")


PEAK = """
import sys
from rnnbench import Workload, build
from rnnbench.measure import memory
net = build(sys.argv[1], Workload(128, 30, 512, 1), device="cuda")
train = net.train
print(memory.peak_memory(lambda: (train(), net.synchronize()), "cuda"))
"""


@every_variant
def test_peak_memory_includes_a_train_steps_results(name, need, python):
    need(name, "cuda")
    run = python("-c", PEAK, name)
    assert run.returncode == 0, run.stderr
    states = Workload(128, 30, 512, 1).targets.nbytes
    assert 2 * states < int(run.stdout.split()[-1]) < 200 * states


@pytest.mark.parametrize("name", ["scan", "cudnn", "fused"])
def test_a_second_process_compiles_nothing(network, name, second_build):
    first = network(name, 2, 3, 4, 1)
    first.forward, first.train  # noqa: B018
    assert second_build(name, "cuda") == "True 0"


OUT_OF_MEMORY = """
import ctypes, sys
import benchmarks  # prints a known failure as one sentence
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


@pytest.mark.parametrize("name", ["scan", "cudnn", "fused", "torch", "jax_cudnn"])
def test_a_gpu_out_of_memory_is_reported_in_one_sentence(name, need, python):
    need(name, "cuda")
    run = python("-c", OUT_OF_MEMORY, name, RNNBENCH_DEVICE="cuda")
    assert (run.returncode, run.stdout.splitlines()[-1]) == (1, "a small one runs")
    assert "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("failed: the device is out of memory: ")


def test_synchronize_waits_for_cudnns_stream(network):
    """cuDNN's stream isn't libgpuarray's. The driver's stream 0 is ready only when every stream is."""
    net = network("cudnn", *SLOW)
    net.forward()
    net.synchronize()
    driver = ctypes.CDLL(str(next(piece.path for piece in cuda.find() if piece.name == "driver")))
    for _ in range(20):
        net.forward()
    before = driver.cuStreamQuery(None)
    net.synchronize()
    assert (before, driver.cuStreamQuery(None)) == (NOT_READY, 0)


def test_the_gpus_state_is_measured_while_it_computes(network):
    net = network("scan", *SLOW)
    net.forward()
    first = state.observe("cuda")
    for _ in range(200):
        net.forward()
    net.synchronize()
    between = state.between(first, state.observe("cuda"))
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
    # Each of four policies can hold the clock back for at most the whole time.
    assert 0 <= (seen["held_back"] or 0) <= 4 * between["seconds"]
    # This process computes on the GPU too, but it isn't counted.
    assert seen["programs"] in (0, None)


COMPUTING = """
import sys
from rnnbench import Workload, build
net = build("scan", Workload(128, 30, 1024, 1), device="cuda")
net.forward()
net.synchronize()
print("computing", flush=True)
while True:
    net.forward()
    net.synchronize()
"""


def test_another_program_on_the_gpu_is_noticed(network):
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
