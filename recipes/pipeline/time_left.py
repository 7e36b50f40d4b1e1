"""The time that a pipeline has left, learned from its finished steps and from how far the running one is.

    seconds_left(steps, {"world": 4.0, "web": 18.0}, Running("base", elapsed=80.0, share=0.1, whole=725.0, left=645.0))

`seconds` of a step in the YAML is what it took on one machine; its pace here is its own seconds over those. Steps that
are bound by the same thing have a pace in common (`kind`), which leans on the pace of the whole run until a few of
them are done; before any, the pace is 1. A step that says how far it is (`eval.shared.progress_file`) is extrapolated
by itself, whatever the others took.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from recipes.pipeline.steps import uses_model

# seconds of the YAML that a kind must have behind it for its own pace to count as much as the run's (the run's: as 1)
LEAN = 5.0
# share of a step from which on its own extrapolation counts alone: its first moments are slower than the rest
TRUST = 0.05
EVERY, FURTHER = 30.0, 0.1  # seconds, and share of the step, between two lines while a step runs


@dataclass(frozen=True)
class Running:
    """The step at work: seconds since its start, the share that was done at its start and now, and once it is further,
    by its own speed, the seconds of the step as a whole and those it has left."""

    name: str
    elapsed: float
    first_share: float = 0.0
    share: float = 0.0
    whole: float | None = None
    left: float = 0.0


def kind(step: dict) -> str:
    """What bounds a step: steps of one kind are slower by about the same factor on another machine.

    Recorded on a processor without bf16 instructions against one with them: plain Python 1.5; one process that samples
    1.5 to 1.8; arithmetic on every core mostly 2.6 to 3.2. Fine-tuning (short padded rows, much beside the arithmetic)
    is at 2.0, PPO (half sampling, half training) at 2.1: each is a kind of its own.
    """
    if not uses_model(step["module"]):
        return "Python"
    if step["module"] in ("recipes.sft", "recipes.ppo"):
        return step["module"]
    return "every core" if step.get("processes", 1) > 1 else "one process"


def seconds_left(steps: list[dict], finished: dict[str, float | None], running: Running | None = None) -> float:
    """Seconds until the last of `steps` ends.

    Args:
        steps: of the pipeline; `name`, `module`, `seconds`, and where they have them `processes`.
        finished: seconds that each finished step takes from start to end; None where a resumed one does not tell.
    """
    timed = [step for step in steps if finished.get(step["name"]) is not None]
    seen = [(step, 1.0, finished[step["name"]]) for step in timed]
    if running and running.whole is not None:
        done = running.share - running.first_share
        seen += [(step, done, running.whole) for step in steps if step["name"] == running.name]

    def pace(of: list[tuple], otherwise: float) -> float:
        took = sum(share * whole for _, share, whole in of)
        expected = sum(share * step["seconds"] for step, share, _ in of)
        return (took + LEAN * otherwise) / (expected + LEAN)

    run, total = pace(seen, 1.0), 0.0
    for step in steps:
        expected = step["seconds"] * pace([row for row in seen if kind(row[0]) == kind(step)], run)
        if running and step["name"] == running.name:
            left = expected * (1 - running.first_share) - running.elapsed
            if running.whole is not None:
                left += min(1.0, done / TRUST) * (running.left - left)
            total += max(0.0, left)
        elif step["name"] not in finished:
            total += expected
    return total


def read_share(path: Path) -> dict | None:
    """What `eval.shared.progress_file.ShareDone` last wrote: `first_share`, `first_at`, `share`, `at`; None:
    nothing."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def extrapolate(name: str, said: dict | None, start: float, now: float) -> Running:
    """The step at work, of what it `said`; times are `time.monotonic`'s. Before its first word it starts up."""
    if said is None:
        return Running(name, now - start)
    first, share = said["first_share"], said["share"]
    if share <= first:
        return Running(name, now - start, first, share)
    work = (said["at"] - said["first_at"]) / (share - first)
    left = (1 - share) * work - (now - said["at"])
    return Running(name, now - start, first, share, said["first_at"] - start + work, left)


def whole_seconds(said: dict | None, start: float, end: float) -> float | None:
    """Seconds that a step, now finished, takes from start to end; None where a resumed one had no work left."""
    if said is None or not said["first_share"]:
        return end - start
    whole = extrapolate("", said, start, end).whole
    return whole and whole + end - said["at"]


class Watch:
    """What `recipes.run` calls while a step runs: a short line whenever the step is `FURTHER` on, at least `EVERY`
    seconds after the last."""

    def __init__(self, steps: list[dict], finished: dict[str, float | None], name: str, path: Path, start: float):
        self.steps, self.finished, self.name, self.path, self.start = steps, finished, name, path, start
        self.said_at = start
        self.share: float | None = None

    def __call__(self) -> None:
        now, said = time.monotonic(), read_share(self.path)
        if said is None or now - self.said_at < EVERY:
            return
        self.share = said["first_share"] if self.share is None else self.share
        running = extrapolate(self.name, said, self.start, now)
        if running.whole is None or running.share >= 1 or running.share < self.share + FURTHER:
            return
        self.said_at, self.share = now, running.share
        left = seconds_left(self.steps, self.finished, running)
        # a progress bar may stand in the line
        print(f"\n── {self.name} {running.share:.0%} · about {left:.0f} s left", flush=True)
