"""rnnbench readme: the parts of Markdown files that it writes from results/ and the registry."""

import re
import statistics

import pytest
from helpers import ROOT, recorded
from helpers.recorded import RESULTS

from rnnbench import variants
from rnnbench.history import NotFound, live_selftest
from rnnbench.network import precision
from rnnbench.network.shapes import GRIDS
from rnnbench.report import documents, formats, summary, tables

DOCUMENTS = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "<!-- end" in path.read_text()
]
H100 = "h100@fc372c93"


@pytest.fixture
def rewritten(tmp_path):
    """Return a function that rewrites a text as a document: its new text, and the other files by their names."""

    def rewrite(text, results=recorded.HISTORY):
        document = tmp_path / "page.md"
        document.write_text(text)
        found = documents.rewrite(document, results)
        return found.pop(document).decode(), {
            path.relative_to(tmp_path).as_posix(): data for path, data in found.items()
        }

    return rewrite


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_written_parts_and_the_pictures_are_the_results(document):
    for path, content in documents.rewrite(document, recorded.HISTORY).items():
        assert path.read_bytes() == content, f"{path} is stale: make readme"


def test_the_readme_has_the_picture_the_answer_and_a_short_table():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    kinds = re.findall("<!-- (\\w+): ", text)
    assert kinds == ["answer", "picture", "summary"]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert 2 <= len(rows) <= 10
    assert text.index("make bench") < text.index("make preview") < text.index("<!-- answer")


def test_every_link_between_the_documents_leads_somewhere():
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if "://" not in target:
                path, _, heading = target.partition("#")
                linked = (document.parent / path) if path else document
                assert linked.exists(), f"{document.name} links {target}"
                headings = [
                    re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                    for line in linked.read_text().splitlines()
                    if heading and line.startswith("#")
                ]
                assert not heading or heading in headings, f"{document.name} links {target}"


def test_what_stands_between_the_marks_is_replaced_and_nothing_else(tmp_path, run):
    paths = [tmp_path / "README.md", tmp_path / "other.md"]
    text = "top\n<!-- table: h100 -->\nold\n<!-- end -->\nafter\n<!-- table: epyc-2core -->\n<!-- end -->\n"
    for path in paths:
        path.write_text(text)
    command = ["readme", *map(str, paths), "--results", str(RESULTS)]
    assert run(command) == (0, "", "")
    table = "(\\|.*\n)+\n(- .*\n)+"
    around = f"top\n<!-- table: h100 -->\n{table}<!-- end -->\nafter\n<!-- table: epyc-2core -->\n{table}<!-- end -->\n"
    written = paths[0].read_text()
    assert paths[1].read_text() == written
    assert re.fullmatch(around, written)
    assert "44.4 (44.2–44.6)" in written.split("after")[0]
    assert run(command) == (0, "", "")
    assert paths[0].read_text() == written


def test_a_mark_can_name_its_commit(rewritten):
    old, new = (rewritten(f"<!-- table: h100{at} cudnn -->\n<!-- end -->\n")[0] for at in ("@fcae1cdc", ""))
    assert old.startswith("<!-- table: h100@fcae1cdc cudnn -->\n|")
    assert old.splitlines()[1:] != new.splitlines()[1:]
    with pytest.raises(NotFound, match="0123456"):
        rewritten("<!-- table: h100@0123456 -->\n<!-- end -->\n")


def test_a_mark_can_name_its_variants(rewritten):
    written, _ = rewritten("<!-- table: h100 cudnn -->\n<!-- end -->\n", RESULTS)
    assert {line.split("|")[4].strip() for line in written.splitlines()[3:] if line[0:1] == "|"} == {"cudnn"}
    assert written.startswith("<!-- table: h100 cudnn -->\n")


def test_a_mark_can_ask_for_the_ranking(rewritten):
    written, _ = rewritten("<!-- ranking: h100@ec908981 scan cudnn -->\n<!-- end -->\n")
    rows = [[text.strip() for text in line.split("|")] for line in written.splitlines() if line[0:1] == "|"]
    assert rows[0][4:6] == ["call", "fastest"]
    assert (len(rows), {row[5] for row in rows[2:]}) == (22, {"cudnn", "cudnn?"})
    assert ["1", "32 × 30", "128", "train", "cudnn", "43.4 (41.3–56.9)"] in [row[1:7] for row in rows]


