"""The training rows: refusals of what the model does not know, and its own right answers to what it knows."""

import collections
import random
from array import array
from collections.abc import Iterable, Iterator

from data_prep.probing.verdicts import KNOWS, UNKNOWN
from eval.verifiers import normal_words, reply


def own_words(probe: dict) -> str | None:
    """The model's right answer: the first in the most frequent words of those samples that are right and finished."""
    samples = [
        text
        for text, right, finished in zip(probe["samples"], probe["right"], probe["finished"])
        if right and finished
    ]
    if not samples:
        return None
    words = [tuple(normal_words(reply(text))) for text in samples]
    return samples[words.index(collections.Counter(words).most_common(1)[0][0])].strip()


def draw(places: dict[str, array], known_per_unknown: float, seed: int) -> tuple[set[int], set[int]]:
    """The places of the questions that become refusals and known rows: as many as the scarcer of both allows."""
    known, unknown = places[KNOWS], places[UNKNOWN]
    refusals = min(len(unknown), max(1, int(len(known) / known_per_unknown)))
    answers = min(len(known), max(1, round(refusals * known_per_unknown)))
    rng = random.Random(f"refusals-{seed}")
    return set(rng.sample(unknown, refusals)), set(rng.sample(known, answers))


def train_rows(
    probes: Iterable[dict], refusals: set[int], known: set[int], phrasings: list[str], seed: int
) -> Iterator[dict]:
    """The conversations that teach to refuse, and to answer, in the order of the probes."""
    for place, probe in enumerate(probes):
        if place in refusals:
            kind, says = "refusal", random.Random(f"phrasing-{seed}-{place}").choice(phrasings)
        elif place in known:
            kind, says = "known", own_words(probe)
        else:
            continue
        yield {
            "messages": [{"role": "user", "content": probe["question"]}, {"role": "assistant", "content": says}],
            "kind": kind,
            "probe": {key: probe[key] for key in ("question", "samples", "right", "agreement", "verdict")},
        }
