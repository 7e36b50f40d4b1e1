"""A weighted sum of scores: what the watch reads where a recipe trains on several rewards (`eval.judging.scores`)."""

from eval.judging.scores import Scores


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
