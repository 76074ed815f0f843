"""The published dashboard in a real browser without a network: asv's pages and the tab "Recurrent networks"."""

import contextlib
import functools
import http.server
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import ROOT, recorded
from playwright.sync_api import sync_playwright

from rnnbench import Workload
from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import GRIDS, PARAMS, Shape
from rnnbench.report import absence
from rnnbench.report import page as dashboard
from rnnbench.variants import VARIANTS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MACHINES = {path.parent.name: path for path in recorded.RESULTS.glob(f"*/{recorded.COMMIT}-*.json")}
SHAPES = list(itertools.product(*PARAMS))
FAILED = (128, 30, 512, 1)
TORCH = "lstm.TorchLSTM.time_train"
DOUBTFUL = {(32, 30, 128, 1): ["busy"], (32, 30, 512, 1): ["busy", "throttled"], (128, 30, 128, 1): []}
FLOPS, BANDWIDTH = 6.7e13, 3.35e12

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (on Debian: apt-get install chromium)")

# As a process stores it; scan is given a cuDNN to have all of the columns.
COMPUTED = {
    "marks": [],
    "libraries": {"Theano": "1.0.5"},
    "cudnn": {"version": "9.19.0", "algorithm": "STANDARD", "math_type": "FMA"},
}


class History:
    """A copy of what was recorded with more in it: an older commit of the H100, half as fast, where a shape failed.

    torch trains there in 0.8 times cudnn's time, on a machine that was busy now and then.
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
        seen = {", ".join(map(str, shape)): [{"marks": marks}] for shape, marks in DOUBTFUL.items()}
        content["state"] = {TORCH: seen, "lstm.ScanLSTM.time_train": {"32, 30, 128, 1": [COMPUTED]}}
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
        """Run asv publish, and return the folder that it wrote and what it said."""
        html = self.folder / "html"
        settings = json.loads((ROOT / "asv.conf.json").read_text())
        settings |= {"repo": str(ROOT), "results_dir": str(self.results), "html_dir": str(html)}
        (self.folder / "asv.conf.json").write_text(json.dumps(settings))
        asv = Path(sys.executable).with_name("asv")
        command = [asv, "publish", "--config", self.folder / "asv.conf.json"]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return html, done.stdout + done.stderr


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return History(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def html(history):
    folder, said = history.publish()
    if "from public servers" in said:
        pytest.skip(said)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def serve():
    """Return a function that serves a folder on the loopback, as long as the tests run, and returns its address."""
    servers = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        # No name but the loopback's resolves.
        cut_off = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[cut_off])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A tab of the browser; when the test is over nothing may have been logged or asked of another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    errors = []
    tab = context.new_page()
    tab.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
    tab.on("request", lambda request: request.url.startswith("http://127.0.0.1:") or errors.append(request.url))
    yield tab
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def address(html, serve):
    return serve(html)


@pytest.fixture
def site(tab, address):
    """Return a function that opens a page of the dashboard."""
    return opener(tab, address)


def opener(tab, address):
    def show(place, **choices):
        query = "&".join(f"{name}={value}" for name, value in choices.items())
        tab.goto("about:blank")  # or what another choice has drawn would be waited for
        tab.goto(f"{address}#/{place}{'?' if query else ''}{query}")
        if place == dashboard.NAME:
            tab.wait_for_selector("#rn-results:not([hidden])")
        return tab

    return show


def stored(path, benchmark):
    """A benchmark's figures by shape: median and quartiles, as asv stored them."""
    content = json.loads(Path(path).read_text())
    row = dict(zip(content["result_columns"], content["results"][benchmark], strict=False))
    columns = [row.get(name) or [None] * len(SHAPES) for name in ("result", "stats_q_25", "stats_q_75")]
    figures = zip(SHAPES, *columns, strict=True)
    return {shape: figure for shape, *figure in figures if figure[0] is not None and not math.isnan(figure[0])}


