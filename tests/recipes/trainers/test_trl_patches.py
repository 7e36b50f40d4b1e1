"""The lines of TRL that our replacements depend on are there; where not, the test fails with a sentence."""

import math
import os

import pytest

from recipes.trainers.patches import Patch, environment, moved_upstream, replaced
from recipes.trainers.trl_patches import PATCHES


def marked(patch: Patch):
    marks = [pytest.mark.ppo] if "ppo" in patch.module else []
    return pytest.param(patch, marks=marks, id=f"{patch.name}: {patch.line[:40]}")


@pytest.mark.parametrize("patch", map(marked, PATCHES))
def test_trl_still_has_the_line(patch):
    assert moved_upstream([patch]) == []


def test_a_change_upstream_is_told_in_a_sentence():
    gone = Patch("json", "no_such_name", "", "a reason")
    changed = Patch("json", "dumps", "no such line", "a reason")
    told = moved_upstream([gone, changed, Patch("json", "dumps", "def dumps(", "a reason")])
    assert told == [
        "json has no no_such_name any more: find where it went (a reason).",
        "json no longer says 'no such line': look whether replacing dumps still works (a reason).",
    ]


def test_what_is_replaced_comes_back_after_an_error():
    before = math.floor
    with pytest.raises(ValueError), replaced(math, floor=math.ceil), environment(TUMBLER_A="1"):
        assert math.floor(0.5) == 1 and os.environ["TUMBLER_A"] == "1"
        raise ValueError
    assert math.floor is before and "TUMBLER_A" not in os.environ
