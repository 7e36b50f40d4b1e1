"""Supervised fine-tuning: conversations make an assistant of a base model.

    python -m recipes.sft --config recipes/tiny/sft.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.sft --config \
        recipes/qwen3-0.6b/sft.yaml

Rows hold `messages`, or a published set's columns (docs/data.md). Loss on the assistant's tokens only, the end token
among them; the first row is printed with its mask before training. What the assistant wrote is told by the chat
template's generation markers, or derived (`recipes.training.masks`); a chat template where neither is possible, or
whose end token carries no loss, is an error.
"""

import copy
import sys
from dataclasses import dataclass, field

from eval.cli import UserError, command, user_errors
from recipes.training.packing import PackedRows, leave_out_mask
from recipes.training.setup import (
    DataArguments,
    OptimizerArguments,
    dropped,
    load_data,
    load_model,
    optimizer_factory,
    parse_stage,
    positions,
    require_rows,
    rows_per_step,
)
from recipes.training.stage import Stage, logged_tokens


@dataclass
class SFTScriptArguments(DataArguments, OptimizerArguments):
    """Keys of this stage beside SFTConfig's."""

    METHOD = "supervised fine-tuning"

    pack_rows: bool = field(
        default=False,
        metadata={
            "help": (
                "put the conversations of a micro-batch behind each other, so that no padding is computed; each sees"
                " itself alone"
            )
        },
    )
    chat_template: str | None = field(
        default=None, metadata={"help": "Jinja file that replaces the tokenizer's chat template"}
    )


def check_positions(data, most: int | None, training_args) -> None:
    """Raises `UserError` where a row has more tokens than the model has positions."""
    longest = (
        max(max(row.get("seq_lengths") or [len(row["input_ids"])]) for row in data)
        if most and not (training_args.max_length and training_args.max_length <= most)
        else 0
    )
    if most and longest > most:
        raise UserError(
            f"a conversation has {longest} tokens, but the model only {most} positions: set max_length to at "
            f"most {most}, or take a model with more"
        )


def tokenised(data, tokenizer, template: str | None, training_args):
    """The rows as token ids, with what is learned of them (`recipes.training.masks.encode_row`). None of None."""
    from recipes.training.masks import encode_row

    if data is None:
        return None
    mask = {"tokenizer": tokenizer, "template": template, "assistant_only": training_args.assistant_only_loss}
    return data.map(
        encode_row,
        fn_kwargs=mask,
        remove_columns=data.column_names,
        desc="Tokenising",
        num_proc=training_args.dataset_num_proc,
    )


def show_mask(tokenizer, row: dict, most: int = 600) -> str:
    """The first tokens of a row; what carries loss stands between ⟦ and ⟧."""
    text, inside = "", False
    for token, label in zip(row["input_ids"][:most], row["labels"][:most]):
        if (label != -100) != inside:
            inside = not inside
            text += "⟦" if inside else "⟧"
        text += tokenizer.decode([token])
    return text + ("⟧" if inside else "")


def pack(trainer, model, training_args) -> PackedRows:
    """Make the trainer pack the rows of each micro-batch; the collator, which counts the padding.

    Raises:
        UserError: the settings pack in another way, or attention that does not keep the conversations apart.
    """
    if training_args.packing or training_args.padding_free:
        raise UserError("pack_rows, packing and padding_free are three ways to do the same: set one of them")
    attention = model.config._attn_implementation
    if attention not in ("eager", "sdpa"):
        raise UserError(
            "pack_rows keeps conversations apart with eager and sdpa attention, but attn_implementation is"
            f" {attention}: set packing: true instead"
        )
    collator = PackedRows(trainer.processing_class.pad_token_id)
    trainer.data_collator = collator
    model.register_forward_pre_hook(leave_out_mask, with_kwargs=True)
    return collator


def load_learning_tokenizer(args, training_args, model_args) -> tuple:
    """The tokenizer, with the chat template of the arguments, and the template that says what is learned (None where
    all is).

    Raises:
        UserError: no model, keys that are not used here, or a chat template whose turns cannot be told apart.
    """
    from eval.generation.models import load_tokenizer, replace_chat_template, set_end_token
    from recipes.training.masks import training_template

    path = model_args.model_name_or_path
    if not path:
        raise UserError("model_name_or_path is not set: give the base model's folder or Hub id")
    tokenizer = load_tokenizer(path, revision=model_args.model_revision)
    if training_args.chat_template_path:
        raise UserError("chat_template_path is not used here: give --chat_template file.jinja")
    replace_chat_template(tokenizer, args.chat_template)
    set_end_token(tokenizer)
    if training_args.eos_token and training_args.eos_token != tokenizer.eos_token:
        raise UserError(
            f"eos_token is {training_args.eos_token}, but the chat template ends a reply with {tokenizer.eos_token}:"
            " leave eos_token out, or give a --chat_template that ends with it"
        )
    template = training_template(tokenizer, path) if training_args.assistant_only_loss else None
    return tokenizer, template


