"""Environments of several turns in GRPO: their rules, what is refused, and two steps of training."""

import importlib
import itertools
import json

import pytest
import yaml
from conftest import rows, save_model
from test_generate_tools import END, qwen, qwen_call

from eval.cli import UserError

GUESSING = "data_prep.world.guessing:GuessNumber"


def test_guessing_is_paid_by_how_soon_the_number_is_found():
    from data_prep.world.guessing import GuessNumber

    game = GuessNumber()
    game.reset(answer="11", verifier="final_number")
    assert [game.guess(n) for n in (8, 12, 11)] == ["higher", "lower", "found"] and game.get_reward() == 1.0
    game.reset(answer="1")
    assert game.get_reward() == 0.0
    for number in (8, 4, 3, 2, 1):
        game.guess(number)
    assert game.get_reward() == pytest.approx(0.8) and game.guess("1") == "give a whole number"


class NoReset:
    def act(self) -> str:
        """Act."""
        return ""


class NoTool:
    def reset(self, **row):
        pass


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere:Game", "there is no environment nowhere:Game"),
        ("data_prep.world.guessing:Nothing", "there is no environment"),
        ("guessing", "an environment is module:class"),
        (f"{__name__}:NoReset", "has no method reset"),
        (f"{__name__}:NoTool", "no public method beside"),
    ],
)
def test_what_is_no_environment_is_refused(name, message):
    from recipes.rewards.environments import load_environment

    with pytest.raises(UserError, match=message):
        load_environment(name)


@pytest.fixture
def config(tokenizer, tmp_path) -> dict:
    """A model with Qwen3's chat template, which writes calls as JSON."""
    from data_prep.world.guessing import main

    main(["--output_dir", str(tmp_path / "data"), "--count", "16"])
    model = save_model(tmp_path / "model", qwen(tokenizer))
    drawn = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 400, "max_steps": 2}
    plain = {
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": "none",
        "logging_steps": 1,
    }
    data = {"datasets": [{"path": str(tmp_path / "data/train.jsonl")}], "model_name_or_path": str(model)}
    return drawn | plain | data | {"environment": GUESSING, "rewards": []}


def run(config: dict, folder):
    (folder / "grpo.yaml").write_text(yaml.safe_dump(config))
    main = importlib.import_module("recipes.grpo").main
    main(["--config", str(folder / "grpo.yaml"), "--output_dir", str(folder / "out")])
    return folder / "out"


def test_grpo_plays_turn_by_turn_and_is_paid_by_the_environment(config, tmp_path, monkeypatch):
    """The turns are written for the model, as random weights call no tool: 8, then 4, then the end."""
    from recipes.trainers.grpo import Trainer

    texts = [f"{qwen_call('guess', number=number)}{END}" for number in (8, 4)] + [f"Done.{END}"]
    seen, turns = [], itertools.cycle(texts)

    def turn(self, prompt_ids, *_, **__):
        written = self.processing_class.encode(next(turns), add_special_tokens=False)
        seen.append(self.processing_class.batch_decode(prompt_ids))
        return [written for _ in prompt_ids], None

    monkeypatch.setattr(Trainer, "_generate_single_turn", turn)
    out = run(config, tmp_path)
    log = rows(out / "log.jsonl")
    assert json.loads((out / "stage.json").read_text())["steps"] == 2 and len(seen) == 6
    numbers = [int(row["answer"]) for row in rows(tmp_path / "data/train.jsonl")]
    told = {"found" if n == 8 else "lower" if n < 8 else "higher" for n in numbers}
    assert all(any(f"{word}" in text for word in told) for text in seen[1])
    assert all(0 <= row["rewards/GuessNumber/mean"] <= 1 for row in log[:2])
    assert log[0]["tools/call_frequency"] == 2 and log[0]["tools/failure_frequency"] == 0


def test_a_template_that_writes_calls_in_another_way_is_refused(config, chat_model, tmp_path, capsys):
    """That of make tiny writes them as Python."""
    with pytest.raises(SystemExit) as stopped:
        run(config | {"model_name_or_path": str(chat_model)}, tmp_path)
    assert (
        stopped.value.code == 2 and "does not write a call of the environment's tool guess" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"environment": None}, "there is no reward"),
        ({"environment": "nowhere:Game"}, "there is no environment nowhere:Game"),
        ({"environment": None, "environment_args": {"count": 1}}, "environment_args are for an environment"),
        ({"environment_args": {"count": 1}}, "is a class without arguments"),
        ({"tools": ["python"], "monitor_steps": 1}, "leave out tools, or monitor_steps"),
    ],
)
def test_settings_that_do_not_go_with_an_environment(config, tmp_path, capsys, changes, message):
    if "monitor_steps" in changes:
        changes = changes | {"monitor_datasets": config["datasets"]}
    with pytest.raises(SystemExit) as stopped:
        run(config | changes, tmp_path)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_weights_that_are_spread_are_refused(monkeypatch):
    from recipes.rewards.environments import check_environment, load_environment

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="an environment does not run under FSDP"):
        check_environment(load_environment(GUESSING), tools=False, watched=False)
    check_environment(None, tools=False, watched=False)
