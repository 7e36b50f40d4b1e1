"""How much time `eval.run` takes beside lm-eval's own command, once a model: the same models, tasks, batch size and
threads.

    python -m eval.benchmark --models base=runs/tiny/base sft=runs/tiny/sft honest=runs/tiny/honest \
        ppo=runs/tiny/ppo grpo=runs/tiny/grpo --base base

Both are timed as whole commands, imports included, in one process each. Printed: seconds, their ratio, and how many
scores of greedy tasks are equal (sampled ones draw from other random streams).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, named_folders, parse
from eval.lm_harness.tasks import TASKS_DIR, data_file, task_names


@dataclass
class BenchmarkArguments:
    models: list[str] = field(metadata={"help": "name=folder of each model"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    tasks: list[str] = field(default_factory=list, metadata={"help": "of eval/tasks (default: all)"})
    data_dir: str = field(default="runs/tiny/world/eval", metadata={"help": "folder of the tasks' .jsonl files"})
    batch_size: int = field(default=256, metadata={"help": "of both"})
    limit: int | None = field(default=None, metadata={"help": "only the first items of each task"})
    threads: int = field(default=2, metadata={"help": "of torch"})


def timed(words: list, folder: Path, threads: int) -> float:
    """Seconds of a command that runs in `folder`.

    Raises:
        UserError: it fails.
    """
    paths = os.pathsep.join(filter(None, [str(TASKS_DIR.parents[1]), os.environ.get("PYTHONPATH")]))
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"python -m {words[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start


def scores(results: dict) -> dict[str, float]:
    """The scores of the greedy tasks."""
    greedy = (name for name, config in results["configs"].items() if not config["generation_kwargs"].get("do_sample"))
    return {name: results["results"][name]["score,none"] for name in greedy}


def lm_eval_command(name: str, path: str, tasks: list[str], output_dir: Path, args: BenchmarkArguments) -> list:
    """lm-eval's own command for one model."""
    base = name in args.base
    command: list = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={path}"]
    command += ["--tasks", ",".join(f"{task}_base" if base else task for task in tasks)]
    command += ["--include_path", TASKS_DIR, "--device", "cpu"]
    if not base:
        command.append("--apply_chat_template")
    return [*command, *limit_option(args), "--batch_size", args.batch_size, "--output_path", output_dir]


def eval_run_command(
    models: dict[str, str], tasks: list[str], data_dir: Path, output_dir: Path, args: BenchmarkArguments
) -> list:
    """The command of `eval.run` for all models."""
    command: list = ["eval.run", "--models", *(f"{name}={path}" for name, path in models.items())]
    if args.base:
        command += ["--base", *args.base]
    command += ["--tasks", *tasks, "--batch_size", args.batch_size, *limit_option(args)]
    return [*command, "--data_dir", data_dir, "--output_dir", output_dir]


def limit_option(args: BenchmarkArguments) -> list:
    return [] if args.limit is None else ["--limit", args.limit]


def score_pairs(folder: Path, models: list[str]) -> list[tuple[float, float]]:
    """(lm-eval's score, ours) of each greedy task of each model."""
    pairs = []
    for name in models:
        (path,) = (folder / "theirs" / name).rglob("results_*.json")
        theirs = scores(json.loads(path.read_text()))
        ours = scores(json.loads((folder / "ours" / name / "results.json").read_text()))
        pairs += [(theirs[task], ours[task]) for task in theirs]
    return pairs


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((BenchmarkArguments,), argv)
    models = {name: str(Path(path).resolve()) for name, path in named_folders(args.models).items()}
    tasks = args.tasks or task_names()
    data_dir = data_file(tasks[0], args.data_dir).parent.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "runs/tiny/world").mkdir(parents=True)
        (folder / "runs/tiny/world/eval").symlink_to(data_dir)  # where the YAML files look
        alone = {}
        for name, path in models.items():
            words = lm_eval_command(name, path, tasks, folder / "theirs" / name, args)
            alone[name] = timed(words, folder, args.threads)
            print(f"lm_eval {name:<12} {alone[name]:8.1f} s", flush=True)
        words = eval_run_command(models, tasks, data_dir, folder / "ours", args)
        together = timed(words, folder, args.threads)
        pairs = score_pairs(folder, list(models))
    total = sum(alone.values())
    print(
        f"lm_eval, one command a model: {total:.1f} s; eval.run, all of them: {together:.1f} s: {together / total:.2f}"
        " of it"
    )
    equal = sum(a == b for a, b in pairs)
    largest = max((abs(a - b) for a, b in pairs), default=0)
    print(f"scores of greedy tasks: {equal} of {len(pairs)} equal, the largest difference {largest:.4f}")


if __name__ == "__main__":
    main()
