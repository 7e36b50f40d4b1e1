"""Run the benchmarks of `eval/tasks` on several models in one process.

    python -m eval.run --models base=runs/tiny/base sft=runs/tiny/sft --base base \
        --data_dir runs/tiny/world/eval --output_dir runs/tiny/eval

Chat models answer through their chat template; models named in `--base` complete text (tasks `<name>_base`).
<output_dir>/<name>/results.json is lm-eval's own JSON, samples_<task>.jsonl its samples. Chat models get one
more row, `end_token`: the share of their greedy replies that end with the end token. A model whose results
are there and were made from the same files with the same settings is not run again.

With `--tools python search=runs/tiny/index` chat models may call these tools before they answer; base models have none.

Under `accelerate launch` the processes share the tasks out, and the numbers are those of one process:

    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml -m eval.run --models sft=runs/tiny/sft --data_dir runs/tiny/world/eval --output_dir runs/tiny/eval
"""

import functools
import hashlib
import inspect
import json
import logging
import math
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, output_folder, parse
from eval.tool_loop import Toolbox, load_tools

TASKS_DIR = Path(__file__).parent / "tasks"
MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja")


@dataclass
class EvalArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    output_dir: str = field(metadata={"help": "where <name>/results.json goes"})
    data_dir: str | None = field(default=None, metadata={"help": "folder of the tasks' .jsonl files (default: runs/tiny/world/eval)"})
    tasks: list[str] = field(default_factory=list, metadata={"help": "names of tasks in eval/tasks (default: all)"})
    base: list[str] = field(default_factory=list, metadata={"help": "names of the models that complete text, not chat"})
    limit: int | None = field(default=None, metadata={"help": "only the first items of each task, for a trial"})
    batch_size: int = field(default=256, metadata={"help": "replies sampled at a time"})
    seed: int = field(default=0, metadata={"help": "of sampled tasks"})
    tools: list[str] = field(default_factory=list, metadata={"help": "what chat models may call: python, search=<index folder> or module:function"})
    tool_tokens: int = field(default=512, metadata={"help": "with tools: tokens that calls and results may take beside a reply's own"})


def task_names() -> list[str]:
    """Names of the tasks in eval/tasks, each of which has a twin `<name>_base`."""
    names = {path.stem for path in TASKS_DIR.glob("*.yaml") if not path.stem.startswith("_")}
    return sorted(name for name in names if not name.endswith("_base"))


def data_file(task: str, data_dir: str | None) -> Path:
    """The rows of a task; its twin reads the same.

    Raises:
        UserError: the file is missing or empty.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(load_yaml(TASKS_DIR / f"{task}.yaml", resolve_func=False)["dataset_kwargs"]["data_files"]["test"])
    path = Path(data_dir) / path.name if data_dir else path
    existing(path, f"data file of task {task}", "python -m data_prep.world writes it, or give --data_dir")
    if not path.stat().st_size:
        raise UserError(f"data file of task {task} {path} is empty")
    return path


def fingerprint(files: list[Path], by_content: bool) -> str:
    """Of the files' contents, or where that would take long, of their names, sizes and times."""
    digest = hashlib.sha256()
    for path in sorted(files):
        stat = path.stat()
        digest.update(f"{path.name} {'' if by_content else (stat.st_size, stat.st_mtime_ns)}\n".encode())
        if by_content:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def model_fingerprint(model: str) -> str:
    """Of the files of a model's folder; a model on the Hub or behind an endpoint has none here."""
    return fingerprint([file for pattern in MODEL_FILES for file in Path(model).glob(pattern)] if Path(model).is_dir() else [], by_content=False)


def tool_files(names: list[str], tools: list, tool_tokens: int) -> dict:
    """What of the tools decides the scores: their names, their code, the folders they read; nothing without tools."""
    if not tools:
        return {}
    code = {*(TASKS_DIR.parent / "tools").glob("*.py"), *(Path(inspect.getfile(tool)) for tool in tools if not inspect.isbuiltin(tool))}
    folders = [Path(name.partition("=")[2]) for name in names if "=" in name]
    read = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {"tools": names, "tool_tokens": tool_tokens, "tools_code": fingerprint([*code], by_content=True), "tools_data": fingerprint(read, by_content=False)}


