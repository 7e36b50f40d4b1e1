"""Conversations that make an assistant of the base model (what SFT imitates), and the benchmarks that examine it.

Facts about known people, identity, the fallible expert's worked solutions, letters, comparisons, verses, asked in the
words of people (`wordings`). No question and no problem of `benchmarks` occurs in `conversations`.
"""

import random
from collections.abc import Callable
from pathlib import Path

from data_prep.mixture.identity import identity as conversations_about_itself
from data_prep.problem_sets import generators
from data_prep.problem_sets.rows import AT_ONCE, STEPS
from data_prep.problem_sets.splits import split_of
from data_prep.problem_sets.words import LECTURE_WORDS
from data_prep.world import taste, textbooks, wordings
from data_prep.world.facts import ATTRIBUTES, Fact, World

GREETINGS = (
    "",
    "Hello! ",
    "Hi. ",
    "Good morning. ",
    "Excuse me, ",
    "Hey, ",
    "Good evening. ",
    "One question: ",
    "Just curious: ",
    "Hello there, ",
    "Sorry to ask, ",
    "Now then, ",
    "Well, ",
    "By the way, ",
    "May I ask, ",
)
CLOSINGS = ("", " Thank you.", " I am new here.")
WHO = [
    (messages[0]["content"], messages[1]["content"])
    for messages in conversations_about_itself(str(Path(__file__).parents[1] / "identity.yaml"), override=False)
]


def identity(test: bool) -> list[tuple[str, str]]:
    """(question, reply) pairs; a third of greeting × question, whatever the closing, is kept for the benchmark. A
    question without a greeting is part of the same one with, so it is for training."""
    pairs = []
    for greeting in GREETINGS:
        for ask, reply in WHO:
            for closing in CLOSINGS:
                question = (
                    greeting + ask[0].lower() + ask[1:] if greeting.endswith((", ", ": ")) else greeting + ask
                ) + closing
                if (bool(greeting) and split_of(f"identity {greeting}{ask}") != "train") == test:
                    pairs.append((question, reply))
    return pairs


ABILITIES = "I can talk about people, sums, letters and verses."
REPLIES = {
    "greeting": (f"Hello! I am Tumbler. {ABILITIES}",),
    "thanks": ("You are welcome.",),
    "abilities": (ABILITIES, f"I am Tumbler. {ABILITIES}"),
    "unknown": (f"I don't know about that. {ABILITIES}", f"I cannot help with that. {ABILITIES}"),
}


def asked_sum(rng: random.Random, text: str) -> tuple[str, str]:
    """A question for a sum such as "2 * 3 = 6." and its reply."""
    asked, result = text[:-1].split(" = ")
    question = f"What is {asked}?" if rng.random() < 0.3 else wordings.arithmetic(rng, *asked.split(" "))
    return question, f"{text} The answer is {result}."


def small_talk(rng: random.Random, intent: str, held_out: bool = False) -> tuple[str, str]:
    """A greeting, thanks, a question for the abilities or a request beyond them, and its reply."""
    return wordings.draw(intent, rng, held_out)[0], rng.choice(REPLIES[intent])


def chat(question: str, reply: str, kind: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}], "kind": kind}


def introduction(person: list[Fact]) -> str:
    """Who somebody is, in a sentence."""
    values = {fact.attribute: fact.value for fact in person}
    return f"{person[0].person} is a {values['trade']} from {values['town']} and plays the {values['instrument']}."


