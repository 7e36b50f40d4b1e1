"""PPO: the policy is trained to please the reward model, within reach of where it started.

    python -m recipes.ppo --config recipes/tiny/ppo.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.ppo --config \
        recipes/qwen3-0.6b/ppo.yaml

Rows hold `prompt` (messages), or a published set's columns (docs/data.md). `model_name_or_path` is the policy and the
reference, `reward_model_path` the reward model and where the critic starts. TRL's `PPOTrainer` keeps some of its
troubles silent; here each is an error or mended (`check`, `recipes.trainers.ppo`). One update is one batch of
`per_device_train_batch_size` episodes a process. A watch over the run, against a judge that is not trained on, and
when it stops: `recipes.training.monitor`.
"""

from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from eval.cli import UserError, command, user_errors
from eval.judging.scores import by_reward_model
from recipes.training.monitor import Monitor, MonitorArguments
from recipes.training.setup import (
    DataArguments,
    leave_out,
    load_chat_tokenizer,
    load_data,
    load_model,
    parse_stage,
    positions,
    report_left_out,
    require_rows,
    rows_per_step,
    sharding,
)
from recipes.training.stage import Stage
from recipes.training.watched import held_out


@dataclass
class PPOScriptArguments(DataArguments, MonitorArguments):
    METHOD = "PPO"

    max_prompt_length: int = field(default=512, metadata={"help": "longer prompts, in tokens, are left out"})


def require_ppo_trainer() -> None:
    """Raises `UserError` where TRL is newer than its last release with PPOTrainer."""
    import trl

    if find_spec("trl.experimental.ppo") is None:
        raise UserError(
            f"recipes.ppo needs PPOTrainer, which TRL 1.12 has and TRL {trl.__version__} has not: set up the pins of"
            " constraints.txt (pip install trl==1.12.0), or train by recipes.rloo"
        )


def check(args) -> None:
    """Raises `UserError` for what PPOTrainer would ignore or do wrong without a word."""
    if args.gradient_accumulation_steps > 1 and args.num_mini_batches > 1:
        raise UserError(
            "gradient_accumulation_steps above 1 with num_mini_batches above 1 makes fewer optimiser steps than it"
            " says: keep one of them at 1"
        )
    if sharding():
        raise UserError(
            f"PPO does not run under {sharding()}, as its trainer holds whole models: take"
            " accelerate_configs/ddp.yaml, or recipes.rloo"
        )
    if args.max_steps > 0:
        raise UserError(
            "PPO ignores max_steps: set total_episodes (updates × per_device_train_batch_size ×"
            " gradient_accumulation_steps × processes)"
        )
    if str(args.eval_strategy.value) != "no":
        raise UserError('PPO never evaluates while it trains: set eval_strategy: "no" and score the model afterwards')
    if args.stop_token != "eos":
        raise UserError(
            "stop_token must be eos: without it PPO goes on past the end token for all response_length tokens"
        )


def check_models(args, training_args, model_args, tokenizer) -> None:
    """Raises `UserError` for models that PPO cannot train together, and for keys that it would not use."""
    from trl.experimental.ppo import PPOConfig

    from eval.generation.models import load_tokenizer

    reward_path = training_args.reward_model_path
    if not reward_path:
        raise UserError("reward_model_path is not set: give the reward model's folder or Hub id")
    check(training_args)
    if args.eval_datasets or training_args.sft_model_path != PPOConfig.sft_model_path:
        raise UserError(
            "PPO uses neither eval_datasets nor sft_model_path: model_name_or_path is the policy and the reference,"
            " and evaluation follows training"
        )
    if load_tokenizer(reward_path, "reward model").get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"the reward model {reward_path} has another vocabulary than {model_args.model_name_or_path}: PPO passes"
            " token ids straight to it; train it from the same model"
        )


def short_prompts(train, args, training_args, model_args, tokenizer) -> tuple:
    """The prompts as `input_ids`, without those that are too long, and how many were left out, by reason."""
    from eval.generation.generate import encode

    with user_errors("the chat template refuses a prompt"):
        train = train.map(
            lambda row: {"input_ids": encode(tokenizer, [row["prompt"]])[0]}, remove_columns=train.column_names
        )
    left_out = Counter()
    rows_in = len(train)
    most = args.max_prompt_length
    room = positions(model_args)
    if room:
        most = min(most, room - training_args.response_length)
    why = f"the prompt has more than {most} tokens"
    train = leave_out(train, lambda row: len(row["input_ids"]) <= most, why, left_out)
    report_left_out(left_out, rows_in)
    batch = rows_per_step(training_args)
    require_rows(
        train,
        batch,
        f"one batch of {batch} episodes of at most max_prompt_length {args.max_prompt_length} tokens (with fewer PPO"
        " waits for ever)",
    )
    return train, left_out


@dataclass
class Models:
    """The four models of PPO, and the LoRA configuration of the policy where it has none yet.

    Attributes:
        reference: the policy's start; None where the policy is an adapter, without which it is the start.
    """

    policy: Any
    reference: Any
    reward: Any
    critic: Any
    peft_config: Any


