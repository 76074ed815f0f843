"""What the tests share: made-up results, recorded ones, variants made for tests, and a clone of this repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
