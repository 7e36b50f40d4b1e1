"""Reward model: people's pairwise preferences become a scalar score.

    python -m recipes.reward --config recipes/tiny/reward.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.reward --config \
        recipes/qwen3-0.6b/reward.yaml

Rows hold `chosen` and `rejected` (messages), and optionally `prompt` before both, or a published set's columns
(docs/data.md). The score is read at the end token of the last turn, where PPO scores: what a template writes after it
is cut off.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, user_errors
from recipes.training.setup import (
    DataArguments,
    OptimizerArguments,
    dropped,
    load_chat_tokenizer,
    load_data,
    load_model,
    optimizer_factory,
    parse_stage,
    require_rows,
    rows_per_step,
)
from recipes.training.stage import Stage, logged_tokens


@dataclass
class RewardScriptArguments(DataArguments, OptimizerArguments):
    """Keys of this stage beside RewardConfig's."""

    METHOD = "reward modelling"

    margin_per_place: float = field(
        default=0.0,
        metadata={
            "help": "score that replies are to lie apart for each place of `rank_distance` (Llama 2's margin, by rank)"
        },
    )


def tokenize(row: dict, tokenizer, margin_per_place: float = 0.0) -> dict:
    """`chosen_ids` and `rejected_ids` of a pair, each up to its last end token, and the `margin` where there
    is one."""
    from eval.generation.models import scored_ids

    prompt = row.get("prompt") or []
    margin = {"margin": margin_per_place * row["rank_distance"]} if margin_per_place else {}
    return {f"{side}_ids": scored_ids(tokenizer, prompt + row[side]) for side in ("chosen", "rejected")} | margin


def tokenized(data, tokenizer, margin_per_place: float):
    """`tokenize` of every pair; None of None."""
    if data is None:
        return None
    settings = {"tokenizer": tokenizer, "margin_per_place": margin_per_place}
    return data.map(tokenize, fn_kwargs=settings, remove_columns=data.column_names)


def dry_run(args, training_args, model_args, train, tokenizer) -> None:
    """Print what the stage would do."""
    from recipes.planning.dry_run import Job, tell

    pairs = train.map(tokenize, fn_kwargs={"tokenizer": tokenizer, "margin_per_place": args.margin_per_place})
    lengths = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in pairs]
    lengths = [tokens for tokens in lengths if tokens <= (training_args.max_length or tokens)]
    tell(Job("reward", args, training_args, model_args, lengths, args.rows_in_all))


def make_trainer(args, training_args, model_args, tokenizer, pairs, held_out, callbacks: list):
    """TRL's trainer on tokenised pairs, with a model whose head is new."""
    from transformers import AutoModelForSequenceClassification
    from trl import RewardTrainer, get_peft_config

    path = model_args.model_name_or_path
    new_head: dict[str, Any] = {"new_head": True, "num_labels": 1}
    with user_errors("the reward model's settings"):
        return RewardTrainer(
            model=load_model(AutoModelForSequenceClassification, path, model_args, training_args, **new_head),
            args=training_args,
            train_dataset=pairs,
            eval_dataset=held_out,
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),
            callbacks=callbacks,
            **optimizer_factory(args, training_args),
        )


def check_rows(trainer, pairs, held_out, max_length: int | None, batch: int) -> dict:
    """How many training pairs the trainer has left out, by reason.

    Raises:
        UserError: those that are left fill no batch.
    """
    most = f"at most max_length {max_length} tokens"
    require_rows(trainer.train_dataset, batch, f"one step of {batch} pairs of {most}")
    why = f"a reply with its prompt has more than max_length {max_length} tokens"
    left_out = dropped(pairs, trainer.train_dataset, why)
    if held_out is not None:
        dropped(held_out, trainer.eval_dataset, why, "the validation data")
    return left_out


@command
def main(argv: list[str] | None = None) -> None:
    from trl import ModelConfig, RewardConfig

    args, training_args, model_args = parse_stage(
        (RewardScriptArguments, RewardConfig, ModelConfig), argv, lora_task_type="SEQ_CLS"
    )

    # ---- Checks and data, before any work ----
    tokenizer = load_chat_tokenizer(model_args, "the sft model", pad_token=True)
    if not 0 <= args.margin_per_place < math.inf:
        raise UserError(f"margin_per_place must be at least 0, but is {args.margin_per_place}")
    columns = ("chosen", "rejected", "rank_distance") if args.margin_per_place else ("chosen", "rejected")
    train, evaluation = load_data(args, columns, training_args)
    batch = rows_per_step(training_args)
    require_rows(train, batch, f"one step of {batch} pairs")
    if args.dry_run:
        return dry_run(args, training_args, model_args, train, tokenizer)
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    set_seed(training_args.seed)
    with training_args.main_process_first(desc="tokenise"), user_errors("the chat template refuses a conversation"):
        pairs = tokenized(train, tokenizer, args.margin_per_place)
        held_out = tokenized(evaluation, tokenizer, args.margin_per_place)
    trainer = make_trainer(args, training_args, model_args, tokenizer, pairs, held_out, stage.callbacks())
    left_out = check_rows(trainer, pairs, held_out, training_args.max_length, batch)
    stage.train(trainer)
    if held_out is not None:
        trainer.evaluate()
    tokens = logged_tokens(trainer.state.log_history)
    stage.finish(trainer, [trainer.train_dataset], tokens, trainer.state.total_flos, left_out)


if __name__ == "__main__":
    main()
