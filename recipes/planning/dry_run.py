"""What a recipe would do, told before it does it: `--dry_run true` at any recipe.

    python -m recipes.sft --config recipes/tiny/sft.yaml --dry_run true
    accelerate launch --config_file accelerate_configs/fsdp2.yaml --num_processes 8 -m recipes.sft --config \
        recipes/qwen3-0.6b/sft.yaml --dry_run true --device_memory 80

The configuration is checked, the first rows are read as the stage reads them, and rows, tokens a step, steps, memory a
device and time are printed. No weights are loaded and nothing is written (of a model or data set of the Hub its own
cache keeps the config, the tokenizer and the first rows). What does not fit is an error with exit code 2. Memory comes
from the shapes that the model's own code makes (`recipes.planning.phases`), time from the device's peak and a stated
utilisation. Estimated beside measured: docs/dry_run.md.
"""

import math
import os
import time
from typing import Any

from eval.cli import UserError
from recipes.planning.held_bytes import Held, held_bytes, sharding
from recipes.planning.live_bytes import Phase, on_shapes, with_shapes
from recipes.planning.phases import PHASES, Job
from recipes.planning.process_bytes import process_bytes
from recipes.training.stage import device_name, peak_flops, world_size

GIB = 2**30
UTILISATION = {"cuda": 0.4, "cpu": 0.5}  # of the device's peak, in training
SAMPLING = 0.1  # of that, in sampling: all weights are read for every token
FIX = (
    "lower per_device_train_batch_size (and raise gradient_accumulation_steps), set activation_checkpointing or"
    " use_peft to true, or shard with accelerate_configs/fsdp2.yaml"
)


# ---- Models without weights ----
def describe(path: str, model_args, num_labels: int | None = None):
    """The config of a model's folder or Hub id.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoConfig

    from eval.generation.models import load_pretrained

    revision = model_args.model_revision if path == model_args.model_name_or_path else None
    options: dict[str, Any] = {"num_labels": num_labels} if num_labels else {}
    return load_pretrained(AutoConfig, path, "model", revision=revision, **options)


def on_meta(job: Job, config, trained: bool = True, scores: bool = False):
    """A model of a config on the meta device, with adapter and gradient checkpointing where the stage has them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import get_peft_config

    args, settings = job.model_args, job.training_args
    auto = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    if scores and config.pad_token_id is None:
        config.pad_token_id = 0
    attention = args.attn_implementation
    if attention and "flash" in attention:
        attention = "sdpa"  # needs as much, and is there without a package
    quantised = args.load_in_4bit or args.load_in_8bit
    named = config.dtype if args.dtype == "auto" else getattr(torch, args.dtype or "float32", None)
    dtype = torch.bfloat16 if quantised else named or torch.float32
    peft = get_peft_config(args) if trained else None
    with torch.device("meta"):
        model = auto.from_config(config, attn_implementation=attention, dtype=dtype)
        if not trained:
            model.requires_grad_(False)
        if peft is not None:
            from peft import get_peft_model

            model = get_peft_model(model, peft)
    model.train(trained)
    if trained and settings.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        if peft is not None:
            model.enable_input_require_grads()
    return model


def models_of(job: Job) -> dict:
    """All models of a stage by their names, `model` (the trained one) first."""
    scores = job.stage == "reward"
    path = job.model_args.model_name_or_path
    config = job.config or describe(path, job.model_args, 1 if scores else None)
    found = {"model": on_meta(job, config, scores=scores)}
    for name, path in job.models.items():
        scores = name in ("reward model", "critic")
        config = describe(path, job.model_args, 1 if scores else None)
        found[name] = on_meta(job, config, name == "critic", scores)
    return found


def estimate(job: Job) -> tuple[Held, dict[str, Phase], tuple[int, int]]:
    """What a device holds through the whole of training, what the phases need beyond it, and how many weights the
    model has and trains."""
    models = models_of(job)
    job.vocabulary = models["model"].config.get_text_config().vocab_size
    held = Held()
    for model in models.values():
        own = held_bytes(model, job.args, job.training_args, job.model_args)
        held = Held(held.weights + own.weights, held.gradients + own.gradients, held.optimizer + own.optimizer)
    weights = list(models["model"].parameters())
    counts = sum(w.numel() for w in weights), sum(w.numel() for w in weights if w.requires_grad)
    with on_shapes() as live:
        shaped = {name: with_shapes(model) for name, model in models.items()}
        phases = PHASES[job.stage](live, job, shaped)
    return held, phases, counts


# ---- Memory and time ----
def total_bytes(job: Job, held: Held, phases: dict[str, Phase]) -> float:
    """The peak of one device: on a GPU of its tensors, on a CPU of the process."""
    needs = sorted((phase.more for phase in phases.values()), reverse=True)
    if job.training_args.device.type == "cpu":
        return process_bytes(job, steps_of(job), held.total, needs)
    return held.total + needs[0]


