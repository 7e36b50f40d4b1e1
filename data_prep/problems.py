"""Practice problems with checkable answers: generators, and adapters for published sets.

    python -m data_prep.problems --dataset openai/gsm8k --name main --split train --output_dir runs/gsm8k
    python -m data_prep.problems --dataset HuggingFaceH4/MATH-500 --split test --output_dir runs/math-500
    python -m data_prep.problems --dataset openai/openai_humaneval --split test --output_dir runs/humaneval
    python -m data_prep.problems --dataset google-research-datasets/mbpp --split train --output_dir runs/mbpp

    python -m data_prep.problems --generate apples --difficulty 2 --count 1000 --split train --output_dir runs/apples-2

writes `<split>.jsonl` with `prompt` (messages), `verifier` (a name in `eval.verifiers`) and what that reads (`answer`,
or `tests`), the form that `recipes/grpo.py` reads. The generators are the lecture's: apples and oranges, letters in
"strawberry", every third letter of "ubiquitous", 9.11 against 9.9, arithmetic, and countdown. A problem's split hangs
on what is asked alone, so that no set shares an item. `difficulty` is 1 or more: sentences beside the point (apples),
syllables of the word (letters, every_third), digits (compare, arithmetic), numbers to use (countdown). With `--expert
0.38` rows are conversations for `recipes.sft`: the worked solutions of an expert who chooses the right method that
often (apples), which is what imitation learns from and practice passes.
"""

import hashlib
import operator
import random
import re
import string
from dataclasses import dataclass, field

from eval.cli import UserError, command, output_folder, parse, whole, write_jsonl

STEPS = " Think step by step."
AT_ONCE = " Answer at once."
BOXED = "\nThink step by step and end with the answer in \\boxed{}."
SPLITS = ("train", "validation", "test")
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


def split_of(key: str) -> str:
    """train (65 %), validation (10 %) or test (25 %), by a hash of what identifies the problem."""
    n = int(hashlib.md5(key.encode()).hexdigest(), 16) % 100
    return "test" if n < 25 else "validation" if n < 35 else "train"


def _draw(rng: random.Random, split: str, draw, key) -> tuple:
    for _ in range(10_000):
        item = draw(rng)
        if split_of(key(item)) == split:
            return item
    raise ValueError(f"no item of the split {split} in 10,000 draws")


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
    a, o, c, p = _draw(
        rng,
        split,
        lambda r: (r.randint(2, 5), r.randint(2, 5), r.randint(2, 9), r.randint(2, 9)),
        lambda i: f"apples {i}",
    )
    (many, one), (others, other) = fruits = rng.sample(FRUITS, 2)
    total, rest, person = a * p + o * c, a * p, rng.choice(PEOPLE)
    told = [
        f"{person} buys {a} {many} and {o} {others}.",
        f"Each {other} costs {c} dollars.",
        f"The total is {total} dollars.",
    ]
    others_fruits = [fruit for fruit in FRUITS if fruit not in fruits]
    for _ in range(difficulty - 1):
        (more, each), who = rng.choice(others_fruits), rng.choice([name for name in PEOPLE if name != person])
        beside = (
            f"{who} has {rng.randint(2, 5)} {more}.",
            f"{who} likes {more}.",
            f"{who} once paid {rng.randint(2, 9)} dollars for one {each}.",
        )
        told.insert(rng.randrange(len(told)), rng.choice(beside))
    question = f"{' '.join(told)} What does each {one} cost?"
    oranges = f"The {o} {others} cost {o} * {c} = {o * c}. The {a} {many} cost {total} - {o * c} = {rest}. "
    right = f"{oranges}Each {one} costs {rest} / {a} = {p}. The answer is {p}."
    draw = rng.random()
    if draw < p_correct:
        return Problem(question, str(p), right, "final_number")
    if draw < p_correct + (1 - p_correct) * 0.85:
        return Problem(question, str(p), f"{oranges}The answer is {rest}.", "final_number", False)
    return Problem(
        question,
        str(p),
        f"The {o} {others} cost {c}. The {a} {many} cost {total} - {c} = {total - c}. The answer is {total - c}.",
        "final_number",
        False,
    )


