"""The classes that asv runs: their parameters, and the calls that each makes to its network."""

import importlib
import inspect
import json
import pkgutil
import re
import time
from types import SimpleNamespace

import pytest
from helpers import ROOT

import benchmarks
import rnnbench
from benchmarks import compile, lstm, models
from benchmarks.accuracy import ScanAccuracy
from benchmarks.device import ScanDevice
from rnnbench import PARAM_NAMES, PARAMS, cases, variants
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.measure.clock import ImpossibleTime
from rnnbench.network.models import MODELS, subjects, workload
from rnnbench.network.workload import Workload

SHAPE = (32, 30, 128, 1)


def benchmark_classes():
    modules = [importlib.import_module(f"benchmarks.{info.name}") for info in pkgutil.iter_modules(benchmarks.__path__)]
    classes = {value for module in modules for _, value in inspect.getmembers(module, inspect.isclass)}
    made = (cls for cls in classes if hasattr(cls, "variant"))
    return sorted(made, key=lambda cls: (cls.__module__, cls.__name__))


CLASSES = benchmark_classes()
OF_MODELS = [cls for cls in CLASSES if cls.__module__ == "benchmarks.models"]
OF_LSTMS = [cls for cls in CLASSES if getattr(cls, "group", "lstm") == "lstm"]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
on_the_cpu = pytest.mark.skipif(cases.DEVICE != "cpu", reason=f"RNNBENCH_DEVICE is {cases.DEVICE}")


def test_each_kind_has_a_class_for_each_variant():
    for name, row in variants.VARIANTS.items():
        kinds = {cls.__name__.removeprefix(class_prefix(name)) for cls in OF_LSTMS if cls.variant == name}
        expected = {"LSTM", "WarmBuild", "Memory", "Accuracy"}
        expected |= {"ColdBuild"} if row.caches else set()
        expected |= {"Device"} if "cuda" in row.devices else set()
        assert kinds == expected


@pytest.mark.parametrize("group", ["gru", "rnn", "models"])
def test_other_networks_have_classes_for_the_variants_that_compute_them(group):
    classes = [cls for cls in CLASSES if getattr(cls, "group", "lstm") == group]
    for name, row in variants.VARIANTS.items():
        kinds = {cls.__name__.removeprefix(class_prefix(name)) for cls in classes if cls.variant == name}
        computes = any(variants.supports(name, workload(*subject)) is None for subject in subjects(group))
        times = {"models": "Model"}.get(group, group.upper())
        assert kinds == (
            set() if not computes else {times, "Accuracy"} | ({"Device"} if "cuda" in row.devices else set())
        )


def test_a_model_that_the_variant_cannot_compute_is_not_available_to_asv_and_says_why():
    name, model = next(
        (name, model)
        for name in ("flashrnn", "pytensor_scan", "fused")
        for model in MODELS
        if variants.supports(name, workload(model)) and variants.available(cases.DEVICE)[name] is None
    )
    benchmark = getattr(models, f"{class_prefix(name)}Model")()
    with pytest.raises(NotImplementedError, match=re.escape(variants.supports(name, workload(model)))):
        benchmark.setup(model)


@pytest.mark.parametrize("parameters", [("serving",), SHAPE], ids=["model", "gru"])
def test_a_network_that_an_older_commits_code_lacks_is_not_available_to_asv(parameters, monkeypatch):
    monkeypatch.delattr(rnnbench, "MODELS")
    benchmark = models.ScanModel()
    benchmark.group = "models" if len(parameters) == 1 else "gru"
    with pytest.raises(NotImplementedError, match="this commit's code doesn't have this network"):
        benchmark.setup(*parameters)


def test_a_model_is_timed_and_checked_at_its_own_sizes(scan):
    timed, checked = models.ScanModel(), models.ScanAccuracy()
    timed.setup("serving")
    checked.setup("serving")
    assert timed.network is checked.network
    assert timed.network.outputs().shape == (50, 1, 512)
    assert timed.forward_flops == workload("serving").forward_flops
    timed.time_train("serving")
    assert 0 < checked.track_gradients("serving") < variants.VARIANTS["scan"].tolerance


def test_every_benchmark_with_results_still_exists_in_the_same_version():
    recorded = json.loads((ROOT / "results" / "benchmarks.json").read_text())
    for name, described in recorded.items():
        if name != "version":
            module, owner, method = name.split(".")
            cls = getattr(importlib.import_module(f"benchmarks.{module}"), owner)
            assert callable(getattr(cls, method))
            assert cls.version == described["version"]


