"""Words and numbers that nobody knows by heart: what letters and digits are counted and copied in."""

import random
import string

from data_prep.problem_sets.splits import draw_of_split

_SYLLABLES = [c + v for c in "b c d f g h l m n p r s t v w br st tr gr pl".split() for v in "a e i o u".split()]
_ENDINGS = ["", "", "n", "r", "s", "t", "ll", "rry", "ck", "mp"]
LECTURE_WORDS = ("strawberry", "ubiquitous", "banana", "mississippi", "raspberry", "bookkeeper")


def draw_word(rng: random.Random, difficulty: int = 1) -> str:
    """An invented word of 4 to 12 letters; each difficulty more has two syllables and up to 8 letters more."""
    while True:
        count = rng.randint(2 * difficulty, 2 * difficulty + 2)
        word = "".join(rng.choice(_SYLLABLES) for _ in range(count)) + rng.choice(_ENDINGS)
        if 4 <= len(word) <= 4 + 8 * difficulty and word not in LECTURE_WORDS:
            return word


def letters_by_chance(rng: random.Random, doubled: bool = False) -> str:
    """3 to 12 letters for training, drawn one by one or by syllables, mostly of few kinds, so that they repeat, with
    `doubled` often twice in a row: what can be copied and not known."""
    runs = (1, 2) if doubled else (1, 1, 1, 1, 1, 2)

    def draw(r: random.Random) -> str:
        kinds = r.sample(r.choice((list(string.ascii_lowercase), _SYLLABLES)), r.choice((2, 4, 8, 20)))
        word = "".join(r.choice(runs) * kind for kind in r.choices(kinds, k=r.randint(3, 11)))[:12]
        return word if word not in LECTURE_WORDS else draw(r)

    return draw_of_split(rng, "train", draw, lambda w: f"word {w}")


def digits_by_chance(rng: random.Random) -> str:
    """A number of 1 to 8 digits, half of the time of few kinds, so that they repeat, often the same several times in a
    row; some are negative, some have decimals."""
    kinds = rng.sample(string.digits, rng.choice((2, 3, 10, 10)))
    runs = rng.choice(((1,), (1, 1, 1, 2, 3, 4)))
    digits = "".join(rng.choice(runs) * kind for kind in rng.choices(kinds, k=rng.randint(1, 8)))
    digits = digits[:8].lstrip("0") or "0"
    decimals = rng.randint(1, 2) if len(digits) > 2 and rng.random() < 0.25 else 0
    number = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return f"-{number}" if rng.random() < 0.1 else number


def invented_word(rng: random.Random, split: str, difficulty: int = 1) -> str:
    """An invented word of a split."""
    return draw_of_split(rng, split, lambda r: draw_word(r, difficulty), lambda w: f"word {w}")
