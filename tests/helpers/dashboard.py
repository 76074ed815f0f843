"""Results to publish, and functions that open the dashboard in a browser and read its tables."""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import ROOT, recorded
from rnnbench.network.shapes import PARAMS
from rnnbench.report import page as dashboard

MACHINES = {path.parent.name: path for path in recorded.RESULTS.glob(f"*/{recorded.COMMIT}-*.json")}
SHAPES = list(itertools.product(*PARAMS))
FAILED = (128, 30, 512, 1)
TORCH = "lstm.TorchLSTM.time_train"
DOUBTFUL = {(32, 30, 128, 1): ["busy"], (32, 30, 512, 1): ["busy", "throttled"], (128, 30, 128, 1): []}
FLOPS, BANDWIDTH = 6.7e13, 3.35e12
# The state that a process stores. A cuDNN version fills all columns of the software table, although this is scan's.
COMPUTED = {
    "marks": [],
    "libraries": {"Theano": "1.0.5"},
    "cudnn": {"version": "9.19.0", "algorithm": "STANDARD", "math_type": "FMA"},
}


class History:
    """A copy of the recorded results, with an older commit of the H100 added.

    At the older commit all figures are twice as long, and cudnn failed at a shape. torch trains in 0.8 times cudnn's
    time, and some of its figures are doubtful. The H100's peak rates are known.
    """

    def __init__(self, folder):
        self.folder = folder
        self.results = folder / "results"
        shutil.copytree(recorded.RESULTS, self.results)
        newer = self.results / "h100" / MACHINES["h100"].name
        content = json.loads(newer.read_text())
        self.newest = content["commit_hash"]
        self.older = self.git("rev-parse", f"{self.newest}^")
        content["commit_hash"] = self.older
        content["date"] -= 86_400_000
        columns = content["result_columns"]
        for row in content["results"].values():
            for column in ("result", "stats_q_25", "stats_q_75"):
                values = row[columns.index(column)]
                row[columns.index(column)] = [value and 2 * value for value in values]
        failing = content["results"]["lstm.CudnnLSTM.time_train"]
        content["results"][TORCH] = [
            [value and 0.8 * value for value in values] if name in ("result", "stats_q_25", "stats_q_75") else values
            for name, values in zip(columns, failing, strict=False)
        ]
        torch_states = {", ".join(map(str, shape)): [{"marks": marks}] for shape, marks in DOUBTFUL.items()}
        content["state"] = {TORCH: torch_states, "lstm.ScanLSTM.time_train": {"32, 30, 128, 1": [COMPUTED]}}
        failing[columns.index("result")][SHAPES.index(FAILED)] = None
        self.path = newer.with_name(f"{self.older[:8]}-{content['env_name']}.json")
        self.path.write_text(json.dumps(content))

        facts = json.loads((self.results / "h100" / "machine.json").read_text())
        facts |= {"float32_flops": f"{FLOPS:g}", "memory_bandwidth": f"{BANDWIDTH:g}"}
        (self.results / "h100" / "machine.json").write_text(json.dumps(facts))

    @staticmethod
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    def publish(self, **environment):
        """Run asv publish; return the folder that it wrote and the text that it printed."""
        html = self.folder / "html"
        settings = json.loads((ROOT / "asv.conf.json").read_text())
        settings |= {"repo": str(ROOT), "results_dir": str(self.results), "html_dir": str(html)}
        (self.folder / "asv.conf.json").write_text(json.dumps(settings))
        asv = Path(sys.executable).with_name("asv")
        command = [asv, "publish", "--config", self.folder / "asv.conf.json"]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return html, done.stdout + done.stderr


def page_opener(tab, address):
    """Return a function that opens a place of a dashboard in the tab, with choices in the address."""

    def show(place, **choices):
        query = "&".join(f"{name}={value}" for name, value in choices.items())
        tab.goto("about:blank")  # otherwise the wait below would find the page of earlier choices
        tab.goto(f"{address}#/{place}{'?' if query else ''}{query}")
        if place == dashboard.NAME:
            tab.wait_for_selector("#rn-results:not([hidden])")
        return tab

    return show


def stored_figures(path, benchmark):
    """Return the figures in a results file by shape: the median, lower and upper quartile, in asv's units."""
    content = json.loads(Path(path).read_text())
    row = dict(zip(content["result_columns"], content["results"][benchmark], strict=False))
    columns = [row.get(name) or [None] * len(SHAPES) for name in ("result", "stats_q_25", "stats_q_75")]
    figures = zip(SHAPES, *columns, strict=True)
    return {shape: figure for shape, *figure in figures if figure[0] is not None and not math.isnan(figure[0])}


def table_rows(tab, selector):
    """Return the texts of a table's cells, by shape and the last header. The headers of a shape may span rows."""
    read = "rows => rows.map(row => Array.from(row.cells, cell => [cell.tagName, cell.textContent]))"
    texts, shape = {}, None
    for row in tab.locator(f"{selector} tbody tr").evaluate_all(read):
        *sizes, implementation = [text for tag, text in row if tag == "TH"]
        if sizes:
            depth, batch_seq, hidden = sizes
            shape = (*map(int, batch_seq.split(" × ")), int(hidden), int(depth))
        texts[shape, implementation] = [text for tag, text in row if tag == "TD"]
    return texts


def heat_map_texts(tab, selector):
    """Return the texts of the heat maps' cells, in reading order."""
    return [text for text in tab.locator(f"{selector} table.heat td").all_text_contents() if text]


def in_heat_map_order(shapes):
    """Yield each call and shape in the reading order of a heat map: train before forward, hidden sizes across."""
    rows = sorted({(depth, seq, batch) for batch, seq, _, depth in shapes})
    for depth, seq, batch in rows:
        across = sorted(shape for shape in shapes if (shape[3], shape[1], shape[0]) == (depth, seq, batch))
        yield from itertools.product(("train", "forward"), across)


@contextlib.contextmanager
def edited_data(html, machine, commit):
    """Yield a dashboard's data of a machine and commit. Changes to the data are written back."""
    machines = json.loads((html / dashboard.NAME / "index.json").read_text())["machines"]
    number = [described["name"] for described in machines].index(machine)
    path = html / dashboard.NAME / f"{number}-{commit}.json"
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def numbers(text):
    return re.findall(r"\d+\.?\d*(?:e[-+]\d+)?", text)


def rounds_to(shown, value):
    """Return whether a text is the value, rounded to the digits that the text has."""
    digits, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - value) <= 0.5001 * unit


def check_times(table, path, shapes):
    """Check that a table of times has the figures of a results file; return how many were checked."""
    count = 0
    for variant, name in (("scan", "ScanLSTM"), ("cudnn", "CudnnLSTM")):
        for column, function in enumerate(("train", "forward")):
            for shape, figure in stored_figures(path, f"lstm.{name}.time_{function}").items():
                if shape not in shapes:
                    continue
                shown = numbers(table[shape, variant][column])
                assert len(shown) == 3
                for text, seconds in zip(shown, figure, strict=True):
                    assert rounds_to(text, seconds / shape[0] * 1e6), (shape, variant, function)
                count += 1
    return count