def rows(tab, selector):
    """A table's body by shape and implementation: the texts after the headers, which may span rows."""
    read = "rows => rows.map(row => Array.from(row.cells, cell => [cell.tagName, cell.textContent]))"
    found, shape = {}, None
    for row in tab.locator(f"{selector} tbody tr").evaluate_all(read):
        *sizes, implementation = [text for tag, text in row if tag == "TH"]
        if sizes:
            depth, batch_seq, hidden = sizes
            shape = (*map(int, batch_seq.split(" × ")), int(hidden), int(depth))
        found[shape, implementation] = [text for tag, text in row if tag == "TD"]
    return found


@contextlib.contextmanager
def rewritten(html, machine, commit):
    """What a dashboard has of a machine and commit, to be changed."""
    machines = json.loads((html / dashboard.NAME / "index.json").read_text())["machines"]
    number = [one["name"] for one in machines].index(machine)
    path = html / dashboard.NAME / f"{number}-{commit}.json"
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def numbers(text):
    return re.findall(r"\d+\.?\d*(?:e[-+]\d+)?", text)


def same(shown, value):
    """Whether a text is the number, as far as it has digits."""
    digits, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - value) <= 0.5001 * unit


def figures_are_shown(table, path, shapes):
    """Check the table of times against a results file, and return how many figures it has."""
    count = 0
    for variant, name in (("scan", "ScanLSTM"), ("cudnn", "CudnnLSTM")):
        for column, function in enumerate(("train", "forward")):
            for shape, figure in stored(path, f"lstm.{name}.time_{function}").items():
                if shape not in shapes:
                    continue
                shown = numbers(table[shape, variant][column])
                assert len(shown) == 3
                for text, seconds in zip(shown, figure, strict=True):
                    assert same(text, seconds / shape[0] * 1e6), (shape, variant, function)
                count += 1
    return count


# asv's own pages


def test_the_grid_of_benchmarks(site):
    tab = site("")
    # Tall enough for all of it: a graph is drawn when it comes into view.
    tab.set_viewport_size({"width": 1280, "height": 3000})
    tab.wait_for_selector("text=ScanLSTM.time_train")
    tab.evaluate("$(window).trigger('scroll')")
    tab.wait_for_function("$('.benchmark-plot').length && $('.benchmark-plot:not(:has(canvas))').length === 0")


def test_the_list_of_benchmarks_has_the_stored_numbers(site):
    tab = site("summarylist", machine="h100")
    tab.wait_for_selector("#summarylist-body td.value")
    text = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    shown = {row[0]: row[1] for row in tab.locator("#summarylist-body tbody tr").evaluate_all(text)}
    factor = {"ms": 1e-3, "μs": 1e-6}
    for shape, (seconds, *_) in stored(MACHINES["h100"], "lstm.CudnnLSTM.time_train").items():
        value = shown[f"lstm.CudnnLSTM.time_train ({', '.join(map(str, shape))})"]
        assert same(value[:-2], seconds / factor[value[-2:]])


def test_the_list_of_benchmarks_is_sorted_by_a_click(site):
    tab = site("summarylist", machine="h100")
    tab.locator("#summarylist-body th", has_text="Value").click()
    tab.wait_for_selector("#summarylist-body th.asc >> text=Value")
    values = [value for value in tab.locator("#summarylist-body td.value").all_text_contents() if value]
    assert numbers(values[0])[0] == min(numbers(value)[0] for value in values if "μs" in value)


def test_the_graph_of_a_benchmark_has_the_stored_numbers(site):
    tab = site("lstm.ScanLSTM.time_forward")
    tab.wait_for_selector("#main-graph canvas")
    series = tab.evaluate("$('#main-graph').data('plot').getData().map(series => series.data.map(point => point[1]))")
    drawn = [value for values in series for value in values if value is not None]
    figure, *_ = stored(MACHINES["h100"], "lstm.ScanLSTM.time_forward")[32, 30, 128, 1]
    assert any(value == pytest.approx(figure, rel=1e-6) for value in drawn)


# The tab


@pytest.mark.parametrize("machine", MACHINES)
def test_the_times_are_those_in_results(site, machine, history):
    tab = site(dashboard.NAME, machine=machine, commit=history.newest, grid="full")
    path = MACHINES[machine]
    expected = sum(
        len(stored(path, f"lstm.{name}.time_{function}"))
        for name in ("ScanLSTM", "CudnnLSTM")
        for function in ("train", "forward")
    )
    assert figures_are_shown(rows(tab, "#rn-times"), path, SHAPES) == expected


