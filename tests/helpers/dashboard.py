"""Results to publish, and functions that open the site in a browser and read its tables."""

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
        """Run rnnbench publish; return the folder that it wrote and the text that it printed."""
        return publish(self.folder, self.results, **environment)


def publish(folder, results, **environment):
    """Run rnnbench publish in a folder; return the folder of the site and the text that was printed."""
    html = folder / "html"
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    settings |= {"repo": str(ROOT), "results_dir": str(results), "html_dir": str(html)}
    (folder / "asv.conf.json").write_text(json.dumps(settings))
    shutil.copy(ROOT / "asv_plugin.py", folder)  # asv looks for it beside its configuration
    rnnbench = Path(sys.executable).with_name("rnnbench")
    command = [rnnbench, "publish", "--config", folder / "asv.conf.json"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return html, done.stdout + done.stderr


def page_opener(tab, address):
    """Return a function that opens the results page in the tab, with choices in the address."""

    def show(**choices):
        query = "&".join(f"{name}={value}" for name, value in choices.items())
        tab.goto(f"{address}index.html{'?' if query else ''}{query}")
        tab.wait_for_selector("#results:not([hidden])")
        return tab

    return show


def read_data(html, name):
    """Return the content of one of the page's data files: "index", or a machine's number, a commit and a network."""
    text = (html / dashboard.DATA / f"{name}.js").read_text()
    begin, end = f"receive('{name}','", "')\n"
    assert text.startswith(begin)
    assert text.endswith(end)
    return json.loads(re.sub(r"\\(.)", r"\1", text[len(begin) : -len(end)]))


def write_data(html, name, content):
    """Write a data file of the page."""
    quoted = json.dumps(content).replace("\\", "\\\\").replace("'", "\\'")
    (html / dashboard.DATA / f"{name}.js").write_text(f"receive('{name}','{quoted}')\n")


@contextlib.contextmanager
def edited_record(html, machine, commit):
    """Yield the content of a record. Changes to it are written back."""
    machines = read_data(html, "index")["machines"]
    name = f"{[described['name'] for described in machines].index(machine)}-{commit}-lstm"
    content = read_data(html, name)
    yield content
    write_data(html, name, content)


@contextlib.contextmanager
def edited_index(html):
    """Yield the content of the index. Changes to it are written back."""
    content = read_data(html, "index")
    yield content
    write_data(html, "index", content)


def stored_figures(path, benchmark):
    """Return the figures in a results file by shape: the median, lower and upper quartile, in asv's units."""
    content = json.loads(Path(path).read_text())
    row = dict(zip(content["result_columns"], content["results"][benchmark], strict=False))
    columns = [row.get(name) or [None] * len(SHAPES) for name in ("result", "stats_q_25", "stats_q_75")]
    figures = zip(SHAPES, *columns, strict=True)
    return {shape: figure for shape, *figure in figures if figure[0] is not None and not math.isnan(figure[0])}


def table(tab, selector):
    """Return the headings of a table, and the texts of each row's cells."""
    headings = tab.locator(f"{selector} thead th").all_text_contents()
    read = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    return headings, tab.locator(f"{selector} tbody tr").evaluate_all(read)


def sizes(text):
    """Return the shape that a text such as "32 × 30 × 128 × 1" names."""
    return tuple(map(int, text.split(" × ")))


def times(tab, call):
    """Return the texts of a table of times by shape and implementation."""
    (_, *implementations), rows = table(tab, f"#times-of-{call}")
    return {
        (sizes(shape), implementation): text
        for shape, *texts in rows
        for implementation, text in zip(implementations, texts, strict=True)
    }


def ranking(tab):
    """Return the cells of the ranking at each shape, by shape and call."""
    _, rows = table(tab, "#ranking-rows")
    return {
        ((*sizes(batch_seq), int(hidden), int(depth)), call): texts for depth, batch_seq, hidden, call, *texts in rows
    }


def unfold(tab, section):
    """Open a folded section, and wait until it is drawn."""
    tab.evaluate(
        """id => new Promise(function (resolve) {
            const details = document.getElementById(id);
            details.addEventListener('toggle', resolve, { once: true });
            details.open = true;
        })""",
        section,
    )


def notes(tab, selector="#dots"):
    """Return the notes of a chart's dots, each as a list of lines."""
    labels = tab.locator(f"{selector} circle.dot").evaluate_all(
        "dots => dots.map(dot => dot.getAttribute('aria-label'))"
    )
    return [label.split(". ") for label in labels]


def numbers(text):
    return re.findall(r"\d+\.?\d*(?:e[-+]\d+)?", text)


def rounds_to(shown, value):
    """Return whether a text is the value, rounded to the digits that the text has."""
    digits, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - value) <= 0.5001 * unit


def check_times(tab, path, shapes):
    """Check that the tables of times have the figures of a results file; return how many were checked."""
    count = 0
    for call in ("train", "forward"):
        shown = times(tab, call)
        for variant, name in (("scan", "ScanLSTM"), ("cudnn", "CudnnLSTM")):
            for shape, figure in stored_figures(path, f"lstm.{name}.time_{call}").items():
                if shape not in shapes:
                    continue
                texts = numbers(shown[shape, variant])
                assert len(texts) == 3
                for text, seconds in zip(texts, figure, strict=True):
                    assert rounds_to(text, seconds / shape[0] * 1e6), (shape, variant, call)
                count += 1
    return count
