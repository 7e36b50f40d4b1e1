"""DPO: pairs of replies train the policy directly, without a reward model and without sampling.

    python -m recipes.dpo --config recipes/tiny/dpo.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.dpo \\
        --config recipes/qwen3-0.6b/dpo.yaml

Rows are those of `recipes.reward`: `chosen` and `rejected` (messages), and optionally `prompt` before both; without it
what both begin with is the prompt. `model_name_or_path` is the policy and the reference. What is learned ends with the
end token, where PPO ends: what a template writes after it is cut off. `loss_type` is one or several of TRL's (sigmoid,
ipo, hinge, …), or `kto` or `orpo`, which have trainers of their own in TRL; `kto` takes every reply by itself, so its
batches are replies. Pairs that are too long are left out, not cut, and so are those whose replies are the same; how
many is printed and recorded. Rafailov et al. 2023, "Direct Preference Optimization".
"""

import dataclasses
import importlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from eval.cli import UserError, command, user_errors
from eval.generation.encoding import SEAL, common, encode_text, marks_of, render, sealing, unseal
from recipes.training.setup import (
    DataArguments,
    leave_out,
    load_chat_tokenizer,
    load_data,
    load_model,
    parse_stage,
    report_left_out,
    require_rows,
    rows_per_step,
)
from recipes.training.stage import Stage, logged_tokens


@dataclass
class DPOScriptArguments(DataArguments):
    METHOD = "direct preference optimisation"


LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)  # of TRL's DPOTrainer
OTHERS = {"kto": ("trl", "KTO"), "orpo": ("trl.experimental.orpo", "ORPO")}  # module and name of its trainer
COLUMNS = ("chosen", "rejected")
NEXT = {"role": "user", "content": "dummy"}
DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")


def check(args) -> None:
    """Raises `UserError` for what TRL would tell after the work has begun, or ignore."""
    kinds = args.loss_type
    unknown = [kind for kind in kinds if kind not in (*LOSSES, *OTHERS)]
    if unknown:
        raise UserError(f"loss_type {', '.join(unknown)} is none of TRL's: {', '.join((*LOSSES, *OTHERS))}")
    if len(kinds) > 1 and set(kinds) & OTHERS.keys():
        raise UserError(f"loss_type {', '.join(kinds)}: kto and orpo have trainers of their own, name one alone")
    if args.f_divergence_type not in DIVERGENCES:
        raise UserError(f"f_divergence_type must be one of {', '.join(DIVERGENCES)}, but is {args.f_divergence_type}")
    if args.padding_free or args.truncation_mode != "keep_start":
        told = "padding_free is switched off in TRL, and nothing is truncated here"
        raise UserError(f"{told}: leave padding_free and truncation_mode out")
    if not args.beta >= 0:
        raise UserError(f"beta must not be negative, but is {args.beta}")


def for_trainer(args, config: type, **changes):
    """A DPOConfig's settings as another of TRL's configs.

    Raises:
        UserError: a key that the other has not, and that is set.
    """
    own = {field.name for field in dataclasses.fields(config) if field.init}
    for field in dataclasses.fields(args):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        is_set = getattr(args, field.name) not in (default, None)  # some defaults are "auto" until they are resolved
        if field.name not in (*own, "loss_type") and is_set:
            raise UserError(f"{field.name} is not used with loss_type {args.loss_type[0]}: leave it out")
    kept = {field.name for field in dataclasses.fields(args)} & own
    return config(**{name: getattr(args, name) for name in kept} | changes)


def split(whole: str, prompt: str) -> int:
    """Where in a rendering its prompt ends; seals, which the two need not have alike, do not count.

    Raises:
        ValueError: the rendering begins in another way.
    """
    if whole.startswith(prompt):
        return len(prompt)
    wanted, place = unseal(prompt), 0
    for letter in wanted:
        while whole[place : place + 1] == SEAL != letter:
            place += 1
        if whole[place : place + 1] != letter:
            raise ValueError("the rendering begins in another way")
        place += 1
    return place


