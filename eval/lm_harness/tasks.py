"""Benchmarks by name: ours in `eval/tasks`, all of lm-evaluation-harness's, and those in a folder of one's own.

    tasks, groups, _ = load(["facts_known", "arc_easy", "mmlu"], base=True)
    results = evaluate(GenerateLM(pretrained=model, tokenizer=tokenizer), tasks, groups, chat=False)

Our tasks come in twos: `<name>` asks a chat model, `<name>_base` has a base model complete text; `load` takes the one
that fits. `results` is what lm-eval's own `simple_evaluate` returns, of all processes together, and `chance` beside
it: what guessing would score.
"""

import contextlib
import difflib
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path

from eval.cli import UserError, existing

TASKS_DIR = Path(__file__).parents[1] / "tasks"
FEWSHOT_SEED, BOOTSTRAP_ITERS = 1234, 100_000  # lm-eval's own
MAIN = (
    "score,none",
    "acc_norm,none",
    "acc,none",
    "exact_match,strict-match",
    "exact_match,none",
)  # of a task's metrics the one that tables show


def task_names() -> list[str]:
    """Names of our tasks, each of which has a twin `<name>_base`."""
    names = {path.stem for path in TASKS_DIR.glob("*.yaml") if not path.stem.startswith("_")}
    return sorted(name for name in names if not name.endswith("_base"))


def local_task(name: str) -> Path | None:
    """The YAML of a task whose rows are a local file: one of ours, or a path to such a file; None of any other."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if name in task_names():
        return TASKS_DIR / f"{name}.yaml"
    path = Path(name)
    if path.suffix != ".yaml" or not path.is_file():
        return None
    files = (load_yaml(path, resolve_func=False).get("dataset_kwargs") or {}).get("data_files")
    return path if isinstance(files, dict) and isinstance(files.get("test"), str) else None


def data_file(task: str, data_dir: str | None) -> Path:
    """The rows of one of our tasks, or of a YAML file's (`local_task`); its twin reads the same. In `data_dir` a file
    stands by its name, or in a folder that is called as the YAML's is.

    Raises:
        UserError: the file is missing or empty.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(load_yaml(local_task(task), resolve_func=False)["dataset_kwargs"]["data_files"]["test"])
    if data_dir:
        in_folder = Path(data_dir) / path.parent.name / path.name
        path = in_folder if in_folder.exists() else Path(data_dir) / path.name
    existing(path, f"data file of task {task}", "python -m data_prep.world writes it, or give --data_dir")
    if not path.stat().st_size:
        raise UserError(f"data file of task {task} {path} is empty")
    return path


@functools.cache
def _manager(include_path: str | None, all_tasks: bool):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path, include_defaults=all_tasks)  # all: 14,000 files are read


def manager(names: list[str], include_path: str | None = None):
    """lm-eval's `TaskManager`, which knows all `names`.

    Raises:
        UserError: one is not there.
    """
    task_manager = _manager(include_path, False)
    if any(name not in task_manager.all_tasks for name in names):
        task_manager = _manager(include_path, True)
    for name in names:
        if name not in task_manager.all_tasks and not Path(name).is_file():
            near = difflib.get_close_matches(name, [*task_names(), *task_manager.all_tasks], 4)
            raise UserError(
                f"unknown task {name}; "
                + (f"near it are {', '.join(near)}; " if near else "")
                + f"ours are: {', '.join(task_names())}, lm-eval's: `lm_eval ls tasks`"
            )
    return task_manager


