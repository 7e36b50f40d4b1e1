"""Distillation: a teacher's knowledge into a student, token by token, on what the student itself writes.

    python -m recipes.distill --config recipes/tiny/distill.yaml
    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml -m recipes.distill --config \
        recipes/tiny/distill.yaml

Rows hold `prompt` (messages), or a published set's columns (docs/data.md). The student (`model_name_or_path`) answers,
and at each of its tokens learns the distribution of the teacher (`teacher_model_name_or_path`), which must have the
same vocabulary; `beta` goes from the forward (0) to the reverse (1) KL divergence. TRL's DistillationTrainer does it:
Agarwal et al. 2024, "On-Policy Distillation of Language Models".

The other way, by which DeepSeek-R1's distilled models were made (2025, section 2.4), needs no recipe of its own: the
teacher's right solutions (`python -m data_prep.pass_rate … --solutions 1`) are conversations for `recipes.sft`.
"""

from collections import Counter
from dataclasses import dataclass

from eval.cli import UserError, command, user_errors
from eval.generation.generate import encode
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
    require_vllm,
    rows_per_step,
)
from recipes.training.stage import Stage, logged_tokens


@dataclass
class DistillScriptArguments(DataArguments):
    """Keys of this stage beside DistillationConfig's."""

    METHOD = "on-policy distillation"


def check(args, model_args, tokenizer) -> None:
    """Raises `UserError` where there is no teacher, or one that reads other tokens."""
    from eval.generation.models import load_tokenizer

    teacher = args.teacher_model_name_or_path
    if not teacher:
        raise UserError("teacher_model_name_or_path is not set: give the teacher's folder or Hub id")
    if args.teacher_model_init_kwargs or args.use_vllm:
        raise UserError("teacher_model_init_kwargs and use_vllm are not used here: leave them out")
    if load_tokenizer(teacher, "teacher", revision=args.teacher_model_revision).get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"the teacher {teacher} has another vocabulary than {model_args.model_name_or_path}: its distributions are"
            " over other tokens; take one of the same family, or its solutions (data_prep.pass_rate --solutions)"
        )


def trainer_class():
    """TRL's trainer, with prompts that never become control tokens."""
    from trl import DistillationTrainer

    class Trainer(DistillationTrainer):
        def _tokenize_prompts(self, prompts):
            return encode(self.processing_class, prompts, **self.chat_template_kwargs), None, {}

    return Trainer


def read_data(args, training_args, model_args, tokenizer) -> tuple:
    """The rows whose prompts leave room for a completion, the validation rows or None, the tokens of each prompt, and
    how many rows were left out.

    Raises:
        UserError: the chat template refuses a prompt, or fewer are left than one batch needs.
    """
    train, evaluation = load_data(args, ("prompt",), training_args)
    most = positions(model_args)
    left_out, rows_in = Counter(), len(train)
    with user_errors("the chat template refuses a prompt"):
        lengths = {str(row["prompt"]): len(encode(tokenizer, [row["prompt"]])[0]) for row in train}
    if most:
        room = most - training_args.max_completion_length
        why = f"the prompt has more than the {room} tokens that a completion leaves of the model's positions"
        train = leave_out(train, lambda row: lengths[str(row["prompt"])] <= room, why, left_out)
        report_left_out(left_out, rows_in)
    batch = rows_per_step(training_args)
    require_rows(train, batch, f"one step of {batch} prompts")
    return train, evaluation, [lengths[str(row["prompt"])] for row in train], left_out


def make_trainer(training_args, model_args, tokenizer, train, evaluation, callbacks: list):
    """The trainer of the student, with its teacher."""
    from transformers import AutoModelForCausalLM
    from trl import get_peft_config

    model = load_model(AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    teacher_path = training_args.teacher_model_name_or_path
    teacher = load_model(AutoModelForCausalLM, teacher_path, model_args, training_args, "teacher")
    with user_errors("distillation's settings"):
        return trainer_class()(
            model=model,
            teacher_model=teacher,
            args=training_args,
            train_dataset=train.select_columns(["prompt"]),
            eval_dataset=evaluation.select_columns(["prompt"]) if evaluation is not None else None,
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),
            callbacks=callbacks,
        )


@command
def main(argv: list[str] | None = None) -> None:
    from trl import DistillationConfig, ModelConfig

    args, training_args, model_args = parse_stage((DistillScriptArguments, DistillationConfig, ModelConfig), argv)

    # ---- Checks and data, before any work ----
    tokenizer = load_chat_tokenizer(model_args, "the student", pad_token=True)
    check(training_args, model_args, tokenizer)
    if not args.dry_run:
        require_vllm(training_args)
    train, evaluation, lengths, left_out = read_data(args, training_args, model_args, tokenizer)
    if args.dry_run:
        from recipes.planning.dry_run import Job, tell

        models = {"teacher": training_args.teacher_model_name_or_path}
        return tell(Job("distill", args, training_args, model_args, lengths, args.rows_in_all, models=models))
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    set_seed(training_args.seed)
    trainer = make_trainer(training_args, model_args, tokenizer, train, evaluation, stage.callbacks())
    stage.train(trainer)
    stage.finish(trainer, [train], logged_tokens(trainer.state.log_history), left_out=left_out)


if __name__ == "__main__":
    main()
