"""rnnbench report --summary: which implementation trains fastest, in a sentence and a small table."""

import re

from helpers import synthetic
from helpers.recorded import HISTORY
from helpers.reports import unwrapped


def test_a_summary_answers_and_shows_a_gpu_beside_a_cpu(run):
    command = ["report", "--results", str(HISTORY), "--summary", "--machine"]
    status, output, _ = run([*command, "epyc-2core", "--commit", "556eda17"])
    assert status == 0
    assert output.startswith("epyc-2core (AMD EPYC) at 556eda17 of 2026-")
    assert "On the AMD EPYC, in strict float32, torch (PyTorch) trains fastest in 3 of 4 shapes" in unwrapped(output)
    cpu, gpu = output.split("On a GPU, as recorded: h100 (NVIDIA H100")
    assert re.search(r"^torch +1\.00 \(1\.00–1\.02\) +3 +1 ", cpu, re.MULTILINE)
    assert re.search(r"^fused +1\.00 ", gpu, re.MULTILINE)
    status, output, _ = run([*command, "h100"])
    assert (status, "On a GPU, as recorded" in output) == (0, False)


def test_a_summary_of_two_implementations_says_how_many_times_as_fast(two_machines, run):
    times = {"lstm.ScanLSTM.time_train": sampled_everywhere(2.0), "lstm.CudnnLSTM.time_train": sampled_everywhere(1.0)}
    synthetic.write_run(two_machines, "south", synthetic.commit_hash(0), times)
    _, output, _ = run(["report", "--results", str(two_machines), "--machine", "south", "--summary"])
    sentence = "cudnn (Theano, cuDNN) trains 2.0 times as fast as scan (Theano, scan) (2.0 to 2.0 over 36 shapes)."
    assert sentence in unwrapped(output)


def test_a_summary_of_one_implementation_says_that_there_is_nothing_to_compare(two_machines, run):
    times = {"lstm.ScanLSTM.time_train": sampled_everywhere(2.0)}
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), times)
    status, output, _ = run(["report", "--results", str(two_machines), "--machine", "north", "--summary"])
    assert status == 0
    assert output.endswith("\n\nOne implementation was timed, so there is nothing to compare it with.\n")


def sampled_everywhere(seconds):
    return synthetic.sampled([seconds] * len(synthetic.SHAPES))
