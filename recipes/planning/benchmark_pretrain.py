"""How fast `recipes.pretrain` is beside a plain PyTorch loop: same model, optimiser, rates, batches, precision.

    python -m recipes.benchmark --stage pretrain --config recipes/tiny/pretrain.yaml --steps 60 --rounds 3

Each round runs all variants one after the other, each in fresh processes: `bare` and `recipe`, eager and compiled (by
layers where the config has `compile_layers`, else as one: TrainingArguments' `torch_compile`, with the config's
`torch_compile_backend` and `_mode`), and the processor's peak, 2,048³ products in the dtype of training on the same
threads. Printed: tokens/s, the share of that peak (of all FLOPs, attention's, too), beside it the share that the
products of the model's linear layers reach alone, with nothing between them, and recipe/bare of the rounds. Left out
of the time: the first steps, evaluation, checkpoints and samples; what compiling took is said for itself.
"""

import contextlib
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval.cli import UserError, existing, parse
from recipes.pipeline.processes import run_step
from recipes.pipeline.steps import import_libraries
from recipes.trainers.patches import replaced

WARM_UP = 5  # steps that are not counted
SIZE = 2048  # of the matrices whose product is the peak
PEAK_SECONDS = 2.0


@dataclass
class PretrainBenchmarkArguments:
    stage: str = field(metadata={"help": "pretrain"})
    tokenizer: str | None = field(default=None, metadata={"help": "in place of the one that the config names"})
    tokens_dir: str | None = field(default=None, metadata={"help": "in place of the one that the config names"})
    steps: int = field(default=60, metadata={"help": f"counted in a round, behind {WARM_UP} that are not"})
    rounds: int = field(default=3, metadata={"help": "of all variants"})
    processes: int = field(default=2, metadata={"help": "that train together (DDP) and share the processor's threads"})
    compiled: bool = field(default=True, metadata={"help": "torch.compile, too; it needs a C++ compiler"})


# ---- One variant, in each of its processes ----


def now() -> float:
    """The time when all work asked of the device is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def settings(argv: list[str]) -> tuple:
    """The recipe's arguments; the processes of a variant find each other."""
    from transformers import TrainingArguments
    from trl import ModelConfig

    from recipes.pretrain import PretrainArguments
    from recipes.training.setup import parse_stage

    args, training_args, model_args = parse_stage((PretrainArguments, TrainingArguments, ModelConfig), argv)
    if not args.model_config or args.optimizer != "muon":
        raise UserError("the plain loop trains a new model with Muon: it needs model_config and optimizer: muon")
    training_args.device  # noqa: B018  it joins the process group
    return args, training_args, model_args


def over_processes(value: float, training_args) -> float:
    """The sum of all processes' values."""
    import torch

    total = torch.tensor(value, dtype=torch.float64, device=training_args.device)
    if training_args.world_size > 1:
        torch.distributed.all_reduce(total)
    return total.item()


def timed(work: Callable, flops: float, training_args) -> float:
    """FLOP/s of `work`, which has `flops` of them, over and over in all processes at once."""
    for _ in range(3):
        work()
    over_processes(0.0, training_args)  # they begin together
    count, seconds, start = 0, 0.0, now()
    while seconds < PEAK_SECONDS:
        work()
        count += 1
        seconds = now() - start
    return over_processes(flops * count / seconds, training_args)


def layer_products(model, tokens: int, dtype) -> tuple[Callable, float]:
    """The products of the model's linear layers, forward and backward, with nothing between them, and their FLOPs."""
    import torch
    from transformers.pytorch_utils import Conv1D  # a linear layer, too: GPT-2's, inputs × outputs

    operands = []
    for layer in model.modules():
        if not isinstance(layer, torch.nn.Linear | Conv1D):
            continue
        weight = layer.weight.detach().to(dtype)
        weight = weight.T if isinstance(layer, torch.nn.Linear) else weight
        inputs, gradients = (torch.randn(tokens, size, device=weight.device).to(dtype) for size in weight.shape)
        operands.append((inputs, weight, gradients))

    def work():
        for inputs, weight, gradients in operands:
            inputs @ weight
            gradients @ weight.T
            inputs.T @ gradients

    return work, 6.0 * tokens * sum(weight.numel() for _, weight, _ in operands)


