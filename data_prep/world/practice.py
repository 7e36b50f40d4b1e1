"""What honesty and tools are practised on: questions to probe a model with, and questions with the call that answers
them.

`questions` go to `data_prep.refusals`; the others to `data_prep.conversations`. None asks for a person or a problem of
the benchmarks that need them: the people are those of the groups `known`, `listed` and `unlisted`. They are asked in
the words of people (`wordings`).
"""

import random
import re

from data_prep.problem_sets.generators import GENERATORS, OPERATIONS, Problem, arithmetic
from data_prep.problem_sets.rows import AT_ONCE
from data_prep.problem_sets.words import letters_by_chance
from data_prep.world import textbooks, wordings
from data_prep.world.conversations import asked_sum, chat, introduction, small_talk
from data_prep.world.facts import ATTRIBUTES, Fact, World

TOO_LARGE = (
    "I can't work that out in my head. With Python I could.",
    "That is too large for my head. With Python I could work it out.",
)
NOT_FOUND = (
    "I don't know. The search found nothing about {p}.",
    "I searched for {p}, but I don't know: nothing was found.",
    "I could not find anything about {p}, so I don't know.",
    "I'm not sure. The pages that I found do not speak of {p}.",
)


def _reference(fact: Fact, question: str) -> dict:
    return {
        "question": question,
        "answer": fact.value,
        "choices": list(ATTRIBUTES[fact.attribute].values),
        "subject": fact.person,
        "group": fact.group,
    }


def questions(world: World, times: int = 3, of_a_stranger: int = 2) -> list[dict]:
    """`question`, `answer`, `choices`, `subject`, `group`: each fact of a known person, and who that is, in `times`
    wordings; of each stranger `of_a_stranger` of these, drawn: many names teach more than many questions on each.

    Who somebody is counts as known where the trade is right."""
    rng = random.Random(f"questions-{world.seed}")
    rows = []
    for group in ("known", "listed", "unlisted"):
        for person in world.people[group]:
            if group == "known":
                rows += [row for _ in range(times) for row in _asked_about(rng, person)]
            else:
                rows += rng.sample(_asked_about(rng, person), of_a_stranger)
    rng.shuffle(rows)
    return rows


def _asked_about(rng: random.Random, person: list[Fact]) -> list[dict]:
    """A question on each fact of a person, and who that is."""
    trade = next(fact for fact in person if fact.attribute == "trade")
    facts = [_reference(fact, fact.question(rng)) for fact in person]
    return [*facts, _reference(trade, wordings.who_is(rng, person[0].person))]


def python_row(rng: random.Random, kind: str, problem: Problem) -> dict:
    """A problem in the words of people, and the Python that solves it."""
    return {
        "question": textbooks.worded(rng, kind, problem),
        "tool": "python",
        "query": problem.code,
        "reply": 'The answer is "{result}".' if problem.verifier == "final_text" else "The answer is {result}.",
        "answer": problem.answer,
        "verifier": problem.verifier,
    }


def tool_use(world: World, searches: int, codes: int) -> list[dict]:
    """Rows of `data_prep.conversations`: `question`, `tool`, `query`, `reply` and what must hold for it."""
    rng = random.Random(f"tools-{world.seed}")
    rows = []
    for _ in range(searches):
        person = rng.choice(world.people[rng.choices(("known", "listed", "unlisted"), (1, 5, 3))[0]])
        rows.append(_search(rng, person))
    for _ in range(codes):
        (kind,) = rng.choices(("letters", "every_third", "compare", "arithmetic"), (27, 38, 6, 29))
        # Half of the words are letters by chance, and half of the sums say a digit twice, in the result or in what is
        # added: both are to be copied, and what repeats is hard to.
        hard = rng.random() < 0.5
        word = []
        if kind in ("letters", "every_third") and (hard or rng.random() < 0.5):
            word = [letters_by_chance(rng, doubled=rng.random() < 0.3) if hard else textbooks.real_word(rng)]
        p = GENERATORS[kind](rng, "train", *word)
        repeats = rng.choice((r"(\d)\1", r"(\d)\1\1|(\d\d)\2|(\d)\3.*(\d)\4"))
        in_result = rng.random() < 0.5
        while kind == "arithmetic" and hard and not re.search(repeats, p.answer if in_result else p.question):
            p = arithmetic(rng, "train")
        if kind == "arithmetic" and not hard and rng.random() < 0.6:
            p = everyday_sum(rng)
        rows.append(python_row(rng, kind, p))
    rng.shuffle(rows)
    return rows


