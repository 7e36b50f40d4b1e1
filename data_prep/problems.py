"""Practice problems with checkable answers: generators, and adapters for published sets.

    python -m data_prep.problems --dataset openai/gsm8k --name main --split train --output_dir runs/gsm8k
    python -m data_prep.problems --dataset HuggingFaceH4/MATH-500 --split test --output_dir runs/math-500
    python -m data_prep.problems --dataset openai/openai_humaneval --split test --output_dir runs/humaneval
    python -m data_prep.problems --dataset google-research-datasets/mbpp --split train --output_dir runs/mbpp

    python -m data_prep.problems --generate apples --difficulty 2 --count 1000 --split train --output_dir runs/apples-2

writes `<split>.jsonl` with `prompt` (messages), `verifier` (a name in `eval.verifiers`) and what that reads (`answer`,
or `tests`), the form that `recipes/grpo.py` reads. The generators are the lecture's: apples and oranges, letters in
"strawberry", every third letter of "ubiquitous", 9.11 against 9.9, arithmetic, countdown, and sums in a sentence. A
problem's split depends on what is asked alone, so that no set shares an item. `difficulty` is 1 or more: sentences
beside the point (apples), syllables of the word (letters, every_third), digits (compare, arithmetic, sums), numbers to
use (countdown). With `--expert 0.38` rows are conversations for `recipes.sft`: the worked solutions of an expert who
is right that often (apples, sums), which is what imitation learns from and practice passes.
"""

import random
from dataclasses import dataclass, field

from data_prep.problem_sets.generators import GENERATORS, OPERATIONS, Problem, apples
from data_prep.problem_sets.published import BOXED, competition_math, gsm8k, humaneval, mbpp
from data_prep.problem_sets.rows import AT_ONCE, STEPS, conversation, row
from data_prep.problem_sets.splits import SPLITS, split_of
from data_prep.problem_sets.words import LECTURE_WORDS
from eval.cli import UserError, command, output_folder, parse, whole, write_jsonl

__all__ = [
    "AT_ONCE",
    "BOXED",
    "GENERATORS",
    "LECTURE_WORDS",
    "OPERATIONS",
    "SPLITS",
    "STEPS",
    "Problem",
    "apples",
    "competition_math",
    "conversation",
    "generated",
    "gsm8k",
    "humaneval",
    "main",
    "mbpp",
    "row",
    "split_of",
]

SOLVED_BY_AN_EXPERT = ("apples", "sums")


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
        metadata={
            "help": "with generate apples or sums: worked solutions (`messages`) of an expert who is right that often"
        },
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


def generated(
    name: str, split: str, count: int, difficulty: int, seed: int, suffix: str, expert: float | None = None
) -> list[dict]:
    """Rows of different problems, or an expert's solutions of them.

    Raises:
        UserError: no such generator or split, a difficulty or count below 1, an expert of anything but apples, or
            fewer different problems than `count`.
    """
    if expert is not None and (name not in SOLVED_BY_AN_EXPERT or not 0 <= expert <= 1):
        raise UserError(
            f"expert must lie between 0 and 1 and goes with generate {' or '.join(SOLVED_BY_AN_EXPERT)}, but is"
            f" {expert} with {name}"
        )
    form = row if expert is None else conversation
    skill = {} if expert is None else {"p_correct": expert}
    if name not in GENERATORS or split not in SPLITS or difficulty < 1 or count < 1:
        raise UserError(
            f"generate must be one of {', '.join(GENERATORS)}, split one of {', '.join(SPLITS)}, difficulty and count"
            f" at least 1, but are {name}, {split}, {difficulty} and {count}"
        )
    rng = random.Random(f"{name}-{seed}-{split}-{difficulty}")
    rows: dict[str, dict] = {}  # by question
    repeats = 0  # draws in a row whose question was drawn before
    while len(rows) < count:
        problem = GENERATORS[name](rng, split, difficulty=difficulty, **skill)
        repeats = repeats + 1 if problem.question in rows else 0
        if repeats == 1000:
            raise UserError(
                f"{name} of difficulty {difficulty} gave {len(rows)} different problems of the split {split}, then"
                " none in 1,000 draws: ask for fewer"
            )
        rows.setdefault(problem.question, form(problem, suffix))
    return list(rows.values())


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ProblemsArguments,), argv)
    if bool(args.dataset) == bool(args.generate):
        raise UserError("give a dataset, or the name of what to generate")
    stray = ("difficulty", "count", "seed", "expert") if args.dataset else ("name", "revision")
    given = [key for key in stray if getattr(args, key) != getattr(ProblemsArguments, key)]
    if given:
        raise UserError(f"{given[0]} goes with {'generate' if args.dataset else 'dataset'}: leave it out")
    write = write_generated if args.generate else write_published
    write(args)


def write_generated(args: ProblemsArguments) -> None:
    suffix = STEPS if args.suffix is None else args.suffix
    rows = generated(args.generate, args.split, args.count, args.difficulty, args.seed, suffix, args.expert)
    path = output_folder(args.output_dir) / f"{args.split}.jsonl"
    write_jsonl(path, rows)
    print(f"{path}: {len(rows)} problems")


def write_published(args: ProblemsArguments) -> None:
    from data_prep.schemas import convert
    from data_prep.shared.sources import count, keep, load_source

    data = load_source({"path": args.dataset, "name": args.name, "split": args.split, "revision": args.revision})
    options = {} if args.suffix is None else {"suffix": args.suffix}
    rows, schema, left_out = convert(data, "problem", args.dataset, **options)
    path = output_folder(args.output_dir) / f"{args.split}.jsonl"
    with whole(path) as file:
        rows.to_json(file)
    print(f"{path}: {len(rows):,} problems ({schema})")
    keep(args.output_dir, [count(args.dataset, schema, len(data), left_out)])


if __name__ == "__main__":
    main()
