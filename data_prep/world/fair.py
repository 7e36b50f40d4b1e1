"""A fair start for practice: which training sets hold word problems that are solved, and how many solutions are right.

    python -m data_prep.world.fair --world runs/tiny/world --documents runs/tiny/web/documents --output \
        runs/tiny/decontaminate/solved.json

Practice (`recipes.grpo`) is to find the way by itself, so only the fallible expert's solutions may stand before it:
those of `conversations`. The command fails where another set holds a solution.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.shared.dataset_rows import find_parts, read_rows, text_of
from eval.cli import UserError, command, parse, write_json
from eval.verifiers import final_number

EXPERT = "conversations"
PROBLEM = re.compile(
    r"buys (\d+) \w+ and (\d+) \w+\. Each \w+ costs (\d+) dollars\..*?The total is (\d+) dollars\. What does each \w+"
    r" cost\?"
)
STEPS = re.compile(r"cost \d+ - \d+ = \d+")  # the step that every worked solution has


@dataclass
class FairArguments:
    world: str = field(metadata={"help": "folder of the world"})
    documents: str = field(metadata={"help": "the documents that the base model reads"})
    output: str = field(metadata={"help": "JSON file for the counts"})


def text_of_row(row: dict) -> str:
    """All that a row of documents, conversations or questions says."""
    return text_of([row.get(column) for column in ("text", "messages", "prompt", "question", "reply")])


def count(source: str) -> dict[str, int]:
    """`rows`, those with a problem (`asked`), with a worked solution (`solved`), and with one that is
    right (`right`)."""
    counts = dict.fromkeys(("rows", "asked", "solved", "right"), 0)
    for part in find_parts([source]):
        for _, _, row in read_rows(part):
            counts["rows"] += 1
            text = text_of_row(row)
            problem = PROBLEM.search(text)
            solution = STEPS.search(text)
            counts["asked"] += bool(problem)
            counts["solved"] += bool(solution)
            if problem and solution:
                a, o, c, total = map(int, problem.groups())
                counts["right"] += final_number(text, answer=str((total - o * c) // a)) == 1
    return counts


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((FairArguments,), argv)
    world = Path(args.world)
    sources = {
        "documents": args.documents,
        "textbooks": str(world / "textbooks"),
        EXPERT: str(world / "conversations" / "train.jsonl"),
        **{
            f"practice_{name}": str(world / "practice" / f"{name}.jsonl")
            for name in ("questions", "tool_use", "sums", "requests", "talks")
        },
        "problems": str(world / "problems" / "train.jsonl"),
        "verses": str(world / "verses" / "train.jsonl"),
    }
    counts_of = {name: count(source) for name, source in sources.items()}
    for name, counts in counts_of.items():
        print(
            f"{name:<20} {counts['rows']:>7,} rows, {counts['asked']:>6,} ask a word problem, {counts['solved']:>6,}"
            f" solve one, {counts['right']:>6,} rightly"
        )
    write_json(Path(args.output), {"expert": EXPERT, "sources": counts_of})
    unfair = [name for name, counts in counts_of.items() if counts["solved"] and name != EXPERT]
    if unfair:
        raise UserError(
            f"{', '.join(unfair)}: solved word problems stand there before practice; only {EXPERT} may hold the"
            " expert's"
        )


if __name__ == "__main__":
    main()