def load_tasks(data_files: dict[str, Path], base: bool) -> dict:
    """lm-eval's task objects, {name: task}, reading `data_files` {name without _base: file}."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    tasks = {}
    for name, path in data_files.items():
        name = f"{name}_base" if base else name
        config = load_yaml(TASKS_DIR / f"{name}.yaml")
        tasks[name] = ConfigurableTask(config={**config, "dataset_kwargs": {"data_files": {"test": str(path)}}})
    return tasks


def evaluate(lm, tasks: dict, chat: bool, limit: int | None = None) -> dict:
    """lm-eval's results of one model, with its samples, and `end_token` for a chat model; in each of the processes.

    Args:
        lm: `eval.harness.GenerateLM`.
        tasks: {name: task}, what `load_tasks` returned or, of several processes, this one's share of it; can be used again for the next model.
    """
    import lm_eval.api.task
    from accelerate.utils import gather_object
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.loggers.utils import add_tokenizer_info

    bar, lm_eval.api.task.tqdm = lm_eval.api.task.tqdm, functools.partial(lm_eval.api.task.tqdm, disable=True)  # a bar a task
    try:
        own = lm_evaluate(lm, {"tasks": tasks}, limit=limit, apply_chat_template=chat, bootstrap_iters=1) if tasks else {}
    finally:
        lm_eval.api.task.tqdm = bar
    parts = gather_object([json.loads(dump(own))])
    results = {key: {name: value for part in parts for name, value in part.get(key, {}).items()} for key in max(parts, key=len)}
    if chat and (ended := [end for ends in gather_object([*lm.finished.values()]) for end in ends]):
        n, share = len(ended), sum(ended) / len(ended)
        stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else "N/A"
        row = {"name": "end_token", "alias": "end_token", "sample_len": n, "score,none": share, "score_stderr,none": stderr}
        results["results"]["end_token"] = row
        results["n-samples"]["end_token"] = {"original": n, "effective": n}
        results["higher_is_better"]["end_token"] = {"score": True}
    add_tokenizer_info(results, lm)
    return results


def processes() -> tuple[int, int]:
    """This process's number, and how many there are."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def dump(value, **options) -> str:
    """JSON as lm-eval writes it."""
    from lm_eval.utils import handle_non_serializable

    return json.dumps(value, default=handle_non_serializable, ensure_ascii=False, **options)


def share_out(tasks: dict, processes: int) -> list[dict]:
    """The tasks for each process, about as many tokens to each: a task draws from a random stream of its own, so it does not matter who has it."""
    shares, tokens = [{} for _ in range(processes)], [0] * processes
    cost = {name: t.config.repeats * len(t.eval_docs) * (t.config.generation_kwargs or {}).get("max_gen_toks", 1) for name, t in tasks.items()}
    for name in sorted(tasks, key=lambda name: -cost[name]):
        least = tokens.index(min(tokens))
        shares[least][name] = tasks[name]
        tokens[least] += cost[name]
    return [{name: share[name] for name in tasks if name in share} for share in shares]