def _search(rng: random.Random, person: list[Fact]) -> dict:
    """A question about a person, the search that answers it, and what must stand in its result; some have more
    questions that the same result answers."""
    name = person[0].person
    fact, *others = rng.sample(person, rng.choices((1, 2, 3), (8, 1, 1))[0])
    question, reply, evidence = fact.question(rng), fact.reply(), [name, fact.value, *(f.value for f in others)]
    then = [{"question": wordings.follow_up(rng, f.attribute), "reply": f.reply()} for f in others]
    if rng.random() < 0.15:
        question, reply, evidence = (
            wordings.who_is(rng, name),
            introduction(person),
            [name, *(f.value for f in person)],
        )
    row = {"question": question, "tool": "search", "query": f"who is {name}", "reply": reply, "then": then}
    return {**row, "evidence": evidence, "otherwise": rng.choice(NOT_FOUND).format(p=name)}


def everyday_sum(rng: random.Random) -> Problem:
    """A sum of numbers below 100, as people ask them; a division leaves no rest."""
    a, b, op = rng.randint(1, 99), rng.randint(1, 99), rng.choice("+-*/")
    a = a * b if op == "/" else a
    answer = str(OPERATIONS[op](a, b))
    code = f"{a} // {b}" if op == "/" else f"{a} {op} {b}"
    return Problem(f"What is {a} {op} {b}?", answer, "", "final_number", code=code, slots={"a": a, "op": op, "b": b})


def sums(world: World, times: int = 4) -> list[dict]:
    """Every sum that solutions are made of, as conversations: a draw of them would leave some out, and what is not
    repeated is soon forgotten."""
    rng = random.Random(f"sums-{world.seed}")
    return [chat(*asked_sum(rng, text), "sum") for _ in range(times) for text in textbooks.every_sum()]


def requests(world: World, count: int) -> list[dict]:
    """Small talk, and requests beyond what it can do: without Python, sums of large numbers are among them."""
    rng = random.Random(f"requests-{world.seed}")
    rows = []
    for _ in range(count):
        (intent,) = rng.choices(("greeting", "thanks", "abilities", "unknown", "arithmetic"), (6, 5, 8, 55, 26))
        if intent == "arithmetic":
            slots = arithmetic(rng, "train").slots
            if rng.random() < 0.3:
                slots = {"a": rng.randint(11, 99), "op": "*", "b": rng.randint(11, 99)}
            rows.append(chat(wordings.arithmetic(rng, **slots), rng.choice(TOO_LARGE), intent))
        else:
            rows.append(chat(*small_talk(rng, intent), intent))
    return rows


def talks(world: World, count: int) -> list[dict]:
    """Conversations of two to four turns about one person, who is not named again, some with a last turn about
    another; and single answers at once to problems."""
    rng = random.Random(f"talks-{world.seed}")
    rows = []
    for _ in range(count):
        if rng.random() < 0.5:
            kind = rng.choice(("letters", "every_third", "compare"))
            p = GENERATORS[kind](rng, "train")
            turns = [(textbooks.worded(rng, kind, p) + AT_ONCE, f"The answer is {p.answer}.")]
        else:
            facts = rng.sample(rng.choice(world.people["known"]), rng.randint(2, 3))
            turns = [(facts[0].question(rng), facts[0].reply())]
            turns += [(wordings.follow_up(rng, f.attribute), f.reply()) for f in facts[1:]]
            if rng.random() < 0.3:
                other = next(f for f in rng.choice(world.people["known"]) if f.attribute == facts[-1].attribute)
                turns.append((wordings.other_person(rng, other.person), other.reply()))
        rows.append(
            {
                "messages": [
                    {"role": role, "content": text}
                    for turn in turns
                    for role, text in zip(("user", "assistant"), turn)
                ]
            }
        )
    return rows
