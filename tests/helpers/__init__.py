"""What the tests share: made-up results, recorded ones, variants made for tests, and a clone of this repository."""

from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]  # of the checkout
