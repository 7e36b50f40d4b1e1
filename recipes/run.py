"""Run a recipe's pipeline from the crawl to the report: what `make tiny` calls.

    python -m recipes.run recipes/tiny/pipeline.yaml
    python -m recipes.run recipes/tiny/pipeline.yaml --seed 1 --output_dir runs/tiny-1 --set base.max_steps=100

A pipeline is a list of steps, each the `main` of a module with `args` or a `config` file (`recipes.pipeline.steps`);
`--output_dir` takes the place of the pipeline's own folder in all of them. A finished step leaves `steps/<name>.json`
and is not done again; a killed one resumes. To do one again, delete that file and the folder that the step writes
(docs/steps.md). Each step runs in a forked child of this process, which has imported the libraries once: no step pays
for start-up, none sees what another left in memory. With `processes: 2` it runs in two, which train together as under
`accelerate launch`. A step that `needs` an option, such as the path of some data, is left out where no `--set` gives
it. A pipeline that continues in another's folder names one within it, `state: experiments`, for its markers and
times. The time left is printed before each step, and while a long one runs; `recipes.pipeline.time_left` learns it
from this machine.
"""

import argparse
import fcntl
import hashlib
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from eval.cli import UserError, command, output_folder, refuse_token, write_json
from eval.report.commands import command_of, evaluated, outputs
from eval.shared.run_folder import moved
from recipes.pipeline.processes import run_step
from recipes.pipeline.steps import import_libraries, read_pipeline, uses_model, without_unset
from recipes.pipeline.time_left import Running, Watch, read_share, seconds_left, whole_seconds


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
        words = moved(words_of(value), pipeline["output_dir"], str(out))
        argv += [f"--{key}", *map(as_word, words)]
    return argv


def words_of(value) -> list:
    """The words of an option: a list's items; a list of mappings is one word, as `eval.cli.parse` takes it."""
    plain_list = isinstance(value, list) and not any(isinstance(item, dict) for item in value)
    return value if plain_list else [value]


def as_word(value) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


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


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see --help)")


def read_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """The command line, checked, and the pipeline that it names.

    Raises:
        UserError: see `read_pipeline`; a negative seed, or a --set that is malformed or names no step.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="YAML with recipe, output_dir and steps")
    parser.add_argument("--output_dir", help="folder of the run; default: the pipeline's own")
    parser.add_argument("--seed", type=int, default=0, help="of the world, of every model and of sampling")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="STEP.KEY=VALUE", help="override keys of steps"
    )
    args = parser.parse_args(argv)
    pipeline = read_pipeline(args.pipeline)
    if args.seed < 0:
        raise UserError(f"--seed must not be negative, but is {args.seed}")
    bad = [item for item in args.set if "=" not in item]
    if bad:
        raise UserError(f"--set takes STEP.KEY=VALUE, not {bad[0]}")
    unknown = {item.split(".")[0] for item in args.set} - {step["name"] for step in pipeline["steps"]}
    if unknown:
        raise UserError(f"--set names no step of {args.pipeline}: {', '.join(sorted(unknown))}")
    return args, pipeline


@dataclass
class Times:
    """What the finished steps took.

    Attributes:
        seconds: of this step in all its runs, as far as it is known.
        whole: from start to end; None where a resumed step does not tell.
        peak: resident memory of the largest step in GiB.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    whole: dict[str, float | None] = field(default_factory=dict)
    peak: float = 0.0

    def add(self, name: str, record: dict) -> None:
        """Count a step in by its record."""
        self.seconds[name] = record["seconds"]
        self.whole[name] = record.get("whole_seconds", record["seconds"])
        self.peak = max(self.peak, record["peak_rss_gb"])

    @property
    def spent(self) -> float:
        return sum(self.seconds.values())


