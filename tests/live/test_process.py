"""A live process that fails or hangs, as on a GPU that was lost, ends its comparison with a sentence."""

import sys

import pytest

from rnnbench.live import process
from rnnbench.live.process import Code, Failed, Process
from rnnbench.network.workload import Workload


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Return a function that starts a process with this program instead of the worker, and waits for its answer."""

    def run(program):
        (tmp_path / "worker.py").write_text(program)
        monkeypatch.setattr(process, "_WORKER", tmp_path / "worker.py")
        code = Code("HEAD", tmp_path, sys.executable)
        with Process(code) as live:
            live.build("torch", Workload(1, 1, 1, 1), "cuda", ["train"])
            live.wait()

    return run


def test_a_failure_of_the_gpu_is_explained(answer):
    words = "AcceleratorError: CUDA error: uncorrectable ECC error encountered"
    with pytest.raises(Failed, match=rf"HEAD: the GPU has failed: .* \({words}\)"):
        answer(f'print(\'{{"failed": "{words}"}}\')')


def test_another_failure_is_shown_as_it_is(answer):
    with pytest.raises(Failed, match="HEAD: ValueError: a size is wrong"):
        answer('print(\'{"failed": "ValueError: a size is wrong"}\')')


def test_a_process_that_hangs_is_ended(answer, monkeypatch):
    monkeypatch.setattr(process, "_MOST_SECONDS", 0.5)
    with pytest.raises(Failed, match=r"HEAD: a process gave no answer within 0\.5 s"):
        answer("import time\ntime.sleep(100)")