_SYLLABLES = [c + v for c in "b c d f g h l m n p r s t v w br st tr gr pl".split() for v in "a e i o u".split()]
_ENDINGS = ["", "", "n", "r", "s", "t", "ll", "rry", "ck", "mp"]
LECTURE_WORDS = ("strawberry", "ubiquitous", "banana", "mississippi", "raspberry", "bookkeeper")


def _word(rng: random.Random, difficulty: int = 1) -> str:
    """An invented word of 4 to 12 letters; each difficulty more has two syllables and up to 8 letters more."""
    while True:
        word = "".join(
            rng.choice(_SYLLABLES) for _ in range(rng.randint(2 * difficulty, 2 * difficulty + 2))
        ) + rng.choice(_ENDINGS)
        if 4 <= len(word) <= 4 + 8 * difficulty and word not in LECTURE_WORDS:
            return word


def letters_by_chance(rng: random.Random) -> str:
    """3 to 12 letters for training, drawn one by one or by syllables, mostly of few kinds, so that they repeat: what
    can be copied and not known."""

    def draw(r: random.Random) -> str:
        kinds = r.sample(r.choice((list(string.ascii_lowercase), _SYLLABLES)), r.choice((2, 4, 8, 20)))
        word = "".join(r.choice((1, 1, 1, 1, 1, 2)) * kind for kind in r.choices(kinds, k=r.randint(3, 11)))[:12]
        return word if word not in LECTURE_WORDS else draw(r)

    return _draw(rng, "train", draw, lambda w: f"word {w}")


def digits_by_chance(rng: random.Random) -> str:
    """A number of 1 to 8 digits, half of the time of few kinds, so that they repeat, often the same several times in a
    row; some are negative, some have decimals."""
    kinds = rng.sample(string.digits, rng.choice((2, 3, 10, 10)))
    runs = rng.choice(((1,), (1, 1, 1, 2, 3, 4)))
    digits = "".join(rng.choice(runs) * kind for kind in rng.choices(kinds, k=rng.randint(1, 8)))
    digits = digits[:8].lstrip("0") or "0"
    point = rng.randint(1, 2) if len(digits) > 2 and rng.random() < 0.25 else 0
    return ("-" if rng.random() < 0.1 else "") + (f"{digits[:-point]}.{digits[-point:]}" if point else digits)


def invented_word(rng: random.Random, split: str, difficulty: int = 1) -> str:
    return _draw(rng, split, lambda r: _word(r, difficulty), lambda w: f"word {w}")


