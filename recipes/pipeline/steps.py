"""The steps of a pipeline, as its YAML names them, and what follows from a step's module.

    pipeline = read_pipeline("recipes/tiny/pipeline.yaml")
    if uses_model(pipeline["steps"][0]["module"]):
        import_libraries()

A step needs `name`, `module` and `seconds`, which it took on one machine, or `{bf16: …, float32: …}`, on a processor
with bf16 instructions and on one without. It may have `args` (options of the module's
`main`), `config` (a YAML of such options), `processes` that train together, and `seeded: false` where the module takes
no seed. `needs: STEP.KEY` leaves a step out where nobody sets that option, such as the path of data that not everybody
has.
"""

import gc
import importlib
import importlib.util
from importlib.util import find_spec
from pathlib import Path

import yaml

from eval.cli import UserError, existing

PPO = "trl.experimental.ppo"  # newer releases of TRL have it no more
HEAVY = (
    *("torch", "transformers", "datasets", "trl.trainer.sft_trainer", "trl.trainer.reward_trainer"),
    *("trl.trainer.grpo_trainer", PPO, "lm_eval.evaluator", "lm_eval.models.huggingface"),
)
# what trains, samples from or scores with a model, each with all modules below it, but for those of the second list
WITH_MODEL = (
    *("recipes", "eval", "data_prep.conversations", "data_prep.own_replies", "data_prep.pass_rate"),
    *("data_prep.preferences", "data_prep.refusals", "data_prep.synthesize", "data_prep.world.judge"),
)
WITHOUT_MODEL = ("eval.report", "eval.tools", "recipes.pretrained")

STEP_KEYS = {"name", "module", "seconds"}
STEP_OPTIONS = {"args", "config", "seeded", "processes", "needs"}
OLD_OPTIONS = {"imports"}  # of older pipelines; what it said follows from the module
PIPELINE_KEYS, PIPELINE_OPTIONS = {"recipe", "output_dir", "steps"}, {"offline", "state"}


def uses_model(module: str) -> bool:
    """Whether a step of the module trains, samples from or scores with a model; the others are plain Python."""
    return below(module, WITH_MODEL) and not below(module, WITHOUT_MODEL)


def below(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of the packages, or in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def import_libraries() -> None:
    """Import what steps with models import, so that the processes forked from this one have it.

    What is there then is no garbage, and no collection goes through it again: each would take 0.3 s of a step, and
    copy the pages that the processes share.
    """
    for library in HEAVY:
        if library != PPO or find_spec(library):
            importlib.import_module(library)
    gc.freeze()


def read_pipeline(path: str) -> dict:
    """The pipeline of a YAML file.

    Raises:
        UserError: no such file, or not a pipeline.
    """
    existing(path, "pipeline", "the recipes' pipelines are recipes/<model>/pipeline.yaml")
    try:
        pipeline = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"pipeline {path} cannot be read: {error}") from None
    if not isinstance(pipeline, dict) or not PIPELINE_KEYS <= pipeline.keys() <= PIPELINE_KEYS | PIPELINE_OPTIONS:
        raise UserError(
            f"{path} is no pipeline: it must hold {', '.join(sorted(PIPELINE_KEYS))}, may hold offline and state, and"
            " nothing else"
        )
    names = [step.get("name") if isinstance(step, dict) else step for step in pipeline["steps"]]
    for name, step in zip(names, pipeline["steps"]):
        check_keys(step, f"{path}: step {name}")
        if names.count(name) > 1:
            raise UserError(f"{path}: two steps are called {name}")
        check_files(step, path)
        check_need(step, names, path)
        step["seconds"] = seconds_here(step["seconds"])
    return pipeline


def seconds_here(seconds: float | dict[str, float]) -> float:
    """What a step is expected to take on a processor such as this."""
    if not isinstance(seconds, dict):
        return seconds
    from eval.processor import has_bf16  # torch, for which pipelines with one number need not wait

    return seconds["bf16" if has_bf16() else "float32"]


def check_need(step: dict, names: list[str], path: str) -> None:
    """Raises `UserError` for a `needs` that is no option of a step of the pipeline at `path`."""
    if "needs" not in step:
        return
    needed = step["needs"]
    if not isinstance(needed, str) or needed.partition(".")[0] not in names or "." not in needed:
        raise UserError(f"{path}: step {step['name']}: needs must be STEP.KEY of one of its steps, but is {needed!r}")


def without_unset(steps: list[dict], set_options: set[str]) -> tuple[list[dict], dict[str, list[str]]]:
    """The steps that can be run, and of the others the names, by the option that they need.

    Args:
        set_options: STEP.KEY of each option that the command line sets.
    """
    kept, left_out = [], {}
    for step in steps:
        needed = step.get("needs")
        if needed is None or needed in set_options:
            kept.append(step)
        else:
            left_out.setdefault(needed, []).append(step["name"])
    return kept, left_out


def check_keys(step, where: str) -> None:
    """Raises `UserError` for a step that lacks a key, or has an unknown one, or a number of processes that is none."""
    known = isinstance(step, dict)
    wrong = (STEP_KEYS - step.keys()) | (step.keys() - STEP_KEYS - STEP_OPTIONS - OLD_OPTIONS) if known else set()
    if wrong or not known:
        raise UserError(
            f"{where}: missing or unknown key {', '.join(sorted(wrong))}; it needs {', '.join(sorted(STEP_KEYS))}"
        )
    seconds = step["seconds"]
    numbers = list(seconds.values()) if isinstance(seconds, dict) else [seconds]
    both = not isinstance(seconds, dict) or seconds.keys() == {"bf16", "float32"}
    if not both or any(type(number) not in (int, float) or number < 0 for number in numbers):
        raise UserError(
            f"{where}: seconds must be a number from 0, or {{bf16: number, float32: number}}, but is {seconds!r}"
        )
    processes = step.get("processes", 1)
    if type(processes) is not int or processes < 1:
        raise UserError(f"{where}: processes must be a whole number from 1, but is {processes!r}")


def check_files(step: dict, path: str) -> None:
    """Raises `UserError` for a step of the pipeline at `path` whose module or config does not exist."""
    try:
        known = importlib.util.find_spec(step["module"])
    except ModuleNotFoundError:
        known = None
    if not known:
        raise UserError(f"{path}: step {step['name']}: there is no module {step['module']}")
    if "config" in step:
        existing(step["config"], "config", f"step {step['name']} of {path} names it")
