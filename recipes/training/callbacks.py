"""What every stage keeps beside its model: `log.jsonl`, and `samples.jsonl` in pretraining."""

import json
import time
from itertools import islice
from pathlib import Path

from transformers import TrainerCallback

from recipes.training.setup import sharding


def keep_rows(path: Path, last_step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint (at step 0: all), and a half-written
    last line."""
    rows = []
    if path.exists():
        for line in path.read_text().split("\n"):  # splitlines() splits at U+2028, too
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if (
                row["step"] > last_step or last_step == 0 or "train_runtime" in row
            ):  # the last: training was over, and will be again
                break
            rows.append(line)
        path.write_text("".join(line + "\n" for line in rows))


class JsonlLog(TrainerCallback):
    """Every metric the trainer logs, one JSON a line, with `step` and `seconds` since the start of this process's
    training."""

    def __init__(self, path: Path, constants: dict):
        self.path, self.constants = path, constants

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = time.perf_counter()
        if state.is_world_process_zero:
            keep_rows(self.path, state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero:
            with self.path.open("a") as f:
                f.write(
                    json.dumps(
                        {
                            "step": state.global_step,
                            "seconds": round(time.perf_counter() - self.start, 2),
                            **self.constants,
                            **logs,
                        },
                        default=float,
                    )
                    + "\n"
                )


class StopAtReward(TrainerCallback):
    """Ends training when the mean reward of the last `steps` logged steps has reached `target`: there is nothing left
    to practise."""

    def __init__(self, target: float, steps: int):
        self.target, self.steps = target, steps

    def on_log(self, args, state, control, logs=None, **kwargs):
        latest_first = (log["reward"] for log in reversed(state.log_history) if "reward" in log)
        rewards = list(islice(latest_first, self.steps))
        if "reward" in logs and len(rewards) == self.steps and sum(rewards) / self.steps >= self.target:
            if not control.should_training_stop and state.is_world_process_zero:
                print(
                    f"stopped after step {state.global_step}: the mean reward of the last {self.steps} steps is at"
                    f" least {self.target:g}"
                )
            control.should_training_stop = True


class SamplePrompts(TrainerCallback):
    """Every `steps` steps, and at the start and the end, the model's greedy continuation of fixed prompts: printed and
    kept.

    The report shows with them how gibberish turns into sentences. Where the weights are spread, every process
    takes part in the sampling; one keeps it.
    """

    def __init__(self, path: Path, tokenizer, prompts: list[str], steps: int, max_new_tokens: int = 40):
        self.path, self.tokenizer, self.prompts, self.steps, self.max_new_tokens = (
            path,
            tokenizer,
            prompts,
            steps,
            max_new_tokens,
        )

    def _sample(self, model, state) -> None:
        from eval.generation.generate import generate

        if not state.is_world_process_zero and not sharding():
            return
        replies = generate(model, self.tokenizer, self.prompts, max_new_tokens=self.max_new_tokens, temperature=0)
        if not state.is_world_process_zero:
            return
        with self.path.open("a") as f:
            for prompt, (reply,) in zip(self.prompts, replies):
                row = {"step": state.global_step, "prompt": prompt, "continuation": reply.text}
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
                print(f"  step {state.global_step:5d} | {prompt} → {' '.join(reply.text.split())[:100]}")

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            keep_rows(self.path, state.global_step)
        if state.global_step == 0:
            self._sample(model, state)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.steps == 0 or state.global_step == state.max_steps:
            self._sample(model, state)
