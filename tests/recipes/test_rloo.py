"""The recipe of RLOO: its rewards; and its trainer against TRL's own."""

import importlib
import json

import pytest
import yaml
from conftest import rows


def test_a_reply_that_does_not_end_is_paid_less():
    from recipes.rloo import reward_function

    asked = []

    def scores(rows_, texts):
        asked.append((rows_, texts))
        return [0.5] * len(texts)

    reward = reward_function(scores, {7}, 2.0)
    prompt = [{"role": "user", "content": "Hi"}]
    completions = [[{"role": "assistant", "content": text}] for text in ("a", "b")]
    drawn = {"completions": completions, "completion_ids": [[1, 7], [7, 1]]}
    assert reward(prompts=[prompt] * 2, topic=["x"] * 2, **drawn) == [0.5, -1.5]
    assert asked == [([{"prompt": prompt}] * 2, ["a", "b"])] and reward.__name__ == "reward_model"


def test_rewards_are_weighed_and_what_cannot_be_judged_is_left_out():
    from recipes.rloo import weighted

    both = weighted([(1.0, lambda rows_, texts: [1.0, 2.0, None]), (0.5, lambda rows_, texts: [4.0, None, None])])
    assert both([], []) == [3.0, 2.0, None]


@pytest.fixture
def config(world, chat_model, reward_model) -> dict:
    drawn = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 1}
    model = {"model_name_or_path": str(chat_model), "use_cpu": True, "bf16": False, "activation_checkpointing": False}
    data = {"reward_model_path": str(reward_model), "datasets": [{"path": str(world / "verses/train.jsonl")}]}
    return drawn | model | data | {"logging_steps": 1, "report_to": "none", "seed": 0}


def test_reward_model_and_verifier_are_added_and_watched(config, world, reward_model, tmp_path):
    """The watch's reward is the weighted sum of what each is by itself."""
    found = {}
    own = {"reward_model_path": str(reward_model)}
    cases = {
        "model": own | {"missing_eos_penalty": 3.0},
        "verifier": {"reward_model_path": None, "rewards": ["mentions"]},
        "both": own | {"missing_eos_penalty": 3.0, "rewards": ["mentions"], "reward_weights": [0.5, -2.0]},
    }
    data = [row | {"answer": "e"} for row in rows(world / "verses/train.jsonl")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    held_out = [{"path": str(tmp_path / "prompts.jsonl"), "weight": 0.1}]
    watch = {"monitor_datasets": held_out, "monitor_steps": 1, "monitor_samples": 2}
    for name, changes in cases.items():
        made = config | watch | changes | {"datasets": [{"path": str(tmp_path / "prompts.jsonl")}]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(made))
        main = importlib.import_module("recipes.rloo").main
        main(["--config", str(tmp_path / f"{name}.yaml"), "--output_dir", str(tmp_path / name)])
        found[name] = rows(tmp_path / name / "monitor.jsonl")[0]["reward"]["value"]
    log = rows(tmp_path / "both" / "log.jsonl")[0]
    parts = 0.5 * log["rewards/reward_model/mean"] - 2.0 * log["rewards/mentions/mean"]
    assert found["both"] == pytest.approx(0.5 * found["model"] - 2.0 * found["verifier"], abs=1e-4)
    assert log["reward"] == pytest.approx(parts, abs=1e-4) and found["model"] < -2


def test_long_prompts_are_left_out_and_counted(config, world, tokenizer, tmp_path, capsys):
    lengths = sorted(
        len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False))
        for row in rows(world / "verses/train.jsonl")
    )
    most = lengths[len(lengths) // 2]
    left_out = sum(length > most for length in lengths)
    (tmp_path / "rloo.yaml").write_text(yaml.safe_dump(config | {"max_prompt_length": most}))
    main = importlib.import_module("recipes.rloo").main
    main(["--config", str(tmp_path / "rloo.yaml"), "--output_dir", str(tmp_path / "out")])
    why = f"the prompt has more than max_prompt_length {most} tokens"
    told = f"the training data: {left_out} of {len(lengths)} rows left out: {why} ({left_out})"
    assert left_out and told in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "stage.json").read_text())
    assert record["datasets"][0]["rows"] == len(lengths) - left_out
    assert record["datasets"][0]["left_out"] == {why: left_out}


def test_the_loss_of_a_step_is_trls(chat_model, tokenizer, world, tmp_path):
    """With the same replies: loss, gradient norm, KL divergence and rewards are those of TRL's trainer."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import RLOOConfig, RLOOTrainer

    from recipes.trainers.rloo import Trainer

    drawn, logs = [], []
    data = Dataset.from_list(rows(world / "verses/train.jsonl")[:8])
    given = {"reference": AutoModelForCausalLM.from_pretrained(chat_model)}
    for base, reference in ((Trainer, given), (RLOOTrainer, {})):

        class Same(base):
            def _generate_single_turn(self, *args):
                if len(drawn) <= self.state.global_step:
                    drawn.append(super()._generate_single_turn(*args))
                return drawn[self.state.global_step]

        batch = {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 24, "max_steps": 2}
        plain = {"use_cpu": True, "bf16": False, "activation_checkpointing": False, "report_to": "none"}
        plain |= {"save_strategy": "no", "logging_steps": 1, "seed": 1}
        config = RLOOConfig(output_dir=str(tmp_path), beta=0.1, learning_rate=1e-3, **batch, **plain)
        made = Same(
            model=AutoModelForCausalLM.from_pretrained(chat_model),
            reward_funcs=[lambda completions, **_: [float(len(turns[0]["content"])) for turns in completions]],
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            **reference,
        )
        made.train()
        logs.append(made.state.log_history)
        if base is Trainer:
            assert made.draws_itself and made.shares_prompts and made.ref_model is given["reference"]
    for ours, theirs in zip(logs[0][:2], logs[1][:2]):
        for key in ("loss", "grad_norm", "entropy", "reward", "completions/mean_length", "kl"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5), key
    assert logs[0][0]["grad_norm"] > 0 and abs(logs[0][1]["kl"]) > 1e-5


@pytest.mark.parametrize("settings", [{"top_p": 0.9}, {"activation_checkpointing": True}])
def test_trls_own_code_runs_where_a_setting_asks_for_more(config, tmp_path, settings):
    (tmp_path / "rloo.yaml").write_text(yaml.safe_dump(config | settings))
    main = importlib.import_module("recipes.rloo").main
    main(["--config", str(tmp_path / "rloo.yaml"), "--output_dir", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "stage.json").read_text())["steps"] == 1