def load(
    names: list[str],
    base: bool = False,
    data_dir: str | None = None,
    include_path: str | None = None,
    num_fewshot: int | None = None,
) -> tuple[dict, dict, dict]:
    """lm-eval's task objects {name: task}, groups {name: group}, and for each of `names` the rows that it has in the
    results.

    Args:
        names: of tasks, groups, tags; or paths of YAML files.
        base: of our tasks the twin for base models.
        data_dir: folder of the files of our tasks, and of YAML files that read local rows.
        include_path: folder of more task YAML.
        num_fewshot: examples before each question, of lm-eval's tasks (ours have none).

    Raises:
        UserError: an unknown name, a data file or set that is not there, a task named twice.
    """
    local = {name: local_task(name) for name in names}
    theirs = manager([name for name in names if not local[name]], include_path)
    tasks, groups, rows = {}, {}, {}
    for name in names:
        if local[name]:
            loaded = {"tasks": _load_local(name, local[name], base, data_dir)}
        else:
            loaded = _load_theirs(theirs, name, num_fewshot)
        twice = tasks.keys() & loaded["tasks"].keys()
        if twice:
            raise UserError(f"task {min(twice)} is named twice, by {name} for one: name it once")
        tasks |= loaded["tasks"]
        groups |= loaded.get("groups", {})
        rows[name] = [*loaded["tasks"], *loaded.get("groups", {})]
    return tasks, groups, rows


def _load_local(name: str, path: Path, base: bool, data_dir: str | None) -> dict:
    """{name: task} of a task whose rows are a local file; for base models its twin, if it is one of ours."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    rows = data_file(name, data_dir)
    if base and name in task_names():
        path = path.with_stem(f"{name}_base")
    config = {**load_yaml(path), "dataset_kwargs": {"data_files": {"test": str(rows)}}}
    return {config["task"]: ConfigurableTask(config=config)}


def _load_theirs(task_manager, name: str, num_fewshot: int | None) -> dict:
    """What lm-eval loads under a name: its `tasks`, and `groups` if there are any."""
    try:
        loaded = task_manager.load([name])
    except Exception as error:  # whatever a data set's own loading raises
        raise UserError(
            f"task {name} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]}): its"
            " data must be on the Hub, in the cache, or where its YAML says"
        ) from None
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if num_fewshot is not None and own != 0:  # a 0 in the YAML stands, as in lm-eval
            task.set_config(key="num_fewshot", value=num_fewshot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return loaded


def chance(task, limit: int | None = None) -> float:
    """What guessing scores: 1 / choices of multiple-choice questions; else what the YAML's metadata says, or 0."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return float((task.config.metadata or {}).get("chance", 0))
    docs = list(task.eval_docs)[:limit]
    return math.fsum(1 / len(task.doc_to_choice(doc)) for doc in docs) / len(docs)


def main_metric(row: dict) -> str | None:
    """The key of the metric in a task's row of results that tables show."""
    numbers = [
        key for key, value in row.items() if "," in key and "_stderr" not in key and isinstance(value, (int, float))
    ]
    return next((key for key in MAIN if key in numbers), numbers[0] if numbers else None)


def above_chance(results: dict, names: list[str]) -> dict | None:
    """The mean over tasks of (score − chance) / (1 − chance), as nanochat and CORE (Li et al. 2024) centre them:
    `value`, `stderr`, `n` tasks.

    A task whose score is better when lower, or without a known chance, is left out."""
    parts = []
    for name in names:
        row = results["results"].get(name, {})
        key = main_metric(row)
        if (
            key is None
            or name not in results["chance"]
            or results["higher_is_better"].get(name, {}).get(key.split(",")[0]) is False
        ):
            continue
        guess, stderr = results["chance"][name], row.get(key.replace(",", "_stderr,", 1))
        parts.append(
            ((row[key] - guess) / (1 - guess), stderr / (1 - guess) if isinstance(stderr, float) else math.nan)
        )
    if not parts:
        return None
    stderr = math.sqrt(math.fsum(s * s for _, s in parts)) / len(parts)
    return {
        "value": math.fsum(v for v, _ in parts) / len(parts),
        "stderr": stderr if math.isfinite(stderr) else None,
        "n": len(parts),
    }