def texts(row: dict, tokenizer) -> dict:
    """`prompt`, `chosen` and `rejected` as texts, each reply up to its last end token; and the longer one's `tokens`.
    What a message spells of control tokens is sealed (`eval.generation.encoding`).

    Raises:
        UserError: nothing stands before the replies; the template writes no end token, or another prompt before one.
    """
    from trl import extract_prompt

    pair = row if row.get("prompt") else extract_prompt({side: row[side] for side in ("chosen", "rejected")})
    if not pair["prompt"]:
        said = str(row["chosen"])[:80]
        raise UserError(f"a pair has no prompt: give `prompt`, or replies that begin alike, not {said!r}")
    prompt, end = render(tokenizer, pair["prompt"], add_generation_prompt=True), tokenizer.eos_token
    wholes = {side: render(tokenizer, pair["prompt"] + pair[side]) for side in ("chosen", "rejected")}
    must = UserError(
        f"the chat template must write the prompt, the reply and the end token {end}: mend tokenizer.chat_template"
    )
    try:
        places = {side: split(whole, prompt) for side, whole in wholes.items()}
    except ValueError:  # DeepSeek's and Nemotron's headers begin a thought that a reply need not have
        same = min(common(whole, prompt) for whole in wholes.values())
        marks = [mark.end() for mark in marks_of(tokenizer).pattern.finditer(prompt) if mark.end() <= same]
        if not marks:
            raise must from None
        prompt, places = prompt[: marks[-1]], dict.fromkeys(wholes, marks[-1])
    found = {"prompt": str(prompt)}
    for side, whole in wholes.items():
        reply = whole[places[side] :]
        if end not in reply and render(tokenizer, [*pair["prompt"], *pair[side], NEXT]).startswith(whole + end):
            reply += end  # GLM ends a turn with the header of the next
        if end not in reply:
            raise must
        found[side] = reply[: reply.rindex(end) + len(end)]
    if tokenizer.bos_token and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]:
        found["prompt"] = found["prompt"].removeprefix(tokenizer.bos_token)  # TRL's tokenising writes it
    sides = (found["prompt"] + found[side] for side in ("chosen", "rejected"))
    return found | {"tokens": max(len(encode_text(tokenizer, side, True)) for side in sides)}


def usable(pairs, tokenizer, max_length: int | None, where: str) -> tuple:
    """The pairs as texts, without those that are too long, and how many were left out; it is said."""
    if pairs is None:
        return None, Counter()
    from datasets import Features, Value

    kinds = Features({name: Value("string") for name in ("prompt", "chosen", "rejected")} | {"tokens": Value("int64")})
    options = {"fn_kwargs": {"tokenizer": tokenizer}, "remove_columns": pairs.column_names, "features": kinds}
    rendered = pairs.map(texts, **options)
    left_out, why = Counter(), f"a reply with its prompt has more than max_length {max_length} tokens"
    kept = leave_out(rendered, lambda row: max_length is None or row["tokens"] <= max_length, why, left_out)
    report_left_out(left_out, len(pairs), where)
    return kept.remove_columns("tokens"), left_out


@dataclass
class Data:
    """What is learned from.

    Attributes:
        pairs: of the training data, as texts.
        train, evaluation: rows as the trainer takes them, pairs or (for KTO) replies; None without validation data.
        left_out: how many training pairs were left out, by reason.
    """

    pairs: Any
    train: Any
    evaluation: Any
    left_out: Counter


def single_replies(pairs, seed: int):
    """Every reply by itself, for KTO; None of None. Shuffled: TRL reads them in order, and first stand all chosen."""
    from trl import unpair_preference_dataset

    return None if pairs is None else unpair_preference_dataset(pairs).shuffle(seed=seed)


