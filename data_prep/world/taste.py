"""The gold taste: what the people of the invented world like in a two-line verse, in one place.

No model sees this score. It ranks candidates, with noise, for the reward model to learn from (`rank`), and judges in
the end whether PPO pleased the people or only the reward model. There is no right verse: many different ones score
high.
"""

import random
import re

from data_prep.shared.rankings import ordered

TOPICS = (
    "sea moon river mill forest ferry harvest winter garden owl lantern bridge market bell harbour orchard storm"
    " meadow candle clock kettle road lighthouse swallow tower valley rabbit lake snow sparrow wheel island village"
    " window cloud ladder fountain"
).split()
ASKS = (
    "Write a verse about the {t}.",
    "Please write two lines about the {t}.",
    "Can you make a short poem about the {t}?",
    "I would like a verse about the {t}.",
    "Give me a little rhyme about the {t}.",
    "Compose two lines on the {t}.",
)
# what each word is worth; words that are not listed are worth nothing
LIKED = {
    "silver": 1.0,
    "golden": 0.8,
    "gentle": 0.7,
    "dancing": 0.9,
    "singing": 0.8,
    "glowing": 0.7,
    "tender": 0.5,
    "dreaming": 0.9,
    "shining": 0.6,
}
DISLIKED = {
    "very": -0.8,
    "thing": -0.9,
    "nice": -0.6,
    "stuff": -1.0,
    "boring": -0.9,
    "big": -0.4,
    "sitting": -0.5,
    "plain": -0.5,
    "waiting": -0.3,
}
ADJECTIVES = [
    "silver",
    "golden",
    "gentle",
    "glowing",
    "tender",
    "nice",
    "boring",
    "big",
    "plain",
    "very big",
    "old",
    "quiet",
    "distant",
    "northern",
]
VERBS = ["dancing", "singing", "dreaming", "shining", "sitting", "waiting", "standing", "moving"]
RHYMES = [
    ("night", "light", "bright", "sight"),
    ("day", "way", "bay", "grey"),
    ("stone", "alone", "tone", "bone"),
    ("deep", "sleep", "keep", "sheep"),
    ("air", "fair", "there", "care"),
]
NOUNS = ["wind", "children", "birds", "water", "thing", "stuff", "people", "shadows"]


def verse(rng: random.Random, topic: str) -> str:
    """A verse as a hurried person writes it: any words, rhymed half of the time. SFT imitates these."""
    rhyme = rng.choice(RHYMES)
    first = rng.choice(rhyme)
    last = (
        rng.choice([w for w in rhyme if w != first])
        if rng.random() < 0.5
        else rng.choice(rng.choice([r for r in RHYMES if r is not rhyme]))
    )
    subject = topic if rng.random() < 0.8 else rng.choice(NOUNS)
    return (
        f"The {rng.choice(ADJECTIVES)} {subject} is {rng.choice(VERBS)} in the {rng.choice(ADJECTIVES)} {first},\n"
        f"and the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} are {rng.choice(VERBS)} by the {last}."
    )


def _rhymes(a: str, b: str) -> bool:
    return a != b and any(a in r and b in r for r in RHYMES)


def gold(topic: str, text: str) -> float:
    """The hidden score of a verse, about −4 to 5; repeated words and wrong lengths cost."""
    lines = [re.findall(r"[a-z]+", line.lower()) for line in text.split("\n")]
    lines = [line for line in lines if line]
    words = [w for line in lines for w in line]
    if not words:
        return -4.0
    score = sum(LIKED.get(w, 0) + DISLIKED.get(w, 0) for w in words)
    score += 1.0 if len(lines) == 2 and _rhymes(lines[0][-1], lines[1][-1]) else 0.0
    score += 0.8 if topic in words else -0.8
    content = [w for w in words if len(w) > 3]
    score -= 1.0 * (len(content) - len(set(content)))  # "silver silver silver" pleases nobody
    score -= 0.25 * max(0, abs(len(words) - 17) - 3)
    return max(-4.0, min(5.0, score))


def score(row: dict, response: str) -> float:
    """`gold` of a response to a row of `prompts`."""
    return gold(row["topic"], response)


def rank(row: dict, responses: list[str], rng: random.Random, noise: float) -> list[int]:
    """Indices from best to worst as a person would order them, by gold and noise (`ordered`)."""
    return ordered([score(row, text) for text in responses], rng, noise)


def prompts(split: str) -> list[dict]:
    """Rows `prompt`, `topic`; a (topic, wording) pair belongs to one split. Every topic and wording occurs in
    training."""
    at = {"train": (0, 1, 2, 3), "validation": (4,), "test": (5,)}[split]
    rows = [(t, ASKS[(k + i) % len(ASKS)].format(t=t)) for i, t in enumerate(TOPICS) for k in at]
    return [{"prompt": [{"role": "user", "content": ask}], "topic": t} for t, ask in rows]
