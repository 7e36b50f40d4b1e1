"""What RLOO and GRPO read, held-out prompts included, and how they train on it under the watch of
`recipes.training.monitor`."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from eval.cli import UserError
from eval.judging.scores import Scores, load_scores
from recipes.training.monitor import Monitor
from recipes.training.stage import logged_tokens


@dataclass
class Data:
    """What RLOO and GRPO read: rows to train on, to evaluate on (or None), to watch (empty without a monitor).

    Attributes:
        judge: scores the watched replies by another measure than the reward, or None.
        left_out: how many training rows were left out, by reason.
    """

    train: Any
    evaluation: Any
    watched: Any
    judge: Any
    left_out: Counter


def held_out(args, seed: int, goal: str) -> tuple[list[dict], Scores | None]:
    """The rows of `monitor_datasets`, [] where none are asked for, and the judge, if there is one: before any work.

    Raises:
        UserError: either cannot be loaded, or rows are no prompts, or too few for the processes.
    """
    from data_prep.shared.sources import load_sources
    from eval.verifiers import COLUMNS

    if args.dry_run:  # the judge may be a model, and a dry run loads none
        return [], None
    rows = []
    if args.monitor_datasets:
        rows = list(load_sources(args.monitor_datasets, goal, ("prompt",), seed, COLUMNS)[0])
    if rows:
        require_enough(rows)
    return rows, load_scores(args.judge) if args.judge else None


def require_enough(rows: list[dict]) -> None:
    """Raises `UserError` for fewer held-out prompts than the watch needs."""
    from accelerate import PartialState

    least = max(2, PartialState().num_processes)
    if len(rows) < least:
        raise UserError(
            f"monitor_datasets hold {len(rows)} prompts: at least {least} are needed, for a standard error and for"
            " every process"
        )


def train_watched(stage, trainer, monitor: Monitor | None, data: Data) -> None:
    """Train on the rows, keep the best model of the watch, and finish the stage."""
    stage.train(trainer)
    if monitor:
        monitor.keep_best(trainer.accelerator.unwrap_model(trainer.model))
    stage.finish(trainer, [data.train], logged_tokens(trainer.state.log_history), left_out=data.left_out)
