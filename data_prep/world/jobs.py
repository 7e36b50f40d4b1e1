"""Jobs that take one to eight searches in a row, and lessons that show the short ones.

    python -m data_prep.world.jobs --index runs/tiny/index --output_dir runs/tiny/experiments/jobs

A job asks in which towns several people live, whom only the library names, so that each of them has to be looked up:

    In which towns do Ada Novak, Hollis Winslow and Sunniva Osei live? Answer in this order.
    ->  search, search, search, "The answer is Dunmoor, Thornby, Brindale."

`lessons.jsonl` (`messages`, `tools`, for `recipes.sft`) has jobs of at most `lesson_calls` people, worked by calls
that were run; of each call more half as many (`longer_share`), so that the longest are known, but seldom.
`train.jsonl` and `test.jsonl` (`prompt`, `answer`, `calls`, `verifier`, for `recipes.grpo` and `eval.long_jobs`) have
jobs of `least_calls` to `most_calls` (the test: of 1 to `most_calls`). No one of the test's people is in a lesson or
in `train`. All is drawn from the index itself, so that what a job asks for can be found.
"""

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.problem_sets.splits import split_of
from data_prep.world.facts import ATTRIBUTES
from eval.cli import UserError, command, existing, output_folder, parse, read_jsonl, write_jsonl

LIVES = re.compile(rf"lives in ({'|'.join(ATTRIBUTES['town'].values)})\.")


@dataclass
class JobsArguments:
    index: str = field(metadata={"help": "folder of the library's index (eval.tools.search)"})
    output_dir: str = field(metadata={"help": "folder for lessons, train and test.jsonl"})
    lessons: int = field(default=6400, metadata={"help": "rows of lessons"})
    lesson_calls: int = field(default=2, metadata={"help": "most calls of a lesson"})
    longer_share: float = field(
        default=0.5, metadata={"help": "lessons of one more call, for each of one call less (1: as many of each)"}
    )
    jobs: int = field(default=2000, metadata={"help": "rows of train"})
    least_calls: int = field(default=2, metadata={"help": "fewest calls of a job of train"})
    most_calls: int = field(default=8, metadata={"help": "most calls of a job"})
    test_jobs: int = field(default=40, metadata={"help": "rows of test for each number of calls"})
    seed: int = field(default=0, metadata={"help": "of what is drawn"})


def towns(index: str) -> dict[str, str]:
    """Person -> town, of the passages of an index.

    Raises:
        UserError: no such index, or none of its passages says where somebody lives.
    """
    corpus = existing(Path(index) / "corpus.jsonl", "index", "python -m eval.tools.search --documents … builds one")
    towns = {}
    for row in read_jsonl(str(corpus), ("title", "text"), "build the index again"):
        where = LIVES.search(row["text"])
        if where:
            towns[row["title"]] = where[1]
    if not towns:
        raise UserError(f"no passage of {corpus} says where somebody lives: name the index of a world's library")
    return towns


def question(people: list[str]) -> str:
    if len(people) == 1:
        return f"In which town does {people[0]} live? Answer with the town alone."
    *first, last = people
    return f"In which towns do {', '.join(first)} and {last} live? Answer in this order."


def answer(people: list[str], homes: dict[str, str]) -> str:
    return ", ".join(homes[person] for person in people)


def job(people: list[str], homes: dict[str, str]) -> dict:
    """A row for practice and for the test."""
    prompt = [{"role": "user", "content": question(people)}]
    return {"prompt": prompt, "answer": answer(people, homes), "calls": len(people), "verifier": "final_text"}


def lesson(people: list[str], homes: dict[str, str], search) -> dict:
    """A conversation that looks up each of them; the results are what the tool returned."""
    messages: list[dict] = [{"role": "user", "content": question(people)}]
    for person in people:
        arguments = {"query": f"who is {person}"}
        call = {"type": "function", "function": {"name": "search", "arguments": arguments}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "name": "search", "content": search(**arguments)})
    messages.append({"role": "assistant", "content": f"The answer is {answer(people, homes)}."})
    return {"messages": messages}


def of_split(homes: dict[str, str], test: bool) -> list[str]:
    """The people whom a split may ask for."""
    return [person for person in homes if (split_of(f"jobs {person}") == "test") == test]


def check(args: JobsArguments, people: dict[bool, list[str]]) -> None:
    """Raises `UserError` for settings that no rows can be drawn for."""
    if min(args.lessons, args.jobs, args.test_jobs, args.lesson_calls) < 1 or args.most_calls < 2:
        raise UserError("lessons, jobs, test_jobs and lesson_calls must be at least 1, and most_calls at least 2")
    if not 1 <= args.least_calls <= args.most_calls:
        raise UserError(f"least_calls must lie between 1 and most_calls {args.most_calls}, but is {args.least_calls}")
    if not args.longer_share > 0:
        raise UserError(f"longer_share must be above 0, but is {args.longer_share}")
    fewest = min(map(len, people.values()))
    if max(args.most_calls, args.lesson_calls) > fewest:
        raise UserError(
            f"a job of {args.most_calls} calls needs as many people, but a split has {fewest}: ask for less"
        )


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((JobsArguments,), argv)
    homes = towns(args.index)
    people = {test: of_split(homes, test) for test in (False, True)}
    check(args, people)

    from transformers.utils import get_json_schema

    from eval.tools.search import Search

    search = Search(args.index).search
    tools = json.dumps([get_json_schema(search)])
    rng = random.Random(f"jobs-{args.seed}")
    lessons = []
    lengths = range(1, args.lesson_calls + 1)
    weights = [args.longer_share**calls for calls in lengths]
    for _ in range(args.lessons):
        (calls,) = rng.choices(lengths, weights)
        some = rng.sample(people[False], calls)
        lessons.append({**lesson(some, homes, search), "tools": tools})
    practice = [
        job(rng.sample(people[False], rng.randint(args.least_calls, args.most_calls)), homes) for _ in range(args.jobs)
    ]
    test = [
        job(rng.sample(people[True], calls), homes)
        for calls in range(1, args.most_calls + 1)
        for _ in range(args.test_jobs)
    ]
    folder = output_folder(args.output_dir)
    write_jsonl(folder / "lessons.jsonl", lessons)
    write_jsonl(folder / "train.jsonl", practice)
    write_jsonl(folder / "test.jsonl", test)
    print(f"{folder}: {len(lessons)} lessons, {len(practice)} jobs for practice, {len(test)} for the test")


if __name__ == "__main__":
    main()
