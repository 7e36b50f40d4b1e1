"""Problems where checking and trying again pays, with lessons of an expert who sometimes does, and of one who never
does.

    python -m data_prep.second_tries --output_dir runs/tiny/experiments/second_tries

writes `train.jsonl` and `test.jsonl` (problems for `recipes.grpo`: `prompt`, `answer`, `numbers`, `verifier`) and
`primed.jsonl` and `plain.jsonl` (`messages` for `recipes.sft`). A problem asks which two of four numbers make a sum:
the smallest countdown. A first guess is right one time in six, and a check is one addition.

`primed`: the expert guesses inside `<think>`. In `guess` of the lessons that guess is the answer, right or wrong; in
`once` the expert checks it and, where it is wrong, says so and tries one other pair; in the rest it goes on until a
check holds. `plain`: the same problems and the same answers, as often right, without the checks and the tries before
the last one. What differs is thus the behaviour alone (Gandhi et al. 2025, "Cognitive Behaviors that Enable
Self-Improving Reasoners", section 4, where lessons with wrong answers prime as well as those with right ones).
"""

import itertools
import random
from dataclasses import dataclass, field

from data_prep.problem_sets.splits import split_of
from eval.cli import UserError, command, output_folder, parse, write_jsonl

SMALLEST, LARGEST, COUNT = 2, 12, 4
Pair = tuple[int, int]


@dataclass
class SecondTriesArguments:
    output_dir: str = field(metadata={"help": "folder for train, test, primed and plain.jsonl"})
    lessons: int = field(default=10240, metadata={"help": "rows of primed and of plain"})
    problems: int = field(default=4000, metadata={"help": "rows of train"})
    test_problems: int = field(default=250, metadata={"help": "rows of test"})
    guess: float = field(default=0.6, metadata={"help": "share of primed lessons without a check"})
    once: float = field(default=0.25, metadata={"help": "share of primed lessons with one second try at most"})
    seed: int = field(default=0, metadata={"help": "of the problems and lessons"})


@dataclass(frozen=True)
class Problem:
    """`numbers` as asked; `target`: what exactly one pair of them makes; `pair`: that pair."""

    numbers: tuple[int, ...]
    target: int
    pair: Pair


def draw(rng: random.Random, split: str) -> Problem:
    """A problem of the split, which is decided by the numbers and the target, whatever their order."""
    while True:
        numbers = tuple(rng.sample(range(SMALLEST, LARGEST + 1), COUNT))
        pairs = list(itertools.combinations(numbers, 2))
        pair = rng.choice(pairs)
        target = sum(pair)
        unique = sum(sum(other) == target for other in pairs) == 1
        if unique and split_of(f"second tries {sorted(numbers)} {target}") == split:
            return Problem(numbers, target, pair)


def question(problem: Problem) -> str:
    *first, last = map(str, problem.numbers)
    return f"Which two of the numbers {', '.join(first)} and {last} make {problem.target}?"


def row(problem: Problem) -> dict:
    """A problem as `recipes/grpo.py` reads it; the verifier wants the two numbers that make the target."""
    return {
        "prompt": [{"role": "user", "content": question(problem)}],
        "answer": str(problem.target),
        "numbers": sorted(problem.pair),
        "verifier": "countdown",
    }


def tries(rng: random.Random, problem: Problem, most: int) -> list[Pair]:
    """Guesses until one is right, at most `most`: the first by chance, the others in order."""
    pairs = list(itertools.combinations(problem.numbers, 2))
    first = rng.choice(pairs)
    order = [first, *(pair for pair in pairs if pair != first)]
    return order[: min(most, order.index(problem.pair) + 1)]


def thought(guesses: list[Pair], target: int, checks: bool) -> str:
    """The words between <think> and </think>."""
    parts = []
    for place, pair in enumerate(guesses):
        again = "Wait, another: " if place else ""
        verdict = "right" if sum(pair) == target else "not right"
        # both numbers stand before the verdict, side by side: a small model learns to compare them so
        check = f" Check: {sum(pair)} and {target}, {verdict}." if checks else ""
        parts.append(f"{again}{pair[0]} + {pair[1]} = {sum(pair)}.{check}")
    return " ".join(parts)


def lesson(problem: Problem, guesses: list[Pair], checks: bool) -> dict:
    """A conversation that answers with the last of the guesses; `correct` says whether it is right."""
    last = guesses[-1]
    reply = {
        "role": "assistant",
        "reasoning_content": thought(guesses, problem.target, checks),
        "content": f"The answer is {last[0]} + {last[1]}.",
    }
    messages = [{"role": "user", "content": question(problem)}, reply]
    return {"messages": messages, "correct": last == problem.pair, "tries": len(guesses), "checks": checks}


def lessons(rng: random.Random, problem: Problem, guess: float, once: float) -> tuple[dict, dict]:
    """A primed lesson and its twin, which states the same answer at once."""
    chance = rng.random()
    most = COUNT * COUNT
    if chance < guess:
        most = 1
    elif chance < guess + once:
        most = 2
    guesses = tries(rng, problem, most)
    return lesson(problem, guesses, checks=most > 1), lesson(problem, guesses[-1:], checks=False)


def different(rng: random.Random, split: str, count: int) -> list[Problem]:
    """`count` problems of a split, none asked twice.

    Raises:
        UserError: there are not so many.
    """
    problems = {}
    repeats = 0
    while len(problems) < count:
        problem = draw(rng, split)
        repeats = repeats + 1 if question(problem) in problems else 0
        if repeats == 1000:
            raise UserError(f"the split {split} has no {count} different problems: ask for fewer")
        problems.setdefault(question(problem), problem)
    return list(problems.values())


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SecondTriesArguments,), argv)
    if min(args.lessons, args.problems, args.test_problems) < 1:
        raise UserError("lessons, problems and test_problems must be at least 1")
    if min(args.guess, args.once) < 0 or args.guess + args.once > 1:
        raise UserError(f"guess and once are shares whose sum is at most 1, but are {args.guess} and {args.once}")
    rng = random.Random(f"second-tries-{args.seed}")
    taught = different(rng, "train", args.lessons + args.problems)
    pairs = [lessons(rng, problem, args.guess, args.once) for problem in taught[: args.lessons]]
    folder = output_folder(args.output_dir)
    write_jsonl(folder / "primed.jsonl", [primed for primed, _ in pairs])
    write_jsonl(folder / "plain.jsonl", [plain for _, plain in pairs])
    write_jsonl(folder / "train.jsonl", [row(problem) for problem in taught[args.lessons :]])
    write_jsonl(folder / "test.jsonl", [row(problem) for problem in different(rng, "test", args.test_problems)])
    right = sum(primed["correct"] for primed, _ in pairs) / len(pairs)
    checked = sum(primed["checks"] for primed, _ in pairs) / len(pairs)
    print(f"{folder}: {len(pairs)} lessons each, {right:.3f} of them right; {checked:.3f} of the primed ones check")


if __name__ == "__main__":
    main()
