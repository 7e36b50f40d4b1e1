"""What the YAML of a pipeline says of its steps, and what follows from their modules."""

import importlib.util

import pytest
import yaml
from conftest import ROOT

from eval.cli import UserError
from recipes.pipeline.steps import WITH_MODEL, WITHOUT_MODEL, read_pipeline, uses_model, without_unset
from recipes.run import main as run

PLAIN = {  # steps of recipes/tiny that neither train nor sample nor score
    *("world", "web", "tokenizer", "copying", "tokens", "decontaminate", "fair_start", "index", "report"),
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


def test_what_needs_an_option_that_nobody_sets_is_left_out():
    steps = read_pipeline(str(ROOT / "recipes" / "smollm2-135m" / "pipeline.yaml"))["steps"]
    names = [step["name"] for step in steps]
    kept, left_out = without_unset(steps, {"practice.squad"})
    assert left_out == {"hh.dataset": ["hh", "reward_hh", "pairs_hh"], "benchmarks.data_dir": ["benchmarks"]}
    assert [step["name"] for step in kept] == [n for n in names if n not in sum(left_out.values(), [])]
    assert without_unset(steps, {"hh.dataset", "benchmarks.data_dir"}) == (steps, {})


@pytest.mark.parametrize("needed", ["b.data", "a", 1])
def test_a_need_names_an_option_of_a_step(tmp_path, needed):
    path = tmp_path / "pipeline.yaml"
    step = {"name": "a", "module": "json.tool", "seconds": 1, "needs": needed}
    path.write_text(yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "steps": [step]}))
    with pytest.raises(UserError, match="step a: needs must be STEP.KEY"):
        read_pipeline(str(path))


def test_a_run_says_in_one_line_what_it_leaves_out(tmp_path, capsys):
    """And does it where the option is set, later too."""
    step = {"module": "data_prep.problems", "seconds": 1}
    made = {"generate": "sums", "count": 3, "output_dir": "runs/x/sums"}
    published = {"output_dir": "runs/x/sets"}
    steps = [
        {**step, "name": "sums", "args": made},
        {**step, "name": "sets", "args": published, "needs": "sets.dataset"},
    ]
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "steps": steps}))
    (tmp_path / "set.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    argv = [str(tmp_path / "pipeline.yaml"), "--output_dir", str(tmp_path / "x")]
    run(argv)
    assert "left out without --set sets.dataset=…: sets" in capsys.readouterr().out.splitlines()
    assert (tmp_path / "x/sums/train.jsonl").exists() and not (tmp_path / "x/sets").exists()
    run([*argv, "--set", f"sets.dataset={tmp_path / 'set.jsonl'}"])
    assert "left out" not in capsys.readouterr().out and (tmp_path / "x/sets/train.jsonl").exists()


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


@pytest.mark.parametrize(("able", "expected"), [(True, 2), (False, 9.5)])
def test_the_seconds_of_a_processor_such_as_this(tmp_path, monkeypatch, able, expected):
    monkeypatch.setattr("eval.processor.has_bf16", lambda: able)
    step = {"module": "json.tool"}
    steps = [{**step, "name": "a", "seconds": {"bf16": 2, "float32": 9.5}}, {**step, "name": "b", "seconds": 3}]
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "steps": steps}))
    read = read_pipeline(str(tmp_path / "pipeline.yaml"))["steps"]
    assert [step["seconds"] for step in read] == [expected, 3]


@pytest.mark.parametrize("seconds", ["3", -1, {"bf16": 2}, {"bf16": 2, "float32": None}, {"bf16": 2, "fp32": 3}])
def test_seconds_that_are_none(tmp_path, seconds):
    step = {"name": "a", "module": "json.tool", "seconds": seconds}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "steps": [step]}))
    with pytest.raises(UserError, match="step a: seconds must be a number"):
        read_pipeline(str(tmp_path / "pipeline.yaml"))
