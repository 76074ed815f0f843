"""Tests of what a visitor takes along: the shown figures, and the chart as a file."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from helpers.dashboard import MACHINES, stored_figures

from rnnbench.network.shapes import GRIDS


@pytest.fixture
def saved(open_page, history):
    """Return a function that clicks a button and returns the name and the content of the file that it saves."""
    tab = open_page(machine="h100", commit=history.newest, only="cudnn", grid="quick")

    def save(button):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=button).click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    return save


def test_the_shown_figures(saved, history):
    name, content = saved("Data as CSV")
    assert name == f"rnnbench-h100-{history.newest[:8]}.csv"
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert {row["implementation"] for row in rows} == {"cudnn"}
    shapes = [tuple(int(row[size]) for size in ("batch", "seq", "hidden", "depth")) for row in rows]
    assert set(shapes) == set(GRIDS["quick"])
    stored = stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train")
    timed = [(shape, row) for shape, row in zip(shapes, rows, strict=True) if row["quantity"] == "train"]
    assert len(timed) == 3
    for shape, row in timed:
        assert row["commit"] == history.newest
        assert float(row["value"]) == pytest.approx(stored[shape][0] * 1e6 / shape[0], rel=1e-12)
        assert (row["unit"], row["state"]) == ("µs per example", "ok")

    content = json.loads(saved("Data as JSON")[1])
    assert len(content["figures"]) == len(rows)
    assert content["shown"][0]["name"] == f"h100 at {history.newest[:8]}"
    assert "only=cudnn" in content["address"]


def texts_of(drawing):
    return list(drawing.iter("{http://www.w3.org/2000/svg}text"))


def test_the_chart(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Chart as SVG").click()
    drawing = ElementTree.parse(download.value.path()).getroot()
    texts = [node.text for node in texts_of(drawing)]
    assert {"cudnn", "scan", "torch", "Train step", "Forward pass"} <= set(texts)
    assert any(f"h100 at {history.older[:8]}" in text for text in texts if text)
    dots = list(drawing.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == tab.locator("#dots circle.dot").count()
    assert all(dot.get("fill").startswith("rgb(") for dot in dots)
    # The means have a wide outline, which must lie below the letters.
    outlined = [node for node in texts_of(drawing) if node.get("stroke", "none") != "none"]
    assert len(outlined) == tab.locator("#dots .mean-text").count()
    assert all(node.get("paint-order").startswith("stroke") for node in outlined)

    with tab.expect_download() as download:
        tab.get_by_role("button", name="Chart as PNG").click()
    content = Path(download.value.path()).read_bytes()
    assert content.startswith(b"\x89PNG")
    width = int.from_bytes(content[16:20], "big")
    assert width == 2 * int(drawing.get("width"))
