"""Benchmarks in the words of people: kinds of wording that no training set holds, and everyday requests as newcomers
type them.

`wordings_known`, `wordings_unseen`, `wordings_python` and `wordings_other` draw from the held-out kinds of `wordings`;
`everyday` asks the requests of `everyday.jsonl`, which was written by hand and which nothing else is derived from.
Rows are those of `conversations.benchmarks`; where a task mixes kinds of answers, `verifier` names what judges a row.
"""

import json
import random
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from data_prep.problem_sets.generators import GENERATORS, OPERATIONS
from data_prep.world import wordings
from data_prep.world.conversations import ABILITIES, WHO, about, identity, item, small_talk
from data_prep.world.facts import World

VERSE = r"(?s).* (is|are) .*\n.* (is|are) .*"


def checked(question: str, answer: str, group: str, verifier: str) -> dict:
    """A row that names its verifier."""
    return item(question, answer, group) | {"verifier": verifier}


def trained(question: str, training: str) -> bool:
    """Whether `training`, the `wordings.plain` texts of the training sets one a line, holds the words of a question,
    whatever its marks."""
    return f" {wordings.plain(question)} " in training


def different(draw: Callable[[int], dict], items: int, training: str) -> list[dict]:
    """`items` rows that ask different questions, none of them in training; `draw` is called with the number of rows
    that there are."""
    rows = {}
    while len(rows) < items:
        row = draw(len(rows))
        if row["question"] not in rows and not trained(row["question"], training):
            rows[row["question"]] = row
    return list(rows.values())


def fact(world: World, rng: random.Random, group: str) -> dict:
    f = rng.choice(world.facts(group))
    return about(f, wordings.fact(rng, f.attribute, f.person, held_out=True))


def calculation(rng: random.Random, number: int) -> dict:
    """Arithmetic and letters in turn."""
    kind = ("arithmetic", "letters")[number % 2]
    p = GENERATORS[kind](rng, "test")
    return checked(wordings.problem(rng, kind, p.slots, held_out=True), p.answer, kind, p.verifier)


@cache
def _trained() -> frozenset[str]:
    return frozenset(wordings.plain(question) for question, _ in identity(test=False))


def about_itself(rng: random.Random) -> str:
    """Who it is, in a wording that no greeting of the training questions makes by chance."""
    while True:
        question = wordings.identity(rng, rng.choice(WHO)[0], held_out=True)
        if wordings.plain(question) not in _trained():
            return question


def other(rng: random.Random, number: int) -> dict:
    """Who it is, small talk, and requests that are beyond it."""
    intent = rng.choice(("identity", "greeting", "abilities", "unknown", "unknown"))
    if intent == "identity":
        return checked(about_itself(rng), "Tumbler", intent, "mentions")
    return checked(small_talk(rng, intent, held_out=True)[0], ABILITIES, intent, "mentions")


def everyday(world: World, rng: random.Random, training: str) -> list[dict]:
    """Each request of `everyday.jsonl` that is one turn and not in training; those about people twice, of different
    ones."""
    lines = (Path(__file__).parent / "everyday.jsonl").read_text(encoding="utf-8").splitlines()
    asks = [json.loads(line) for line in lines]
    asks += [ask for ask in asks if "{p}" in ask["question"]]
    rows = [_row(world, rng, ask) for ask in asks if ask["intent"] != "follow_up"]
    return list({row["question"]: row for row in rows if not trained(row["question"], training)}.values())


def _row(world: World, rng: random.Random, ask: dict) -> dict:
    intent = ask["intent"]
    if "{p}" in ask["question"]:
        return _about_somebody(world, rng, ask)
    if intent == "verse":
        return checked(ask["question"], "", intent, "matches") | {"pattern": VERSE}
    if intent == "arithmetic":
        answer = OPERATIONS[ask["op"]](int(ask["a"]), int(ask["b"]))
        return checked(ask["question"], str(answer), intent, "final_number")
    if intent == "letters":
        return checked(ask["question"], str(ask["word"].count(ask["letter"])), intent, "final_number")
    if intent == "every_third":
        return checked(ask["question"], ask["word"][::3], intent, "final_text")
    if intent == "compare":
        return checked(ask["question"], max(ask["a"], ask["b"], key=float), intent, "final_number")
    return checked(ask["question"], "Tumbler" if intent == "identity" else ABILITIES, intent, "mentions")


def _about_somebody(world: World, rng: random.Random, ask: dict) -> dict:
    """Known people are to be answered for, strangers of whom no page speaks to be refused."""
    stranger = ask["intent"] == "stranger"
    person = rng.choice(world.people["absent" if stranger else "known"])
    fact = next(f for f in person if f.attribute == ask.get("attribute", "trade"))
    return about(fact, ask["question"].format(p=fact.person)) | {
        "verifier": "refusal" if stranger else "names_choice",
        "group": ask["intent"],
    }


def benchmarks(world: World, texts: Iterable[str] = (), items: int = 300) -> dict[str, list[dict]]:
    """Rows of each benchmark, without those that the training `texts` hold."""
    training = "\n".join(f" {wordings.plain(text)} " for text in texts)
    rng = random.Random(f"asked-{world.seed}")
    tasks = {
        f"wordings_{group}": different(lambda _, group=group: fact(world, rng, group), items, training)
        for group in ("known", "unseen")
    }
    tasks["wordings_python"] = different(lambda number: calculation(rng, number), items, training)
    tasks["wordings_other"] = different(lambda number: other(rng, number), items, training)
    tasks["everyday"] = everyday(world, rng, training)
    return tasks
