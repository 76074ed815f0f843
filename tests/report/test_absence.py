"""Tests of missing figures: the report shows whether they failed or are n/a, and why."""

from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import NAN, at_first_shape, markdown_rows, train_times, unwrapped

from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Workload
from rnnbench.report import absence, formats, tables, terminal
from rnnbench.variants import VARIANTS


def test_failed_and_not_available_look_different(two_machines):
    content = {**train_times(Scan=None, Cudnn=1), "lstm.CudnnLSTM.time_forward": at_first_shape(NAN)}
    content["lstm.ScanLSTM.time_forward"] = at_first_shape(1e-3)
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content)
    text = formats.markdown(tables.make(two_machines, "north"))
    ((*_, train, forward, _, _),) = markdown_rows(text, ["1", "32 × 30", "128", "scan"])
    assert (train, forward) == ("failed", "31.2 (28.1–34.4)")
    ((_, _, _, _, train, forward, *_),) = markdown_rows(text, ["1", "32 × 30", "128", "cudnn"])
    assert forward == "n/a"
    assert train.startswith("31250 (")


def test_the_notes_explain_failures_and_what_a_machine_cannot_run(two_machines):
    content = {"lstm.ScanLSTM.time_train": synthetic.sampled([None, *[1.0] * 35])}
    for machine in ("north", "south"):
        synthetic.write_run(two_machines, machine, synthetic.commit_hash(0), content)
    north, south = (unwrapped(terminal.text(tables.make(two_machines, machine))) for machine in ("north", "south"))
    on_cuda = ", ".join(name for name, row in VARIANTS.items() if row.devices == ("cuda",))
    reason = "made for NVIDIA GPUs, but this machine was timed on its CPU"
    assert f"n/a on this machine: {on_cuda} ({reason})." in north
    assert "made for NVIDIA GPUs" not in south  # which has a GPU
    assert f"failed: {absence.FAILED}." in north
    assert "it should have run, but it failed; asv doesn't store the error" in north
    assert "failed:" not in terminal.text(tables.make(RESULTS, "h100"))


def test_a_shape_too_large_for_the_memory_is_recognized_by_the_benchmarks_rule():
    subject = ("lstm", Shape(128, 200, 1024, 3))
    least = Workload(*subject[1]).least_memory
    assert absence.reason("scan", subject, {"ram": str(least)}) is None
    assert "needs at least" in absence.reason("scan", subject, {"ram": str(least - 1)})
    # The facts don't have the memory of a GPU.
    assert absence.reason("scan", subject, {"ram": "1", "gpu": "A GPU"}) is None
    for unknown in ({}, {"ram": "much"}, {"ram": "nan"}):
        assert absence.reason("scan", subject, unknown) is None
