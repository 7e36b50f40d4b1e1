"""Benchmarks in the words of people: kinds of wording that no training set holds, and everyday requests as newcomers type them.

`wordings_known`, `wordings_unseen`, `wordings_python` and `wordings_other` draw from the held-out kinds of `wordings`; `everyday` asks
the requests of `everyday.jsonl`, which was written by hand and which nothing else is derived from. Rows are those of `conversations.benchmarks`;
where a task mixes kinds of answers, `verifier` names what judges a row.
"""

import json
import random
from pathlib import Path

from data_prep import problems
from data_prep.world import practice, wordings
from data_prep.world.conversations import ABILITIES, WHO, small_talk
from data_prep.world.facts import ATTRIBUTES, Fact, World

VERSE = r"(?s).* (is|are) .*\n.* (is|are) .*"


def about(fact: Fact, question: str) -> dict:
    """A row that asks for a fact."""
    row = {"question": question, "base_prompt": f"{question} {fact.reply_opening()}", "answer": fact.value}
    return {**row, "choices": list(ATTRIBUTES[fact.attribute].values), "group": fact.attribute}


def checked(question: str, answer: str, group: str, verifier: str) -> dict:
    """A row that names its verifier."""
    return {"question": question, "base_prompt": f"Question: {question}\nAnswer:", "answer": answer, "choices": [], "group": group, "verifier": verifier}


def facts(world: World, rng: random.Random, group: str, items: int) -> list[dict]:
    asked = rng.choices(world.facts(group), k=items)
    return [about(f, wordings.fact(rng, f.attribute, f.person, held_out=True)) for f in asked]


def calculations(rng: random.Random, items: int) -> list[dict]:
    """Arithmetic and letters in turn."""
    rows = []
    for i in range(items):
        kind = ("arithmetic", "letters")[i % 2]
        p = problems.GENERATORS[kind](rng, "test")
        rows.append(checked(wordings.problem(rng, kind, p.slots, held_out=True), p.answer, kind, p.verifier))
    return rows


def others(rng: random.Random, items: int) -> list[dict]:
    """Who it is, small talk, and requests that are beyond it."""
    rows = []
    for i in range(items):
        intent = ("identity", "greeting", "abilities", "unknown", "unknown")[i % 5]
        if intent == "identity":
            rows.append(checked(wordings.identity(rng, rng.choice(WHO)[0], held_out=True), "Tumbler", intent, "mentions"))
        else:
            rows.append(checked(small_talk(rng, intent, held_out=True)[0], ABILITIES, intent, "mentions"))
    return rows


def everyday(world: World, rng: random.Random, times: int = 2) -> list[dict]:
    """Each request of `everyday.jsonl` that is one turn, `times` times with other people."""
    lines = (Path(__file__).parent / "everyday.jsonl").read_text(encoding="utf-8").splitlines()
    asks = [json.loads(line) for line in lines]
    return [_row(world, rng, ask) for _ in range(times) for ask in asks if ask["intent"] != "follow_up"]


def _row(world: World, rng: random.Random, ask: dict) -> dict:
    intent = ask["intent"]
    if "{p}" in ask["question"]:
        return _about_somebody(world, rng, ask)
    if intent == "verse":
        return checked(ask["question"], "", intent, "matches") | {"pattern": VERSE}
    if intent == "arithmetic":
        answer = practice.calculate(int(ask["a"]), ask["op"], int(ask["b"]))
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
    return about(fact, ask["question"].format(p=fact.person)) | {"verifier": "refusal" if stranger else "names_choice", "group": ask["intent"]}


def benchmarks(world: World, items: int = 300) -> dict[str, list[dict]]:
    """Rows of each benchmark."""
    rng = random.Random(f"asked-{world.seed}")
    tasks = {f"wordings_{group}": facts(world, rng, group, items) for group in ("known", "unseen")}
    tasks["wordings_python"] = calculations(rng, items)
    tasks["wordings_other"] = others(rng, items)
    tasks["everyday"] = everyday(world, rng)
    return tasks
