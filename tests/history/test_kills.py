"""Commands that are killed at random moments lose and change no figure; `make test-kills` ends many more."""

import json
import os
import secrets

import pytest
from helpers import kills

SEED = int(os.environ.get("RNNBENCH_TEST_SEED", secrets.randbelow(10**6)))


def test_killed_commands_damage_nothing():
    print(f"RNNBENCH_TEST_SEED={SEED}")
    assert kills.campaign(10, SEED, names=("asv rm", "readme", "selftest")).total() == 10


def without_states(content):
    content["state"] = {}


def with_another_figure(content):
    content["results"][kills.OTHER][0][0] *= 2


def without_figures(content):
    content["results"].clear()


def test_damage_is_found(tmp_path):
    place = kills.Place(tmp_path, names=())
    before = place.recorded()
    assert place.check(before) == set()
    # Plain asv leaves a results file without states for a moment.
    for damage in (without_states, with_another_figure, without_figures):
        content = json.loads(before[place.file])
        damage(content)
        place.file.write_text(json.dumps(content))
        with pytest.raises(kills.Damage, match=r"other figures or states|has changed"):
            place.check(before)
        place.restore(before)
    place.file.write_bytes(before[place.file][:-9])
    with pytest.raises(ValueError, match="cut off"):
        place.check(before)
