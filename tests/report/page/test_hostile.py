"""Tests of results files from strangers: their text is shown as text, and none of their code runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import fuzz
from helpers.dashboard import (
    MACHINES,
    SHAPES,
    History,
    edited_index,
    page_opener,
    read_data,
    times,
    unfold,
    write_data,
)

from rnnbench.report import page as dashboard

MARKUP = "<img src=x onerror=window.ran=1>"
# Facts that rnnbench accepts, because they do no harm as text. They are sorted by name.
TRICKY = {
    "arch": "javascript:window.ran=1",
    "cpu": "&lt;img src=x onerror=window.ran=1&gt;",
    "gpu": "' onmouseover='window.ran=1",
    "os": '" onmouseover="window.ran=1" autofocus onfocus="window.ran=1',
    "ram": "1" * 140,
    "toString": "{{constructor.constructor('window.ran=1')()}}",
}


class HostileHistory(History):
    """The recorded results, with hostile machines added: some are refused, one is shown as text."""

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
        """Add a machine with a results file; return the path of the invalid file."""
        described = {"machine": machine or folder, **(facts or {})}
        place = self.results / folder
        place.mkdir()
        (place / "machine.json").write_text(json.dumps({**described, "version": 1}))
        path = place / MACHINES["epyc-2core"].name
        content = self.good | {"params": {**described, "python": "3.11"}} | (run or {})
        path.write_text(text or json.dumps(content))
        return path if run or text else place / "machine.json"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return HostileHistory(tmp_path_factory.mktemp("hostile"))


def test_text_from_results_is_never_markup(tab, html, serve, tmp_path):
    hostile = "<img src=x onerror=alert(1)>&amp;\"'\\`"
    other = shutil.copytree(html, tmp_path / "html")
    with edited_index(other) as index:
        number = [machine["name"] for machine in index["machines"]].index("h100")
        commit = index["machines"][number]["networks"]["lstm"]["records"][0]["commit"]
        index["machines"][number] |= {"name": hostile, "hardware": hostile, "facts": [[hostile, hostile]]}
    content = read_data(other, f"{number}-{commit}-lstm")
    for implementation in content["implementations"]:
        implementation |= {"name": hostile, "label": hostile, "environment": hostile}
    content |= {
        "sentences": {"seed": {"strict": hostile}},
        "ranking": ["", [hostile] * 5, [["1", "32 × 30", "128", "train", hostile]]],
        "software": ["", [hostile] * 2, [[hostile, hostile]]],
    }
    write_data(other, f"{number}-{commit}-lstm", content)
    page_opener(tab, serve(other))(commit=commit)
    tab.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")
    tab.wait_for_selector("#software-rows")
    assert tab.locator("img").count() == 0
    assert tab.locator("#facts dd").first.text_content() == hostile
    for name in ("#machine", "#chart-title", "#dots", "#times", "#ranking-table", "#software-table"):
        assert hostile in tab.locator(name).text_content()


def test_nothing_from_strangers_runs(tab, hostile, serve):
    html, said = hostile.publish()
    for path in hostile.refused:
        assert f"leaving out {path}: it" in said
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    published = {path.relative_to(html) for path in html.rglob("*")}
    assert not [path for path in published if re.search("[<>]|escaped|__proto__", str(path))]
    assert not list(hostile.folder.rglob("*escaped*"))

    address = serve(html)
    benchmarks = ("lstm.ScanLSTM.time_train", "lstm.ConstructorLSTM.time_train")
    asv = [
        f"{dashboard.ASV_PAGE}?{place}#/{place}"
        for place in ("", "summarylist?machine=tricky", "regressions", *benchmarks)
    ]
    for place in (*asv, "index.html?machine=tricky"):
        tab.goto(f"{address}{place}")
        tab.wait_for_load_state("networkidle")
        # Move the mouse over each element that may show more.
        for name in (".benchmark-container", ".benchmark-plot", "#nav a", ".panel-body a", "td"):
            for element in tab.locator(f"{name}:visible").all()[:12]:
                element.dispatch_event("mouseover")
                element.dispatch_event("mouseenter")
        assert tab.evaluate("[window.ran, {}.polluted, document.querySelectorAll('img[src=x]').length]") == [
            None,
            None,
            0,
        ]
    unfold(tab, "software")
    facts = dict(zip(*(tab.locator(f"#facts {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert all(facts[key] == text for key, text in TRICKY.items() if key != "ram")
    assert {implementation for _, implementation in times(tab, "train")} == {"scan", "constructor"}


def test_hostile_text_moves_no_cursor(hostile, tmp_path):
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


def test_any_address_opens_the_page(html, chromium):
    fuzz.check_addresses(html, chromium, fuzz.addresses(500, "0"))