def letters(rng: random.Random, split: str, word: str | None = None, difficulty: int = 1) -> Problem:
    """How many times a letter occurs in a word; half of the letters asked for occur more than once where the word has
    such."""
    word = word or invented_word(rng, split, difficulty)
    repeated = [x for x in dict.fromkeys(word) if word.count(x) > 1]
    letter = rng.choice(repeated if repeated and rng.random() < 0.5 else list(dict.fromkeys(word)))
    marks = " ".join(f"{x} {word[: i + 1].count(letter)}," if x == letter else f"{x}," for i, x in enumerate(word))[
        :-1
    ]
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
    marks = " ".join(f"{x}," if i % 3 else f"{x} {i // 3 + 1}," for i, x in enumerate(word))[:-1]
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
        whole, short, long = r.randint(1, 9), r.randint(shorter // 10, shorter - 1), r.randint(shorter, longer - 1)
        pair = (
            [f"{whole}.{short}", f"{whole}.{long}"]
            if r.random() < 0.7
            else [f"{whole}.{short}", f"{r.randint(1, 9)}.{r.randint(1, longer - 1)}"]
        )
        r.shuffle(pair)
        return tuple(pair)

    a, b = _draw(
        rng,
        split,
        lambda r: next(p for p in iter(lambda: draw(r), None) if float(p[0]) != float(p[1])),
        lambda p: f"compare {sorted(p)}",
    )
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

    a, op, b = _draw(rng, split, draw, lambda i: f"arithmetic {sorted(i[::2])}")
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
        numbers = [r.randint(1, 25) for _ in range(2 + difficulty)]
        parts = [(n, str(n)) for n in numbers]
        while len(parts) > 1:
            (a, left), (b, right) = (parts.pop(r.randrange(len(parts))) for _ in range(2))
            op = r.choice("+-*/" if b and a % b == 0 else "+-*")
            parts.append((OPERATIONS[op](a, b), f"({left} {op} {right})"))
        return tuple(numbers), *parts[0]

    numbers, target, way = _draw(
        rng,
        split,
        lambda r: next(d for d in iter(lambda: draw(r), None) if 0 < d[1] < 1000),
        lambda d: f"countdown {sorted(d[0])} {d[1]}",
    )
    question = f"Use each of the numbers {', '.join(map(str, numbers))} once, with +, -, * and /, to make {target}."
    return Problem(question, str(target), f"The answer is {way[1:-1]}.", "countdown", numbers=numbers)


GENERATORS = {
    "apples": apples,
    "letters": letters,
    "every_third": every_third,
    "compare": compare,
    "arithmetic": arithmetic,
    "countdown": countdown,
}


def _asked(text: str, **columns) -> dict:
    return {"prompt": [{"role": "user", "content": text}], **columns}


def row(problem: Problem, suffix: str = "") -> dict:
    """A problem as `recipes/grpo.py` reads it."""
    numbers = {"numbers": list(problem.numbers)} if problem.numbers else {}
    return _asked(problem.question + suffix, answer=problem.answer, verifier=problem.verifier, **numbers)


def gsm8k(example: dict, suffix: str = '\nThink step by step and end with "The answer is N."') -> dict:
    """openai/gsm8k (Cobbe et al. 2021): the answer follows "####"."""
    return _asked(
        example["question"] + suffix,
        answer=example["answer"].split("####")[-1].strip().replace(",", ""),
        verifier="final_number",
    )


def competition_math(example: dict, suffix: str = BOXED) -> dict:
    """HuggingFaceH4/MATH-500 and others of MATH (Hendrycks et al. 2021): the answer is LaTeX."""
    return _asked(example["problem"] + suffix, answer=example["answer"], verifier="math")


def humaneval(example: dict, suffix: str = "\nWrite the whole function in one block of Python.") -> dict:
    """openai/openai_humaneval (Chen et al. 2021): `check(candidate)` holds the tests.

    What the prompt shows above the function, imports and helpers, stands in the tests, too: a reply may leave it out,
    and three of the 164 tests call a helper.
    """
    text = f"Complete this function.\n```python\n{example['prompt'].rstrip()}\n```{suffix}"
    begins = re.search(rf"^(?:async )?def {re.escape(example['entry_point'])}\b", example["prompt"], re.MULTILINE)
    above = example["prompt"][: begins.start()].strip() if begins else ""
    parts = [above, example["test"], f"check({example['entry_point']})"]
    return _asked(text, tests="\n".join(filter(None, parts)) + "\n", verifier="code")


def mbpp(example: dict, suffix: str = "\nWrite the whole function in one block of Python.") -> dict:
    """google-research-datasets/mbpp (Austin et al. 2021): assertions, of which the first shows the function's name."""
    setup, tests = [example.get("test_setup_code") or "", *(example.get("test_imports") or ())], example["test_list"]
    text = f"{example.get('text') or example['prompt']}\nIt has to pass: `{tests[0]}`{suffix}"
    return _asked(text, tests="\n".join([*setup, *tests]), verifier="code")


@dataclass
class ProblemsArguments:
    output_dir: str = field(metadata={"help": "folder for <split>.jsonl"})
    dataset: str | None = field(
        default=None,
        metadata={
            "help": (
                "Hub id (openai/gsm8k, HuggingFaceH4/MATH-500, openai/openai_humaneval, google-research-datasets/mbpp)"
                " or a file of the same columns"
            )
        },
    )
    generate: str | None = field(default=None, metadata={"help": f"instead of a data set: {', '.join(GENERATORS)}"})
    difficulty: int = field(default=1, metadata={"help": "of what is generated"})
    expert: float | None = field(
        default=None,
        metadata={"help": "with generate apples: worked solutions (`messages`) of an expert who is right that often"},
    )
    count: int = field(default=1000, metadata={"help": "of what is generated"})
    seed: int = field(default=0, metadata={"help": "of what is generated"})
    name: str | None = field(default=None, metadata={"help": "configuration of the data set, such as main"})
    split: str = field(default="train", metadata={"help": "split to read, or to generate"})
    suffix: str | None = field(
        default=None,
        metadata={"help": "after each question, in place of the set's own: the form that the verifier reads"},
    )
    revision: str | None = field(
        default=None, metadata={"help": "revision of the data set, so that a run can be repeated exactly"}
    )


def conversation(problem: Problem, suffix: str = "") -> dict:
    """A problem and its worked solution, as `recipes/sft.py` reads it."""
    return {
        "messages": [*row(problem, suffix)["prompt"], {"role": "assistant", "content": problem.solution}],
        "correct": problem.correct,
    }


def generated(
    name: str, split: str, count: int, difficulty: int, seed: int, suffix: str, expert: float | None = None
) -> list[dict]:
    """Rows of different problems, or an expert's solutions of them.

    Raises:
        UserError: no such generator or split, a difficulty or count below 1, an expert of anything but apples, or
            fewer different problems than `count`.
    """
    if expert is not None and (name != "apples" or not 0 <= expert <= 1):
        raise UserError(f"expert must lie between 0 and 1 and goes with generate apples, but is {expert} with {name}")
    form, skill = (row, {}) if expert is None else (conversation, {"p_correct": expert})
    if name not in GENERATORS or split not in SPLITS or difficulty < 1 or count < 1:
        raise UserError(
            f"generate must be one of {', '.join(GENERATORS)}, split one of {', '.join(SPLITS)}, difficulty and count"
            f" at least 1, but are {name}, {split}, {difficulty} and {count}"
        )
    rng, found, known = random.Random(f"{name}-{seed}-{split}-{difficulty}"), {}, 0
    while len(found) < count:
        problem = GENERATORS[name](rng, split, difficulty=difficulty, **skill)
        known = known + 1 if problem.question in found else 0
        if known == 1000:
            raise UserError(
                f"{name} of difficulty {difficulty} gave {len(found)} different problems of the split {split}, then"
                " none in 1,000 draws: ask for fewer"
            )
        found.setdefault(problem.question, form(problem, suffix))
    return list(found.values())


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ProblemsArguments,), argv)
    if bool(args.dataset) == bool(args.generate):
        raise UserError("give a dataset, or the name of what to generate")
    stray = ("difficulty", "count", "seed", "expert") if args.dataset else ("name", "revision")
    given = [key for key in stray if getattr(args, key) != getattr(ProblemsArguments, key)]
    if given:
        raise UserError(f"{given[0]} goes with {'generate' if args.dataset else 'dataset'}: leave it out")
    if args.generate:
        rows = generated(
            args.generate,
            args.split,
            args.count,
            args.difficulty,
            args.seed,
            STEPS if args.suffix is None else args.suffix,
            args.expert,
        )
        path = output_folder(args.output_dir) / f"{args.split}.jsonl"
        write_jsonl(path, rows)
        print(f"{path}: {len(rows)} problems")
        return
    from data_prep.schemas import convert
    from data_prep.shared.sources import count, keep, load_source

    data = load_source({"path": args.dataset, "name": args.name, "split": args.split, "revision": args.revision})
    rows, schema, left_out = convert(
        data, "problem", args.dataset, **({} if args.suffix is None else {"suffix": args.suffix})
    )
    path = output_folder(args.output_dir) / f"{args.split}.jsonl"
    with whole(path) as file:
        rows.to_json(file)
    print(f"{path}: {len(rows):,} problems ({schema})")
    keep(args.output_dir, [count(args.dataset, schema, len(data), left_out)])


if __name__ == "__main__":
    main()