def read_data(args, training_args, tokenizer) -> Data:
    """The pairs of the arguments that are short enough, as the loss's trainer takes them.

    Raises:
        UserError: fewer are left than one batch needs.
    """
    train, evaluation = load_data(args, COLUMNS, training_args, ("prompt",))
    most = training_args.max_length
    with training_args.main_process_first(desc="render"):
        pairs, left_out = usable(train, tokenizer, most, "the training data")
        held_out, _ = usable(evaluation, tokenizer, most, "the validation data")
    if training_args.loss_type[0] == "kto":
        seed, rows = training_args.seed, "replies"
        data = Data(pairs, single_replies(pairs, seed), single_replies(held_out, seed), left_out)
    else:
        rows = "pairs"
        data = Data(pairs, pairs, held_out, left_out)
    batch = rows_per_step(training_args)
    require_rows(data.train, batch, f"one step of {batch} {rows} of at most max_length {most} tokens")
    return data


def trl_class(loss: str, what: str):
    """TRL's `what` (Config or Trainer) for a loss."""
    module, name = OTHERS.get(loss, ("trl", "DPO"))
    return getattr(importlib.import_module(module), name + what)


def trainer_settings(training_args):
    """The settings as the loss's trainer takes them.

    Raises:
        UserError: a key that this trainer has not.
    """
    loss = training_args.loss_type[0]
    if loss not in OTHERS:
        return training_args
    changes = {"loss_type": loss, "train_sampling_strategy": "sequential"} if loss == "kto" else {}
    with user_errors("settings"):
        return for_trainer(training_args, trl_class(loss, "Config"), **changes)


def needs_reference(training_args, model_args) -> bool:
    """Whether a second model is the reference: an adapter is switched off for it, ORPO has none, and precomputed it is
    the policy before its first step."""
    return not (model_args.use_peft or training_args.loss_type[0] == "orpo" or training_args.precompute_ref_log_probs)


def dry_run(args, training_args, model_args, tokenizer, pairs) -> None:
    """Print what the stage would do."""
    from recipes.planning.dry_run import Job, tell

    lengths = []
    for row in pairs:
        replies = [encode_text(tokenizer, row["prompt"] + row[side], True) for side in COLUMNS]
        lengths.append(max(map(len, replies)))
    models = {"reference": model_args.model_name_or_path} if needs_reference(training_args, model_args) else {}
    tell(Job("dpo", args, training_args, model_args, lengths, args.rows_in_all, models=models))


def make_trainer(training_args, model_args, settings, tokenizer, data: Data, callbacks: list):
    """TRL's trainer for the loss, with its models."""
    from transformers import AutoModelForCausalLM
    from trl import get_peft_config

    loss = training_args.loss_type[0]
    source = (AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    models = {"model": load_model(*source)}
    if needs_reference(training_args, model_args):
        models["ref_model"] = load_model(*source)
    _, name = OTHERS.get(loss, ("trl", "DPO"))
    with user_errors(f"{name}'s settings"):
        return trl_class(loss, "Trainer")(
            **models,
            args=settings,
            train_dataset=data.train,
            eval_dataset=data.evaluation,
            processing_class=sealing(tokenizer),
            peft_config=get_peft_config(model_args),
            callbacks=callbacks,
        )


@command
def main(argv: list[str] | None = None) -> None:
    from trl import DPOConfig, ModelConfig

    args, training_args, model_args = parse_stage((DPOScriptArguments, DPOConfig, ModelConfig), argv)

    # ---- Checks and data, before any work ----
    check(training_args)
    settings = trainer_settings(training_args)
    tokenizer = load_chat_tokenizer(model_args, "the sft model", pad_token=True)
    data = read_data(args, training_args, tokenizer)
    if args.dry_run:
        return dry_run(args, training_args, model_args, tokenizer, data.pairs)
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    set_seed(training_args.seed)
    trainer = make_trainer(training_args, model_args, settings, tokenizer, data, stage.callbacks())
    stage.train(trainer)
    if data.evaluation is not None:
        trainer.evaluate()
    tokens = logged_tokens(trainer.state.log_history)
    stage.finish(trainer, [data.pairs], tokens, trainer.state.total_flos, data.left_out)


if __name__ == "__main__":
    main()
