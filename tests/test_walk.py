"""The notebooks of the walk: their form, and that the README lists them. test_pipeline.py runs them."""

import ast
import re

import pytest
from conftest import ROOT

FOLDER = ROOT / "docs" / "walk"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))


def cells(path) -> list[tuple[str, str]]:
    """(kind, text) of each cell in percent format."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(), flags=re.MULTILINE)
    assert not parts[0].strip(), "something stands before the first cell"
    return [(kind.strip(" []") or "code", text) for kind, text in zip(parts[1::2], parts[2::2])]


def test_there_are_ten_and_the_readme_lists_them():
    listed = re.findall(r"`(\d\d_\w+\.py)`", (FOLDER / "README.md").read_text())
    assert listed == [path.name for path in NOTEBOOKS] and len(listed) == 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_question_a_picture_and_what_to_try(path):
    (kind, first), (second, picture), *_, (last_kind, last) = cells(path)
    assert kind == last_kind == "markdown" and second == "code"
    assert first.startswith(f"# # {int(path.name[:2])}. ") and "**Question.**" in first
    assert f'show("{path.stem}"' in picture, "it does not open with its picture"
    assert "**What you see on tiny.**" in last and "**Change and try.**" in last
    for kind, text in cells(path):
        assert kind in ("markdown", "code")
        assert kind == "code" or all(line.startswith("#") for line in text.splitlines() if line)
    ast.parse(path.read_text())
