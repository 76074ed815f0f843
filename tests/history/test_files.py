"""Files and folders are replaced as a whole, on any file system, and through links."""

import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from rnnbench.history import files


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than `tmp_path`."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this system has no second file system that a test may write to")
    folder = Path(tempfile.mkdtemp(dir=memory, prefix="rnnbench-"))
    yield folder
    shutil.rmtree(folder)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def folder_with(path, **content):
    for name, text in content.items():
        file = path / name.replace("_", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("is_link", [True, False])
@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_a_folder_is_replaced(exists, is_link, is_elsewhere, tmp_path, elsewhere):
    target = (elsewhere if is_elsewhere else tmp_path) / "html"
    if exists:
        folder_with(target, index="old", gone="old", graphs_gone_a="old")
    (tmp_path / "link").symlink_to(target)
    fresh = folder_with(tmp_path / "fresh", index="new", graphs_a="new")
    files.replace_folder(fresh, tmp_path / "link" if is_link else target)
    assert tree(target) == {"index": "new", "graphs/a": "new"}
    assert not (target / "graphs" / "gone").exists()
    assert (tmp_path / "link").is_symlink()


def test_a_folder_is_never_absent_while_it_is_replaced(tmp_path):
    """A process that is killed in between leaves one of the two."""
    target, fresh = (folder_with(tmp_path / name, index=name) for name in ("html", "fresh"))
    replaced, is_enough = [], threading.Event()

    def replace():
        while not is_enough.is_set():
            files.replace_folder(fresh, target)
            replaced.append(target)

    thread = threading.Thread(target=replace)
    thread.start()
    seen, reads = set(), 0
    try:
        while thread.is_alive() and reads < 100_000 and (min(reads, len(replaced)) < 300 or len(seen) < 2):
            seen.add((target / "index").read_text())
            reads += 1
    finally:
        is_enough.set()
        thread.join()
    assert len(replaced) >= 300
    assert seen == {"html", "fresh"}
    assert (target / "index").read_text() == ("fresh" if len(replaced) % 2 else "html")


def test_a_folder_that_cannot_be_moved_is_filled(tmp_path, monkeypatch):
    """As where it is a mount point, or where the folder around it can't be written."""
    target = folder_with(tmp_path / "html", index="old", gone="old")
    fresh = folder_with(tmp_path / "fresh", index="new")

    def refuse(one, other):
        raise OSError("Device or resource busy")

    monkeypatch.setattr(files, "_exchange", refuse)
    files.replace_folder(fresh, target)
    assert tree(target) == {"index": "new"}


def test_a_file_is_written_through_a_link(tmp_path):
    """People keep their settings under version control, and link to them."""
    target = tmp_path / "there" / "machines.json"
    target.parent.mkdir()
    target.write_text("old")
    (tmp_path / "link").symlink_to(target)
    files.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
