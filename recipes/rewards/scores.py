"""Scores of replies by what the monitor and the trainers compare: verifiers, functions, reward models.

Scores are functions of (rows, texts): a number for each text that answers the row in its place, None where it cannot
be judged.
"""

import importlib
from collections.abc import Callable

from eval.cli import UserError

Scores = Callable[[list[dict], list[str]], list[float | None]]


def column(rows: list[dict], name: str) -> list:
    return [row[name] for row in rows]


def verdicts(reward: Callable) -> Scores:
    """Scores by a TRL reward function."""

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        columns = {name: column(rows, name) for name in rows[0] if name != "prompt"}
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return reward(prompts=column(rows, "prompt"), completions=completions, **columns)

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


def sum_of_known(weights: list[float], scores: tuple[float | None, ...]) -> float | None:
    """The weighted sum of the scores that are known; None where none is."""
    known = [weight * score for weight, score in zip(weights, scores) if score is not None]
    return sum(known) if known else None


def weighted(parts: list[tuple[float, Scores]]) -> Scores:
    """The weighted sum of scores, over those that could judge a reply; None where none could."""
    weights = [weight for weight, _ in parts]

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        of_parts = [part(rows, texts) for _, part in parts]
        return [sum_of_known(weights, of_reply) for of_reply in zip(*of_parts)]

    return scores
