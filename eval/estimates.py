"""Estimates with their errors, which the commands of `eval` and the metric modules of `eval/metrics` share.

pass_at_k(n=10, correct=3, k=5)    ->  0.917
accuracy([1.0, 0.0, 1.0])          ->  {"value": 0.667, "stderr": 0.333, "n": 3}
"""

import math
import random
from collections.abc import Sequence

Z = 1.959964  # standard errors on each side of a 95 % interval


def finite(value) -> bool:
    """Whether it is a number to count with: lm-eval writes "N/A" where it has none."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def half_width(measure: dict) -> float | None:
    """Half the 95 % interval of {"stderr", "n"}: 1.96 standard errors; 3/n (the "rule of three"), at most 1, where all
    n agree and the standard error is 0. None without a standard error."""
    if not finite(measure.get("stderr")):
        return None
    return Z * measure["stderr"] or min(1.0, 3 / measure["n"])


def accuracy(hits: Sequence[float]) -> dict:
    """{"value", "stderr", "n"} of a list of hits from 0 to 1."""
    n = len(hits)
    mean = sum(hits) / n
    variance = sum((h - mean) ** 2 for h in hits) / (n - 1) if n > 1 else 0.0
    return {"value": mean, "stderr": math.sqrt(variance / n), "n": n}


def clustered(groups: Sequence[Sequence[float]]) -> dict:
    """{"value", "stderr", "n"} of hits that come in groups, such as the questions about one document: the standard
    error is that over groups (Miller 2024, "Adding Error Bars to Evals", section 2.2), n counts hits."""
    n, count = sum(map(len, groups)), len(groups)
    mean = sum(map(sum, groups)) / n
    apart = sum((sum(group) - len(group) * mean) ** 2 for group in groups)
    stderr = math.sqrt(apart * count / (count - 1)) / n if count > 1 else 0.0
    return {"value": mean, "stderr": stderr, "n": n}


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The expected share of choices of k of n tries that hold a correct one: 1 − C(n − correct, k) / C(n, k) (Chen et
    al. 2021, section 2.1)."""
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def wilson(hits: int, n: int) -> tuple[float, float] | None:
    """The 95 % interval of a share by Wilson's score; None where there is nothing to take a share of."""
    from scipy.stats import binomtest

    return tuple(map(float, binomtest(hits, n).proportion_ci(method="wilson"))) if n else None


def expected_calibration_error(
    confidences: Sequence[float], hits: Sequence[float], bins: int = 10, low: float = 0.0, equal_mass: bool = False
) -> float:
    """The mean over items of the gap between confidence and accuracy in an item's bin (Guo et al. 2017, equation 3).

    Args:
        confidences: probabilities from `low` to 1, each of what was said being right.
        hits: whether it was, from 0 to 1.
        bins: into which low … 1 is cut; each holds its upper edge.
        equal_mass: bins of equally many items instead, where equal confidences share one (Nguyen and O'Connor 2015).
    """
    if equal_mass:
        first = {p: i for i, p in reversed(list(enumerate(sorted(confidences))))}
        places = [first[p] * bins // len(confidences) for p in confidences]
    else:
        places = [max(1, math.ceil((p - low) / (1 - low) * bins)) for p in confidences]
    gaps: dict[int, float] = {}
    for place, p, hit in zip(places, confidences, hits):
        gaps[place] = gaps.get(place, 0.0) + p - hit
    return sum(map(abs, gaps.values())) / len(confidences)


def bootstrap(statistic, items: list, resamples: int = 1000, seed: int = 0) -> list[float]:
    """`statistic` of as many items, drawn with replacement, `resamples` times."""
    rng = random.Random(seed)
    return [statistic(rng.choices(items, k=len(items))) for _ in range(resamples)]