def peak(argv: list[str]) -> dict:
    """FLOP/s of products of square matrices, and of those of the model's linear layers alone."""
    import torch

    from eval.generation.models import load_tokenizer
    from recipes.pretrain import new_model

    args, training_args, model_args = settings(argv)
    dtype = torch.bfloat16 if training_args.bf16 else torch.float32
    a, b = (torch.randn(SIZE, SIZE, device=training_args.device).to(dtype) for _ in range(2))
    flops = timed(lambda: a @ b, 2 * SIZE**3, training_args)
    tokenizer = load_tokenizer(args.tokenizer)
    model = new_model(args.model_config, tokenizer, args.sequence_length, model_args.attn_implementation)
    tokens = training_args.per_device_train_batch_size * args.sequence_length
    layers = timed(*layer_products(model.to(training_args.device), tokens, dtype), training_args)
    used = {"dtype": str(dtype).removeprefix("torch."), "threads": torch.get_num_threads()}
    return {"flops": flops, "layers": layers, **used}


@dataclass
class PlainLoop:
    """A model in training without a trainer.

    Attributes:
        network: the model as it is called: compiled, over several processes, or both.
        windows: reads the ids of a micro-batch, by its number.
    """

    model: Any
    network: Any
    optimizer: Any
    schedule: Any
    windows: Callable
    training_args: Any

    def step(self, number: int):
        """One optimiser step; its loss."""
        import torch

        settings = self.training_args
        parts, loss = settings.gradient_accumulation_steps, 0.0
        for part in range(parts):
            last = part == parts - 1 or settings.world_size == 1
            with contextlib.nullcontext() if last else self.network.no_sync():
                ids = self.windows(number * parts + part)
                with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.bf16):
                    part_loss = self.network(input_ids=ids, labels=ids, use_cache=False).loss / parts
                part_loss.backward()
            loss += part_loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss


def window_reader(args, training_args) -> Callable:
    """A function from the number of a micro-batch to its ids: windows in the file's order, as the recipe's sequential
    sampler deals them to the processes."""
    import torch

    from data_prep.shared.token_dataset import TokenDataset

    data = TokenDataset(args.tokens_dir, "train", args.sequence_length)
    rank, world, size = (
        training_args.process_index,
        training_args.world_size,
        training_args.per_device_train_batch_size,
    )

    def read(number: int):
        first = (number * world + rank) * size
        windows = [data[i % len(data)]["input_ids"] for i in range(first, first + size)]
        return torch.stack(windows).to(training_args.device)

    return read


def plain_loop(args, training_args, model_args) -> PlainLoop:
    """The loop of the recipe's model, optimiser and rates."""
    import torch
    from transformers import get_scheduler, set_seed

    from eval.generation.models import load_tokenizer
    from recipes.pretrain import new_model
    from recipes.training.compiled import compile_layers
    from recipes.training.setup import optimizer_factory

    windows = window_reader(args, training_args)
    set_seed(training_args.seed)
    tokenizer = load_tokenizer(args.tokenizer)
    model = new_model(args.model_config, tokenizer, args.sequence_length, model_args.attn_implementation)
    model = model.to(training_args.device)
    factory, kwargs = optimizer_factory(args, training_args)["optimizer_cls_and_kwargs"]
    optimizer = factory()(model, **kwargs)
    last = training_args.max_steps
    kind, kind_kwargs = training_args.lr_scheduler_type, training_args.lr_scheduler_kwargs
    schedule = get_scheduler(kind, optimizer, training_args.get_warmup_steps(last), last, kind_kwargs)
    network = torch.nn.parallel.DistributedDataParallel(model) if training_args.world_size > 1 else model
    if training_args.torch_compile:
        backend, mode = training_args.torch_compile_backend, training_args.torch_compile_mode
        network = torch.compile(network, backend=backend, mode=mode)
    elif args.compile_layers:
        compile_layers(model)
    network.train()
    return PlainLoop(model, network, optimizer, schedule, windows, training_args)


