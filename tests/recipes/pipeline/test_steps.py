"""What the YAML of a pipeline says of its steps, and what follows from their modules."""

import importlib.util

import pytest
import yaml
from conftest import ROOT

from eval.cli import UserError
from recipes.pipeline.steps import WITH_MODEL, WITHOUT_MODEL, read_pipeline, uses_model

PLAIN = {  # steps of recipes/tiny that neither train nor sample nor score
    *("world", "web", "tokenizer", "tokens", "decontaminate", "fair_start", "index", "report"),
    *("hard_train", "hard_test", "words_train", "words_test", "expert", "easy_test", "tokens_rhymes", "second_tries"),
    *("jobs", "senses_data"),
}


@pytest.mark.parametrize("name", ["pipeline", "experiments"])
def test_whether_a_step_uses_a_model_follows_from_its_module(name):
    steps = read_pipeline(str(ROOT / "recipes" / "tiny" / f"{name}.yaml"))["steps"]
    plain = {step["name"] for step in steps if not uses_model(step["module"])}
    assert plain == PLAIN & {step["name"] for step in steps}


def test_a_module_counts_with_its_package_and_not_with_a_name_that_begins_alike():
    assert uses_model("eval.probes.known") and uses_model("data_prep.refusals")
    assert not uses_model("eval.report.__main__") and not uses_model("data_prep.refusals_of_old")
    assert not uses_model("json.tool")


@pytest.mark.parametrize("module", [*WITH_MODEL, *WITHOUT_MODEL])
def test_the_modules_are_there(module):
    assert importlib.util.find_spec(module)


def test_the_key_of_older_pipelines_is_read_without_a_word(tmp_path, capsys):
    step = {"name": "a", "module": "json.tool", "seconds": 1}
    path = tmp_path / "pipeline.yaml"
    for options, works in (({"imports": "heavy"}, True), ({"import": "heavy"}, False)):
        path.write_text(yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "steps": [step | options]}))
        if works:
            assert read_pipeline(str(path))["steps"] == [step | options]
        else:
            with pytest.raises(UserError, match="unknown key import"):
                read_pipeline(str(path))
    assert not any(capsys.readouterr())
