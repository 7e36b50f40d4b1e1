"""Run benchmarks on several models in one process: ours in `eval/tasks`, and any of lm-evaluation-harness's by name.

    python -m eval.run --models base=runs/tiny/base sft=runs/tiny/sft --base base \
        --data_dir runs/tiny/world/eval --output_dir runs/tiny/eval
    python -m eval.run --models qwen=Qwen/Qwen3-0.6B --tasks arc_easy gsm8k mmlu --output_dir runs/qwen3/eval

Chat models answer through their chat template; models named in `--base` complete text (of our tasks the twins
`<name>_base`). <output_dir>/<name>/results.json is lm-eval's own JSON, samples_<task>.jsonl its samples. Chat models
get one more row, `end_token`: the share of their greedy replies that end with the end token. `chance` is what guessing
scores; the table ends with the mean above it. What is there and was made from the same files with the same settings is
not run again, task by task.

With `--tools python search=runs/tiny/index` chat models may call these tools before they answer; base models have
none.

Under `accelerate launch` the processes share the tasks out, and the numbers are those of one process:

    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml -m eval.run --models sft=runs/tiny/sft \
        --data_dir runs/tiny/world/eval --output_dir runs/tiny/eval

Two models on the same items, paired: `python -m eval.compare`.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from eval.cli import UserError, command, existing, named_folders, output_folder, parse
from eval.generation.tool_loop import Toolbox, load_tools
from eval.lm_harness.plans import ModelRun, plan, task_fingerprint
from eval.lm_harness.results import add_end_token, table, together, write
from eval.lm_harness.tasks import (
    evaluate,
    load,
    local_task,
    manager,
    share_out,
    task_names,
)
from eval.shared.progress_file import ShareDone


@dataclass
class EvalArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    output_dir: str = field(metadata={"help": "where <name>/results.json goes"})
    data_dir: str | None = field(
        default=None,
        metadata={
            "help": "folder of our tasks' .jsonl files and of other YAML files' local rows (default: as they say)"
        },
    )
    tasks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "tasks of eval/tasks; tasks, groups and tags of lm-eval; YAML files (default: all of eval/tasks)"
        },
    )
    include_path: str | None = field(default=None, metadata={"help": "folder of more lm-eval task YAML"})
    num_fewshot: int | None = field(
        default=None,
        metadata={"help": "examples before each question, of lm-eval's tasks (default: as their YAML says)"},
    )
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    limit: int | None = field(default=None, metadata={"help": "only the first items of each task, for a trial"})
    batch_size: int = field(default=256, metadata={"help": "replies sampled at a time"})
    seed: int = field(default=0, metadata={"help": "of sampled tasks"})
    tools: list[str] = field(
        default_factory=list,
        metadata={"help": "what chat models may call: python, search=<index folder> or module:function"},
    )
    tool_tokens: int = field(
        default=512, metadata={"help": "with tools: tokens that calls and results may take beside a reply's own"}
    )
    backend: str = field(default="transformers", metadata={"help": "transformers or vllm"})
    confirm_run_unsafe_code: bool = field(
        default=False, metadata={"help": "run lm-eval's tasks that execute a model's code outside a sandbox"}
    )


def processes() -> tuple[int, int]:
    """This process's number, and how many there are."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def check_target(folder: Path, models: list[str]) -> None:
    """Results take the place of what is in the folder: it must be of this script, and no model.

    Raises:
        UserError: a model lies there or below, or files that are no results.
    """
    inside = [path for path in models if Path(path).exists() and Path(path).resolve().is_relative_to(folder.resolve())]
    if inside:
        raise UserError(
            f"the results would replace the model {inside[0]}, as they go to {folder}: choose another --output_dir"
        )
    if (
        folder.exists()
        and not (folder / "results.json").exists()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise UserError(
            f"the results would replace {folder}, which is not of eval.run (no results.json): choose another"
            " --output_dir or name"
        )


def check_arguments(args: EvalArguments, models: int) -> None:
    """Refuse what cannot be, before any work.

    Raises:
        UserError: a number out of range, or options that do not go together.
    """
    if (
        min(args.batch_size, args.tool_tokens) < 1
        or (args.limit is not None and args.limit < 1)
        or (args.num_fewshot or 0) < 0
    ):
        raise UserError("--batch_size, --limit and --tool_tokens must be at least 1, --num_fewshot at least 0")
    if args.tool_tokens != EvalArguments.tool_tokens and not args.tools:
        raise UserError("--tool_tokens goes with --tools, and does nothing without: leave it out")
    if args.backend not in ("transformers", "vllm"):
        raise UserError(f"--backend is transformers or vllm, but is {args.backend}")
    if args.backend == "vllm" and models > 1:
        raise UserError("--backend vllm keeps the GPU's memory for one model: give one, and run the others after it")


def check_tasks(names: list[str], args: EvalArguments) -> None:
    """Refuse tasks that nobody knows, and options that are for lm-eval's where all are ours.

    Raises:
        UserError: as the message says.
    """
    theirs = [name for name in names if not local_task(name)]
    if not theirs and (args.include_path or args.num_fewshot is not None):
        raise UserError(
            "--include_path and --num_fewshot are for lm-eval's tasks, and there are none among --tasks: leave"
            " them out"
        )
    if args.include_path:
        existing(args.include_path, "--include_path", "give a folder of lm-eval task YAML")
    if theirs:
        manager(theirs, args.include_path)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((EvalArguments,), argv)
    models = named_folders(args.models, args.base)
    check_arguments(args, len(models))
    names = list(dict.fromkeys(args.tasks or task_names()))
    check_tasks(names, args)
    prints = {name: task_fingerprint(name, args) for name in names}
    for name in models:
        check_target(Path(args.output_dir) / name, list(models.values()))
    tools = load_tools(args.tools)
    output_dir = output_folder(args.output_dir)
    first = processes()[0] == 0
    plans = [plan(name, path, prints, tools, args) for name, path in models.items()]
    for model in plans:
        if first and not model.todo:
            print(f"{model.name}: results are there, from the same files and settings")
    unfinished = [model for model in plans if model.todo]
    if unfinished:
        run(args, unfinished, output_dir, tools)
    if first:
        print(table(output_dir, list(models)))


def load_tokenizers(models: list[ModelRun], tools: list) -> dict:
    """The tokenizer of each model.

    Raises:
        UserError: a chat model's has no chat template, or none with a place for tools.
    """
    from eval.generation.models import load_tokenizer, require_chat_template

    tokenizers = {model.name: load_tokenizer(model.path) for model in models}
    for model in models:
        if not model.base:
            require_chat_template(tokenizers[model.name], model.path)
            if tools:
                Toolbox(tokenizers[model.name], tools, 0, 0)  # raises where the template has no place for them
    return tokenizers


def load_tasks(models: list[ModelRun], args: EvalArguments) -> dict[str, tuple[dict, dict, dict]]:
    """What `eval.lm_harness.tasks.load` returns, for each model; equal tasks are loaded once."""
    loaded: dict[tuple, tuple] = {}
    tasks = {}
    for model in models:
        key = (model.base, *model.todo)
        if key not in loaded:
            loaded[key] = load(model.todo, model.base, args.data_dir, args.include_path, args.num_fewshot)
        tasks[model.name] = loaded[key]
    return tasks


def count_replies(tasks: dict, limit: int | None) -> float:
    """How many replies the tasks {name: task} ask for."""
    generating = [task for task in tasks.values() if task.OUTPUT_TYPE == "generate_until"]
    return sum((task.config.repeats or 1) * min(limit or math.inf, len(task.eval_docs)) for task in generating)


class Progress:
    """A bar over the replies of all models, and the share that is done for who waits for this process."""

    def __init__(self, replies: float, quiet: bool):
        from tqdm import tqdm

        self.bar = tqdm(total=replies, unit="reply", mininterval=1, disable=quiet)
        self.replies, self.done = replies, 0
        self.write_share = ShareDone()
        self.write_share(0.0)

    def advance(self, model: str, task: str, n: int) -> None:
        self.bar.set_description(f"{model} {task}", refresh=False)
        self.bar.update(n)
        self.done += n
        self.write_share(self.done / self.replies)


def quiet_libraries() -> None:
    """One bar for all: no bars of the libraries, and only errors of lm-eval's."""
    import datasets
    import transformers

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def run(args: EvalArguments, models: list[ModelRun], output_dir: Path, tools: list) -> None:
    """Evaluate the models one after the other on their tasks and write each one's results."""
    import torch

    tokenizers = load_tokenizers(models, tools)
    quiet_libraries()
    rank, world = processes()
    tasks = load_tasks(models, args)
    device = f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    shares = [share_out(tasks[model.name][0], world)[rank] for model in models]
    progress = Progress(sum(count_replies(share, args.limit) for share in shares), quiet=rank > 0)
    with progress.bar:
        for model in models:
            own_tools = [] if model.base else tools
            advance = partial(progress.advance, model.name)
            results = run_model(
                model, tokenizers[model.name], tasks[model.name], own_tools, advance, device, (rank, world), args
            )
            if rank == 0:
                write(results, output_dir / model.name)


def run_model(
    model: ModelRun,
    tokenizer,
    loaded: tuple[dict, dict, dict],
    tools: list,
    progress: Callable[[str, int], None],
    device: str,
    process: tuple[int, int],
    args: EvalArguments,
) -> dict:
    """The results of one model, those that stand among them.

    Args:
        loaded: its tasks, groups and rows, as `eval.lm_harness.tasks.load` returns them.
        process: this process's number, and how many there are.
    """
    import transformers

    from eval.lm_harness.model import load_lm

    start = time.time()
    tasks, groups, rows = loaded
    rank, world = process
    options = {
        "batch_size": args.batch_size,
        "seed": args.seed,
        "progress": progress,
        "tools": tools,
        "tool_tokens": args.tool_tokens,
    }
    lm = load_lm(args.backend, model.path, tokenizer, device, **options)
    results = evaluate(
        lm,
        tasks,
        groups,
        chat=not model.base,
        limit=args.limit,
        rank=rank,
        world=world,
        unsafe_code=args.confirm_run_unsafe_code,
    )
    results["config"] = {
        "model": "tumbler",
        "model_args": {"pretrained": model.path},
        **lm.described,
        "batch_size": args.batch_size,
        "limit": args.limit,
        "random_seed": args.seed,
        "made_from": model.made_from,
    }
    results["date"] = start
    results["transformers_version"], results["lm_eval_version"] = transformers.__version__, version("lm_eval")
    results["total_evaluation_time_seconds"] = str(time.time() - start)
    return with_old(model, results, rows)


def with_old(model: ModelRun, results: dict, rows: dict) -> dict:
    """The new results and the rows of the old ones that stand."""
    kept = {task: model.old["rows"][task] for task in model.made_from["tasks"] if task not in model.todo}
    results = together(model.old, results, [row for task_rows in kept.values() for row in task_rows])
    results["rows"] = kept | rows
    add_end_token(results)
    return results


if __name__ == "__main__":
    main()
