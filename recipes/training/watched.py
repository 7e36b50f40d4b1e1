"""What RLOO and GRPO read, and how they train on it under the watch of `recipes.training.monitor`."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

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


def train_watched(stage, trainer, monitor: Monitor | None, data: Data) -> None:
    """Train on the rows, keep the best model of the watch, and finish the stage."""
    stage.train(trainer)
    if monitor:
        monitor.keep_best(trainer.accelerator.unwrap_model(trainer.model))
    stage.finish(trainer, [data.train], logged_tokens(trainer.state.log_history), left_out=data.left_out)
