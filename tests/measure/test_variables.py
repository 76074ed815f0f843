"""What rnnbench starts uses the repository of its own folder, whatever a git hook exports."""

import os
import subprocess

import pytest
from helpers import ROOT

from rnnbench import Unavailable, Workload, build, variants
from rnnbench.cli import main
from rnnbench.history import selftest
from rnnbench.measure import variables


def git(folder, *arguments):
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    command = ["git", *who, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def users(tmp_path, monkeypatch):
    """A user's repository with one commit, which the environment names as in a hook."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message=Mine")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / ".git" / "index"))
    return tmp_path


def test_all_of_gits_variables_are_known():
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) <= set(variables._GIT)


def test_selftest_does_not_commit_to_the_repository_of_a_hook(users, monkeypatch):
    def stop(*arguments, **options):
        raise selftest.Failed("the commits are made")

    monkeypatch.setenv("HOME", str(users))
    monkeypatch.setattr(selftest, "_time", stop)
    assert main(["selftest", "--machine", "test", "scan"]) == 1
    assert git(users, "log", "--format=%s").split() == ["Mine"]


def test_asv_does_not_use_the_repository_of_a_hook(users, python):
    """The plugin is loaded before asv checks anything out."""
    done = python(
        "-c",
        "from asv.plugin_manager import plugin_manager as plugins; plugins.import_plugin('.asv_plugin')\n"
        "import subprocess; subprocess.run(['git', 'rev-parse', '--show-toplevel'])",
        GIT_DIR=str(users / ".git"),
        GIT_WORK_TREE=str(users),
    )
    assert done.stdout.splitlines()[-1:] == [str(ROOT)], done.stderr


def test_make_does_not_use_the_repository_of_a_hook(users, tmp_path):
    (tmp_path / "makefile").write_text(f"include {ROOT}/Makefile\nshow:\n\t@git -C {ROOT} rev-parse --show-toplevel\n")
    done = subprocess.run(["make", "--silent", "show"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(ROOT), done.stderr


@pytest.mark.parametrize("value", ["x", "0.5"])
def test_a_slowdown_in_the_users_environment_slows_nothing(value, python):
    """Figures would be recorded that are too slow; only selftest sets this variable, for the processes it starts."""
    code = "import os, sys, rnnbench.cli; rnnbench.cli.main(['filter', 'quick']); print(os.environ.get(sys.argv[1]))"
    done = python("-c", code, variables.SLOWDOWN, **{variables.SLOWDOWN: value})
    assert done.stdout.splitlines()[-1] == "None", done.stderr


@pytest.mark.parametrize("command", [["compare", ".", "."], ["selftest", "--machine", "test"]])
def test_a_device_that_does_not_exist_is_refused_at_once(command, monkeypatch, run):
    monkeypatch.setenv("RNNBENCH_DEVICE", "tpu")
    assert run(command) == (1, "", "rnnbench: RNNBENCH_DEVICE=tpu: it must be one of cpu, cuda\n")


@pytest.mark.parametrize(
    ("name", "value", "modules", "device"),
    [
        # Seen on an H100: all strict implementations computed in TF32.
        ("NVIDIA_TF32_OVERRIDE", "1", (), "cuda"),
        ("NVIDIA_TF32_OVERRIDE", "0", ("torch",), "cuda"),
        ("CUDA_LAUNCH_BLOCKING", "1", (), "cuda"),
        ("CUBLAS_EMULATE_SINGLE_PRECISION", "1", ("jax",), "cuda"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", ("torch",), "cpu"),
        ("DNNL_DEFAULT_FPMATH_MODE", "any", ("keras", "tensorflow"), "cpu"),
        ("OMP_THREAD_LIMIT", "1", (), "cpu"),
        ("OMP_DYNAMIC", "TRUE", (), "cpu"),
        ("OPENBLAS_CORETYPE", "Prescott", (), "cpu"),
        ("ONEDNN_MAX_CPU_ISA", "SSE41", ("torch",), "cpu"),
        ("ATEN_CPU_CAPABILITY", "default", ("torch",), "cpu"),
        ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2", ("torch",), "cpu"),
        ("TF_ENABLE_ONEDNN_OPTS", "0", ("keras", "tensorflow"), "cpu"),
        ("TF_XLA_FLAGS", "--tf_xla_auto_jit=2", ("keras", "tensorflow"), "cpu"),
        ("NUMBA_DISABLE_JIT", "1", ("pytensor",), "cpu"),
        ("JAX_DEBUG_NANS", "1", ("jax",), "cpu"),
        ("JAX_CUDA_VISIBLE_DEVICES", "1", ("jax",), "cuda"),
        ("TORCH_COMPILE_DISABLE", "1", ("torch",), "cpu"),
        ("TORCHDYNAMO_DISABLE", "1", ("torch",), "cuda"),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING", "1", ("torch",), "cuda"),
        ("JAX_DISABLE_JIT", "True", ("jax",), "cpu"),
        ("XLA_FLAGS", "--xla_dump_to=/tmp/x --xla_cpu_enable_fast_math=true", ("jax",), "cpu"),
        ("PYTENSOR_FLAGS", "base_compiledir=/tmp/x,mode=FAST_COMPILE", ("pytensor",), "cpu"),
        ("PYTENSOR_FLAGS", "floatX=float16", ("pytensor",), "cpu"),
        ("PYTENSOR_FLAGS", " " * 10_000 + "x", ("pytensor",), "cpu"),
    ],
)
def test_a_variable_that_changes_what_is_computed_is_refused(name, value, modules, device, monkeypatch):
    assert variables.problem(modules, device) is None
    monkeypatch.setenv(name, value)
    problem = variables.problem(modules, device)
    assert problem.startswith(f"the environment variable {name} is {value!r}")
    assert problem.endswith("unset it")


@pytest.mark.parametrize(
    ("name", "value", "modules", "device"),
    [
        ("NVIDIA_TF32_OVERRIDE", "1", ("torch",), "cpu"),
        ("NVIDIA_TF32_OVERRIDE", "", ("torch",), "cuda"),
        ("CUDA_LAUNCH_BLOCKING", "0", (), "cuda"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "strict", ("torch",), "cpu"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", (), "cpu"),
        ("ONEDNN_MAX_CPU_ISA", "DEFAULT", ("torch",), "cpu"),
        ("OMP_DYNAMIC", "false", (), "cpu"),
        ("JAX_CUDA_VISIBLE_DEVICES", "all", ("jax",), "cuda"),
        ("XLA_FLAGS", "--xla_dump_to=/tmp/x", ("jax",), "cpu"),
        ("PYTENSOR_FLAGS", "base_compiledir=/tmp/x, compiledir=/tmp/y", ("pytensor",), "cpu"),
    ],
)
def test_other_variables_and_values_are_allowed(name, value, modules, device, monkeypatch):
    monkeypatch.setenv(name, value)
    assert variables.problem(modules, device) is None


def test_an_implementation_says_which_variable_keeps_it_from_running(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert "NVIDIA_TF32_OVERRIDE" in variants.available("cuda")["cudnn"]
    with pytest.raises(Unavailable, match="NVIDIA_TF32_OVERRIDE is '1'"):
        build("cudnn", Workload(2, 3, 4, 1), device="cuda")