def test_build_time_memory_and_accuracy_are_those_in_results(site):
    tab = site(dashboard.NAME, machine="epyc-2core", grid="quick")
    shown = rows(tab, "#rn-costs")
    benchmarks = {
        "compile.ScanWarmBuild.timeraw_forward": 1,
        "compile.ScanWarmBuild.timeraw_train": 1,
        "compile.ScanColdBuild.timeraw_forward": 1,
        "compile.ScanColdBuild.timeraw_train": 1,
        "memory.ScanMemory.track_train": 1e6,
        "accuracy.ScanAccuracy.track_outputs": 1,
        "accuracy.ScanAccuracy.track_gradients": 1,
    }
    for column, (benchmark, unit) in enumerate(benchmarks.items()):
        figures = stored(MACHINES["epyc-2core"], benchmark)
        for shape in GRIDS["quick"]:
            text = shown[shape, "scan"][column]
            assert same(text, figures[shape][0] / unit) if shape in figures else text == "n/a"


def test_the_selectors_change_what_is_shown(site, history):
    tab = site(dashboard.NAME)
    tab.select_option("#rn-machine", "h100")
    tab.wait_for_selector("text=Shown: h100 at")
    assert figures_are_shown(rows(tab, "#rn-times"), MACHINES["h100"], GRIDS["seed"]) == 40

    tab.select_option("#rn-commit", history.older)
    tab.wait_for_selector(f"text=h100 at {history.older[:8]}")
    assert figures_are_shown(rows(tab, "#rn-times"), history.path, GRIDS["seed"]) == 39

    tab.select_option("#rn-grid", "quick")
    tab.wait_for_selector("text=the quick grid")
    assert {shape for shape, _ in rows(tab, "#rn-times")} == set(GRIDS["quick"])

    tab.go_back()
    tab.wait_for_selector("text=the seed grid")
    assert {shape for shape, _ in rows(tab, "#rn-times")} == set(GRIDS["seed"])


