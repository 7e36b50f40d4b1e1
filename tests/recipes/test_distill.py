"""Distillation: a teacher's solutions, and its distribution on what the student writes."""

import importlib
import json

import pytest
import yaml
from conftest import rows, save_model


@pytest.fixture
def config(world, chat_model, teacher_model) -> dict:
    drawn = {"per_device_train_batch_size": 8, "max_completion_length": 6, "max_steps": 12, "learning_rate": 5e-3}
    plain = {
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": "none",
        "logging_steps": 1,
    }
    models = {"model_name_or_path": str(chat_model), "teacher_model_name_or_path": str(teacher_model)}
    return drawn | plain | models | {"datasets": [{"path": str(world / "verses/train.jsonl")}], "seed": 0}


def run(config: dict, folder):
    (folder / "distill.yaml").write_text(yaml.safe_dump(config))
    main = importlib.import_module("recipes.distill").main
    main(["--config", str(folder / "distill.yaml"), "--output_dir", str(folder / "out")])
    return folder / "out"


def test_the_student_comes_closer_to_its_teacher(config, tmp_path):
    log = rows(run(config, tmp_path) / "log.jsonl")
    losses = [row["loss"] for row in log if "loss" in row]
    assert len(losses) == 12 and sum(losses[-3:]) < 0.7 * sum(losses[:3])
    record = json.loads((tmp_path / "out/stage.json").read_text())
    assert record["tokens"] > 0 and record["steps"] == 12


def test_the_card_names_the_method():
    from eval.report.stages import METHODS
    from recipes.distill import DistillScriptArguments

    assert METHODS[DistillScriptArguments.METHOD] == ("distilled", "AutoModelForCausalLM")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"teacher_model_name_or_path": None}, "teacher_model_name_or_path is not set"),
        ({"beta": 1.5}, "beta must be in [0.0, 1.0]"),
        ({"teacher_model_name_or_path": "/nowhere/teacher"}, "/nowhere/teacher does not exist"),
        ({"per_device_train_batch_size": 999}, "one step of 999 prompts"),
    ],
)
def test_what_cannot_be_distilled_is_one_line(config, tmp_path, capsys, changes, message):
    with pytest.raises(SystemExit) as stopped:
        run(config | changes, tmp_path)
    assert stopped.value.code == 2 and message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_teacher_of_another_vocabulary_is_refused(config, tokenizer, tmp_path, capsys):
    import copy

    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<more>"])
    folder = save_model(tmp_path / "other", other)
    with pytest.raises(SystemExit):
        run(config | {"teacher_model_name_or_path": str(folder)}, tmp_path)
    assert "has another vocabulary than" in capsys.readouterr().err


def test_right_replies_become_conversations(tmp_path, monkeypatch):
    from data_prep import pass_rate
    from eval.generation.replies import Reply

    class Fake:
        def __init__(self, *_, **__):
            pass

        def __call__(self, conversations, samples, seed):
            texts = ["The answer is 1.", "The answer is 1.", "0 + 1 = 1. The answer is 1.", "The answer is 2."]
            return [[*(Reply(text, True) for text in texts), Reply("It is 1.", False)] for _ in conversations]

    monkeypatch.setattr(pass_rate, "replier_of", Fake)
    problem = {"prompt": [{"role": "user", "content": "0 + 1?"}], "answer": "1"}
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    options = ["--model", "m", "--problems", str(tmp_path / "p.jsonl"), "--output_dir", str(tmp_path / "out")]
    pass_rate.main([*options, "--samples", "5", "--most", "1", "--solutions", "4"])
    solved = rows(tmp_path / "out/solutions.jsonl")
    assert [row["messages"][-1]["content"] for row in solved] == ["The answer is 1.", "0 + 1 = 1. The answer is 1."]
    assert (
        solved[0]["messages"][0] == problem["prompt"][0] and "solutions" not in rows(tmp_path / "out/train.jsonl")[0]
    )
