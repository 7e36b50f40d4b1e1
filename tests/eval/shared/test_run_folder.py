"""Paths of a recipe's run folder become those of another; what only begins alike stays."""

import pytest

from eval.shared.run_folder import moved


@pytest.mark.parametrize(
    "value, expected",
    [
        ("runs/tiny", "out"),
        ("runs/tiny/base", "out/base"),
        ("name=runs/tiny/base", "name=out/base"),
        ("runs/tiny/web/documents/*.jsonl.gz", "out/web/documents/*.jsonl.gz"),
        ("runs/tiny_x/base", "runs/tiny_x/base"),
        ("runs/tiny-1", "runs/tiny-1"),
        ("other/runs/tiny", "other/runs/tiny"),
        ({"a": ["runs/tiny/b", 3]}, {"a": ["out/b", 3]}),
        (None, None),
    ],
)
def test_moved(value, expected):
    assert moved(value, "runs/tiny", "out") == expected
