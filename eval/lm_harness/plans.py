"""What of an evaluation is to be run: the scores that were made from the same files and settings stand.

    prints = {name: task_fingerprint(name, args) for name in names}
    model = plan("sft", "runs/tiny/sft", prints, tools, args)   # model.todo: the tasks without such scores

`args` are those of `eval.run`.
"""

import inspect
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from eval.lm_harness.results import read
from eval.lm_harness.tasks import TASKS_DIR, data_file, local_task, task_names
from eval.shared.fingerprints import fingerprint, model_fingerprint
from eval.verifiers import MODULES


def tool_files(names: list[str], tools: list, tool_tokens: int) -> dict:
    """What of the tools decides the scores: their names, their code, the folders they read; nothing without tools."""
    if not tools:
        return {}
    code = {
        *(TASKS_DIR.parent / "tools").rglob("*.py"),
        *(Path(inspect.getfile(tool)) for tool in tools if not inspect.isbuiltin(tool)),
    }
    folders = [Path(name.partition("=")[2]) for name in names if "=" in name]
    read = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {
        "tools": names,
        "tool_tokens": tool_tokens,
        "tools_code": fingerprint([*code], by_content=True),
        "tools_data": fingerprint(read, by_content=False),
    }


def task_code(local: Path, ours: bool) -> list[Path]:
    """The files that decide the scores of a task whose YAML is `local`, but for its rows."""
    folder = local.parent
    stem = local.stem if ours else ""  # a YAML may include any beside it
    return [
        *folder.glob("_*.yaml"),
        *folder.glob(f"{stem}*.yaml"),
        *folder.glob("*.py"),
        *(TASKS_DIR.parent / f"{module}.py" for module in (*MODULES, "lm_harness/model")),
        *(TASKS_DIR.parent / "generation").glob("*.py"),
    ]


def task_fingerprint(name: str, args) -> str:
    """Of what decides a task's scores beside the model and the settings of all tasks."""
    local = local_task(name)
    if local:
        code = task_code(local, name in task_names())
        return fingerprint([*code, data_file(name, args.data_dir)], by_content=True)
    files = []
    if args.include_path:
        files = [file for file in Path(args.include_path).rglob("*") if file.is_file()]
    if Path(name).is_file():
        files.append(Path(name))
    return f"lm_eval {version('lm_eval')}, {args.num_fewshot}-shot, {fingerprint(files, by_content=False)}"


@dataclass
class ModelRun:
    """The evaluation of one model.

    Attributes:
        base: it completes text, and has no chat template.
        made_from: what decides the scores.
        old: the results that are there, {} without.
        todo: the tasks that are not among these, or were made from something else.
    """

    name: str
    path: str
    base: bool
    made_from: dict
    old: dict
    todo: list[str]


def plan(name: str, path: str, prints: dict[str, str], tools: list, args) -> ModelRun:
    """What is to be run of a model; `prints`: the tasks with their fingerprints. Equal: the results stand."""
    made_from = {
        "limit": args.limit,
        "seed": args.seed,
        "backend": args.backend,
        "model": path,
        "files": model_fingerprint(path),
        "chat": name not in args.base,
    }
    if made_from["chat"]:
        made_from |= tool_files(args.tools, tools, args.tool_tokens)
    old = read(Path(args.output_dir) / name)
    before = old.get("config", {}).get("made_from", {})
    done = before.get("tasks", {}) if {**made_from, "tasks": 0} == {**before, "tasks": 0} else {}
    todo = [task for task in prints if done.get(task) != prints[task]]
    made_from["tasks"] = {**done, **prints}
    return ModelRun(name, path, name in args.base, made_from, old, todo)
