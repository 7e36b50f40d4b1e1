"""Run a recipe's pipeline from the crawl to the report: what `make tiny` calls.

    python -m recipes.run recipes/tiny/pipeline.yaml
    python -m recipes.run recipes/tiny/pipeline.yaml --seed 1 --output_dir runs/tiny-1 --set base.max_steps=100

A pipeline is a list of steps, each the `main` of a module with `args` or a `config` file; `--output_dir` takes the
place of the pipeline's own folder in all of them. A finished step leaves `steps/<name>.json` and is not done again; a
killed one goes on. Each step runs in a forked child of this process, which has imported the libraries once: no step
pays for start-up, none sees what another left in memory. With `processes: 2` it runs in two, which train together as
under `accelerate launch`. A pipeline that goes on from another's folder names one within it, `state: experiments`, for
its markers and times. The time left is printed before each step, and while a long one runs;
`recipes.pipeline.time_left` learns it from this machine.
"""

import argparse
import fcntl
import hashlib
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import yaml

from eval.cli import UserError, command, existing, output_folder, refuse_token, write_json
from recipes.pipeline.processes import run_step
from recipes.pipeline.time_left import Running, Watch, read_share, seconds_left, whole_seconds

HEAVY = (
    *(
        "torch",
        "transformers",
        "datasets",
        "trl.trainer.sft_trainer",
        "trl.trainer.reward_trainer",
        "trl.trainer.grpo_trainer",
    ),
    *("trl.experimental.ppo", "lm_eval.evaluator", "lm_eval.models.huggingface"),
)