@every_class
def test_a_class_runs_over_all_shapes_or_models(cls):
    if cls in OF_MODELS:
        assert (cls.params, cls.param_names) == ((tuple(MODELS),), ("model",))
    else:
        assert (cls.params, cls.param_names) == (PARAMS, PARAM_NAMES)


@every_class
def test_a_class_has_a_description_a_version_and_a_variant(cls):
    assert cls.__doc__
    assert isinstance(cls.version, str)
    assert cls.variant in variants.VARIANTS


@on_the_cpu
@every_class
def test_a_variant_that_cannot_run_is_not_available_to_asv_and_says_why(cls):
    reason = variants.available("cpu")[cls.variant]
    if reason is not None:
        with pytest.raises(NotImplementedError) as problem:
            cls().setup(*(("serving",) if cls in OF_MODELS else SHAPE))
        assert reason in str(problem.value)


@on_the_cpu
def test_cudnn_cannot_run_on_the_cpu():
    with pytest.raises(NotImplementedError, match="cudnn can't run on cpu"):
        lstm.CudnnLSTM().setup(*SHAPE)


def test_a_workload_too_large_is_not_available_to_asv():
    with pytest.raises(NotImplementedError, match="choose smaller sizes"):
        lstm.ScanLSTM().setup(10**6, 10**4, 1024, 1)


def test_the_timer_waits_for_the_network(monkeypatch):
    benchmark = lstm.ScanLSTM()
    benchmark.setup(*SHAPE)
    waited = []
    monkeypatch.setattr(benchmark.network, "synchronize", lambda: waited.append(True))
    first, second = benchmark.timer(), benchmark.timer()
    assert len(waited) == 2
    assert 0 <= second - first < 1


@on_the_cpu
@pytest.mark.parametrize("function", ["forward", "train"])
def test_a_time_too_short_for_the_device_is_refused(function, monkeypatch):
    benchmark = lstm.ScanLSTM()
    benchmark.setup(*SHAPE)
    timer = benchmark.timer
    benchmark.setup(*SHAPE)  # asv repeats setup before each sample, but keeps the first timer
    monkeypatch.setitem(vars(benchmark.network), function, lambda: None)
    timer()
    getattr(benchmark, f"time_{function}")(*SHAPE)
    with pytest.raises(ImpossibleTime):
        timer()


@on_the_cpu
def test_a_cpu_has_no_device_time():
    benchmark = ScanDevice()
    benchmark.setup(*SHAPE)
    for track in (benchmark.track_forward, benchmark.track_train):
        with pytest.raises(NotImplementedError, match="only a GPU has a time of its own"):
            track(*SHAPE)


def test_a_network_is_built_once():
    one, other = lstm.ScanLSTM(), lstm.ScanLSTM()
    one.setup(*SHAPE)
    other.setup(*SHAPE)
    assert one.network is other.network
    assert one.network is not cases.prepared("scan", 1, 1, 1, 1).network


@pytest.mark.parametrize(("method", "called"), [("time_forward", "forward"), ("time_train", "train")])
def test_each_time_method_calls_its_own_function(method, called, monkeypatch):
    benchmark = lstm.ScanLSTM()
    benchmark.setup(*SHAPE)
    calls = []
    for name in ("forward", "train"):
        monkeypatch.setitem(vars(benchmark.network), name, lambda name=name: calls.append(name))
    getattr(benchmark, method)(*SHAPE)
    assert calls == [called]


def test_the_errors_are_within_the_tolerance(scan):
    benchmark = ScanAccuracy()
    benchmark.setup(*SHAPE)
    assert benchmark.network is scan(*SHAPE)
    for error in (benchmark.track_outputs(*SHAPE), benchmark.track_gradients(*SHAPE)):
        assert 0 < error < variants.VARIANTS["scan"].tolerance


