"""Exercise books: the second source of pretraining text.

Pages that are mostly numbers do not pass a web quality filter (Gopher asks that 80 % of words hold a letter), here as
in FineWeb, whose counterpart for mathematics is FineMath. So arithmetic and spelling come as a source of their own:
sums and spelling, but no word problem that is worked, which is left to practice. So does reading: a text about
strangers, whose facts differ from book to book, and questions that only the text answers. Without it a small model
learns who goes with which family name, and cannot copy a name that it has never met.
"""

import random
from functools import cache

from data_prep.problem_sets.generators import FRUITS, GENERATORS, PEOPLE, Problem
from data_prep.problem_sets.splits import split_of
from data_prep.problem_sets.words import LECTURE_WORDS, digits_by_chance, invented_word, letters_by_chance
from data_prep.world import wordings
from data_prep.world.facts import ATTRIBUTES, Fact, World

SMALL = [f"{a} + {b} = {a + b}." for a in range(1, 10) for b in range(1, 10)] + [
    f"{a} * {b} = {a * b}." for a in range(6, 10) for b in range(2, 10)
]


def a_sum(rng: random.Random) -> str:
    """One of the sums that worked solutions are made of, or a small one."""
    if rng.random() < 0.12:
        return rng.choice(SMALL)
    a, b, c, d = rng.randint(2, 5), rng.randint(2, 9), rng.randint(2, 5), rng.randint(2, 9)
    (kind,) = rng.choices("*/-+", (20, 16, 58, 6))
    if kind == "*":
        return f"{a} * {b} = {a * b}."
    if kind == "/":
        return f"{a * b} / {a} = {b}."
    total = a * b + c * d
    return f"{total} - {c * d} = {a * b}." if kind == "-" else f"{c * d} + {a * b} = {total}."


def every_sum() -> list[str]:
    """What `a_sum` draws from, each once, but for additions of two products: no solution adds."""
    factors = [(a, b) for a in range(2, 6) for b in range(2, 10)]
    products = sorted({a * b for a, b in factors})
    solved = [text for a, b in factors for text in (f"{a} * {b} = {a * b}.", f"{a * b} / {a} = {b}.")]
    return solved + [f"{x + y} - {y} = {x}." for x in products for y in products] + SMALL


def worded(rng: random.Random, kind: str, problem: Problem) -> str:
    """The question of a problem as it stands, or in the words of people."""
    return problem.question if rng.random() < 0.25 else wordings.problem(rng, kind, problem.slots)


def reading(rng: random.Random, strangers: list[str]) -> str:
    """A text about one or two people and four questions; some ask for somebody of the same first or family name, of
    whom the text says nothing."""
    names = rng.sample(strangers, rng.choice((1, 1, 1, 2)))
    facts = [Fact(name, a, rng.choice(ATTRIBUTES[a].values), "") for name in names for a in ATTRIBUTES]
    rng.shuffle(facts)
    lines = ["Read: " + " ".join(f.reply() for f in facts)]
    for f in rng.choices(facts, k=4):
        reply, part = f.reply(), rng.choice(f.person.split())
        others = [name for name in strangers if part in name and name not in names] if rng.random() < 0.2 else []
        if others:
            f, reply = Fact(rng.choice(others), f.attribute, f.value, ""), "The text does not say."
        lines.append(f"Question: {f.question(rng)}\nAnswer: {reply}")
    return "\n".join(lines)


@cache
def _real_words() -> list[str]:
    return [word for word in wordings.words() if word not in LECTURE_WORDS and split_of(f"word {word}") == "train"]


def real_word(rng: random.Random) -> str:
    """An English word that is for training."""
    return rng.choice(_real_words())


HAVE = (
    ("buys", "buy"),
    ("has", "have"),
    ("picks", "pick"),
    ("sells", "sell"),
    ("carries", "carry"),
    ("finds", "find"),
    ("weighs", "weigh"),
)


def _is_solvable(count: int, rest: int) -> bool:
    """Whether `count` pieces of one whole price cost `rest`: a word problem that practice may ask."""
    return rest > 0 and rest % count == 0


