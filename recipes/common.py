"""What every recipe script does the same way: arguments, checks before any work, resume, and the stage record.

    args, training_args, model_args = parse_stage((DataArguments, SFTConfig, ModelConfig), argv)
    stage = Stage(args, training_args, model_args)
    if not stage.finished:
        ...
        stage.finish(trainer)

A stage is finished when its folder holds `stage.json`; it is written last. A run that was killed goes on from its last
complete checkpoint (`trainer_state.json` is what a checkpoint writes last).
"""

import dataclasses
import json
import math
import os
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, output_folder, parse

# Dense bf16 peak in FLOP/s by the name CUDA reports (vendors' data sheets); `peak_flops` overrides.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12, "RTX 4090": 165e12, "RTX 3090": 71e12}


@dataclass
class ScriptArguments:
    """Keys that every stage has."""

    resume: bool = field(default=True, metadata={"help": "continue a killed run from its last complete checkpoint"})
    peak_flops: float | None = field(default=None, metadata={"help": "peak FLOP/s of one device, for MFU; known for common GPUs"})
    price_per_hour: float | None = field(default=None, metadata={"help": "price of one device for an hour, for the cost in stage.json"})


@dataclass
class OptimizerArguments:
    """Keys of the stages whose trainer takes an optimiser factory (PPO's and GRPO's do not)."""

    optimizer: str | None = field(default=None, metadata={"help": "muon: Muon on matrices, AdamW on the rest; unset: `optim`"})
    muon_learning_rate: float = field(default=0.02, metadata={"help": "of Muon; `learning_rate` is AdamW's"})


@dataclass
class DataArguments(ScriptArguments):
    """Keys of the stages that read datasets (pretraining reads tokens)."""

    datasets: list[dict] | None = field(default=None, metadata={"help": "training data: list of {path, name, split, revision, weight, rename}"})
    eval_datasets: list[dict] | None = field(default=None, metadata={"help": "validation data, in the same form"})


def parse_stage(types: tuple[type, ...], argv: list[str] | None, **defaults) -> tuple:
    """Parse, and settle what the hardware decides: without a GPU the stage runs on the CPU, in bf16 only where it has the instructions."""
    import torch

    argv = list(os.sys.argv[1:] if argv is None else argv)
    if not torch.cuda.is_available() and not torch.backends.mps.is_available() and "--use_cpu" not in argv:
        argv += ["--use_cpu", "true"]  # transformers refuses bf16 without it
    args, training_args, *rest = parse(types, argv, defaults)
    if training_args.use_cpu and training_args.bf16 and not torch.cpu._is_avx512_bf16_supported():
        print("this CPU has no bf16 instructions: training in fp32")
        training_args.bf16, training_args.mixed_precision = False, "no"
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
    return args, training_args, *rest


def optimizer_factory(args: OptimizerArguments, training_args) -> dict:
    """The keyword arguments for `Trainer` that select Muon; none for Trainer's own optimisers.

    Raises:
        UserError: an unknown name, or Muon under DeepSpeed or FSDP, whose sharded matrices it cannot orthogonalise.
    """
    if args.optimizer is None:
        return {}
    if args.optimizer != "muon":
        raise UserError(f"optimizer must be muon or unset (then `optim` decides), but is {args.optimizer}")
    if sharded := [k for k in ("DEEPSPEED", "FSDP") if os.environ.get(f"ACCELERATE_USE_{k}", "false") == "true"]:
        raise UserError(f"optimizer: muon does not run under {sharded[0]}: use accelerate_configs/ddp.yaml, or unset it")
    from recipes.muon import MuonFactory

    kwargs = {
        "muon_lr": args.muon_learning_rate,
        "lr": training_args.learning_rate,
        "weight_decay": training_args.weight_decay,
        "betas": (training_args.adam_beta1, training_args.adam_beta2),
        "eps": training_args.adam_epsilon,
    }
    return {"optimizer_cls_and_kwargs": (MuonFactory, kwargs)}


def load_model(auto_class, path: str | None, model_args, training_args, **kwargs):
    """A pretrained model in the dtype, attention and quantisation of `ModelConfig`."""
    import torch
    from trl import get_quantization_config

    from eval.models import load_pretrained

    if not path:
        raise UserError("model_name_or_path is not set: give the folder of an earlier stage or a Hub id (owner/name)")
    quantization = get_quantization_config(model_args)
    if quantization is not None:
        kwargs |= {"quantization_config": quantization, "device_map": {"": training_args.device}}
    dtype = model_args.dtype if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype)
    model = load_pretrained(
        auto_class, path, "model", revision=model_args.model_revision, dtype=dtype or torch.float32, attn_implementation=model_args.attn_implementation, **kwargs
    )
    if training_args.activation_checkpointing:
        model.config.use_cache = False
    return model


def load_data(args: DataArguments, columns: tuple[str, ...], training_args) -> tuple:
    """Training and (or None) validation data with at least `columns`; see `data_prep.sources`."""
    from data_prep.sources import load_sources

    if not args.datasets:
        raise UserError("datasets is not set: list at least one source, such as `- {path: owner/name, split: train}`")
    evaluation = load_sources(args.eval_datasets, columns, training_args.seed) if args.eval_datasets else None
    return load_sources(args.datasets, columns, training_args.seed), evaluation


def rows_per_step(training_args) -> int:
    """Rows that one optimiser step takes from the data, over all processes (PPOConfig hides `world_size`)."""
    return training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps * int(os.environ.get("WORLD_SIZE", 1))


