"""Tests of the ranking at each shape: the best, its lead, and Theano's best against the best peer."""

import json
import re

import pytest
from helpers import synthetic
from helpers.reports import NAN, SHAPE, markdown_rows, train_times

from rnnbench import history, reference, variants
from rnnbench.network import models
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Workload
from rnnbench.report import formats, tables
from rnnbench.variants import VARIANTS


def test_standings(two_machines):
    times = {"Scan": 4e-3, "Cudnn": 2e-3, "Torch": 1.6e-3, "JaxScan": 3e-3, "CudnnTF32": 1e-3}
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(**times))
    (standing,) = tables.standings(tables.make(two_machines, "north").rows)  # a single TF32 variant isn't ranked
    assert (standing.subject, standing.quantity, standing.precision) == (("lstm", SHAPE), "train", "float32")
    assert (standing.best.figure.variant, standing.lead.other.figure.variant) == ("torch", "cudnn")
    assert standing.lead.ratio.times == pytest.approx(2 / 1.6)
    assert standing.best.of_floor == pytest.approx(Workload(*SHAPE).train_flops / 6.7e13 / 1.6e-3)
    assert (standing.ours.one.figure.variant, standing.ours.other.figure.variant) == ("cudnn", "torch")
    # synthetic's quartiles are 0.9 and 1.1 times a value.
    expected = (0.8, 0.8 * 0.9 / 1.1, 0.8 * 1.1 / 0.9)
    assert standing.ours.ratio[:3] == pytest.approx(expected)


def test_each_precision_is_ranked_by_itself(two_machines):
    times = {
        "Scan": 4e-3,
        "Cudnn": 2e-3,
        "CudnnTF32": 1e-3,
        "TorchTF32": 2e-3,
        "TorchFP16": 2e-4,
        "TorchLoopFP16": 1e-4,
    }
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(**times, TorchBF16=1e-5))
    ranked = tables.standings(tables.make(two_machines, "north").rows)
    assert [(standing.precision, standing.best.figure.variant) for standing in ranked] == [
        ("float32", "cudnn"),
        ("tf32", "cudnn_tf32"),
        ("float16", "torch_loop_fp16"),
    ]


def test_3xtf32_competes_with_strict_float32_in_a_ranking_beside_it(two_machines):
    times = {"Cudnn": 2e-3, "Fused": 1.5e-3, "Fused3xTF32": 1e-3, "FusedTF32": 5e-4, "CudnnTF32": 1e-3}
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(**times))
    report = tables.make(two_machines, "north")
    strict, accurate, in_tf32 = tables.standings(report.rows)
    assert (strict.precision, accurate.precision, in_tf32.precision) == ("float32", "3xtf32", "tf32")
    assert (strict.best.figure.variant, strict.lead.other.figure.variant) == ("fused", "cudnn")
    assert (accurate.best.figure.variant, accurate.lead.other.figure.variant) == ("fused_3xtf32", "fused")
    assert accurate.best.of_floor == pytest.approx(Workload(*SHAPE).train_flops / (4.9e14 / 3) / 1e-3)
    assert in_tf32.best.of_floor == pytest.approx(Workload(*SHAPE).train_flops / 4.9e14 / 5e-4)
    words = "fused_3xtf32 isn't strict float32", "train, float32 or 3xTF32"
    assert all(each in formats.markdown_ranking(report) for each in words)
    without = tables.choose(report, ["cudnn", "fused"], None)
    assert not any(each in formats.markdown_ranking(without) for each in words)


@pytest.mark.parametrize("variant", ["cudnn_tf32", "torch_fp16"])
def test_gradients_of_relu_are_compared_with_the_tolerance_of_verify(variant):
    shape = Shape(5, 3, 9, 2)
    tolerance = VARIANTS[variant].tolerance
    work = variants.workload(variant, models.workload("deepspeech2", shape))
    looser = reference.gradient_tolerance(work, tolerance)
    assert looser > 2 * tolerance

    def is_wrong(quantity, error):
        subject = ("deepspeech2", shape)
        described = ("north", "c" * 40, 0, "environment", "benchmark", variant, quantity, *subject, "ok", error)
        return tables.is_wrong(history.Figure(*described, None, None, 1, (), "1", (), None, ""))

    assert is_wrong("error_outputs", 1.01 * tolerance)
    assert not is_wrong("error_outputs", tolerance)
    assert is_wrong("error_gradients", 1.01 * looser)
    assert not is_wrong("error_gradients", 0.99 * looser)


def test_a_variant_timed_in_two_environments_is_ranked_once_by_the_faster(two_machines):
    for environment, factor in (("slow", 2), ("fast", 1)):
        content = train_times(Scan=factor * 1e-3, Cudnn=factor * 4e-3)
        synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content, environment=environment)
    (standing,) = tables.standings(tables.make(two_machines, "north").rows)
    assert (standing.best.implementation, standing.lead.other.implementation) == ("scan (fast)", "cudnn (fast)")
    assert standing.lead.ratio.times == pytest.approx(4)
    assert standing.ours is None  # there is no peer


@pytest.mark.parametrize(("error", "best"), [(0.9e-5, "torch"), (1.1e-5, "cudnn")])
def test_inaccurate_variants_are_not_ranked(error, best, two_machines):
    content = train_times(Scan=4e-3, Cudnn=3e-3, Torch=1e-3)
    content["accuracy.TorchAccuracy.track_gradients"] = synthetic.tracked([error, *[NAN] * 35])
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content)
    report = tables.make(two_machines, "north")
    (standing,) = tables.standings(report.rows)
    assert standing.best.figure.variant == best
    # The outputs' error wasn't measured.
    assert markdown_rows(formats.markdown_ranking(report), ["1", "32 × 30", "128"])[0][4] == f"{best}?"
    assert "?: its accuracy wasn't measured there." in formats.markdown_ranking(report)


def test_the_standings_are_shown(two_machines, run):
    synthetic.write_run(two_machines, "south", synthetic.commit_hash(0), train_times(Scan=4e-3, Torch=1e-3))
    status, output, _ = run(["report", "--machine", "south", "--results", str(two_machines), "--format", "json"])
    assert status == 0
    (standing,) = json.loads(output)["standings"]
    assert (standing["best"], standing["lead"]["other"], standing["ours"]["one"]) == ("torch", "scan", "scan")
    assert standing["of_floor"] is None  # this machine's peak rates aren't known
    status, output, _ = run(["report", "--machine", "south", "--results", str(two_machines)])
    assert re.search(r"torch\? +31\.2 \(28\.1–34\.4\) +4\.0× \(3\.3–4\.9\) +scan", output)
    status, output, _ = run(["report", "--machine", "south", "--results", str(two_machines), "--format", "markdown"])
    assert "4.0× (3.3–4.9) scan" in output
    assert "scan 0.25× (0.20–0.31) torch" in output


def test_a_single_variant_is_not_ranked(two_machines, run):
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(Scan=4e-3))
    status, output, _ = run(["report", "--machine", "north", "--results", str(two_machines)])
    assert status == 0
    assert "The fastest at each shape" not in output
    assert "A lead is" not in output