def counting(rng: random.Random) -> str:
    """What two people have, and questions whose answers stand in the text: how many, at what price, what total.
    Nothing is to be worked out, and nothing can be: no total is one of a word problem."""
    lines = []
    for person in rng.sample(PEOPLE, 2):
        # most often a purchase: practice asks about purchases
        does, do = HAVE[0] if rng.random() < 0.3 else rng.choice(HAVE)
        fruits = rng.sample(FRUITS, 2)
        counts = {many: rng.randint(2, 9) for many, _ in fruits}
        prices = {one: rng.randint(2, 9) for _, one in fruits}
        total = rng.randint(10, 99)
        (first, _), (second, priced) = fruits
        while _is_solvable(counts[first], total - counts[second] * prices[priced]):
            total += 1
        text = (
            f"{person} {does} {counts[first]} {first} and {counts[second]} {second}. Each {priced} costs"
            f" {prices[priced]} dollars. The total is {total} dollars."
        )
        asked = [
            (f"How many {many} does {person} {do}?", f"{person} {does} {counts[many]} {many}.") for many, _ in fruits
        ]
        asked.append((f"What does each {priced} cost?", f"Each {priced} costs {prices[priced]} dollars."))
        asked.append(("What is the total?", f"The total is {total} dollars."))
        lines.append(f"Read: {text}")
        lines += [f"Question: {question}\nAnswer: {reply}" for question, reply in rng.sample(asked, 3)]
    return "\n".join(lines)


def dictation(rng: random.Random, strangers: list[str]) -> str:
    """Names, words and numbers that follow from nothing, and the same again: at once, or all of them in another order.
    It teaches a model to copy."""

    def item() -> str:
        kind = rng.choices(("name", "word", "letters", "number"), (28, 16, 18, 38))[0]
        if kind == "name":
            return rng.choice(strangers)
        if kind == "number":
            return digits_by_chance(rng)
        if kind == "letters":
            return letters_by_chance(rng)
        return real_word(rng) if rng.random() < 0.5 else invented_word(rng, "train")

    def items() -> str:
        return " ".join(item() for _ in range(rng.randint(2, 4)))

    lines = [items() for _ in range(6)]
    if rng.random() < 0.8:
        copies = [line for line in lines for _ in range(3)]
    else:
        copies = lines + rng.sample(lines, len(lines)) + rng.sample(lines, len(lines))
    return " ".join(f"{line}." for line in copies)


def notebook(rng: random.Random) -> str:
    """Problems, the Python that solves them, and what it prints (of arithmetic, which nobody is to learn by heart, the
    code alone)."""
    lines = []
    for _ in range(4):
        kind = rng.choice(("letters", "every_third", "compare", "arithmetic"))
        p = GENERATORS[kind](rng, "train")
        lines += [f"Question: {worded(rng, kind, p)}", f"Python: {p.code}"] + (
            [] if kind == "arithmetic" else [f"Output: {p.answer}"]
        )
    return "\n".join(lines)


SHARES = {
    "sums": 26,
    "letters": 4,
    "every_third": 2,
    "compare": 2,
    "reading": 14,
    "counting": 14,
    "dictation": 24,
    "notebook": 8,
}


def documents(world: World, count: int) -> list[dict]:
    """`count` documents of about 150 tokens: sums, spelling, comparisons, reading, counting, dictations, code."""
    rng, strangers = random.Random(f"textbooks-{world.seed}"), world.strangers()
    out = []
    for i in range(count):
        (kind,) = rng.choices(list(SHARES), SHARES.values())
        if kind == "sums":
            text = " ".join(a_sum(rng) for _ in range(16))
        elif kind == "reading":
            text = reading(rng, strangers)
        elif kind == "counting":
            text = counting(rng)
        elif kind == "dictation":
            text = dictation(rng, strangers)
        elif kind == "notebook":
            text = notebook(rng)
        else:
            lines = []
            for _ in range(3):
                problem = GENERATORS[kind](rng, "train")
                lines.append(f"Question: {worded(rng, kind, problem)}\nAnswer: {problem.solution}")
            text = "\n".join(lines)
        out.append({"id": f"textbook-{i}", "text": text, "metadata": {"kind": kind}})
    return out
