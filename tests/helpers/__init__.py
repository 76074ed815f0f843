"""Helpers that tests share: made-up and recorded results, variants made for tests, a clone of this repository."""

from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]  # the checkout