def test_the_grid_is_the_smallest_that_has_all_figures(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    with rewritten(other, "epyc-2core", json.loads(MACHINES["epyc-2core"].read_text())["commit_hash"]) as content:
        for series in content["series"]:
            for figures in series["figures"].values():
                figures[:] = [row for row in figures if SHAPES[row[0]] in GRIDS["quick"]]
    opener(tab, serve(other))(dashboard.NAME, machine="epyc-2core")
    assert tab.locator("#rn-status").text_content().endswith("the quick grid.")
    tab.select_option("#rn-machine", "h100")
    tab.wait_for_selector("text=the seed grid")
    tab.select_option("#rn-grid", "full")
    tab.wait_for_selector("text=the full grid")
    tab.select_option("#rn-machine", "epyc-2core")
    tab.wait_for_selector("text=epyc-2core at")
    assert tab.locator("#rn-status").text_content().endswith("the full grid.")


def test_the_keyboard_is_enough(site):
    tab = site("")
    tab.get_by_role("link", name=dashboard.TITLE).focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#rn-results:not([hidden])")
    before = tab.locator("#rn-machine").input_value()
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "rn-machine":
            break
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("before => document.querySelector('#rn-machine').value !== before", arg=before)
    chosen = tab.locator("#rn-machine").input_value()
    tab.wait_for_selector(f"text=Shown: {chosen} at")
    assert tab.evaluate("document.activeElement.id") == "rn-machine"


def test_failed_and_na_are_told_apart(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.older, grid="full")
    table = rows(tab, "#rn-times")
    assert table[FAILED, "cudnn"][0] == "failed"
    assert table[(32, 100, 128, 1), "cudnn"] == ["n/a", "n/a"]
    failed = tab.locator("#rn-times td.failed")
    absent = tab.locator("#rn-times td.absent").first
    assert failed.count() == 1
    colour = "shape => getComputedStyle(shape).color"
    assert failed.evaluate(colour) != absent.evaluate(colour)
    assert "should have run" in failed.get_attribute("title")
    assert "failed" in tab.locator("#rn-speedup td.failed").all_text_contents()


def test_what_runs_nowhere_is_said_once(site):
    tab = site(dashboard.NAME, machine="epyc-2core")
    assert tab.locator("#rn-unavailable li").all_text_contents() == [
        "n/a in every shape, and left out below: cudnn, cudnn_tf32 "
        "(it is made for cuda, and this machine was timed on cpu)."
    ]
    assert {implementation for _, implementation in rows(tab, "#rn-times")} == {"scan"}


def test_what_is_too_large_for_the_machine_is_said(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    facts = json.loads((recorded.RESULTS / "epyc-2core" / "machine.json").read_text()) | {"ram": str(2**30)}
    shape = (128, 200, 1024, 3)
    reason = absence.reason("scan", Shape(*shape), facts)
    assert f"{Workload(*shape).least_memory / 2**30:.1f} GiB of memory, and this machine has 1.0 GiB" in reason
    index = json.loads((other / dashboard.NAME / "index.json").read_text())
    machine = next(one for one in index["machines"] if one["name"] == "epyc-2core")
    assert set(machine["reasons"]["scan"]) == {None}
    machine["reasons"]["scan"] = [absence.reason("scan", Shape(*shape), facts) for shape in SHAPES]
    (other / dashboard.NAME / "index.json").write_text(json.dumps(index))

    opener(tab, serve(other))(dashboard.NAME, machine="epyc-2core", grid="full")
    assert f"n/a: {reason}." in tab.locator("#rn-unavailable li").all_text_contents()
    titles = tab.locator("#rn-times td.absent").evaluate_all("cells => cells.map(cell => cell.title)")
    assert {reason, "it wasn’t measured"} <= set(titles)


def heat(tab, selector):
    """A heat map's texts, in reading order."""
    return [text for text in tab.locator(f"{selector} table.heat td").all_text_contents() if text]


def in_order(shapes):
    """Cells as a heat map has them: train before forward, the hidden sizes across."""
    down = sorted({(depth, seq, batch) for batch, seq, _, depth in shapes})
    for depth, seq, batch in down:
        across = sorted(shape for shape in shapes if (shape[3], shape[1], shape[0]) == (depth, seq, batch))
        yield from itertools.product(("train", "forward"), across)


def test_the_speed_up_over_scan(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.newest)
    shown = heat(tab, "#rn-speedup")
    path = MACHINES["h100"]
    expected = [
        stored(path, f"lstm.ScanLSTM.time_{function}")[shape][0]
        / stored(path, f"lstm.CudnnLSTM.time_{function}")[shape][0]
        for function, shape in in_order(GRIDS["seed"])
    ]
    assert len(shown) == len(expected) == 20
    assert all(same(text.rstrip("×"), ratio) for text, ratio in zip(shown, expected, strict=True))


def test_without_scan_nothing_is_compared_with_it(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with rewritten(other, "h100", history.newest) as content:
        content["series"] = [one for one in content["series"] if one["variant"] != "scan"]
    opener(tab, serve(other))(dashboard.NAME, machine="h100", commit=history.newest)
    assert tab.locator("#rn-speedup").text_content() == "Nothing was timed here that could be compared with scan."
    assert {implementation for _, implementation in rows(tab, "#rn-times")} == {"cudnn"}


def test_what_computed(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.older)
    line = tab.locator("#rn-software tbody tr")
    assert line.locator("th").all_text_contents() == ["scan"]
    shown = ["Theano 1.0.5", "9.19.0", "STANDARD", "FMA", "train", "32 × 30 × 128 × 1"]
    assert line.locator("td").all_text_contents() == shown


def test_nothing_is_said_of_what_computed_where_nobody_knows(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.newest)
    assert tab.locator("#rn-software").is_hidden()


def test_the_best_of_each_shape(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.older, grid="full")
    shown = rows(tab, "#rn-ranking")
    times = {name: stored(history.path, f"lstm.{name}LSTM.time_train") for name in ("Scan", "Cudnn", "Torch")}
    assert {shape for shape, call in shown if call == "train"} == set(times["Torch"])
    for shape, torch in times["Torch"].items():
        best, time, lead, of_floor, theano = shown[shape, "train"]
        name, other = ("scan", times["Scan"]) if shape == FAILED else ("cudnn", times["Cudnn"])
        ratios = [other[shape][0] / torch[0], other[shape][1] / torch[2], other[shape][2] / torch[1]]
        torch_named = "torch*" if DOUBTFUL.get(shape) else "torch"
        assert (best, lead.split()[-1]) == ("torch", name)
        assert same(numbers(time)[0], 1e6 * torch[0] / shape[0])
        assert time.endswith("*") == bool(DOUBTFUL.get(shape))
        assert (theano.split()[0], theano.split()[-1]) == (name, torch_named)
        inverse = [1 / ratios[0], 1 / ratios[2], 1 / ratios[1]]
        for text, ratio in zip(numbers(lead) + numbers(theano), ratios + inverse, strict=True):
            assert same(text, ratio)
        work = Workload(*shape)
        least = max(work.train_flops / FLOPS, work.train_bytes / BANDWIDTH)
        assert same(of_floor.rstrip("%"), 100 * least / torch[0])


def test_where_one_variant_was_timed_none_is_the_best(site):
    assert not site(dashboard.NAME, machine="epyc-2core").get_by_text("The best of each shape").is_visible()


def test_what_the_machines_state_makes_doubtful_is_marked_and_explained(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.older)
    shown = rows(tab, "#rn-times")
    starred = {(shape, implementation) for (shape, implementation), texts in shown.items() if texts[0].endswith("*")}
    assert starred == {(shape, "torch") for shape, marks in DOUBTFUL.items() if marks}
    assert tab.locator("#rn-times p").all_text_contents() == [
        f"*: {count}, {mark}: {MARKS[mark]}." for count, mark in (("2 figures", "busy"), ("1 figure", "throttled"))
    ]
    assert "*" not in site(dashboard.NAME, machine="h100", commit=history.newest).locator("main").text_content()


def test_the_share_of_the_floor(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.newest)
    shown = heat(tab, "#rn-floor")
    expected = []
    for name in ("ScanLSTM", "CudnnLSTM"):
        for function, shape in in_order(GRIDS["seed"]):
            work = Workload(*shape)
            flops, moved = getattr(work, f"{function}_flops"), getattr(work, f"{function}_bytes")
            seconds = stored(MACHINES["h100"], f"lstm.{name}.time_{function}")[shape][0]
            expected.append(100 * max(flops / FLOPS, moved / BANDWIDTH) / seconds)
    assert len(shown) == 40
    assert all(same(numbers(text)[0], share) for text, share in zip(shown, expected, strict=True))


def test_without_peaks_there_is_no_floor_and_the_page_says_so(site):
    tab = site(dashboard.NAME, machine="epyc-2core")
    assert heat(tab, "#rn-floor") == []
    assert "results/epyc-2core/machine.json" in tab.locator("#rn-floor").text_content()


def test_the_slope_of_a_line(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.newest)
    figure = tab.locator("figure", has_text="Time against seq at batch 128, hidden 1024, depth 3")
    times = stored(MACHINES["h100"], "lstm.CudnnLSTM.time_train")
    ratio = times[128, 200, 1024, 3][0] / times[128, 30, 1024, 3][0]
    slope = f"{math.log(ratio) / math.log(200 / 30):.2f}"
    assert f"cudnn, train: slope {slope}" in figure.text_content()
    row = tab.locator("#rn-slopes tbody tr", has_text="cudnn, train")
    assert row.locator("td").nth(1).text_content() == slope


def test_a_slope_that_rounds_to_zero_has_no_sign(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with rewritten(other, "h100", history.newest) as content:
        for series in content["series"]:
            for row in series["figures"].get("train", []):
                row[1] = 1 - 1e-6 * SHAPES[row[0]][0]
    opener(tab, serve(other))(dashboard.NAME, machine="h100", commit=history.newest)
    shown = tab.locator("#rn-slopes tbody tr", has_text="train").locator("td").all_text_contents()
    assert set(shown) == {"0.00"}
    assert "slope -0.00" not in tab.locator("#rn-growth").text_content()


def test_no_two_lines_look_the_same(tab, html, serve, tmp_path):
    data = shutil.copytree(html, tmp_path / "html") / dashboard.NAME
    index = json.loads((data / "index.json").read_text())
    number, machine = next(pair for pair in enumerate(index["machines"]) if pair[1]["name"] == "h100")
    machine |= {"floors": {variant: {} for variant in VARIANTS}, "reasons": {variant: [] for variant in VARIANTS}}
    (data / "index.json").write_text(json.dumps(index))
    path = data / f"{number}-{machine['commits'][0][0]}.json"
    content = json.loads(path.read_text())
    content["series"] = [{**content["series"][0], "variant": variant} for variant in VARIANTS]
    path.write_text(json.dumps(content))

    opener(tab, serve(tmp_path / "html"))(dashboard.NAME, machine="h100")
    look = """lines => lines.map(line => [...line.querySelectorAll('svg *')].map(part => [
        part.outerHTML, ...['color', 'fill', 'strokeDasharray'].map(name => getComputedStyle(part)[name])]).join())"""
    looks = tab.locator("figure.growth >> nth=0 >> li").evaluate_all(look)
    assert len(looks) == len(set(looks)) == 2 * len(VARIANTS)


def test_the_published_figures_and_the_ratio_to_them(site, history):
    tab = site(dashboard.NAME, machine="h100", commit=history.newest)
    shown = rows(tab, "#rn-published .scroll >> nth=0 >> table")
    seconds = stored(MACHINES["h100"], "lstm.CudnnLSTM.time_train")[128, 200, 1024, 3][0]
    then, here, ratio, *_ = shown[(128, 200, 1024, 3), "cudnn"]
    assert then == "4720"  # published: 4719.5
    assert same(here, seconds / 128 * 1e6)
    assert same(ratio.rstrip("×"), 4719.5 / (seconds / 128 * 1e6))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("machine", MACHINES)
def test_accessibility(site, machine, width, history):
    commit = history.older if machine == "h100" else history.newest
    tab = site(dashboard.NAME, machine=machine, commit=commit)
    tab.set_viewport_size({"width": width, "height": 844})
    found = Axe().run(tab)
    assert not found.response["violations"], found.generate_report()


def test_a_phone_need_not_scroll_sideways(chromium, address, history):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
    tab = opener(context.new_page(), address)(dashboard.NAME, machine="h100", commit=history.older)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_print_leaves_out_what_only_a_screen_needs(site):
    tab = site(dashboard.NAME, machine="h100")
    tab.emulate_media(media="print")
    assert not tab.locator("#nav").is_visible()
    assert not tab.locator("#rn-machine").is_visible()
    assert tab.locator("#rn-times table").is_visible()


def test_leaving_the_tab_restores_asvs_pages(site):
    tab = site(dashboard.NAME, machine="h100")
    tab.get_by_role("link", name="Benchmark grid").click()
    tab.wait_for_selector(".benchmark-container")
    assert not tab.locator(f"#{dashboard.NAME}").is_visible()


def test_text_from_results_is_never_markup(tab, html, serve, tmp_path):
    hostile = "<img src=x onerror=alert(1)>&amp;\"'"
    shutil.copytree(html, tmp_path / "html")
    data = tmp_path / "html" / dashboard.NAME
    index = json.loads((data / "index.json").read_text())
    index["machines"][0] |= {
        "name": hostile,
        "facts": {hostile: hostile},
        "floors": {hostile: {}},
        "reasons": {hostile: []},
    }
    (data / "index.json").write_text(json.dumps(index))
    file = data / f"0-{index['machines'][0]['commits'][0][0]}.json"
    series = [one | {"variant": hostile, "environment": hostile} for one in json.loads(file.read_text())["series"]]
    ranking = ["", [hostile], [["1", "32 × 30", "128", hostile, hostile]]]
    software = ["", [hostile], [[hostile, hostile]]]
    file.write_text(json.dumps({"series": series, "ranking": ranking, "software": software}))

    opener(tab, serve(tmp_path / "html"))(dashboard.NAME)
    assert tab.locator(f"#{dashboard.NAME} img").count() == 0
    assert tab.locator("#rn-facts dd").first.text_content() == hostile
    assert hostile in tab.locator("#rn-machine").text_content()
    assert hostile in tab.locator("#rn-times").text_content()
    assert hostile in tab.locator("#rn-ranking").text_content()
    assert hostile in tab.locator("#rn-software").text_content()


def test_no_results_at_all(tab, html, serve, tmp_path):
    shutil.copytree(html, tmp_path / "html")
    data = tmp_path / "html" / dashboard.NAME / "index.json"
    data.write_text(json.dumps(json.loads(data.read_text()) | {"machines": []}))
    tab.goto(f"{serve(tmp_path / 'html')}#/{dashboard.NAME}")
    tab.wait_for_selector("text=There are no results yet")


def test_without_npm_publish_says_so_and_leaves_the_pages_as_they_are(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git"))
    other = History(tmp_path)
    html, said = other.publish(PATH=str(programs), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "from public servers, since npm, which fetches them, isn't installed" in said
    assert "https://code.jquery.com/" in (html / "index.html").read_text()
    assert (html / dashboard.NAME / "index.json").is_file()


def test_a_broken_results_file_is_named_and_left_out(tmp_path):
    other = History(tmp_path)
    broken = other.results / "h100" / f"{other.newest[:8]}-broken.json"
    broken.write_text(MACHINES["h100"].read_text()[:1000])
    html, said = other.publish()
    assert re.search(rf"leaving out .*{broken.name}", said)
    assert len(list((html / dashboard.NAME).glob("*.json"))) == 4


# Results from strangers

MARKUP = "<img src=x onerror=window.ran=1>"
# What asv may be shown, since it does no harm as text, in the order of their names.
TRICKY = {
    "arch": "javascript:window.ran=1",
    "cpu": "&lt;img src=x onerror=window.ran=1&gt;",
    "gpu": "' onmouseover='window.ran=1",
    "os": '" onmouseover="window.ran=1" autofocus onfocus="window.ran=1',
    "ram": "1" * 140,
    "toString": "{{constructor.constructor('window.ran=1')()}}",
}


class HostileHistory(History):
    """What was recorded with files from strangers in it: of each, what is refused, and what is shown as text."""

    def __init__(self, folder):
        super().__init__(folder)
        self.good = json.loads(MACHINES["epyc-2core"].read_text())
        self.refused = [
            self.add("markup", machine=MARKUP),
            self.add("folders", machine="../../escaped"),
            self.add("prototype", machine="__proto__"),
            self.add("turned", machine="safe\u202egnp.exe"),
            self.add("escapes", machine="\x1b[2J\x1b]0;owned\x07"),
            self.add("fact", facts={"cpu": MARKUP}),
            self.add("long", facts={"cpu": "a" * 256}),
            self.add("polluting", facts={"__proto__": "polluted"}),
            self.add("outside", run={"env_name": "../../escaped"}),
            self.add("bench", run={"results": {f"lstm.{MARKUP}.time_train": self.row()}}),
            self.add("pollutes", run={"results": {"__proto__": self.row()}}),
            self.add("pickled", run={"results": {"lstm.ScanLSTM.time_train": [*self.row(), None, "gASVHgAAAAAAAAA="]}}),
            self.add("gigantic", run={"results": {"lstm.ScanLSTM.time_train": self.row(10**400)}}),
            self.add("endless", run={"results": {"lstm.ScanLSTM.time_train": self.row(float("inf"))}}),
            self.add("dated", run={"date": 10**30}),
            self.add("nested", text="[" * 10**5),
        ]
        constructor = {"lstm.ConstructorLSTM.time_train": self.row(), "lstm.ScanLSTM.time_train": self.row()}
        self.add("tricky", facts=TRICKY, run={"results": constructor})
        path = self.results / "benchmarks.json"
        benchmarks = json.loads(path.read_text())
        template = benchmarks["lstm.ScanLSTM.time_train"]
        for name in benchmarks.keys() - {"version"}:
            benchmarks[name]["code"] += MARKUP
        benchmarks["lstm.ConstructorLSTM.time_train"] = template | {"name": "lstm.ConstructorLSTM.time_train"}
        path.write_text(json.dumps(benchmarks))

    def row(self, value=0.1):
        return [[value] * len(SHAPES), *self.good["results"]["lstm.ScanLSTM.time_train"][1:5]]

    def add(self, folder, machine=None, facts=None, run=None, text=None):
        """Add a machine with a results file; return the file that is wrong."""
        described = {"machine": machine or folder, **(facts or {})}
        place = self.results / folder
        place.mkdir()
        (place / "machine.json").write_text(json.dumps({**described, "version": 1}))
        path = place / MACHINES["epyc-2core"].name
        content = self.good | {"params": {**described, "python": "3.11"}} | (run or {})
        path.write_text(text or json.dumps(content))
        return path if run or text else place / "machine.json"

    def publish(self, **environment):
        """As a user does it: asv's own commands have no guard."""
        html = self.folder / "html"
        settings = json.loads((ROOT / "asv.conf.json").read_text()) | {"repo": str(ROOT)}
        (self.folder / "asv.conf.json").write_text(json.dumps(settings))
        rnnbench = Path(sys.executable).with_name("rnnbench")
        done = subprocess.run([rnnbench, "publish"], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return html, done.stdout + done.stderr


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return HostileHistory(tmp_path_factory.mktemp("hostile"))


def test_nothing_from_strangers_runs(tab, hostile, serve):
    html, said = hostile.publish()
    for path in hostile.refused:
        assert f"leaving out {path.relative_to(hostile.folder)}: it" in said
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    published = {path.relative_to(html) for path in html.rglob("*")}
    assert not [path for path in published if re.search("[<>]|escaped|__proto__", str(path))]
    assert not list(hostile.folder.rglob("*escaped*"))

    address = serve(html)
    benchmarks = ("lstm.ScanLSTM.time_train", "lstm.ConstructorLSTM.time_train")
    places = ("", "summarylist?machine=tricky", "regressions", *benchmarks, f"{dashboard.NAME}?machine=tricky")
    for number, place in enumerate(places):
        tab.goto(f"{address}?{number}#/{place}")
        tab.wait_for_load_state("networkidle")
        # Each thing that shows more under the mouse.
        for name in (".benchmark-container", ".benchmark-plot", "#nav a", ".panel-body a", "td"):
            for element in tab.locator(f"{name}:visible").all()[:12]:
                element.dispatch_event("mouseover")
                element.dispatch_event("mouseenter")
        assert tab.evaluate("[window.ran, {}.polluted, document.querySelectorAll('img[src=x]').length]") == [
            None,
            None,
            0,
        ]
    facts = dict(zip(*(tab.locator(f"#rn-facts {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert all(facts[key] == text for key, text in TRICKY.items() if key != "ram")
    assert {implementation for _, implementation in rows(tab, "#rn-times")} == {"scan", "constructor"}


def test_what_strangers_wrote_moves_no_cursor(hostile, tmp_path):
    rnnbench = [Path(sys.executable).with_name("rnnbench")]
    machines = ["tricky", "h100", "safe\ufffdgnp.exe", "gigantic"]
    for arguments in (["history"], *(["report", "--machine", machine] for machine in machines)):
        command = [*rnnbench, *arguments, "--results", hostile.results]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode in (0, 1)
        assert "Traceback" not in done.stderr
        assert all(letter.isprintable() or letter == "\n" for letter in done.stdout + done.stderr)
        assert not list(tmp_path.iterdir())


def test_nothing_is_unpickled(hostile):
    program = (
        "import sys\n"
        "sys.addaudithook(lambda event, args: event == 'pickle.find_class' and sys.exit(f'unpickled: {args}'))\n"
        "from rnnbench.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for command in ("history", "report"):
        arguments = [command, "--results", hostile.results]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert "unpickled" not in done.stderr
        assert done.returncode in (0, 1)


def test_the_preview_listens_on_the_loopback_alone(html):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("rnnbench"), "preview", "--html", html, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        listening = [
            line.split()[1] for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()
        ]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.json") as response:
            assert json.load(response)["project"] == "rnnbench"
        server.send_signal(signal.SIGINT)
    assert server.returncode == 128 + signal.SIGINT