def test_the_summary_has_the_geometric_mean_over_the_shapes(rewritten):
    report = tables.make(recorded.HISTORY, "h100", "fc372c93")
    times = {
        (row.figure.variant, row.figure.shape): row.figure.value
        for row in report.rows
        if row.figure.quantity == "train" and precision.of_variant(row.figure.variant) == "float32"
    }
    names = {name for name, _ in times}
    fastest = {shape: min(times[name, shape] for name in names) for shape in GRIDS["seed"]}
    expected = {
        name: statistics.geometric_mean(times[name, shape] / fastest[shape] for shape in GRIDS["seed"])
        for name in names
    }
    found = summary.summaries(report, "train")
    assert {one.variant: pytest.approx(one.mean) for one in found} == expected
    assert [one.mean for one in found] == sorted(expected.values())
    written, _ = rewritten(f"<!-- summary: {H100} -->\n<!-- end -->\n")
    rows = [[text.strip() for text in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"`{one.variant}`" for one in found]
    assert all(row[2].startswith(f"{formats.ratio_text(one.mean)} (") for row, one in zip(rows, found, strict=True))
    # At a shape there is one winner, or several that tie.
    wins = sum(int(row[3].split()[0]) for row in rows)
    assert wins == sum(one.wins for one in found)
    tied = sum(
        not standing.lead.ratio.is_tie
        for standing in tables.standings(report.rows, report.detectable)
        if (standing.quantity, standing.precision) == ("train", "float32")
    )
    assert wins == tied
    assert 2 * (len(GRIDS["seed"]) - wins) <= sum(one.ties for one in found)


def test_the_answer_names_the_fastest_and_how_much_longer_the_others_take(rewritten):
    written, _ = rewritten(f"<!-- answer: {H100} -->\n<!-- end -->\n")
    sentence = written.splitlines()[1]
    assert "`cudnn` (Theano, cuDNN) trains fastest in 5 of 10 shapes and shares the lead in 5;" in sentence
    assert re.search(r"`torch` \(PyTorch\) takes 1\.28 times as long as the fastest, `scan` .* `torch_loop` ", sentence)


def test_a_single_implementation_has_no_answer(rewritten):
    with pytest.raises(NotFound, match="two implementations"):
        rewritten(f"<!-- answer: {H100} scan -->\n<!-- end -->\n")


def test_the_picture_is_drawn_beside_the_document(rewritten):
    written, files = rewritten(f"<!-- picture: {H100} figure.svg -->\n<!-- end -->\n")
    assert re.search(r"!\[[^\]]*fastest in 5 of 10 shapes[^\]]*\]\(figure\.svg\)", written)
    assert list(files) == ["figure.svg"]
    assert files["figure.svg"].startswith(b"<?xml")
    # A dot for each shape and call of each implementation.
    assert files["figure.svg"].count(b"<use ") >= 8 * 10 * 2


def test_a_machines_selftest_has_a_row_for_each_slowdown(rewritten, tmp_path):
    source, sizes = ("0123abcd", "2026-11-27", "fused"), "32, 30, 128, 1"
    results = tmp_path / "results"
    rows = [
        live_selftest.Row(*source, sizes, function, 0.003, slowdown, 20, 1000, slower, 1, 9, took)
        for function, took in (("forward", 14.2), ("train", 21.0))
        for slowdown, slower in ((0.0, 2), (0.02, 950))
    ]
    live_selftest.save(rows, results / "north")
    written, _ = rewritten("<!-- selftest: north -->\n<!-- end -->\n", results)
    table = [[text.strip() for text in line.split("|")[1:-1]] for line in written.splitlines() if line[0] == "|"]
    assert table[2:] == [
        ["the same code", "3%", "2,000", "4", "2", "1,976", "18", "14 to 21 s"],
        ["2% slower", "1%", "2,000", "1,900", "2", "80", "18", "14 to 21 s"],
    ]
    with pytest.raises(NotFound, match="rnnbench selftest --machine south writes it"):
        rewritten("<!-- selftest: south -->\n<!-- end -->\n", results)


def test_every_implementation_has_a_row(rewritten):
    written, _ = rewritten("<!-- implementations -->\n<!-- end -->\n")
    rows = [[text.strip() for text in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("| `")]
    names = []
    for name, _, _, _, _, twins, _ in rows:
        names += [name.strip("`"), *(name.strip("`") + twin.strip("`") for twin in twins.split(", ") if twin)]
    assert sorted(names) == sorted(variants.VARIANTS)
    assert [name for name in names if name in ("torch", "torch_tf32", "torch_fp16", "torch_bf16")] == names[6:10]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("no mark", "<!-- table: MACHINE -->"),
        ("<!-- table: attic -->\n<!-- end -->", "attic"),
        ("<!-- tabel: h100 -->\n<!-- end -->", "tabel"),
        ("<!-- table -->\n<!-- end -->", "table"),
        ("<!-- picture: h100 -->\n<!-- end -->", "picture"),
    ],
)
def test_a_document_that_cannot_be_written_is_left(text, named, tmp_path, run):
    path = tmp_path / "README.md"
    path.write_text(text)
    status, output, errors = run(["readme", str(path), "--results", str(RESULTS)])
    assert (status, output) == (1, "")
    assert named in errors
    assert path.read_text() == text
