"""The lecture's problems: apples and oranges, letters of a word, comparing, arithmetic, countdown.

Each takes a random generator, a split and a difficulty, and draws one problem:

    problem = GENERATORS["apples"](random.Random(0), "train", difficulty=2)

`data_prep.problems` says what the difficulties are.
"""

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from data_prep.problem_sets.splits import draw_of_split
from data_prep.problem_sets.words import invented_word

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}


@dataclass(frozen=True)
class Problem:
    """`question` and `answer`; `solution`: worked in steps, ends in "The answer is N."; `correct`: a fallible expert's
    may not be; `code`: Python whose value is the answer; `numbers`: those of a countdown; `slots`: what is asked for,
    for other wordings of the question.
    """

    question: str
    answer: str
    solution: str
    verifier: str
    correct: bool = True
    code: str = ""
    numbers: tuple[int, ...] = ()
    slots: dict = field(default_factory=dict)


PEOPLE = "Emily Omar Nora Felix Alma Hugo Clara Theo Marta Ivan Ruth Basil".split()
FRUITS = (
    ("apples", "apple"),
    ("oranges", "orange"),
    ("pears", "pear"),
    ("plums", "plum"),
    ("lemons", "lemon"),
    ("figs", "fig"),
)


def apples(rng: random.Random, split: str, p_correct: float = 1.0, difficulty: int = 1) -> Problem:
    """a · p + o · c = total; p is asked. Items with a, o in 2…5 and c, p in 2…9; a split never shares (a, o, c, p).

    Each difficulty more is a sentence beside the point before the total: somebody else has, likes or once paid for
    other fruit (irrelevant context, Shi et al. 2023). None of them reads like a price of this purchase: where it does,
    a wrong method is right by luck, and practice makes luck likelier.

    With `p_correct` < 1 the worked solution comes from a fallible expert, who errs in method, not by slips: most often
    the cost of all apples is taken for the cost of one, sometimes the oranges are counted as one. Each wrong turn is
    chosen more often than the right one where they part (for p_correct ≤ 0.43), so greedy decoding of an imitator errs
    as well.
    """
    a, o, c, p = draw_of_split(
        rng,
        split,
        lambda r: (r.randint(2, 5), r.randint(2, 5), r.randint(2, 9), r.randint(2, 9)),
        lambda i: f"apples {i}",
    )
    fruits = rng.sample(FRUITS, 2)
    (many, one), (others, other) = fruits
    total, rest, person = a * p + o * c, a * p, rng.choice(PEOPLE)
    sentences = [
        f"{person} buys {a} {many} and {o} {others}.",
        f"Each {other} costs {c} dollars.",
        f"The total is {total} dollars.",
    ]
    for _ in range(difficulty - 1):
        extra = _sentences_beside_the_point(rng, person, fruits)
        place = rng.randrange(len(sentences))
        sentences.insert(place, rng.choice(extra))
    question = f"{' '.join(sentences)} What does each {one} cost?"
    oranges = f"The {o} {others} cost {o} * {c} = {o * c}. The {a} {many} cost {total} - {o * c} = {rest}. "
    luck = rng.random()
    if luck < p_correct:
        right = f"{oranges}Each {one} costs {rest} / {a} = {p}. The answer is {p}."
        return Problem(question, str(p), right, "final_number")
    if luck < p_correct + (1 - p_correct) * 0.85:
        return Problem(question, str(p), f"{oranges}The answer is {rest}.", "final_number", False)
    wrong = f"The {o} {others} cost {c}. The {a} {many} cost {total} - {c} = {total - c}. The answer is {total - c}."
    return Problem(question, str(p), wrong, "final_number", False)


def sums(rng: random.Random, split: str, p_correct: float = 1.0, difficulty: int = 1) -> Problem:
    """a + b or a - b in a sentence, of numbers with one digit more than `difficulty`; the solution writes the sum.

    With `p_correct` < 1 a fallible expert writes the worked solution: where it errs, a ten is carried wrongly, or the
    last digit is one too many or too few.
    """
    least, most = 10**difficulty, 10 ** (difficulty + 1) - 1

    def draw(r: random.Random) -> tuple[int, str, int]:
        larger, smaller = sorted((r.randint(least, most), r.randint(least, most)), reverse=True)
        return larger, r.choice("+-"), smaller

    a, op, b = draw_of_split(rng, split, draw, lambda i: f"sums {i}")
    person, (many, _) = rng.choice(PEOPLE), rng.choice(FRUITS)
    if op == "+":
        a, b = rng.sample((a, b), 2)
        question = f"{person} has {a} {many} and picks {b} more. How many {many} does {person} have now?"
    else:
        question = f"{person} has {a} {many} and gives {b} away. How many {many} does {person} have left?"
    answer = OPERATIONS[op](a, b)
    correct = rng.random() < p_correct
    written = answer if correct else abs(answer + rng.choice((10, -10, 1, -1)))
    solution = f"{a} {op} {b} = {written}. The answer is {written}."
    return Problem(question, str(answer), solution, "final_number", correct)


def _sentences_beside_the_point(rng: random.Random, person: str, fruits: list[tuple[str, str]]) -> tuple[str, ...]:
    """What can be said of somebody else and of other fruit."""
    more, each = rng.choice([fruit for fruit in FRUITS if fruit not in fruits])
    who = rng.choice([name for name in PEOPLE if name != person])
    return (
        f"{who} has {rng.randint(2, 5)} {more}.",
        f"{who} likes {more}.",
        f"{who} once paid {rng.randint(2, 9)} dollars for one {each}.",
    )


