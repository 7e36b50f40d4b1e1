"""Which command writes a file of a run: the report names it where the file is missing.

`recipes.run` leaves the commands of a pipeline's steps in `commands.json`; without it they are those of the recipe's
own `pipeline.yaml`.
"""

import shlex
from pathlib import Path

import yaml

from eval.shared.run_folder import moved

RECIPES = Path(__file__).parents[2] / "recipes"


def command_of(module: str, argv: list[str]) -> str:
    """A step as a shell command."""
    return shlex.join(["python", "-m", module.removesuffix(".__main__"), *argv])


def outputs(argv: list[str]) -> list[str]:
    """The files and folders that a step writes, by its command line."""
    return [argv[i + 1] for i, word in enumerate(argv[:-1]) if word in ("--output", "--output_dir")]


def evaluated(argv: list[str]) -> list[str]:
    """The names of the models of an `eval.run`, each of which is a folder below its output."""
    if "--models" not in argv:
        return []
    names = []
    for word in argv[argv.index("--models") + 1 :]:
        if word.startswith("--"):
            break
        names.append(word.partition("=")[0])
    return names


def flags(args: dict) -> list[str]:
    """The command line of a step's `args`, but for nested values."""
    words = []
    for key, value in args.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{key}", *map(str, values)]
    return words


def of_recipe(recipe: str, name: str, folder: Path) -> list[dict]:
    """The steps of a recipe's pipeline, as `commands.json` has them; [] where there is no such pipeline.

    A step with a `config` is written with that of the recipe; in another folder than the recipe's own only the whole
    pipeline runs it.
    """
    path = RECIPES / recipe / f"{name}.yaml"
    if not path.is_file():
        return []
    pipeline = yaml.safe_load(path.read_text(encoding="utf-8"))
    own = pipeline["output_dir"]
    whole = f"python -m recipes.run recipes/{recipe}/{name}.yaml --output_dir {folder}"
    steps = []
    for step in pipeline["steps"]:
        argv = flags(moved(step.get("args") or {}, own, str(folder)))
        writes = outputs(argv)
        command = command_of(step["module"], argv)
        if "config" in step:
            config = yaml.safe_load((RECIPES.parent / step["config"]).read_text(encoding="utf-8"))
            writes = writes or [moved(str(config.get("output_dir")), own, str(folder))]
            command = command_of(step["module"], ["--config", step["config"], *argv])
            if folder != Path(own):
                command = whole
        steps.append({"command": command, "outputs": writes, "models": evaluated(argv)})
    return [*steps, {"command": whole, "outputs": [str(folder)], "models": []}]


def writer(run, recipe: str, file: str) -> str:
    """The command that writes a file of the run.

    Args:
        run: an `eval.report.summary.Run`.
        file: path within the run's folder; `<stage>` in it stands for any.
    """
    path = run.folder / file
    if file.startswith("experiments/"):
        steps = run("experiments/commands.json").get("steps") or of_recipe(recipe, "experiments", run.folder)
        steps = steps[-1:]  # the whole of them
    else:
        steps = run("commands.json").get("steps") or of_recipe(recipe, "pipeline", run.folder)
    depths = [_depth(path, step["outputs"]) for step in steps]
    deepest = max(depths, default=-1)
    if deepest < 0:
        return f"python -m recipes.run <pipeline>.yaml --output_dir {run.folder}"
    fitting = [step for step, depth in zip(steps, depths) if depth == deepest]
    # of several evaluations into one folder, the one of that model
    of_model = [step for step in fitting if path.parent.name in step["models"]]
    return (of_model or fitting)[0]["command"]


def _depth(path: Path, outputs: list[str]) -> int:
    """How many parts the deepest of the outputs has that holds the file; −1 where none does."""
    return max((len(Path(output).parts) for output in outputs if path.is_relative_to(output)), default=-1)