def load_models(training_args, model_args, checkpoint) -> Models:
    """The models from their paths; policy and critic from `checkpoint`, where a killed run goes on."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import get_peft_config

    path, reward_path = model_args.model_name_or_path, training_args.reward_model_path
    settings = (model_args, training_args)
    peft_config = get_peft_config(model_args)
    start = str(checkpoint) if checkpoint else None
    policy_path = start if start and not peft_config else path
    policy = load_model(AutoModelForCausalLM, policy_path, *settings)
    if peft_config and start:
        from peft import PeftModel

        policy = PeftModel.from_pretrained(policy, start, is_trainable=True)
        peft_config = None
    reference = None if model_args.use_peft else load_model(AutoModelForCausalLM, path, *settings)
    reward = load_model(AutoModelForSequenceClassification, reward_path, *settings, "reward model", num_labels=1)
    critic_path = start + "/value_model" if start else reward_path
    critic = load_model(AutoModelForSequenceClassification, critic_path, *settings, "critic", num_labels=1)
    if training_args.activation_checkpointing:
        policy.gradient_checkpointing_enable()
    return Models(policy, reference, reward, critic, peft_config)


def episodes(train, training_args):
    """The prompts in the order in which PPO reads them: all updates' rows, shuffled anew in each round."""
    from datasets import concatenate_datasets

    batch = rows_per_step(training_args)
    count = training_args.total_episodes or int(training_args.num_train_epochs * len(train))
    updates = -(-count // batch)
    rounds = -(-updates * batch // len(train))
    shuffled = [train.shuffle(seed=training_args.seed + i) for i in range(rounds)]
    return concatenate_datasets(shuffled).select(range(updates * batch))


def make_monitor(args, training_args, stage: Stage, tokenizer, watched, judge, models: Models) -> Monitor:
    """The watch over the run."""
    for model in filter(None, (models.reference, models.reward)):
        model.to(training_args.device)  # the monitor looks before the trainer has moved them
    return Monitor(
        args,
        stage.folder,
        tokenizer,
        watched,
        judge,
        by_reward_model(models.reward, tokenizer),
        models.reference,
        training_args.response_length,
        training_args.seed,
        training_args.missing_eos_penalty or 0.0,
    )


def dry_run(args, training_args, model_args, train) -> None:
    """Print what the stage would do."""
    from recipes.planning.dry_run import Job, tell

    models = {"reward model": training_args.reward_model_path, "critic": training_args.reward_model_path}
    if not model_args.use_peft:
        models["reference"] = model_args.model_name_or_path
    lengths = [len(row["input_ids"]) for row in train]
    tell(Job("ppo", args, training_args, model_args, lengths, args.rows_in_all, models=models))


def make_trainer(training_args, tokenizer, models: Models, rows, checkpoint, callbacks: list):
    """The trainer of the policy on rows in their order, from the checkpoint if there is one."""
    from recipes.trainers.ppo import Trainer

    with user_errors("PPO's settings"):
        return Trainer(
            checkpoint=checkpoint,
            args=training_args,
            processing_class=tokenizer,
            model=models.policy,
            ref_model=models.reference,
            reward_model=models.reward,
            value_model=models.critic,
            train_dataset=rows,
            peft_config=models.peft_config,
            callbacks=callbacks,
        )


# PPOConfig's own defaults never end a response, and name a reward model of another family
DEFAULTS = {"stop_token": "eos", "missing_eos_penalty": 1.0, "num_sample_generations": 0, "reward_model_path": None}


@command
def main(argv: list[str] | None = None) -> None:
    require_ppo_trainer()
    from trl import ModelConfig
    from trl.experimental.ppo import PPOConfig

    args, training_args, model_args = parse_stage((PPOScriptArguments, PPOConfig, ModelConfig), argv, **DEFAULTS)

    # ---- Checks and data, before any work ----
    # PPO masks out every padding token
    tokenizer = load_chat_tokenizer(model_args, "the sft model", pad_token=True, padding_side="left")
    check_models(args, training_args, model_args, tokenizer)
    train, _ = load_data(args, ("prompt",), training_args)
    watched, judge = held_out(args, training_args.seed, "prompt")
    train, left_out = short_prompts(train, args, training_args, model_args, tokenizer)
    if args.dry_run:
        return dry_run(args, training_args, model_args, train)
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    steps_done = int(stage.checkpoint.name.split("-")[1]) if stage.checkpoint else 0
    set_seed(training_args.seed + steps_done)  # PPOTrainer seeds neither numpy nor Python
    models = load_models(training_args, model_args, stage.checkpoint)
    rows = episodes(train, training_args)
    callbacks = stage.callbacks()
    monitor = None
    if watched:
        monitor = make_monitor(args, training_args, stage, tokenizer, watched, judge, models)
        callbacks.append(monitor)
    trainer = make_trainer(training_args, tokenizer, models, rows, stage.checkpoint, callbacks)
    trainer.train()
    if monitor:
        monitor.keep_best(trainer.accelerator.unwrap_model(trainer.model).policy)
    stage.finish(trainer, [train], left_out=left_out)


if __name__ == "__main__":
    main()
