"""English in form, without meaning, which passes FineWeb's filters; and versions of a text that share a part of it."""

import random
import re

from data_prep.world.crawl.vocabulary import ADJECTIVES, NOUNS, PLACES, SHAPES, TIMES, VERBS

# Two pages are near duplicates from an overlap of `SAME` on, and two pages of their own up to `OTHER`; between them
# either may happen.
SAME, OTHER = 0.8, 0.5


def clause(rng: random.Random) -> str:
    """A clause of one of `SHAPES`, without a full stop."""
    words = {"{a}": ADJECTIVES, "{n}": NOUNS, "{v}": VERBS, "{p}": PLACES, "{t}": TIMES}
    clause = re.sub(r"\{.\}", lambda slot: rng.choice(words[slot[0]]), rng.choice(SHAPES))
    return re.sub(r"\ba (?=[aeiou])", "an ", clause)


def sentence(rng: random.Random) -> str:
    """English in form, without meaning."""
    text = clause(rng)
    if rng.random() < 0.4:
        text += rng.choice((", and ", ", but ", ", so ", "; ")) + clause(rng)
    return text[0].upper() + text[1:] + "."


def prose(rng: random.Random, paragraphs: int) -> list[str]:
    """Paragraphs of three to six sentences that pass FineWeb's filters."""
    return [_paragraph(rng) for _ in range(paragraphs)]


def _paragraph(rng: random.Random) -> str:
    return " ".join(sentence(rng) for _ in range(rng.randint(3, 6)))


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """The n-grams of words that MinHash compares, words being what datatrove's normalised text (lower case, no
    punctuation, every number 0) has between spaces. datatrove then cuts a few of them in two ("dont"), which hardly
    matters to an overlap."""
    from datatrove.utils.text import ngrams, simplify_text

    return set(ngrams(simplify_text(text).split(), n))


def overlap(a: str, b: str) -> float:
    """Jaccard index of the two texts' shingles: what MinHash estimates."""
    ours, theirs = shingles(a), shingles(b)
    return 1.0 if ours == theirs else len(ours & theirs) / len(ours | theirs)


def vary(rng: random.Random, paragraphs: list[str], lowest: float, highest: float) -> list[str]:
    """A version whose overlap with the paragraphs is drawn from the range: near duplicates have other words, names and
    numbers left alone; the rest have other sentences."""
    text, target = "\n".join(paragraphs), rng.uniform(lowest, highest)
    words = lowest >= SAME
    places = list(re.finditer(r"(?<!\S)[a-z]+(?!\S)" if words else r"[A-Z][^.]+\.", text))
    changes: list[tuple[re.Match, str]] = []
    best, distance = text, 1 - target
    for place in rng.sample(places, len(places)):
        changes.append((place, rng.choice(("indeed", "perhaps", "quite", "rather")) if words else sentence(rng)))
        new = text
        for old, other in sorted(changes, key=lambda change: -change[0].start()):
            new = new[: old.start()] + other + new[old.end() :]
        reached = overlap(text, new)
        if lowest <= reached <= highest and abs(reached - target) < distance:
            best, distance = new, abs(reached - target)
        if reached < target:
            break
    return best.split("\n")