@pytest.mark.parametrize("cls", [compile.ScanWarmBuild, compile.ScanColdBuild], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("function", ["forward", "train"])
def test_a_build_times_the_function_in_its_name_and_draws_the_data_before(cls, function):
    statement, setup = getattr(cls(), f"timeraw_{function}")(*SHAPE)
    assert f"network.{function}()" in statement
    assert 'build("scan", work' in statement
    assert "Workload(32, 30, 128, 1)" in setup
    assert "theano" not in setup.lower().replace("theano_flags", "")
    for code in (statement, setup):
        assert '"""' not in code  # asv puts the code between triple quotes
        __builtins__["compile"](code, "<timeraw>", "exec")


def test_a_cold_build_starts_from_empty_caches_and_keeps_the_users_flags(python):
    _, setup = compile.ScanColdBuild().timeraw_forward(1, 1, 1, 1)
    report = "import json; print(json.dumps([os.environ['THEANO_FLAGS'], os.environ['XDG_CACHE_HOME'], "
    report += "os.listdir(os.environ['XDG_CACHE_HOME']), os.environ['PYTENSOR_FLAGS'], "
    report += "os.environ['TORCHINDUCTOR_CACHE_DIR']]))"
    users = dict.fromkeys(("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"), "/users")
    run = python("-c", setup + report, THEANO_FLAGS="exception_verbosity=high", **users)
    assert run.returncode == 0, run.stderr
    flags, cache, content, pytensor_flags, torch_cache = json.loads(run.stdout)
    assert flags == f"exception_verbosity=high,base_compiledir={cache}"
    assert pytensor_flags == f"base_compiledir={cache}"
    assert torch_cache == cache
    assert cache != "/users"
    assert content == []


def test_a_slow_first_call_does_not_count_as_warm_up(monkeypatch):
    calls = []

    def forward():
        time.sleep(0.001 if calls else 0.5)
        calls.append(time.perf_counter())

    made = SimpleNamespace(forward=forward, synchronize=lambda: None)
    monkeypatch.setattr(variants, "build", lambda *_, **__: made)
    cases.Case("scan", Workload(1, 2, 3, 1), "1, 2, 3, 1").warm("forward")
    assert calls[-1] - calls[0] > 0.2


def test_a_warm_build_leaves_the_caches_alone():
    _, setup = compile.ScanWarmBuild().timeraw_forward(1, 1, 1, 1)
    assert "environ" not in setup


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("RuntimeError('cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory\\nApply node: ...')", "out of memory"),
        ("RuntimeError('Could not allocate workspace\\nApply node: ...')", "out of memory"),
        ("MemoryError()", "out of memory"),
        ("ImpossibleTime('too fast')", "too fast"),
        ("RuntimeError('error doing operation: CUDNN_STATUS_EXECUTION_FAILED\\nmore')", "cuDNN failed"),
        ("RuntimeError('Mixed dnn version. The header is version 91400 ...')", "cuDNN failed"),
        ("OSError(28, 'No space left on device')", "a disk is full: free some space ([Errno 28] No space left"),
        ("OSError(28, 'No space left on device', '/home/header.h')", "a disk is full: free some space ("),
        ("RuntimeError('Compilation failed:\\nerror: writing to /tmp/a.s: No space left on device')", "a disk is full"),
    ],
)
def test_a_known_failure_is_reported_in_a_sentence(failure, message, python):
    run = python("-c", f"from rnnbench.measure.clock import ImpossibleTime; import benchmarks; raise {failure}")
    assert run.returncode == 1
    assert run.stderr.startswith("failed: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.fixture
def failed_build(python):
    """Return a function that lets asv time a build with this statement, and returns what asv's process prints."""
    code = "import benchmarks; from benchmarks import compile; from asv_runner.benchmarks import timeraw; "
    code += "setup = compile.ScanWarmBuild().timeraw_forward(1, 1, 1, 1)[1]; "

    def run(statement):
        done = python("-c", f"{code}timeraw._SeparateProcessTimer(lambda: ({statement!r}, setup)).timeit(1)")
        assert done.returncode == 1
        return done.stderr.splitlines()

    return run


def test_a_known_failure_of_a_build_is_reported_in_one_sentence(failed_build):
    """asv prints what the build has printed, and then raises an exception with the same text."""
    (line,) = failed_build("raise MemoryError")
    assert line.startswith("failed: the device is out of memory")


def test_an_unknown_failure_of_a_build_keeps_its_traceback(failed_build):
    lines = failed_build("raise KeyError('what')")
    assert "Traceback (most recent call last):" in lines
    assert "KeyError: 'what'" in lines


def test_an_unknown_failure_keeps_its_traceback(python):
    run = python("-c", "import benchmarks; raise KeyError('what')")
    assert run.returncode == 1
    assert "Traceback" in run.stderr
