"""How much faster the recipes' GRPO and PPO are than TRL's trainers with TRL's defaults: same model, data, batch,
lengths and rewards.

    python -m recipes.benchmark --stage grpo --model runs/tiny/honest --data runs/tiny/world/problems/train.jsonl
    python -m recipes.benchmark --stage ppo --model runs/tiny/honest --reward_model runs/tiny/reward --data \
        runs/tiny/world/verses/train.jsonl

And of `recipes.pretrain` beside a plain PyTorch loop, see `recipes.planning.benchmark_pretrain`:

    python -m recipes.benchmark --stage pretrain --config recipes/tiny/pretrain.yaml

Each round trains every variant for a few steps, one after the other; the first step of each is left out. Printed: the
median seconds of a step, and the ratio to TRL's defaults, taken within each round (median and range over the rounds),
so that a noisy machine slows both.

    defaults   TRL's trainer, GRPOConfig or PPOConfig with its defaults (GRPO with bf16 autocast and gradient
               checkpointing,
               PPO in float32 whatever its `bf16` says)
    settings   TRL's trainer with the settings of recipes/tiny (GRPO in float32 without checkpointing; PPO with eager
               attention and rollouts all at once)
    recipe     what recipes.grpo or recipes.ppo runs, with those settings (PPO with bf16 autocast where it trains)
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, parse


@dataclass
class BenchmarkArguments:
    stage: str = field(metadata={"help": "grpo or ppo (or pretrain, which has other options)"})
    model: str = field(metadata={"help": "folder or Hub id of the chat model to start from"})
    data: str = field(metadata={"help": ".jsonl file with `prompt` (and for grpo `answer`)"})
    reward_model: str | None = field(default=None, metadata={"help": "of ppo"})
    prompts: int = field(default=32, metadata={"help": "a step (grpo); of ppo prompts × completions episodes"})
    completions: int = field(default=16, metadata={"help": "a prompt"})
    max_new_tokens: int = field(default=64, metadata={"help": "of a completion"})
    steps: int = field(default=4, metadata={"help": "a round; the first one is not counted"})
    rounds: int = field(default=3, metadata={"help": "of all variants"})
    threads: int = field(default=2, metadata={"help": "of torch"})


COMMON = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "learning_rate": 1e-5, "logging_steps": 1}


def grpo(args: BenchmarkArguments, variant: str, folder: str):
    """The trainer of a variant."""
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from data_prep.shared.sources import load_source
    from eval.generation.models import load_pretrained, load_tokenizer
    from eval.verifiers import reward_function
    from recipes.trainers.grpo import Trainer

    batch = {
        "per_device_train_batch_size": args.prompts * args.completions,
        "num_generations": args.completions,
        "max_completion_length": args.max_new_tokens,
    }
    config = GRPOConfig(
        output_dir=folder,
        max_steps=args.steps,
        **batch,
        **COMMON,
        **device(),
        **({} if variant == "defaults" else {"bf16": False, "activation_checkpointing": False}),
    )
    model = load_pretrained(AutoModelForCausalLM, args.model, "model")
    trainer = Trainer if variant == "recipe" else GRPOTrainer
    rewards = [reward_function("final_number")]
    return trainer(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=load_source({"path": args.data}),
        processing_class=load_tokenizer(args.model),
    )


def ppo(args: BenchmarkArguments, variant: str, folder: str):
    """The trainer of a variant."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from data_prep.shared.sources import load_source
    from eval.generation.generate import encode
    from eval.generation.models import load_pretrained, load_tokenizer
    from recipes.trainers.ppo import Trainer

    tokenizer = load_tokenizer(args.model, padding_side="left")
    ids = encode(tokenizer, list(load_source({"path": args.data})["prompt"]))
    episodes = args.prompts * args.completions
    rows = Dataset.from_dict({"input_ids": (ids * (1 + args.steps * episodes // len(ids)))[: args.steps * episodes]})
    both = {
        "per_device_train_batch_size": episodes,
        "total_episodes": args.steps * episodes,
        "response_length": args.max_new_tokens,
        "stop_token": "eos",
        "num_sample_generations": 0,
    }
    settings: dict[str, Any] = {}
    attention: dict[str, Any] = {}
    if variant != "defaults":
        settings = {"activation_checkpointing": False, "local_rollout_forward_batch_size": episodes}
        attention = {"attn_implementation": "eager"}
    config = PPOConfig(output_dir=folder, **both, **COMMON, **device(), **settings)
    models = {
        name: load_pretrained(AutoModelForCausalLM, args.model, "model", **attention)
        for name in ("model", "ref_model")
    }
    models |= {
        name: load_pretrained(
            AutoModelForSequenceClassification, args.reward_model, "reward model", num_labels=1, **attention
        )
        for name in ("reward_model", "value_model")
    }
    trainer = {"checkpoint": None} if variant == "recipe" else {}
    return (Trainer if trainer else PPOTrainer)(
        args=config, processing_class=tokenizer, train_dataset=rows, **models, **trainer
    )


def device() -> dict:
    import torch

    return {} if torch.cuda.is_available() else {"use_cpu": True}


def step_seconds(trainer) -> list[float]:
    """Seconds of each step but the first."""
    from transformers import TrainerCallback

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            ends.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.train()
    return [after - before for before, after in zip(ends, ends[1:])]


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if ("--stage", "pretrain") in zip(argv, argv[1:]):
        from recipes.planning.benchmark_pretrain import compare

        return compare(argv)
    (args,) = parse((BenchmarkArguments,), argv)
    if args.stage not in ("grpo", "ppo") or (args.stage == "ppo") != bool(args.reward_model):
        raise UserError(
            f"stage must be grpo, ppo with a reward_model, or pretrain with a config, but is {args.stage} with"
            f" {args.reward_model}"
        )
    if args.steps < 2 or args.rounds < 1:
        raise UserError(f"steps must be at least 2 and rounds at least 1, but are {args.steps} and {args.rounds}")
    import torch
    from accelerate.state import AcceleratorState

    torch.set_num_threads(args.threads)
    seconds: dict[str, list[float]] = {"defaults": [], "settings": [], "recipe": []}
    for number in range(args.rounds):
        for variant, of_rounds in seconds.items():
            AcceleratorState._reset_state()  # else the precision of the first variant is that of all
            with tempfile.TemporaryDirectory() as folder:
                of_rounds.append(
                    statistics.median(step_seconds((grpo if args.stage == "grpo" else ppo)(args, variant, folder)))
                )
            print(f"round {number + 1}, {variant}: {of_rounds[-1]:.2f} s a step", flush=True)
    for variant, of_rounds in seconds.items():
        ratios = sorted(before / after for before, after in zip(seconds["defaults"], of_rounds))
        print(
            f"{args.stage}, {variant}: {statistics.median(of_rounds):.2f} s a step, {statistics.median(ratios):.2f} ×"
            f" as fast as TRL's defaults ({ratios[0]:.2f} to {ratios[-1]:.2f}, {args.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
