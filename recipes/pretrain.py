"""Pretrain a base model from scratch (or continue one) on memory-mapped tokens.

    python -m recipes.pretrain --config recipes/tiny/pretrain.yaml                              # CPU, minutes
    accelerate launch --config_file accelerate_configs/single_gpu.yaml -m recipes.pretrain --config \
        recipes/gpt2-124m/pretrain.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.pretrain --config \
        recipes/gpt2-124m/pretrain.yaml

Any `AutoConfig` family through `model_config`; AdamW or Muon by name. The log holds the loss, validation loss in bits
per byte (comparable across vocabularies), tokens, tokens/s, FLOPs and, where the device's peak is known, MFU.
`samples.jsonl` holds the model's continuation of fixed prompts every `sample_steps`.
"""

import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, user_errors
from recipes.training.setup import (
    OptimizerArguments,
    ScriptArguments,
    load_model,
    optimizer_factory,
    parse_stage,
    require_rows,
    rows_per_step,
)
from recipes.training.stage import Stage, device_name, peak_flops


@dataclass
class PretrainArguments(ScriptArguments, OptimizerArguments):
    METHOD = "pretraining"

    model_config: dict | None = field(
        default=None,
        metadata={"help": "a new model: keys of AutoConfig, with model_type; unset: continue model_name_or_path"},
    )
    tokenizer: str | None = field(default=None, metadata={"help": "tokenizer folder or Hub id"})
    tokens_dir: str | None = field(default=None, metadata={"help": "folder that data_prep.tokens wrote"})
    sequence_length: int = field(default=1024, metadata={"help": "tokens in a window"})
    max_eval_windows: int = field(default=1000, metadata={"help": "validation windows read at each evaluation"})
    sample_prompts: list[str] = field(
        default_factory=list, metadata={"help": "prompts whose continuation is kept as training goes on"}
    )
    sample_steps: int = field(default=100, metadata={"help": "steps between two samples"})
    compile_layers: bool = field(
        default=False, metadata={"help": "compile each layer for training: in seconds; torch_compile: all as one"}
    )


