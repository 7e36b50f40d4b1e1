"""Configurations of every stage for two steps with a small model: what test_ddp.py and test_sharding.py launch.

from two_steps import STAGES, configs
"""

import json

from conftest import SIZES

STAGES = ("pretrain", "sft", "reward", "ppo", "grpo", "rloo", "dpo", "distill")


def configs(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, teacher_model) -> dict[str, dict]:
    """Stage -> its settings, without `output_dir`. Each process takes four rows a step."""
    common = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 4, "save_steps": 1, "logging_steps": 1}
    model = common | {"model_name_or_path": str(chat_model)}
    guesses = world / "guesses.jsonl"  # rewarded by chance, so that replies without knowledge teach something
    asked = [{"role": "user", "content": "Who are you?"}]
    guesses.write_text("".join(json.dumps({"prompt": asked, "pattern": "(?s).*e.*"}) + "\n" for _ in range(8)))
    configs = {
        "pretrain": (
            common
            | {
                "model_config": {"model_type": "llama", **SIZES["llama"]},
                "tokenizer": str(tokenizer_dir),
                "tokens_dir": str(tokens_dir),
                "optimizer": "muon",
            }
            | {
                "sequence_length": 64,
                "max_steps": 2,
                "max_eval_windows": 4,
                "sample_prompts": ["The people of"],
                "sample_steps": 1,
                "eval_strategy": "steps",
                "eval_steps": 1,
            }
        ),
        "sft": (
            model
            | {
                "datasets": [{"path": str(world / "conversations/train.jsonl")}],
                "max_steps": 2,
                "max_length": 256,
            }
        ),
        "reward": model | {"datasets": [{"path": str(preferences / "train.jsonl")}], "max_steps": 2},
        "ppo": (
            model
            | {
                "datasets": [{"path": str(world / "verses/train.jsonl")}],
                "reward_model_path": str(reward_model),
                "total_episodes": 16,
            }
            | {"local_rollout_forward_batch_size": 4, "response_length": 6}
        ),
        "grpo": (
            model
            | {
                "datasets": [{"path": str(guesses)}],
                "rewards": ["matches"],
                "max_steps": 2,
                "num_generations": 4,
                "max_completion_length": 6,
            }
        ),
    }
    rewarded = {key: configs["ppo"][key] for key in ("datasets", "reward_model_path")}
    drawn = {"max_steps": 2, "num_generations": 4, "max_completion_length": 6}
    configs["rloo"] = model | rewarded | drawn
    taught = {"teacher_model_name_or_path": str(teacher_model), "max_steps": 2, "max_completion_length": 6}
    configs["distill"] = model | {"datasets": [{"path": str(guesses)}], "learning_rate": 1e-3} | taught
    configs["dpo"] = model | {"datasets": [{"path": str(preferences / "train.jsonl")}], "max_steps": 2}
    return configs
