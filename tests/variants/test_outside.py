"""Implementations from outside: a file by its path, and the modules that installed packages name."""

import sys

import pytest

from rnnbench import Unavailable, Workload, build, variants

WORK = Workload(2, 3, 4, 1)
REFERENCE = """
from rnnbench import reference

class Network:
    def __init__(self, work, device):
        self.outputs = self.forward = lambda: reference.outputs(work).astype("float32")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with modules, and with entry points from names to modules."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install(package, modules, points):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        folder = tmp_path / f"{package}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {package}\nVersion: 1\n")
        lines = "".join(f"{name} = {module}\n" for name, module in points.items())
        (folder / "entry_points.txt").write_text(f"[rnnbench.variants]\n{lines}")
        variants._installed.cache_clear()

    yield install
    variants._installed.cache_clear()


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_file_is_built_like_any_implementation(write):
    path = write(REFERENCE)
    assert build(path, WORK).outputs().shape == (3, 2, 4)
    assert variants.available("cpu", [path]) == {path: None}


def test_a_file_can_import_its_neighbours_and_has_a_name_of_its_own(write):
    write("from reference_kernel import Network", "numpy.py")
    path = write("import numpy; from neighbour import Network", "json.py")
    write(REFERENCE, "neighbour.py")
    assert variants.find(path).fault is None
    assert build(path, WORK).outputs().shape == (3, 2, 4)
    assert "json" not in {name for name in sys.modules if getattr(sys.modules[name], "__file__", "") == path}


def test_two_files_of_the_same_name_are_two_implementations(write, tmp_path):
    (tmp_path / "other").mkdir()
    first, second = write(REFERENCE), write("VARIANT = 1", "other/mine.py")
    assert variants.find(first).fault is None
    assert variants.find(second).fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit('ended')", "SystemExit: ended"),
        ("x = 1", "defines no Network"),
        ("class Network: pass\nVARIANT = 1", "the VARIANT of"),
    ],
)
def test_a_broken_file_gives_a_sentence(text, words, write, run):
    path = write(text)
    assert words in variants.find(path).fault
    with pytest.raises(Unavailable, match="can't run on cpu"):
        build(path, WORK)
    status, output, errors = run(["verify", path])
    assert (status, errors) == (1, "rnnbench: nothing could be checked on cpu\n")
    assert f"{path} can't run: " in output
    assert words in output


def test_a_file_whose_functions_raise_gives_a_sentence(write, run):
    path = write(REFERENCE + "def unavailable(device):\n    raise RuntimeError('no\\nthing')\n")
    assert variants.available("cpu", [path]) == {path: "its unavailable() raises RuntimeError: no"}
    path = write(REFERENCE + "def supports(work):\n    return work.nothing\n", "other.py")
    assert variants.supports(path, WORK).startswith("its supports() raises AttributeError: ")
    status, _, errors = run(["time", "2x3x4", path])
    assert status == 1
    assert "its supports() raises AttributeError" in errors


def test_a_file_that_is_not_there_is_a_wrong_argument(run):
    for command in (["verify", "./nowhere.py"], ["time", "2x3x4", "./nowhere.py"], ["compare", ".", ".", "nowhere.py"]):
        status, _, errors = run(command)
        assert status == 2
        assert "there is no such file" in errors


def test_an_installed_package_adds_an_implementation(install, run):
    install("rows", {"reference_kernel": REFERENCE}, {"mine": "reference_kernel"})
    assert variants.available("cpu")["mine"] is None
    assert build("mine", WORK).outputs().shape == (3, 2, 4)
    assert "mine: An implementation from reference_kernel\n    runs on cpu\n" in run(["variants"])[1]
    assert "mine" not in variants.VARIANTS  # asv times those of this repository


def test_a_broken_package_breaks_no_other(install, run):
    install("good", {"good_kernel": REFERENCE}, {"good": "good_kernel"})
    install("bad", {"bad_kernel": "1 / 0"}, {"bad": "bad_kernel", "absent": "no.such.module", "wrong": "good_kernel:x"})
    reasons = variants.available("cpu")
    assert reasons["good"] is None
    assert reasons["bad"] == "bad_kernel can't be loaded: ZeroDivisionError: division by zero"
    assert "no.such.module can't be loaded: ModuleNotFoundError" in reasons["absent"]
    assert "good_kernel:x can't be loaded" in reasons["wrong"]
    status, output, errors = run(["variants"])
    assert (status, errors) == (0, "")
    assert "cannot run: bad_kernel can't be loaded" in output


def test_a_taken_name_gets_the_packages(install):
    install("one", {"one_kernel": REFERENCE}, {"scan": "one_kernel"})
    assert variants.find("scan").source is None
    assert variants.find("one:scan").source == "one_kernel"


def test_the_row_of_a_file_counts(write):
    row = "from rnnbench.variants import Variant\nVARIANT = Variant('x', 'X', 'A thing', ('cuda',), tolerance=0.1)\n"
    path = write(row + REFERENCE)
    assert variants.available("cpu", [path]) == {path: "it is made for cuda"}
    assert variants.find(path).tolerance == 0.1
