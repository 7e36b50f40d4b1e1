"""Old names of modules that moved."""

import importlib
import subprocess
import sys

import pytest
from conftest import ROOT

from eval.shared.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_the_module_itself(old):
    new = importlib.import_module(MOVED[old])
    spec = new.__spec__
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=MOVED[old]):
        assert importlib.import_module(old) is new
    assert new.__spec__ is spec and new.__name__ == MOVED[old]


def test_a_command_runs_under_its_old_name():
    command = [sys.executable, "-m", "data_prep.score", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and "--" in run.stdout, run.stderr


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("eval.no_such_module")
