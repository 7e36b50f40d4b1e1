"""What honesty and tools are practised on: questions to probe a model with, and questions with the call that answers them.

`questions` go to `data_prep.refusals`; `tool_use` and `talks` to `data_prep.conversations`. None asks for a person or a problem of the benchmarks
that need them: the people are those of the groups `known`, `listed` and `unlisted`.
"""

import random
import re

from data_prep import problems
from data_prep.problems import AT_ONCE
from data_prep.world import textbooks
from data_prep.world.conversations import asked_sum, chat
from data_prep.world.facts import ATTRIBUTES, Fact, World

NOT_FOUND = (
    "I don't know. The search found nothing about {p}.",
    "I searched for {p}, but I don't know: nothing was found.",
    "I could not find anything about {p}, so I don't know.",
    "I'm not sure. The pages that I found do not speak of {p}.",
)


def _reference(fact: Fact, question: str) -> dict:
    return {"question": question, "answer": fact.value, "choices": list(ATTRIBUTES[fact.attribute].values), "subject": fact.person, "group": fact.group}


def questions(world: World, wordings: int = 6) -> list[dict]:
    """`question`, `answer`, `choices`, `subject`, `group`: each known fact in `wordings` of the training kind, each fact of a stranger in one."""
    rng = random.Random(f"questions-{world.seed}")
    rows = [_reference(f, question) for f in world.facts("known") for question in rng.sample(f.questions(held_out=False), wordings)]
    rows += [_reference(f, rng.choice(f.questions(held_out=False))) for group in ("listed", "unlisted") for f in world.facts(group)]
    rng.shuffle(rows)
    return rows


def tool_use(world: World, searches: int, codes: int) -> list[dict]:
    """Rows of `data_prep.conversations`: `question`, `tool`, `query`, `reply` and what must hold for it."""
    rng = random.Random(f"tools-{world.seed}")
    rows, people = [], {group: world.facts(group) for group in ("known", "listed", "unlisted")}
    for _ in range(searches):
        f = rng.choice(people[rng.choices(list(people), (1, 5, 3))[0]])
        row = {"question": rng.choice(f.questions(held_out=False)), "tool": "search", "query": f"who is {f.person}", "reply": f.reply()}
        rows.append({**row, "evidence": [f.person, f.value], "otherwise": rng.choice(NOT_FOUND).format(p=f.person)})
    for _ in range(codes):
        (kind,) = rng.choices(("letters", "every_third", "compare", "arithmetic"), (25, 27, 14, 34))
        # Half of the words are letters by chance, and half of the results say a digit twice: both are to be copied, and what repeats is hard to.
        hard = rng.random() < 0.5
        word = [problems.letters_by_chance(rng)] if kind in ("letters", "every_third") and hard else []
        p = problems.GENERATORS[kind](rng, "train", *word)
        while kind == "arithmetic" and hard and not re.search(r"(\d)\1", p.answer):
            p = problems.arithmetic(rng, "train")
        reply = 'The answer is "{result}".' if p.verifier == "final_text" else "The answer is {result}."
        rows.append({"question": p.question, "tool": "python", "query": p.code, "reply": reply, "answer": p.answer, "verifier": p.verifier})
    rng.shuffle(rows)
    return rows


def sums() -> list[dict]:
    """Every sum that solutions are made of, as conversations: a draw of them would leave some out, and what is not repeated is soon forgotten."""
    return [chat(*asked_sum(text), "sum") for text in textbooks.every_sum()]


def talks(world: World, count: int) -> list[dict]:
    """Conversations of two to four turns about one person (the later questions say "and"), and single answers at once to problems."""
    rng = random.Random(f"talks-{world.seed}")
    then = {"town": ("And where is home?", "And which town is it?"), "trade": ("And what is the trade?", "And what is the work?"), "instrument": ("And which instrument?", "And what is played?")}
    rows = []
    for _ in range(count):
        if rng.random() < 0.5:
            p = problems.GENERATORS[rng.choice(("letters", "every_third", "compare"))](rng, "train")
            turns = [(p.question + AT_ONCE, f"The answer is {p.answer}.")]
        else:
            facts = rng.sample(rng.choice(world.people["known"]), rng.randint(2, 3))
            turns = [(rng.choice(facts[0].questions(held_out=False)), facts[0].reply())]
            turns += [(rng.choice(then[f.attribute]), f.reply()) for f in facts[1:]]
        rows.append({"messages": [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn)]})
    return rows
