"""Tests of the plots, and of the slopes of their lines."""

import xml.etree.ElementTree

import pytest
from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import at_first_shape

from rnnbench.history.benchmark_names import class_prefix
from rnnbench.network.shapes import Shape
from rnnbench.report import formats, plot, tables
from rnnbench.variants import VARIANTS


def test_plots(full_history, tmp_path, run):
    pytest.importorskip("matplotlib")
    first, again, image = (tmp_path / name for name in ("first.svg", "again.svg", "image.png"))
    for path in (first, again, image):
        assert run(["report", "--results", str(full_history[0]), "--plot", str(path)]) == (0, "", "")
    assert xml.etree.ElementTree.parse(first).getroot().tag.endswith("svg")
    assert first.read_bytes() == again.read_bytes()
    assert image.read_bytes().startswith(b"\x89PNG")


def test_each_variant_has_its_own_look_which_is_the_same_in_each_panel(two_machines):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    prefixes = [class_prefix(name) for name in VARIANTS]
    assert len(prefixes) > 10
    results = {
        f"lstm.{prefix}LSTM.time_train": synthetic.full_grid()["lstm.ScanLSTM.time_train"] for prefix in prefixes
    }
    # cudnn has a single figure, so it has no line.
    results["lstm.CudnnLSTM.time_train"] = at_first_shape(1.0)
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), results)
    report = tables.make(two_machines, "north")
    looks = []
    for panel, axis in zip(figure.subplots(1, 2), ("seq", "hidden"), strict=True):
        plot._draw(panel, report, "train", axis)
        lines = {line.get_label(): line for line in panel.get_lines() if line.get_label() in VARIANTS}
        looks.append(
            {name: (line.get_color(), line.get_marker(), line.get_linestyle()) for name, line in lines.items()}
        )
        assert panel.get_legend() is None  # it would lie on the data
        assert len(set(looks[-1].values())) == len(lines) == len(VARIANTS) - 1
    assert looks[0] == looks[1]
    # A report of fewer implementations gives them the same look.
    plot._draw(figure.subplots(), tables.choose(report, ["torch"], "train"), "train", "seq")
    (line,) = (line for line in figure.axes[-1].get_lines() if line.get_label() == "torch")
    assert (line.get_color(), line.get_marker(), line.get_linestyle()) == looks[0]["torch"]


def test_the_legend_lists_each_line_with_its_exponents(two_machines):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    times = synthetic.full_grid()
    synthetic.write_run(
        two_machines,
        "north",
        synthetic.commit_hash(0),
        {name: times[name] for name in ("lstm.ScanLSTM.time_train", "lstm.TorchTF32LSTM.time_train")},
    )
    report = tables.make(two_machines, "north")
    panel, legend = figure.subplots(1, 2)
    plot._list(legend, {axis: plot._draw(panel, report, "train", axis) for axis in plot.AXES})
    words = [text.get_text() for text in legend.texts]
    assert words[1:5] == list(plot.AXES)
    assert words[5:] == ["scan", "1.00", "1.00", "0.50", "1.00", "torch_tf32", "1.00", "1.00", "0.50", "1.00"]
    assert [line.get_linestyle() for line in legend.get_lines()] == ["-", "--"]


def test_slopes_are_exponents(full_history):
    rows = [row for row in tables.make(full_history[0], "north").rows if row.figure.quantity == "train"]
    for axis, exponent in {"batch": 0.5, "seq": 1, "hidden": 1, "depth": 1}.items():
        base, lines = plot.lines(rows, axis)
        # The other sizes are the largest ones.
        assert base == Shape(128, 200, 1024, 3)._replace(**{axis: 0})
        assert set(lines) == {"scan", "cudnn", "cudnn_tf32", "torch", "torch_tf32"}
        assert all(plot.slope(line, axis) == pytest.approx(exponent) for line in lines.values())


def test_the_table_of_all_slopes(full_history):
    table = formats.growth(tables.make(full_history[0], "north"))
    assert table.headings[1:5] == ["Train, seq", "Train, hidden", "Train, batch", "Train, depth"]
    assert table.rows[0] == ["scan", *["1.00", "1.00", "0.50", "1.00"] * 2]
    assert [version for version, *_ in table.rows] == ["scan", "cudnn", "cudnn_tf32", "torch", "torch_tf32"]
    table = formats.growth(tables.make(RESULTS, "epyc-2core"))
    assert table.headings[1:] == ["Train, hidden", "Train, batch", "Forward, hidden", "Forward, batch"]


def test_a_slope_that_rounds_to_zero_has_no_sign(two_machines):
    falling = synthetic.sampled([1 - 1e-6 * batch for batch, *_ in synthetic.SHAPES])
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), {"lstm.ScanLSTM.time_train": falling})
    table = formats.growth(tables.make(two_machines, "north"))
    assert table.rows[0][1:5] == ["0.00"] * 4


def test_a_single_size_has_no_line():
    rows = [row for row in tables.make(RESULTS, "epyc-2core").rows if row.figure.quantity == "train"]
    assert plot.lines(rows, "seq") == (None, {})
    assert plot.lines(rows, "hidden")[0] == Shape(128, 30, 0, 1)


def test_figures_of_one_size_are_no_line():
    rows = [row for row in tables.make(RESULTS, "epyc-2core").rows if row.figure.quantity == "train"]
    _, lines = plot.lines(rows, "hidden")
    for line in lines.values():
        assert len({row.figure.shape.hidden for row in line}) > 1
    same = next(iter(lines.values()))[:1] * 2  # a file can name a shape twice
    assert plot.lines(same, "hidden") == (None, {})


def test_a_plot_that_fails_halfway_leaves_the_old_one(tmp_path):
    class Page:
        def savefig(self, file, **settings):
            file.write(b"<svg>")
            raise OSError("No space left on device")

    path = tmp_path / "plot.svg"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"):
        plot.write(Page(), path)
    assert path.read_text() == "old"


@pytest.mark.parametrize(("slope", "text"), [(-0.001, "0.00"), (0.996, "1.00"), (-0.126, "-0.13"), (1.5, "1.50")])
def test_a_slope_has_two_decimals_and_no_negative_zero(slope, text):
    assert plot.slope_text(slope) == text
