"""What the stages keep beside their models, and when practice ends."""

import pytest
from transformers import TrainerControl, TrainerState

from recipes.training.callbacks import StopAtReward


def stopped_at(rewards: list[float], target: float, steps: int) -> int | None:
    """The step after which training is asked to stop, given the mean reward of each."""
    callback, state, control = StopAtReward(target, steps), TrainerState(is_world_process_zero=True), TrainerControl()
    for step, reward in enumerate(rewards, 1):
        state.global_step = step
        logs = {"reward": reward, "loss": 0.0}
        state.log_history.append({**logs, "step": step})
        callback.on_log(None, state, control, logs=logs)
        if control.should_training_stop:
            return step
    return None


@pytest.mark.parametrize(
    ("rewards", "step"),
    [
        ([0.25, 0.5, 1.0, 1.0, 1.0], 4),  # the mean of three, not the best of them
        ([1.0, 1.0], None),  # too few to tell
        ([0.75, 0.75, 0.75], 3),  # the target itself is enough
        ([0.5, 0.75, 0.75, 0.5, 0.75], None),
    ],
)
def test_practice_ends_where_the_mean_of_the_last_steps_reaches_the_target(rewards, step, capsys):
    assert stopped_at(rewards, 0.75, 3) == step
    assert ("stopped after step" in capsys.readouterr().out) == bool(step)


def test_what_is_logged_without_a_reward_does_not_count():
    callback, state, control = StopAtReward(0.9, 1), TrainerState(), TrainerControl()
    state.log_history = [{"reward": 1.0, "step": 1}, {"eval_loss": 1.0, "step": 1}]
    callback.on_log(None, state, control, logs={"eval_loss": 1.0})
    assert not control.should_training_stop
