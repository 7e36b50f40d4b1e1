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
        made = field.default_factory is not dataclasses.MISSING
        default = field.default_factory() if made else field.default
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


@command
def main(argv: list[str] | None = None) -> None:
    from trl import DPOConfig, ModelConfig

    args, training_args, model_args = parse_stage((DPOScriptArguments, DPOConfig, ModelConfig), argv)

    # ---- Checks and data, before any work ----
    check(training_args)
    kind = training_args.loss_type[0]
    module, name = OTHERS.get(kind, ("trl", "DPO"))
    library = importlib.import_module(module)
    settings = training_args
    if kind in OTHERS:
        changes = {"loss_type": kind, "train_sampling_strategy": "sequential"} if kind == "kto" else {}
        with user_errors("settings"):
            settings = for_trainer(training_args, getattr(library, f"{name}Config"), **changes)
    tokenizer = load_chat_tokenizer(model_args, "the sft model", pad_token=True)
    columns = ("chosen", "rejected")
    train, evaluation = load_data(args, columns, training_args, ("prompt",))
    with training_args.main_process_first(desc="render"):
        pairs, left_out = usable(train, tokenizer, training_args.max_length, "the training data")
        held_out, _ = usable(evaluation, tokenizer, training_args.max_length, "the validation data")
    learned = pairs
    batch, rows = rows_per_step(training_args), "replies" if kind == "kto" else "pairs"
    if kind == "kto":
        from trl import unpair_preference_dataset

        # shuffled, as TRL reads them one behind the other, and first stand all that were chosen
        pairs = unpair_preference_dataset(pairs).shuffle(seed=training_args.seed)
        if held_out is not None:
            held_out = unpair_preference_dataset(held_out).shuffle(seed=training_args.seed)
    require_rows(pairs, batch, f"one step of {batch} {rows} of at most max_length {training_args.max_length} tokens")
    if args.dry_run:
        from recipes.planning.dry_run import Job, tell

        lengths = [
            max(len(encode_text(tokenizer, row["prompt"] + row[side], True)) for side in columns) for row in learned
        ]
        own = model_args.use_peft or kind == "orpo" or training_args.precompute_ref_log_probs
        models = {} if own else {"reference": model_args.model_name_or_path}
        return tell(Job("dpo", args, training_args, model_args, lengths, args.rows_in_all, models=models))
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import AutoModelForCausalLM, set_seed
    from trl import get_peft_config

    set_seed(training_args.seed)
    source = (AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    models = {"model": load_model(*source)}
    # an adapter is switched off for it, ORPO has none, and precomputed it is the policy before its first step
    if not (model_args.use_peft or kind == "orpo" or training_args.precompute_ref_log_probs):
        models["ref_model"] = load_model(*source)
    with user_errors(f"{name}'s settings"):
        trainer = getattr(library, f"{name}Trainer")(
            **models,
            args=settings,
            train_dataset=pairs,
            eval_dataset=held_out,
            processing_class=sealing(tokenizer),
            peft_config=get_peft_config(model_args),
            callbacks=stage.callbacks(),
        )
    stage.train(trainer)
    if held_out is not None:
        trainer.evaluate()
    tokens = logged_tokens(trainer.state.log_history)
    stage.finish(trainer, [learned], tokens, trainer.state.total_flos, left_out)


if __name__ == "__main__":
    main()
