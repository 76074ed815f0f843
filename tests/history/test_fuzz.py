"""A few inputs of each kind that `make test-fuzz` gives to the commands: they answer in a sentence and in time."""

import logging
import os
import random
import secrets

import pytest
from helpers import fuzz, log

SEED = os.environ.get("RNNBENCH_TEST_SEED", str(secrets.randbelow(10**6)))


def test_random_inputs_are_answered_in_a_sentence():
    print(f"RNNBENCH_TEST_SEED={SEED}")
    assert {kind for kind, _ in fuzz.campaign(300, SEED)} == set(fuzz.SHARES)


def test_a_traceback_is_found(monkeypatch):
    def fail(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(fuzz, "main", fail)
    with pytest.raises(fuzz.Wrong, match="input 1/command_line/0: ZeroDivisionError"):
        fuzz.campaign(5, "1")


def test_a_hang_is_found(monkeypatch):
    def hang(arguments):
        while True:
            pass

    monkeypatch.setattr(fuzz, "main", hang)
    monkeypatch.setattr(fuzz, "LIMIT", 0.1)
    with pytest.raises(fuzz.Wrong, match="it took longer than"):
        fuzz.campaign(5, "1")


def test_an_input_can_be_repeated():
    first, second = (fuzz.changed(random.Random("1/results/7"), {"a": [1, 2], "b": {"c": "d"}}) for _ in range(2))
    assert first == second


def test_a_command_with_verbose_changes_the_log_for_no_other_test(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # else publish would change to the folder of --config, and stay
    root = logging.getLogger()
    before = root.level, root.handlers.copy()
    with log.kept():
        run(["publish", "--verbose", "--config", str(tmp_path / "missing.json")])
        assert root.level == logging.DEBUG
    assert (root.level, root.handlers) == before
