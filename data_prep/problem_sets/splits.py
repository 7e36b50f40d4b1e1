"""Which split a generated problem is of: by what is asked alone, so that no two sets share an item."""

import hashlib
import random
from collections.abc import Callable
from typing import Any

SPLITS = ("train", "validation", "test")


def split_of(key: str) -> str:
    """train (65 %), validation (10 %) or test (25 %), by a hash of what identifies the problem."""
    n = int(hashlib.md5(key.encode()).hexdigest(), 16) % 100
    if n < 25:
        return "test"
    return "validation" if n < 35 else "train"


def draw_of_split(
    rng: random.Random, split: str, draw: Callable[[random.Random], Any], key: Callable[[Any], str]
) -> Any:
    """The first of `draw(rng)` whose `key` is of the split."""
    for _ in range(10_000):
        item = draw(rng)
        if split_of(key(item)) == split:
            return item
    raise ValueError(f"no item of the split {split} in 10,000 draws")