def share_out(tasks: dict, processes: int) -> list[dict]:
    """The tasks for each process, about as many tokens to each: a task draws from a random stream of its own, so it
    does not matter who has it."""

    def cost(task) -> int:
        generates = task.OUTPUT_TYPE == "generate_until"
        return (
            (task.config.repeats or 1)
            * len(task.eval_docs)
            * ((task.config.generation_kwargs or {}).get("max_gen_toks", 256) if generates else 8)
        )

    costs = {name: cost(task) for name, task in tasks.items()}
    owner: dict[str, int] = {}
    tokens = [0] * processes
    for name in sorted(tasks, key=lambda name: -costs[name]):
        owner[name] = tokens.index(min(tokens))
        tokens[owner[name]] += costs[name]
    shares: list[dict] = [{} for _ in range(processes)]
    for name, task in tasks.items():
        shares[owner[name]][name] = task
    return shares


def dump(value, **options) -> str:
    """JSON as lm-eval writes it."""
    from lm_eval.utils import handle_non_serializable

    return json.dumps(value, default=handle_non_serializable, ensure_ascii=False, **options)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """lm-eval draws a bar for each task."""
    import lm_eval.api.task

    bar = lm_eval.api.task.tqdm
    lm_eval.api.task.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar


def _evaluate_here(lm, tasks: dict, chat: bool, limit: int | None, unsafe_code: bool) -> dict:
    """lm-eval's results of this process's tasks."""
    from lm_eval.evaluator import evaluate as lm_evaluate

    try:
        with _without_bars():
            return lm_evaluate(
                lm,
                {"tasks": tasks},
                limit=limit,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                bootstrap_iters=BOOTSTRAP_ITERS,
                confirm_run_unsafe_code=unsafe_code,
            )
    except ValueError as error:
        if "unsafe" not in str(error):
            raise
        raise UserError(
            f"{error}".replace("Set confirm_run_unsafe_code=True", "Give --confirm_run_unsafe_code")
        ) from None


def _joined(parts: list[dict]) -> dict:
    """The results of all processes together, in the order of the fullest part."""
    results: dict[str, dict] = {}
    for key in max(parts, key=len):
        results[key] = {}
        for part in parts:
            results[key] |= part.get(key, {})
    return results


def evaluate(
    lm,
    tasks: dict,
    groups: dict,
    chat: bool,
    limit: int | None = None,
    rank: int = 0,
    world: int = 1,
    unsafe_code: bool = False,
) -> dict:
    """lm-eval's results of one model, with its samples; in each of `world` processes, the whole of them.

    Args:
        lm: `eval.lm_harness.model.GenerateLM`.
        tasks, groups: what `load` returned; can be used again for the next model.
        unsafe_code: run the tasks that execute code outside a sandbox (lm-eval's `confirm_run_unsafe_code`).

    Returns:
        `results`, `samples`, `configs`, `versions`, `n-shot`, `higher_is_better`, `n-samples`, `groups` as lm-eval's;
        `chance` of each task; `ended`, for a chat model: of each greedy task [replies that end with the end token,
        replies].
    """
    from accelerate.utils import gather_object
    from lm_eval.evaluator_utils import _collect_groups_bottom_up
    from lm_eval.loggers.utils import add_tokenizer_info

    own = share_out(tasks, world)[rank]
    done = _evaluate_here(lm, own, chat, limit, unsafe_code) if own else {}
    done["chance"] = {name: chance(task, limit) for name, task in own.items()}
    done["ended"] = {name: [sum(ended), len(ended)] for name, ended in lm.finished.items()} if chat else {}
    results = _joined(gather_object([json.loads(dump(done))]))
    for group in _collect_groups_bottom_up(groups):
        results["results"][group.name] = group.aggregate(results["results"])
        results["versions"][group.name] = group.version
        if group.has_aggregation:
            results.setdefault("groups", {})[group.name] = results["results"][group.name]
    results["group_subtasks"] = {group.name: group.child_names for group in groups.values()}
    add_tokenizer_info(results, lm)
    return results