def bare(argv: list[str], steps: int) -> dict:
    """The plain loop: the seconds from its start to the ends of steps `WARM_UP` and `steps`, and the mean loss."""
    import torch

    from recipes.pretrain import flops_per_token
    from recipes.training.setup import rows_per_step

    args, training_args, model_args = settings(argv)
    loop = plain_loop(args, training_args, model_args)
    start = now()
    losses = [loop.step(number) for number in range(WARM_UP)]
    warm = now()
    losses += [loop.step(number) for number in range(WARM_UP, steps)]
    end = now()
    loss = over_processes(torch.stack(losses).mean().item(), training_args) / training_args.world_size
    tokens = rows_per_step(training_args) * args.sequence_length
    flops = flops_per_token(loop.model, args.sequence_length)
    return {"warm": warm - start, "end": end - start, "loss": loss, "step_tokens": tokens, "flops_per_token": flops}


def recipe(argv: list[str], steps: int) -> dict:
    """`recipes.pretrain` as it is, stopped after `steps`: the same figures."""
    from transformers import TrainerCallback

    from recipes import pretrain
    from recipes.training.stage import Stage

    at, history, callbacks = {}, [], Stage.callbacks

    class Clock(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            at["start"] = now()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in (WARM_UP, steps):
                at[state.global_step] = now()
            control.should_training_stop = state.global_step >= steps

        def on_train_end(self, args, state, control, **kwargs):
            history.extend(state.log_history)

    clocked = replaced(Stage, callbacks=lambda stage: [*callbacks(stage), Clock()])
    with clocked, contextlib.redirect_stdout(io.StringIO()):
        pretrain.main(argv)
    loss = next(row["train_loss"] for row in reversed(history) if "train_loss" in row)
    return {"warm": at[WARM_UP] - at["start"], "end": at[steps] - at["start"], "loss": loss}


def main(argv: list[str]) -> None:
    """A process of one variant: its name, steps, the file for its figures, the recipe's options."""
    name, steps, result, *options = argv
    train = {"bare": bare, "recipe": recipe}
    figures = peak(options) if name == "peak" else train[name](options, int(steps))
    if os.environ.get("RANK", "0") == "0":
        Path(result).write_text(json.dumps(figures))


# ---- All variants, in turn ----


def recipe_options(config: str, args: PretrainBenchmarkArguments, folder: Path) -> dict[str, list[str]]:
    """The command lines of `recipes.pretrain`, eager and compiled: nothing but training, and batches in the file's
    order."""
    keys = yaml.safe_load(existing(config, "config", "give a pretrain.yaml of recipes/").read_text())
    if not isinstance(keys, dict):
        raise UserError(f"{config} must hold `key: value` lines, but holds {type(keys).__name__}")
    keys.pop("sample_prompts", None)
    keys |= {key: getattr(args, key) for key in ("tokenizer", "tokens_dir") if getattr(args, key)}
    keys |= {"output_dir": str(folder / "model"), "eval_strategy": "no", "save_strategy": "no", "max_eval_windows": 1}
    keys |= {"train_sampling_strategy": "sequential", "report_to": "none", "disable_tqdm": True}
    keys["resume"] = False
    compiling = {key: keys.pop(key) for key in ("torch_compile_backend", "torch_compile_mode") if key in keys}
    if keys.get("max_steps", -1) < WARM_UP + args.steps:
        raise UserError(f"max_steps of {config} must be at least {WARM_UP + args.steps}, {WARM_UP} more than --steps")
    options = {}
    eager = {"torch_compile": False, "compile_layers": False}
    compiled = {} if keys.get("compile_layers") else {"torch_compile": True} | compiling
    for how, more in (("eager", eager), ("compiled", compiled)):
        path = folder / f"{how}.yaml"
        path.write_text(yaml.safe_dump(keys | more))
        options[how] = ["--config", str(path)]
    return options


def measure(name: str, args: PretrainBenchmarkArguments, options: list[str], folder: Path) -> dict:
    """Run one variant in processes of its own; its figures."""
    result = folder / "figures.json"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / f"compiled-{name}")  # the first round compiles, for both
    argv = [name, str(WARM_UP + args.steps), str(result), *options]
    with (folder / "held").open("w") as held:
        code, _ = run_step("recipes.planning.benchmark_pretrain", argv, held, args.processes, folder / "other.log")
    shutil.rmtree(folder / "model", ignore_errors=True)
    if code:
        raise SystemExit(code if code > 0 else 1)
    return json.loads(result.read_text())