def require_rows(dataset, least: int, what: str) -> None:
    """Raises `UserError` for a data set that cannot fill one batch: trainers hang or train zero steps on it."""
    if len(dataset) < least:
        raise UserError(f"the training data have {len(dataset)} rows, but {what} needs at least {least}: give more rows or a smaller batch")


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest `checkpoint-N` whose writing was not cut off."""
    for path in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((path / "trainer_state.json").read_text())
            return path
        except (FileNotFoundError, ValueError):
            continue
    return None


def git_commit() -> str | None:
    run = subprocess.run(["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip() or None


def peak_memory_gb() -> float:
    """Peak memory of this process: of the GPU where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Stage:
    """One run of a recipe into `output_dir`: resume, timing, `stage.json`.

    Attributes:
        finished: an earlier run completed; there is nothing to do.
        checkpoint: where to resume, or None.
    """

    def __init__(self, args: ScriptArguments, training_args, model_args):
        self.args, self.training_args, self.parent = args, training_args, model_args.model_name_or_path
        self.folder = output_folder(training_args.output_dir)
        self.config = {k: v for part in (args, training_args, model_args) for k, v in _plain(part).items()}
        self.finished = args.resume and (self.folder / "stage.json").exists()
        self.checkpoint = last_complete_checkpoint(self.folder) if args.resume else None
        if not args.resume and any(self.folder.glob("checkpoint-*")):
            raise UserError(f"{self.folder} holds checkpoints of an earlier run and resume is false: delete it or choose another output_dir")
        if self.finished:
            print(f"{self.folder} is finished (stage.json): delete it to train again")
        elif self.checkpoint:
            print(f"continuing from {self.checkpoint}")
        elapsed = self.folder / "elapsed.json"  # seconds of earlier, killed runs up to their last checkpoint
        self.earlier_seconds = json.loads(elapsed.read_text())["seconds"] if self.checkpoint and elapsed.exists() else 0.0
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.start

    def callbacks(self, **constants) -> list:
        """The log (with `constants` in every row) and the clock that survives a kill."""
        from transformers import TrainerCallback

        from recipes.callbacks import JsonlLog

        stage = self

        class Elapsed(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                if state.is_world_process_zero:
                    (stage.folder / "elapsed.json").write_text(json.dumps({"seconds": stage.seconds()}))

        return [JsonlLog(self.folder / "log.jsonl", constants), Elapsed()]

    def train(self, trainer) -> None:
        """Train a transformers `Trainer`, from the checkpoint if there is one."""
        if not self.checkpoint:
            trainer.train()
            return
        state, args = json.loads((self.checkpoint / "trainer_state.json").read_text()), self.training_args
        # TRL's SFT and reward trainers would count tokens from 0 again
        trainer._total_train_tokens = next((log["num_tokens"] for log in reversed(state["log_history"]) if "num_tokens" in log), 0)
        asked = (args.max_steps, state["max_steps"]) if args.max_steps > 0 else (math.ceil(args.num_train_epochs), state["num_train_epochs"])
        if state["global_step"] >= state["max_steps"] and asked[0] == asked[1]:
            trainer._run_epoch = lambda **_: None  # killed behind its last step: Trainer would take one more
        trainer.train(resume_from_checkpoint=str(self.checkpoint))

    def finish(self, trainer, datasets: list = (), tokens: int | None = None, flops: float | None = None) -> None:
        """Save the model and its tokenizer, then the record, and push the model if asked.

        Args:
            tokens: tokens trained on, prompts and padding left out where the trainer knows.
            flops: of training in all; None where it was not counted.
        """
        import torch
        import transformers
        import trl

        trainer.save_model(str(self.folder))
        if not trainer.is_world_process_zero():
            return
        trainer.processing_class.save_pretrained(self.folder)
        seconds, world = self.seconds(), trainer.accelerator.num_processes
        device = torch.cuda.get_device_name() if trainer.accelerator.device.type == "cuda" else "cpu"
        peak = self.args.peak_flops or next((v for k, v in PEAK_FLOPS.items() if k in device), None)
        paths = ", ".join(str(source["path"]) for source in self.config.get("datasets") or [])
        record = {
            "git_commit": git_commit(),
            "config": self.config,
            "datasets": [{"path": paths, "fingerprint": d._fingerprint, "rows": len(d)} if hasattr(d, "_fingerprint") else d for d in datasets],
            "parent": self.parent,
            "seconds": round(seconds, 2),
            "steps": trainer.state.global_step,
            "tokens": tokens,
            "flops": flops,
            "tokens_per_second": round(tokens / seconds, 1) if tokens else None,
            "mfu": flops / seconds / (peak * world) if flops and peak else None,
            "device": device,
            "world_size": world,
            "peak_memory_gb": round(peak_memory_gb(), 2),
            "cost": round(self.args.price_per_hour * world * seconds / 3600, 2) if self.args.price_per_hour else None,
            "versions": {m.__name__: m.__version__ for m in (torch, transformers, trl)},
        }
        temporary = self.folder / "stage.json.tmp"
        temporary.write_text(json.dumps(record, indent=2, default=str))
        temporary.rename(self.folder / "stage.json")
        (self.folder / "elapsed.json").unlink(missing_ok=True)
        if self.training_args.push_to_hub:
            trainer.push_to_hub()


def _plain(part) -> dict:
    """A config's fields that differ from the class's defaults, without secrets."""
    values = part.to_dict() if hasattr(part, "to_dict") else dataclasses.asdict(part)
    return {k: v for k, v in values.items() if "token" not in k or k.endswith(("_tokens", "token_id"))}