class Pipeline:
    """A run of a pipeline into a folder, which this process holds while it lives.

    Attributes:
        out: folder of the run.
        state: where its markers, configs and times are: `out`, or a folder within.
    """

    def __init__(self, args: argparse.Namespace, pipeline: dict):
        self.args, self.pipeline = args, pipeline
        self.steps, self.left_out = without_unset(pipeline["steps"], {item.partition("=")[0] for item in args.set})
        self.out = output_folder(args.output_dir or pipeline["output_dir"])
        self.held = lock(self.out)
        self.state = self.out / pipeline.get("state", "")
        (self.state / "steps").mkdir(parents=True, exist_ok=True)
        self.times = Times()

    def run(self) -> None:
        """Run the steps that are not done."""
        for needed, names in self.left_out.items():
            print(f"left out without --set {needed}=…: {', '.join(names)}")
        commands = [self.argv(step) for step in self.steps]
        self._write_commands(commands)
        for number, (step, argv) in enumerate(zip(self.steps, commands), 1):
            config = Path(argv[1]).read_text() if "config" in step else ""
            content = [step["module"], step.get("processes", 1), argv, config]
            fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
            marker = self.state / "steps" / f"{step['name']}.json"
            record = finished(marker, fingerprint, self.out)
            if record is None:
                record = self._run_step(number, step, argv, marker) | {"fingerprint": fingerprint}
                write_json(marker, record)
                marker.with_suffix(".share").unlink(missing_ok=True)
            self.times.add(step["name"], record)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.times.peak = max(self.times.peak, own)
        self._write_times()

    def argv(self, step: dict) -> list[str]:
        """The command line of a step; its config is copied."""
        return step_argv(step, self.pipeline, self.out, self.state, self.args.seed, self.args.set)

    def _run_step(self, number: int, step: dict, argv: list[str], marker: Path) -> dict:
        """Run a step in processes of its own; its record."""
        name, module, processes = step["name"], step["module"], step.get("processes", 1)
        share = marker.with_suffix(".share")
        before = read_share(share) or {"share": 0.0}  # of a run that was killed in this step
        left = seconds_left(self.steps, self.times.whole, Running(name, 0.0, before["share"]))
        so_far = f"{self.times.spent:.0f} s so far · about {left:.0f} s left"
        print(f"\n━━ [{number}/{len(self.steps)}] {name} · {so_far}", flush=True)
        self._write_times()
        start = time.monotonic()
        if uses_model(module):
            import_libraries()
        watch = Watch(self.steps, self.times.whole, name, share, start)
        code, memory = run_step(module, argv, self.held, processes, marker.with_suffix(".log"), share, watch)
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
        return {
            "module": module,
            "command": command_of(module, argv),
            "seconds": round(end - start, 2),
            "whole_seconds": whole_seconds(read_share(share), start, end),
            "peak_rss_gb": round(memory, 3),
        }

    def _write_commands(self, commands: list[list[str]]) -> None:
        """`commands.json`: which command writes what, for the report; the last one is the whole pipeline."""
        rows = []
        for step, argv in zip(self.steps, commands):
            writes = outputs(argv)
            if "config" in step and not writes:
                writes = [str(yaml.safe_load(Path(argv[1]).read_text()).get("output_dir"))]
            rows.append({"command": command_of(step["module"], argv), "outputs": writes, "models": evaluated(argv)})
        whole = command_of("recipes.run", [self.args.pipeline, "--output_dir", str(self.out)])
        rows.append({"command": whole, "outputs": [str(self.out)], "models": []})
        write_json(self.state / "commands.json", {"steps": rows})

    def _write_times(self) -> None:
        write_json(self.state / "seconds.json", summary(self.pipeline, self.args.seed, self.times))


@command
def main(argv: list[str] | None = None) -> None:
    args, pipeline = read_arguments(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", str(int(pipeline.get("offline", False))))
    run = Pipeline(args, pipeline)
    run.run()
    print(
        f"\n━━ {pipeline['recipe']} · {run.times.spent:.0f} s · peak memory {run.times.peak:.1f} GiB ·"
        f" {run.out / 'report' / 'index.html'}"
    )


def summary(pipeline: dict, seed: int, times: Times) -> dict:
    """The content of `seconds.json`; the report, the last step, sees the steps before it."""
    from recipes.training.stage import git_commit

    return {
        "recipe": pipeline["recipe"],
        "seed": seed,
        "git_commit": git_commit(),
        "seconds": {"total": round(times.spent, 1), **times.seconds},
        "peak_rss_gb": round(times.peak, 2),
    }


if __name__ == "__main__":
    main()