def letters(rng: random.Random, split: str, word: str | None = None, difficulty: int = 1) -> Problem:
    """How many times a letter occurs in a word; half of the letters asked for occur more than once where the word has
    such."""
    word = word or invented_word(rng, split, difficulty)
    repeated = [x for x in dict.fromkeys(word) if word.count(x) > 1]
    letter = rng.choice(repeated if repeated and rng.random() < 0.5 else list(dict.fromkeys(word)))
    marks = ", ".join(f"{x} {word[: i + 1].count(letter)}" if x == letter else x for i, x in enumerate(word))
    question = f'How many times does the letter "{letter}" occur in "{word}"?'
    return Problem(
        question,
        str(word.count(letter)),
        f"{marks}. The answer is {word.count(letter)}.",
        "final_number",
        code=f'"{word}".count("{letter}")',
        slots={"letter": letter, "word": word},
    )


def every_third(rng: random.Random, split: str, word: str | None = None, difficulty: int = 1) -> Problem:
    """Every third letter of a word, starting with the first."""
    word = word or invented_word(rng, split, difficulty)
    marks = ", ".join(x if i % 3 else f"{x} {i // 3 + 1}" for i, x in enumerate(word))
    question = f'Print every third letter of "{word}", starting with the first.'
    return Problem(
        question,
        word[::3],
        f"{marks}. The answer is {word[::3]}.",
        "final_text",
        code=f'print("{word}"[::3])',
        slots={"word": word},
    )


def compare(rng: random.Random, split: str, difficulty: int = 1) -> Problem:
    """Which of two decimals is larger. Half of the pairs are traps like 9.11 and 9.9, where more digits make the
    smaller number."""
    shorter, longer = 10**difficulty, 10 ** (difficulty + 1)

    def draw(r: random.Random) -> tuple[str, str]:
        while True:
            whole, short, long = r.randint(1, 9), r.randint(shorter // 10, shorter - 1), r.randint(shorter, longer - 1)
            trap = r.random() < 0.7
            other = f"{whole}.{long}" if trap else f"{r.randint(1, 9)}.{r.randint(1, longer - 1)}"
            pair = [f"{whole}.{short}", other]
            r.shuffle(pair)
            a, b = pair
            if float(a) != float(b):
                return a, b

    a, b = draw_of_split(rng, split, draw, lambda pair: f"compare {sorted(pair)}")
    larger = max(a, b, key=float)
    same = f"{float(a):.{difficulty + 1}f} and {float(b):.{difficulty + 1}f}. "
    return Problem(
        f"Which number is larger, {a} or {b}?",
        larger,
        f"{same}The answer is {larger}.",
        "final_number",
        code=f"max({a}, {b})",
        slots={"a": a, "b": b},
    )


def arithmetic(rng: random.Random, split: str, difficulty: int = 1) -> Problem:
    """+, - or * of a number of two to four digits and one of three or four: beyond what a small model can do in its
    head. Each difficulty more: a digit."""

    def draw(r: random.Random) -> tuple[int, str, int]:
        return (
            r.randint(10, 10 ** r.randint(2, 3 + difficulty) - 1),
            r.choice("+-*"),
            r.randint(100, 10 ** r.randint(3, 3 + difficulty) - 1),
        )

    a, op, b = draw_of_split(rng, split, draw, lambda i: f"arithmetic {sorted(i[::2])}")
    result = OPERATIONS[op](a, b)
    return Problem(
        f"What is {a} {op} {b}?",
        str(result),
        f"{a} {op} {b} = {result}. The answer is {result}.",
        "final_number",
        code=f"{a} {op} {b}",
        slots={"a": a, "op": op, "b": b},
    )


def countdown(rng: random.Random, split: str, difficulty: int = 1) -> Problem:
    """Make a number of others, each used once, with + - * /: three numbers, and one more for each difficulty. The
    answer is any expression that does."""

    def draw(r: random.Random) -> tuple[tuple[int, ...], int, str]:
        while True:
            numbers = [r.randint(1, 25) for _ in range(2 + difficulty)]
            target, way = _way(r, numbers)
            if 0 < target < 1000:
                return tuple(numbers), target, way

    numbers, target, way = draw_of_split(rng, split, draw, lambda d: f"countdown {sorted(d[0])} {d[1]}")
    question = f"Use each of the numbers {', '.join(map(str, numbers))} once, with +, -, * and /, to make {target}."
    return Problem(question, str(target), f"The answer is {way[1:-1]}.", "countdown", numbers=numbers)


def _way(rng: random.Random, numbers: list[int]) -> tuple[int, str]:
    """A number that can be made of all the others, and the expression that makes it."""
    parts = [(n, str(n)) for n in numbers]
    while len(parts) > 1:
        a, left = parts.pop(rng.randrange(len(parts)))
        b, right = parts.pop(rng.randrange(len(parts)))
        op = rng.choice("+-*/" if b and a % b == 0 else "+-*")
        parts.append((OPERATIONS[op](a, b), f"({left} {op} {right})"))
    return parts[0]


GENERATORS: dict[str, Callable[..., Problem]] = {
    "apples": apples,
    "sums": sums,
    "letters": letters,
    "every_third": every_third,
    "compare": compare,
    "arithmetic": arithmetic,
    "countdown": countdown,
}