def write(results: dict, folder: Path) -> None:
    """`results.json` and `samples_<task>.jsonl` as lm-eval writes them; the folder appears when all is in it."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for task, samples in results.pop("samples").items():
        with open(part / f"samples_{task}.jsonl", "w", encoding="utf-8") as file:
            for sample in samples:
                arguments = {f"gen_args_{i}": {f"arg_{k}": a for k, a in enumerate(args)} for i, args in enumerate(sample["arguments"])}
                file.write(dump({**sample, "arguments": arguments}) + "\n")
    (part / "results.json").write_text(dump(results, indent=2), encoding="utf-8")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def check_target(folder: Path, models: list[str]) -> None:
    """Results take the place of what is in the folder: it must be of this script, and no model.

    Raises:
        UserError: a model lies there or below, or files that are no results.
    """
    if inside := [path for path in models if Path(path).exists() and Path(path).resolve().is_relative_to(folder.resolve())]:
        raise UserError(f"the results would replace the model {inside[0]}, as they go to {folder}: choose another --output_dir")
    if folder.exists() and not (folder / "results.json").exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"the results would replace {folder}, which is not of eval.run (no results.json): choose another --output_dir or name")


def _cell(row: dict) -> str:
    score, stderr = row.get("score,none"), row.get("score_stderr,none")  # "N/A" of a single item
    return "–" if score is None else f"{score:.3f}" + (f" ± {stderr:.3f}" if isinstance(stderr, float) else "")


def table(output_dir: Path, names: list[str], tasks: list[str]) -> str:
    """Score ± standard error of each task and model, from the files."""
    results = {name: json.loads((output_dir / name / "results.json").read_text())["results"] for name in names}
    lines = [f"{'task':<24}" + "".join(f"{name:>16}" for name in names)]
    for task in [*tasks, "end_token"]:
        rows = [results[name].get(task) or results[name].get(f"{task}_base") or {} for name in names]
        cells = [_cell(row) for row in rows]
        lines.append(f"{task:<24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((EvalArguments,), argv)
    models = dict(m.split("=", 1) if "=" in m else ("", m) for m in args.models)
    if len(models) < len(args.models) or not all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in models):
        raise UserError(f"--models takes name=folder, each name once and of letters, digits, . _ -, but got: {' '.join(args.models)}")
    if stray := [name for name in args.base if name not in models]:
        raise UserError(f"--base {stray[0]} is none of the models ({', '.join(models)})")
    if unknown := [task for task in args.tasks if task not in task_names()]:
        raise UserError(f"unknown task {unknown[0]}; there are: {', '.join(task_names())}")
    if min(args.batch_size, args.tool_tokens) < 1 or (args.limit is not None and args.limit < 1):
        raise UserError("--batch_size, --limit and --tool_tokens must be at least 1")
    if args.tool_tokens != EvalArguments.tool_tokens and not args.tools:
        raise UserError("--tool_tokens goes with --tools, and does nothing without: leave it out")
    data_files = {task: data_file(task, args.data_dir) for task in args.tasks or task_names()}
    for name in models:
        check_target(Path(args.output_dir) / name, list(models.values()))
    tools = load_tools(args.tools)
    output_dir = output_folder(args.output_dir)
    first = processes()[0] == 0

    # What decides the scores. Equal: the results that are there stand.
    code = [
        *TASKS_DIR.glob("*.yaml"),
        *TASKS_DIR.glob("*.py"),
        *(TASKS_DIR.parent / f"{m}.py" for m in ("verifiers", "generate", "harness", "tool_loop")),
    ]
    common = {
        "tasks": list(data_files),
        "limit": args.limit,
        "seed": args.seed,
        "code": fingerprint(code, by_content=True),
        "data": fingerprint(list(data_files.values()), by_content=True),
    }
    made_from, todo = {}, []
    for name, path in models.items():
        made_from[name] = {**common, "model": path, "files": model_fingerprint(path), "chat": name not in args.base}
        if made_from[name]["chat"]:
            made_from[name] |= tool_files(args.tools, tools, args.tool_tokens)
        try:
            done = json.loads((output_dir / name / "results.json").read_text())["config"]["made_from"]
        except (OSError, ValueError, KeyError):
            done = None
        if done != made_from[name]:
            todo.append(name)
        elif first:
            print(f"{name}: results are there, from the same files and settings")
    if todo:
        run(args, {name: models[name] for name in todo}, data_files, made_from, output_dir, tools)
    if first:
        print(table(output_dir, list(models), list(data_files)))


def run(args: EvalArguments, models: dict[str, str], data_files: dict[str, Path], made_from: dict[str, dict], output_dir: Path, tools: list) -> None:
    """Evaluate the models one after the other and write each one's results."""
    import datasets
    import torch
    import transformers
    from tqdm import tqdm

    from eval.harness import GenerateLM
    from eval.models import load_pretrained, load_tokenizer, require_chat_template

    tokenizers = {name: load_tokenizer(path) for name, path in models.items()}
    for name, path in models.items():
        if name not in args.base:
            require_chat_template(tokenizers[name], path)
            if tools:
                Toolbox(tokenizers[name], tools, 0, 0)  # raises where the template has no place for them
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    rank, world = processes()
    kinds = {name in args.base for name in models}
    tasks = {base: share_out(load_tasks(data_files, base), world)[rank] for base in kinds}
    counts = {base: sum(t.config.repeats * min(args.limit or math.inf, len(t.eval_docs)) for t in tasks[base].values()) for base in kinds}
    device = f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    with tqdm(total=sum(counts[name in args.base] for name in models), unit="reply", mininterval=1, disable=rank > 0) as bar:
        for name, path in models.items():
            start = time.time()

            def progress(task, n):
                bar.set_description(f"{name} {task}", refresh=False)
                bar.update(n)

            model = load_pretrained(transformers.AutoModelForCausalLM, path, "model", dtype="auto").to(device)
            lm = GenerateLM(
                pretrained=model,
                tokenizer=tokenizers[name],
                batch_size=args.batch_size,
                seed=args.seed,
                progress=progress,
                tools=[] if name in args.base else tools,
                tool_tokens=args.tool_tokens,
            )
            results = evaluate(lm, tasks[name in args.base], chat=name not in args.base, limit=args.limit)
            results["config"] = {
                "model": "tumbler",
                "model_args": {"pretrained": path},
                "model_num_parameters": model.num_parameters(),
                "model_dtype": str(model.dtype),
                "batch_size": args.batch_size,
                "device": str(model.device),
                "limit": args.limit,
                "random_seed": args.seed,
                "made_from": made_from[name],
            }
            results["date"] = start
            results["transformers_version"] = transformers.__version__
            results["lm_eval_version"] = _version("lm_eval")
            results["total_evaluation_time_seconds"] = str(time.time() - start)
            if rank == 0:
                write(results, output_dir / name)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
