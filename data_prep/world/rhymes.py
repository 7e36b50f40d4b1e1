"""Counting-out rhymes, each a known number of times in training: what a model learns by heart, and what it does not.

Lines are drawn word by word, about 90 bits a rhyme, so that whoever continues one verbatim has read it (canaries,
Carlini et al. 2019, "The Secret Sharer"). `make tiny` does not train on them; `make experiments` does, and asks the
model with `eval.probes.regurgitation`. In a crawl such copies are removed by `data_prep.web`: this shows why.
"""

import random

from data_prep.world.facts import ATTRIBUTES, TOWNS
from data_prep.world.taste import ADJECTIVES, TOPICS

ANIMALS = "fox hare goose goat mouse pig crow duck mole wren calf lamb otter badger hen toad".split()
NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()
DID = "sold lost hid carried painted counted stole mended borrowed buried followed forgot".split()
LINES = 4


def rhyme(rng: random.Random) -> str:
    """Four lines, of about 20 tokens each in the tiny vocabulary."""

    def line() -> str:
        who = (
            f"the {rng.choice(ADJECTIVES[:12])} {rng.choice(ANIMALS)} of the {rng.choice(ATTRIBUTES['trade'].values)}"
        )
        return rng.choice(
            (
                f"{who} {rng.choice(DID)} {rng.choice(NUMBERS)} {rng.choice(TOPICS)}s",
                (
                    f"{rng.choice(NUMBERS)} {rng.choice(ANIMALS)}s from {rng.choice(TOWNS)} {rng.choice(DID)} the"
                    f" {rng.choice(TOPICS)}"
                ),
                (
                    f"under the {rng.choice(TOPICS)} sat {rng.choice(NUMBERS)} {rng.choice(ADJECTIVES[:12])}"
                    f" {rng.choice(ANIMALS)}s"
                ),
            )
        )

    lines = [line() for _ in range(LINES)]
    return ",\n".join(text[0].upper() + text[1:] for text in lines) + "."


def documents(seed: int, repeats: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64), each: int = 24) -> list[dict]:
    """`each` rhymes for each number of times, every copy a document."""
    rng, out = random.Random(f"rhymes-{seed}"), []
    for times in repeats:
        for number in range(each):
            text = rhyme(rng)
            out += [
                {"id": f"rhyme-{times}-{number}-{copy}", "text": text, "metadata": {"times": times}}
                for copy in range(times)
            ]
    rng.shuffle(out)
    return out


def unseen(seed: int, count: int = 200) -> list[dict]:
    """Rhymes that no training set holds."""
    rng = random.Random(f"rhymes-unseen-{seed}")
    return [{"id": f"rhyme-unseen-{number}", "text": rhyme(rng), "metadata": {"times": 0}} for number in range(count)]
