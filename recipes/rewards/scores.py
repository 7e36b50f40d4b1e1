"""Scores of replies by what the monitor and the trainers compare: verifiers, functions, reward models.

Scores are functions of (rows, texts): a number for each text that answers the row in its place, None where it cannot
be judged.
"""

import importlib
from collections.abc import Callable

from eval.cli import UserError

Scores = Callable[[list[dict], list[str]], list[float | None]]


def verdicts(reward: Callable) -> Scores:
    """Scores by a TRL reward function."""

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
        return reward(
            prompts=[row["prompt"] for row in rows],
            completions=[[{"role": "assistant", "content": text}] for text in texts],
            **columns,
        )

    return scores


def reward_model(model, tokenizer) -> Scores:
    """Scores by a reward model."""
    from eval.pairs import score

    return lambda rows, texts: score(
        model, tokenizer, [row["prompt"] + [{"role": "assistant", "content": text}] for row, text in zip(rows, texts)]
    )


def load_judge(name: str) -> Scores:
    """The judge of that name.

    Raises:
        UserError: there is none.
    """
    from eval.verifiers import VERIFIERS, reward_function

    if name in VERIFIERS:
        return verdicts(reward_function(name))
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            judge = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"there is no judge {name} ({error}); a judge is a verifier, module:function or a reward model"
            ) from None
        return lambda rows, texts: [judge(row, text) for row, text in zip(rows, texts)]
    from eval.generation.models import load_reward_model

    return reward_model(*load_reward_model(name, "judge"))


def weighted(parts: list[tuple[float, Scores]]) -> Scores:
    """The weighted sum of scores, over those that could judge a reply; None where none could."""

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        each = [[None if s is None else weight * s for s in part(rows, texts)] for weight, part in parts]
        judged = [[s for s in of_reply if s is not None] for of_reply in zip(*each)]
        return [sum(found) if found else None for found in judged]

    return scores