def spread(values: list[float]) -> str:
    """Median and range."""
    three = (statistics.median(values), min(values), max(values))
    return "{} ({} to {})".format(*(f"{value:,.0f}" if value >= 100 else f"{value:.3f}" for value in three))


def compare(argv: list[str]) -> None:
    """What `recipes.benchmark --stage pretrain` does."""
    argv = list(argv)
    if "--config" not in argv[:-1]:
        raise UserError("--stage pretrain needs --config, such as recipes/tiny/pretrain.yaml")
    at = argv.index("--config")
    config = argv[at + 1]
    (args,) = parse((PretrainBenchmarkArguments,), argv[:at] + argv[at + 2 :])
    if min(args.steps, args.rounds, args.processes) < 1:
        given = f"{args.steps}, {args.rounds} and {args.processes}"
        raise UserError(f"steps, rounds and processes must be at least 1, but are {given}")
    if args.compiled and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UserError("torch.compile needs a C++ compiler: install g++, or leave it out with --compiled false")
    with tempfile.TemporaryDirectory() as folder:
        in_turn(args, recipe_options(config, args, Path(folder)), Path(folder))


def in_turn(args: PretrainBenchmarkArguments, options: dict[str, list[str]], folder: Path) -> None:
    """Run the rounds and print what they say."""
    import_libraries()  # once, before the processes are forked
    hows = ["eager", "compiled"] if args.compiled else ["eager"]
    peaks, runs = [], {(name, how): [] for how in hows for name in ("bare", "recipe")}
    for number in range(1, args.rounds + 1):
        peaks.append(measure("peak", args, options["eager"], folder))
        print(f"round {number}, peak: {peaks[-1]['flops'] / 1e9:.1f} GFLOP/s", flush=True)
        for (name, how), of_rounds in runs.items():
            of_rounds.append(measure(name, args, options[how], folder))
            step = (of_rounds[-1]["end"] - of_rounds[-1]["warm"]) / args.steps
            print(f"round {number}, {name} {how}: {step:.3f} s a step, loss {of_rounds[-1]['loss']:.4f}", flush=True)
    report(args, peaks, runs)


def report(args: PretrainBenchmarkArguments, peaks: list[dict], runs: dict[tuple, list[dict]]) -> None:
    """Print tokens/s, the share of the peak and the ratios, each the median and range of the rounds."""
    one = runs["bare", "eager"][0]
    used = f"{args.processes} processes of {peaks[0]['threads']} threads, {peaks[0]['dtype']}"
    print(f"peak: {spread([found['flops'] / 1e9 for found in peaks])} GFLOP/s ({used})")
    alone = spread([found["layers"] / found["flops"] for found in peaks])
    print(f"products of the model's linear layers with nothing between them: {alone} of the peak")
    speeds = {}
    for (name, how), of_rounds in runs.items():
        speeds[name, how] = [one["step_tokens"] * args.steps / (run["end"] - run["warm"]) for run in of_rounds]
        of_peak = [speed * one["flops_per_token"] / found["flops"] for speed, found in zip(speeds[name, how], peaks)]
        print(f"{name} {how}: {spread(speeds[name, how])} tokens/s, {spread(of_peak)} of the peak")
        if how == "compiled":
            first = of_rounds[0]  # the later rounds find the first one's code on the disk
            compiling = first["warm"] - WARM_UP * (first["end"] - first["warm"]) / args.steps
            print(f"{name} {how}: compiling took {compiling:.0f} s")
    for how in dict.fromkeys(how for _, how in runs):
        print(f"recipe / bare, {how}: {spread([a / b for a, b in zip(speeds['recipe', how], speeds['bare', how])])}")