def device_bytes(job: Job) -> float:
    """Memory of one device: `device_memory`, else of this machine's GPU, or each local process's share of its RAM."""
    import torch

    if job.args.device_memory:
        return job.args.device_memory * GIB
    if job.training_args.device.type == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ram / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cpu_flops(size: int = 1024, seconds: float = 0.3) -> float:
    """FLOP/s of a product of two float32 matrices [size, size] on this CPU, timed here by the processor's own time, so
    that other work beside it does not count."""
    import torch

    a, b = torch.rand(size, size), torch.rand(size, size)
    a @ b
    start, products = time.process_time(), 0
    while time.process_time() - start < seconds:
        a @ b
        products += 1
    return products * 2 * size**3 / (time.process_time() - start) * torch.get_num_threads()


def steps_of(job: Job) -> int | None:
    """Optimiser steps (in PPO updates) of the whole run; None where the number of rows is not known."""
    settings, world = job.training_args, world_size()
    batch = job.batch * settings.gradient_accumulation_steps * world
    if job.stage == "ppo":
        episodes = settings.total_episodes or (job.rows and int(settings.num_train_epochs * job.rows))
        return -(-episodes // batch) if episodes else None
    if settings.max_steps > 0:
        return settings.max_steps
    if job.rows is None:
        return None
    repeats = settings.num_generations * settings.num_iterations if job.stage in ("grpo", "rloo") else 1
    return math.ceil(settings.num_train_epochs * job.rows * repeats / batch)


def flops_per_step(job: Job, phases: dict[str, Phase]) -> float:
    """FLOPs of one step on one device, those of sampling weighted by how much slower it is."""
    settings = job.training_args
    flops = phases["training"].flops * settings.gradient_accumulation_steps
    if "sampling" in phases:
        reused = settings.steps_per_generation * settings.num_iterations if job.stage in ("grpo", "rloo") else 1
        flops += phases["sampling"].flops / SAMPLING / reused
    return flops + (phases["scoring"].flops if "scoring" in phases else 0)


# ---- Telling ----
def size(count: float) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def memory_lines(job: Job, held: Held, phases: dict[str, Phase], total: float) -> list[str]:
    settings = job.training_args
    lines = [f"  {name:12s} {size(getattr(held, name))}" for name in ("weights", "gradients", "optimizer")]
    for name, phase in phases.items():
        parts = [f"{part} {size(count)}" for part, count in phase.parts.items()]
        within = f", of which {', '.join(parts)}" if parts else ""
        lines.append(f"  {name:12s} {size(phase.more)}{within}")
    if settings.device.type == "cpu":
        rest = total - held.total - max(phase.more for phase in phases.values())
        lines.append(f"  {'process':12s} {size(rest)}: libraries, rows, compiled products, what the allocator holds")
    return [*lines, f"  {'peak':12s} {size(total)} of {size(device_bytes(job))}"]


def lines_of(job: Job, held: Held, phases: dict[str, Phase], counts: tuple[int, int], total: float) -> list[str]:
    """What a dry run prints."""
    settings, world, steps = job.training_args, world_size(), steps_of(job)
    mean = sum(job.lengths) / len(job.lengths)
    rows = job.batch * settings.gradient_accumulation_steps * world
    tokens = rows * (mean + job.new_tokens) * (2 if job.stage in ("reward", "dpo") else 1)
    known = "an unknown number of" if job.rows is None else f"{job.rows:,}"
    precision = "bf16" if settings.bf16 else "fp16" if settings.fp16 else str(job.model_args.dtype or "float32")
    kind = f", {sharding()}" if world > 1 else ""
    lines = [
        f"dry run of recipes.{job.stage}: no weights are loaded, nothing is written",
        f"data: {known} rows; of the first {len(job.lengths):,} the mean has {mean:.0f} tokens, the longest"
        f" {max(job.lengths):,}",
        f"a step: {rows:,} rows, about {tokens:,.0f} tokens, on {world} {settings.device.type}{kind}",
        f"steps: {'not known, as the rows are not counted: set max_steps' if steps is None else f'{steps:,}'}",
        f"model: {counts[0] / 1e6:,.2f} M weights, {counts[1] / 1e6:,.2f} M of them trained, in {precision}",
        "memory of a device:",
        *memory_lines(job, held, phases, total),
    ]
    return [*lines, time_line(job, phases, steps)]


def time_line(job: Job, phases: dict[str, Phase], steps: int | None) -> str:
    kind = job.training_args.device.type
    share = UTILISATION.get(kind, UTILISATION["cuda"])
    peak = peak_flops(job.args, device_name(job.training_args)) or (cpu_flops() if kind == "cpu" else None)
    flops = flops_per_step(job, phases)
    if not peak:
        return f"time: {flops / 1e12:.2f} TFLOP a step; the device's peak is not known: set peak_flops"
    seconds = flops / (peak * share)
    whole = "" if steps is None else f", {duration(seconds * steps)} in all, without evaluation and saving"
    return f"time: {seconds:.2g} s a step at {share:.0%} of {peak / 1e12:.2f} TFLOP/s{whole}"


def tell(job: Job) -> None:
    """Print what the stage would do.

    Raises:
        UserError: it does not fit on the device.
    """
    held, phases, counts = estimate(job)
    total = total_bytes(job, held, phases)
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines_of(job, held, phases, counts, total)), flush=True)
    there = device_bytes(job)
    if total > there:
        raise UserError(f"it does not fit: a device needs about {size(total)} and has {size(there)}: {FIX}")
