"""Fixtures with folders of made-up results."""

import pytest
from helpers import synthetic
from helpers.reports import PEAKS


@pytest.fixture
def two_machines(tmp_path):
    """Return a results folder with two machines, north and south, and no run. Only north's peak rates are known."""
    synthetic.write_machine(tmp_path, "north", **PEAKS)
    synthetic.write_machine(tmp_path, "south", gpu="A GPU")
    return tmp_path


@pytest.fixture(scope="session")
def full_history(tmp_path_factory):
    """Return a folder with three commits of the full grid on three machines, and their hashes, the newest last."""
    folder = tmp_path_factory.mktemp("full")
    return folder, synthetic.write(folder, 3)