def moved(value, old: str, new: str):
    """`value` with the folder `old` replaced by `new` in every string within it."""
    if isinstance(value, dict):
        return {k: moved(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [moved(v, old, new) for v in value]
    return value.replace(old, new) if isinstance(value, str) else value


def step_argv(step: dict, pipeline: dict, out: Path, state: Path, seed: int, overrides: list[str]) -> list[str]:
    """The command line of a step, its config file copied to `state` with the run's own folder in it."""
    argv = []
    config = step.get("config")
    if config:
        copy = state / "configs" / Path(config).name
        copy.parent.mkdir(exist_ok=True)
        keys = moved(yaml.safe_load(Path(config).read_text()), pipeline["output_dir"], str(out))
        refuse_token(keys, config)
        copy.write_text(yaml.safe_dump(keys, sort_keys=False, allow_unicode=True))
        argv += ["--config", str(copy)]
    options = dict(step.get("args") or {})
    if step.get("seeded", True):
        options["seed"] = seed
    for item in overrides:
        key, _, value = item.partition("=")
        name, _, option = key.partition(".")
        if name == step["name"]:
            options[option] = yaml.safe_load(value)
    for key, value in options.items():
        nested = isinstance(value, list) and any(
            isinstance(v, dict) for v in value
        )  # one JSON word, as `eval.cli.parse` takes it
        values = value if isinstance(value, list) and not nested else [value]
        values = moved(values, pipeline["output_dir"], str(out))
        argv += [f"--{key}", *(json.dumps(v) if isinstance(v, (dict, list, bool)) else str(v) for v in values)]
    return argv


def lock(out: Path):
    """Hold the run's folder while this process lives; a `UserError` where another run holds it."""
    file = (out / ".lock").open("w")
    for _ in range(100):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            time.sleep(0.1)  # the step of a killed run takes a moment to go, on a busy machine many
    raise UserError(f"another run is at work in {out}: wait for it, or choose another --output_dir")


def finished(marker: Path, fingerprint: str, out: Path) -> dict | None:
    """The record of a step that is done; a `UserError` where it was done with other settings."""
    if not marker.exists():
        return None
    try:
        record = json.loads(marker.read_text())
    except ValueError:  # half-written
        return None
    if record["fingerprint"] != fingerprint:
        raise UserError(
            f"{out} was made with other settings (step {marker.stem}): delete it, or choose another --output_dir"
        )
    return record


STEP_KEYS, STEP_OPTIONS = {"name", "module", "seconds"}, {"args", "config", "seeded", "imports", "processes"}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see --help)")


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
    keys = {"recipe", "output_dir", "steps"}
    if not isinstance(pipeline, dict) or not keys <= pipeline.keys() <= keys | {"offline", "state"}:
        raise UserError(
            f"{path} is no pipeline: it must hold {', '.join(sorted(keys))}, may hold offline and state, and nothing"
            " else"
        )
    names = [step.get("name") if isinstance(step, dict) else step for step in pipeline["steps"]]
    for name, step in zip(names, pipeline["steps"]):
        if not isinstance(step, dict) or (wrong := (STEP_KEYS - set(step)) | (set(step) - STEP_KEYS - STEP_OPTIONS)):
            raise UserError(
                f"{path}: step {name}: missing or unknown key"
                f" {', '.join(sorted(wrong)) if isinstance(step, dict) else ''}; it needs"
                f" {', '.join(sorted(STEP_KEYS))}"
            )
        if type(step.get("processes", 1)) is not int or step.get("processes", 1) < 1:
            raise UserError(
                f"{path}: step {name}: processes must be a whole number from 1, but is {step['processes']!r}"
            )
        if names.count(name) > 1:
            raise UserError(f"{path}: two steps are called {name}")
        try:
            known = importlib.util.find_spec(step["module"])
        except ModuleNotFoundError:
            known = None
        if not known:
            raise UserError(f"{path}: step {name}: there is no module {step['module']}")
        if "config" in step:
            existing(step["config"], "config", f"step {name} of {path} names it")
    return pipeline


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="YAML with recipe, output_dir and steps")
    parser.add_argument("--output_dir", help="folder of the run; default: the pipeline's own")
    parser.add_argument("--seed", type=int, default=0, help="of the world, of every model and of sampling")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="STEP.KEY=VALUE", help="override keys of steps"
    )
    args = parser.parse_args(argv)
    pipeline = read_pipeline(args.pipeline)
    steps = pipeline["steps"]
    if args.seed < 0:
        raise UserError(f"--seed must not be negative, but is {args.seed}")
    bad = [item for item in args.set if "=" not in item]
    if bad:
        raise UserError(f"--set takes STEP.KEY=VALUE, not {bad[0]}")
    unknown = {item.split(".")[0] for item in args.set} - {step["name"] for step in steps}
    if unknown:
        raise UserError(f"--set names no step of {args.pipeline}: {', '.join(sorted(unknown))}")
    out = output_folder(args.output_dir or pipeline["output_dir"])
    held = lock(out)
    state = out / pipeline.get("state", "")
    (state / "steps").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("HF_HUB_OFFLINE", str(int(pipeline.get("offline", False))))
    seconds, whole, peak, spent = {}, {}, 0.0, 0.0
    for number, step in enumerate(steps, 1):
        name = step["name"]
        options = step_argv(step, pipeline, out, state, args.seed, args.set)
        config = Path(options[1]).read_text() if "config" in step else ""
        fingerprint = hashlib.sha256(
            json.dumps([step["module"], step.get("processes", 1), options, config]).encode()
        ).hexdigest()
        marker = state / "steps" / f"{name}.json"
        record = finished(marker, fingerprint, out)
        if record is None:
            share = marker.with_suffix(".share")
            before = read_share(share) or {"share": 0.0}  # of a run that was killed in this step
            left = seconds_left(steps, whole, Running(name, 0.0, before["share"]))
            so_far = f"{spent:.0f} s so far · about {left:.0f} s left"
            print(f"\n━━ [{number}/{len(steps)}] {name} · {so_far}", flush=True)
            write_json(state / "seconds.json", summary(pipeline, args.seed, seconds, peak))
            start = time.monotonic()
            if step.get("imports") == "heavy":
                for module in HEAVY:
                    importlib.import_module(module)
            watch = Watch(steps, whole, name, share, start)
            log = marker.with_suffix(".log")
            code, memory = run_step(step["module"], options, held, step.get("processes", 1), log, share, watch)
            if code < 0:
                by = signal.Signals(-code).name
                print(
                    f"error: step {name} was killed by {by} (for memory, perhaps); the same command goes on from its"
                    " last checkpoint",
                    file=sys.stderr,
                )
            if code:
                raise SystemExit(code if code > 0 else 1)
            end = time.monotonic()
            record = {
                "seconds": round(end - start, 2),
                "whole_seconds": whole_seconds(read_share(share), start, end),
                "peak_rss_gb": round(memory, 3),
                "fingerprint": fingerprint,
            }
            write_json(marker, record)
            share.unlink(missing_ok=True)
        seconds[name] = record["seconds"]
        whole[name] = record.get("whole_seconds", record["seconds"])
        peak = max(peak, record["peak_rss_gb"])
        spent += record["seconds"]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write_json(state / "seconds.json", summary(pipeline, args.seed, seconds, max(peak, own)))
    print(
        f"\n━━ {pipeline['recipe']} · {spent:.0f} s · peak memory {max(peak, own):.1f} GiB ·"
        f" {out / 'report' / 'index.html'}"
    )


def summary(pipeline: dict, seed: int, seconds: dict, peak: float) -> dict:
    """The content of `seconds.json`; the report, the last step, sees the steps before it."""
    from recipes.training.stage import git_commit

    return {
        "recipe": pipeline["recipe"],
        "seed": seed,
        "git_commit": git_commit(),
        "seconds": {"total": round(sum(seconds.values()), 1), **seconds},
        "peak_rss_gb": round(peak, 2),
    }


if __name__ == "__main__":
    main()