def check_rows(trainer, train, evaluation, training_args, model_args, batch: int) -> dict:
    """How many training rows the trainer has left out, by reason.

    Raises:
        UserError: nothing is left to learn, a row is longer than the model reads, or the rows fill no batch.
    """
    if len(trainer.train_dataset) == 0 or all(label == -100 for label in trainer.train_dataset[0]["labels"]):
        raise UserError(f"no assistant token is left to learn within max_length {training_args.max_length}: raise it")
    check_positions(trainer.train_dataset, positions(model_args), training_args)
    left_out = {}
    why = f"no word of the assistant stands within max_length {training_args.max_length}"
    if not training_args.packing:
        left_out = dropped(train, trainer.train_dataset, why)
        require_rows(trainer.train_dataset, batch, f"one step of {batch} conversations")
    if evaluation is not None and not training_args.eval_packing and not training_args.packing:
        dropped(evaluation, trainer.eval_dataset, why, "the validation data")
    return left_out


def dry_run(args, training_args, model_args, rows) -> None:
    """Print what the stage would do with tokenised rows."""
    from recipes.planning.dry_run import Job, tell

    tokens = [len(row["input_ids"]) for row in rows]
    learned = sum(sum(row.get("assistant_masks") or [1] * len(row["input_ids"])) for row in rows)
    lengths = [min(count, training_args.max_length or sys.maxsize) for count in tokens]
    tell(Job("sft", args, training_args, model_args, lengths, args.rows_in_all, learned / sum(tokens)))


def make_trainer(args, training_args, peft_config, model, tokenizer, data: tuple, callbacks: list):
    """TRL's trainer of the model; `data`: tokenised rows to train on, and (or None) to evaluate on."""
    from trl import SFTTrainer

    from recipes.trainers.sft import Trainer

    trainer_class = Trainer if args.pack_rows else SFTTrainer
    rows, held_out = data
    settings = copy.copy(training_args)
    settings.assistant_only_loss = False  # the rows have their masks
    with user_errors("SFT's settings"):
        return trainer_class(
            model=model,
            args=settings,
            train_dataset=rows,
            eval_dataset=held_out,
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=callbacks,
            **optimizer_factory(args, training_args),
        )


@command
def main(argv: list[str] | None = None) -> None:
    from trl import ModelConfig, SFTConfig

    args, training_args, model_args = parse_stage(
        (SFTScriptArguments, SFTConfig, ModelConfig), argv, assistant_only_loss=True
    )

    # ---- Checks and data, before any work ----
    tokenizer, template = load_learning_tokenizer(args, training_args, model_args)
    train, evaluation = load_data(args, ("messages",), training_args)
    batch = rows_per_step(training_args)
    require_rows(train, batch, f"one step of {batch} conversations")
    if args.dry_run:
        return dry_run(args, training_args, model_args, tokenised(train, tokenizer, template, training_args))
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import AutoModelForCausalLM, set_seed
    from trl import get_peft_config

    set_seed(training_args.seed)
    with training_args.main_process_first(desc="tokenise"), user_errors("the chat template refuses a conversation"):
        data = tuple(tokenised(rows, tokenizer, template, training_args) for rows in (train, evaluation))
    model = load_model(AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    peft_config = get_peft_config(model_args)
    trainer = make_trainer(args, training_args, peft_config, model, tokenizer, data, stage.callbacks())
    left_out = check_rows(trainer, train, evaluation, training_args, model_args, batch)
    if trainer.is_world_process_zero():
        print(f"first row, loss between ⟦ and ⟧:\n{show_mask(tokenizer, trainer.train_dataset[0])}")
    collator = pack(trainer, model, training_args) if args.pack_rows else None
    stage.train(trainer)
    if collator and trainer.is_world_process_zero():
        print(f"padding: {collator.share:.1%} of the tokens that were read")
    if evaluation is not None:
        trainer.evaluate()
    learned = train if training_args.packing else trainer.train_dataset
    stage.finish(trainer, [learned], logged_tokens(trainer.state.log_history), trainer.state.total_flos, left_out)


if __name__ == "__main__":
    main()
