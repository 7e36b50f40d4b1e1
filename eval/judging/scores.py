"""Scores of single replies by a judge that `eval.judging.references` names.

    scores = load_scores("reward:runs/tiny/reward")
    scores(rows, texts)    ->  [0.31, None, -1.2]

A score is a number for each text that answers the row in its place, None where it cannot be judged. A chat model
compares (`eval.judging.judges`) or reads by criteria (`eval.judging.rubric`); without criteria it has no scores.
"""

from collections.abc import Callable

from eval.cli import UserError
from eval.judging.references import forms, load_function, parse_judge

Scores = Callable[[list[dict], list[str]], list[float | None]]


def by_verifier(reward: Callable) -> Scores:
    """Scores by a TRL reward function, such as `eval.verifiers.reward_function` makes."""

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        columns = {}
        for name in rows[0]:
            if name != "prompt":
                columns[name] = [row[name] for row in rows]
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return reward(prompts=[row["prompt"] for row in rows], completions=completions, **columns)

    return scores


def by_reward_model(model, tokenizer) -> Scores:
    """Scores by a reward model."""
    from eval.pairs import score

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        conversations = [row["prompt"] + [{"role": "assistant", "content": text}] for row, text in zip(rows, texts)]
        return score(model, tokenizer, conversations)

    return scores


def by_function(function: Callable) -> Scores:
    """Scores by a function of (row, reply)."""

    def scores(rows: list[dict], texts: list[str]) -> list[float | None]:
        return [function(row, text) for row, text in zip(rows, texts)]

    return scores


def load_scores(judge: str, bare: bool = True) -> Scores:
    """The scores of a judge.

    Args:
        bare: see `eval.judging.references.parse_judge`.

    Raises:
        UserError: no such judge, or a chat model.
    """
    reference = parse_judge(judge, bare)
    if reference is None or reference.kind == "chat":
        raise UserError(
            f"judge: expected one that scores a reply by itself, but got {judge}."
            f" A judge is {forms()}, of which chat only compares"
        )
    if reference.kind == "verifier":
        from eval.verifiers import reward_function

        return by_verifier(reward_function(reference.value))
    if reference.kind == "python":
        return by_function(load_function(reference.value))
    from eval.generation.models import load_reward_model

    return by_reward_model(*load_reward_model(reference.value, "judge"))
