"""`--help`: what a script is for and its own options; those of the libraries' classes are asked for by name."""

import subprocess
import sys

import pytest

from eval.cli import parse


def help_of(capsys, *argv: str) -> str:
    from trl import ModelConfig, SFTConfig

    from recipes.sft import SFTScriptArguments

    with pytest.raises(SystemExit) as ended:
        parse((SFTScriptArguments, SFTConfig, ModelConfig), list(argv))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_shows_our_own_options(capsys):
    text = help_of(capsys, "--help")
    assert "--datasets" in text and "--pack_rows" in text
    assert "--learning_rate" not in text and "--packing_strategy" not in text
    assert (
        "--help_all also shows the options of transformers.TrainingArguments, trl.ModelConfig, trl.SFTConfig" in text
    )
    assert max(map(len, text.splitlines())) < 130


def test_help_shows_what_the_file_sets(capsys):
    text = help_of(capsys, "--config", "recipes/tiny/sft.yaml", "--help")
    assert "--muon_learning_rate" in text and "--max_steps" in text and "--packing_strategy" not in text


def test_help_all_shows_the_libraries(capsys):
    text = help_of(capsys, "--help_all")
    assert "--datasets" in text and "--packing_strategy" in text and "also shows" not in text


def test_help_is_the_docstring():
    done = subprocess.run([sys.executable, "-m", "data_prep.conversations", "-h"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m data_prep.conversations [--config FILE.yaml]")
    assert "\n    python -m data_prep.conversations --config recipes/tiny/conversations.yaml\n" in done.stdout
    assert "--help_all" not in done.stdout  # there is no more