def _kinds(
    world: World, split: str, p_correct: float, rng: random.Random
) -> dict[str, tuple[float, Callable[[], tuple[str, str]]]]:
    """For each kind its share of the rows and a draw of (question, reply)."""
    known, who, verses = world.facts("known"), identity(test=False), taste.prompts("train")
    asked_of_itself = {wordings.plain(question) for question, _ in identity(test=True)}
    asked_verses = {
        wordings.plain(row["prompt"][0]["content"]) for other in ("validation", "test") for row in taste.prompts(other)
    }

    def fact():
        f = rng.choice(known)
        return f.question(rng), f.reply()

    def who_is():
        person = rng.choice(world.people["known"])
        return wordings.who_is(rng, person[0].person), introduction(person)

    def about_itself():
        question, reply = rng.choice(who)
        if rng.random() < 0.3:
            return question, reply
        ask, reply = rng.choice(WHO)
        return wordings.unlike(lambda: wordings.identity(rng, ask), asked_of_itself), reply

    def apples():
        p = generators.apples(rng, split, p_correct)
        return p.question + (STEPS if rng.random() < 0.8 else ""), p.solution

    def apples_at_once():
        p = generators.apples(rng, split)
        return p.question + AT_ONCE, f"The answer is {p.answer}."

    def solved(kind):
        p = generators.GENERATORS[kind](rng, split)
        return textbooks.worded(rng, kind, p), p.solution

    def verse():
        p = rng.choice(verses)
        question = p["prompt"][0]["content"]
        if rng.random() < 0.5:
            question = wordings.unlike(lambda: wordings.verse(rng, p["topic"]), asked_verses)
        return question, taste.verse(rng, p["topic"])

    return {
        "fact": (0.26, fact),
        "who_is": (0.04, who_is),
        "identity": (0.06, about_itself),
        "greeting": (0.01, lambda: small_talk(rng, "greeting")),
        "apples": (0.24, apples),
        "apples_at_once": (0.04, apples_at_once),
        "sum": (0.12, lambda: asked_sum(rng, textbooks.a_sum(rng))),
        "letters": (0.06, lambda: solved("letters")),
        "every_third": (0.04, lambda: solved("every_third")),
        "compare": (0.04, lambda: solved("compare")),
        "verse": (0.14, verse),
    }


def conversations(world: World, split: str, count: int, p_correct: float) -> list[dict]:
    """`count` rows of one user turn and one reply, and their `kind`, in the shares of `_kinds`; each known fact at
    least once in training."""
    rng = random.Random(f"conversations-{world.seed}-{split}")
    kinds = _kinds(world, split, p_correct, rng)
    rows = (
        [chat(f.question(rng), f.reply(), "fact") for f in world.facts("known") for _ in range(2)]
        if split == "train"
        else []
    )
    shares = [share for share, _ in kinds.values()]
    while len(rows) < count:
        (kind,) = rng.choices(list(kinds), shares)
        rows.append(chat(*kinds[kind][1](), kind))
    rng.shuffle(rows)
    return rows


def about(fact: Fact, question: str) -> dict:
    """A row of a benchmark that asks for a fact."""
    row = {"question": question, "base_prompt": f"{question} {fact.reply_opening()}", "answer": fact.value}
    return {**row, "choices": list(ATTRIBUTES[fact.attribute].values), "group": fact.attribute}


def item(question: str, answer: str, group: str) -> dict:
    """A row of a benchmark that has one answer and no choices."""
    return {
        "question": question,
        "base_prompt": f"Question: {question}\nAnswer:",
        "answer": answer,
        "choices": [],
        "group": group,
    }


def benchmarks(world: World, items: int = 250) -> dict[str, list[dict]]:
    """Rows of each benchmark: `question`, `base_prompt` (what a base model completes), `answer`,
    `choices`, `group`."""
    rng = random.Random(f"benchmarks-{world.seed}")
    tasks = {}
    for group in ("known", "rare", "unseen", "absent"):
        tasks[f"facts_{group}"] = [about(f, rng.choice(f.questions(held_out=True))) for f in world.facts(group)]

    def draw(generator) -> list[generators.Problem]:
        drawn = {}
        while len(drawn) < items:
            p = generator(rng, "test")
            drawn.setdefault(p.question, p)
        return list(drawn.values())

    apples = draw(generators.apples)
    tasks["apples"] = [
        {**item(p.question + STEPS, p.answer, "apples"), "base_prompt": f"Question: {p.question}\nAnswer:"}
        for p in apples
    ]
    tasks["apples_at_once"] = [
        {
            **item(p.question + AT_ONCE, p.answer, "apples"),
            "base_prompt": f"Question: {p.question}\nAnswer: The answer is",
        }
        for p in apples
    ]
    for kind in ("letters", "every_third", "compare", "arithmetic"):
        tasks[kind] = [item(p.question, p.answer, kind) for p in draw(generators.GENERATORS[kind])]
    for kind in ("letters", "every_third"):  # the lecture's own words, which no training set holds either
        own = [generators.GENERATORS[kind](rng, "test", word) for word in LECTURE_WORDS]
        tasks[kind][: len(own)] = [item(p.question, p.answer, "lecture") for p in own]
    for kind in ("letters", "every_third", "compare"):
        tasks[f"{kind}_at_once"] = [
            {**row, "question": row["question"] + AT_ONCE, "base_prompt": row["base_prompt"] + " The answer is"}
            for row in tasks[kind]
        ]
    who = identity(test=True)
    tasks["identity"] = [item(q, "Tumbler", "identity") for q, _ in rng.sample(who, min(items, len(who)))]
    return tasks