def new_model(config: dict, tokenizer, sequence_length: int, attn_implementation: str | None):
    """A model with random weights; the vocabulary is the tokenizer's unless `vocab_size` pads it."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(config)
    if "model_type" not in config:
        raise UserError("model_config needs model_type, such as llama or gpt2")
    config = {"vocab_size": len(tokenizer)} | config
    if config["vocab_size"] < len(tokenizer):
        raise UserError(
            f"model_config.vocab_size is {config['vocab_size']}, but the tokenizer has {len(tokenizer)} tokens"
        )
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    try:
        config = AutoConfig.for_model(**(special | config))
        most = getattr(config, "max_position_embeddings", sequence_length)
        if most < sequence_length:
            raise UserError(f"sequence_length {sequence_length} is above the model's max_position_embeddings {most}")
        return AutoModelForCausalLM.from_config(config, attn_implementation=attn_implementation)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise UserError(f"model_config does not make a model: {str(error)[:300]}") from None


def flops_per_token(model, sequence_length: int) -> float:
    """Forward and backward FLOPs: 6 N + 12 · layers · hidden · T (Chowdhery et al. 2022, PaLM, appendix B); an untied
    input embedding does no work."""
    config = model.config

    def size(weight) -> int:
        return getattr(weight, "ds_numel", weight.numel())  # under ZeRO-3 a weight that is elsewhere is empty here

    count = sum(map(size, model.parameters()))
    if not config.tie_word_embeddings:
        count -= size(model.get_input_embeddings().weight)
    return 6 * count + 12 * config.num_hidden_layers * config.hidden_size * sequence_length


def check(args, training_args, model_args) -> None:
    """Raises `UserError` for keys that are missing, out of range, or of the other of the two ways to begin."""
    from trl import ModelConfig

    for key in ("tokenizer", "tokens_dir"):
        if not getattr(args, key):
            raise UserError(f"{key} is not set: {PretrainArguments.__dataclass_fields__[key].metadata['help']}")
    for key in ("sequence_length", "max_eval_windows", "sample_steps"):
        if getattr(args, key) < 1:
            raise UserError(f"{key} must be at least 1, but is {getattr(args, key)}")
    if args.compile_layers and training_args.torch_compile:
        raise UserError("compile_layers and torch_compile are two ways to do the same: set one of them")
    loads = model_args.dtype != ModelConfig.dtype or model_args.load_in_4bit or model_args.load_in_8bit
    if args.model_config and loads:
        raise UserError(
            "dtype, load_in_4bit and load_in_8bit are for a model that is loaded; a new one is made in float32: unset"
            " them (bf16: true trains in bf16)"
        )
    if (args.model_config is None) == (model_args.model_name_or_path is None):
        raise UserError("set either model_config (a new model) or model_name_or_path (continue one)")


def make_model(args, training_args, model_args, tokenizer, last_token: int) -> tuple:
    """The model to train, a new one or one that is continued, and its FLOPs per token.

    Args:
        last_token: of the last document: the token that ends documents, and so ends what the model writes.
    """
    from transformers import AutoModelForCausalLM
    from trl import get_peft_config

    from eval.generation.generate import end_token_ids

    if args.model_config is not None:
        model = new_model(args.model_config, tokenizer, args.sequence_length, model_args.attn_implementation)
    else:
        model = load_model(AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    ends = end_token_ids(model.generation_config.eos_token_id, tokenizer) | {last_token}
    model.generation_config.eos_token_id = sorted(ends)
    flops = flops_per_token(model, args.sequence_length)
    peft_config = get_peft_config(model_args)
    if peft_config:
        from peft import get_peft_model, prepare_model_for_kbit_training

        if getattr(model, "is_quantized", False):
            model = prepare_model_for_kbit_training(model)
        model = get_peft_model(model, peft_config)
    return model, flops


def tokens_per_byte(validation, windows: range, tokenizer) -> float:
    """Tokens that a byte of the validation text takes, by which a loss becomes bits per byte."""
    text = tokenizer.batch_decode([validation[i]["input_ids"] for i in windows], skip_special_tokens=True)
    return len(windows) * validation.sequence_length / sum(len(t.encode()) for t in text)


def trainer_class(stage: Stage, flops: float, tokens_per_step: int, bytes_share: float, peak: float):
    """`transformers.Trainer` whose log has bits per byte, tokens, FLOPs, tokens a second and MFU.

    Args:
        flops: of a token.
        bytes_share: see `tokens_per_byte`.
        peak: FLOP/s of all devices; 0 where it is not known.
    """
    import torch
    from transformers import Trainer

    class PretrainTrainer(Trainer):
        def training_step(self, *args, **kwargs):  # what `compile_layers` compiles is used here alone
            with torch.compiler.set_stance("default"):
                return super().training_step(*args, **kwargs)

        def compute_loss(self, model, inputs, *args, **kwargs):  # without the keys and values that nobody reads
            return super().compute_loss(model, inputs | {"use_cache": False}, *args, **kwargs)

        def log(self, logs, start_time=None):
            if "eval_loss" in logs:
                logs["eval_bits_per_byte"] = logs["eval_loss"] / math.log(2) * bytes_share
            elif "loss" in logs:
                logs["tokens"] = self.state.global_step * tokens_per_step
                logs["flops"] = logs["tokens"] * flops
                logs["tokens_per_second"] = logs["tokens"] / stage.seconds()
                if peak:
                    logs["mfu"] = logs["tokens_per_second"] * flops / peak
            super().log(logs, start_time)

    return PretrainTrainer


@dataclass
class Data:
    """The tokenizer, and what it made of the text: `data_prep.shared.token_dataset.TokenDataset`s."""

    tokenizer: Any
    train: Any
    validation: Any


def read_data(args) -> Data:
    """The tokenizer and the tokens of the arguments."""
    from data_prep.shared.token_dataset import TokenDataset
    from eval.generation.models import load_tokenizer

    tokenizer = load_tokenizer(args.tokenizer)
    train = TokenDataset(args.tokens_dir, "train", args.sequence_length)
    validation = TokenDataset(args.tokens_dir, "validation", args.sequence_length)
    return Data(tokenizer, train, validation)


def dry_run(args, training_args, model_args, data: Data) -> None:
    """Print what the stage would do."""
    import torch

    from recipes.planning.dry_run import Job, tell

    config = None
    if args.model_config is not None:
        with torch.device("meta"):
            config = new_model(args.model_config, data.tokenizer, args.sequence_length, None).config
    lengths = [args.sequence_length]
    tell(Job("pretrain", args, training_args, model_args, lengths, len(data.train), config=config))


def make_trainer(args, training_args, stage: Stage, data: Data, model, flops: float):
    """The trainer of a model whose training takes so many FLOPs a token."""
    from torch.utils.data import Subset
    from transformers import default_data_collator

    from recipes.training.callbacks import SamplePrompts

    tokens_per_step = rows_per_step(training_args) * args.sequence_length
    windows = range(min(len(data.validation), args.max_eval_windows))
    peak = (peak_flops(args, device_name(training_args)) or 0) * training_args.world_size
    share = tokens_per_byte(data.validation, windows, data.tokenizer)
    callbacks = stage.callbacks()
    if args.sample_prompts:
        samples = stage.folder / "samples.jsonl"
        callbacks.append(SamplePrompts(samples, data.tokenizer, args.sample_prompts, args.sample_steps))
    with user_errors("the trainer's settings"):
        return trainer_class(stage, flops, tokens_per_step, share, peak)(
            model=model,
            args=training_args,
            train_dataset=data.train,
            eval_dataset=Subset(data.validation, windows),
            # Trainer's choice for a tokenizer would pad, and GPT-2's has no padding token
            data_collator=default_data_collator,
            processing_class=data.tokenizer,
            callbacks=callbacks,
            **optimizer_factory(args, training_args),
        )


@command
def main(argv: list[str] | None = None) -> None:
    from transformers import TrainingArguments
    from trl import ModelConfig

    args, training_args, model_args = parse_stage((PretrainArguments, TrainingArguments, ModelConfig), argv)
    check(args, training_args, model_args)

    # ---- Checks and data, before any work ----
    data = read_data(args)
    batch = rows_per_step(training_args)
    require_rows(data.train, batch, f"one step of {batch} windows")
    if args.dry_run:
        return dry_run(args, training_args, model_args, data)
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    from recipes.training.compiled import compiled_layers

    set_seed(training_args.seed)
    model, flops = make_model(args, training_args, model_args, data.tokenizer, int(data.train.tokens[-1]))
    trainer = make_trainer(args, training_args, stage, data, model, flops)
    with compiled_layers(model) if args.compile_layers else contextlib.nullcontext():
        stage.train(trainer)
        trainer.evaluate()
    tokens = trainer.state.global_step * batch * args.sequence_length
    read = {"path": args.tokens_dir, "windows": len(data.train), "sequence_length": args.sequence_length}
    stage.finish(trainer, [read], tokens, tokens * flops)


if __name__ == "__main__":
    main()
