"""Rankings of responses: lists of indices, best first, ties in a list of their own."""

import math
import random

from eval.cli import UserError


def places(ranking: list, responses: list, where: str) -> list[list[int]]:
    """The indices at each place of a ranking, best first.

    Raises:
        UserError: not indices of the responses, each at most once.
    """
    levels = (
        [place if isinstance(place, list) else [place] for place in ranking] if isinstance(ranking, list) else [[None]]
    )
    named = [i for place in levels for i in place]
    if not all(type(i) is int and 0 <= i < len(responses) for i in named) or len(set(named)) < len(named):
        raise UserError(
            f"{where}: ranking must name indices of its {len(responses)} responses, best first, each once, ties in a"
            f" list, but is {ranking}"
        )
    return [place for place in levels if place]


def ordered(scores: list[float], rng: random.Random, noise: float) -> list[int]:
    """Indices from best to worst as a person would order what has these scores: each plus Gumbel noise of scale
    `noise` (Plackett–Luce)."""
    noisy = [score - noise * math.log(-math.log(rng.uniform(1e-9, 1 - 1e-9))) for score in scores]
    return sorted(range(len(scores)), key=lambda i: -noisy[i])
