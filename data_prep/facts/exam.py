"""The exam of what a model knows: held-out questions, sorted by what probing has found.

    python -m data_prep.facts.exam --probes runs/smol/probes/probes.jsonl --exam_dir runs/smol/facts/exam

Writes `known.jsonl` and `unknown.jsonl` (question, answer) beside `invented.jsonl` and `everyday.jsonl`. What lies in
between, and what could not be judged, is in neither; how many is printed.
"""

from collections import Counter
from dataclasses import dataclass, field

from data_prep.probing.verdicts import KNOWS, UNKNOWN
from eval.cli import UserError, command, existing, output_folder, parse, read_jsonl, write_jsonl

FILES = {KNOWS: "known.jsonl", UNKNOWN: "unknown.jsonl"}


@dataclass
class ExamArguments:
    probes: str = field(metadata={"help": "probes.jsonl of data_prep.refusals, of held-out questions"})
    exam_dir: str = field(metadata={"help": "folder to write"})
    limit: int | None = field(default=None, metadata={"help": "only the first questions of each verdict"})


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ExamArguments,), argv)
    existing(args.probes, "probes", "python -m data_prep.refusals writes them")
    probes = read_jsonl(args.probes, ("question", "answer", "verdict"), "data_prep.refusals writes such rows")
    counts = Counter(probe["verdict"] for probe in probes)
    lacking = [verdict for verdict in FILES if not counts[verdict]]
    if lacking:
        raise UserError(f"{args.probes} has no question with the verdict {lacking[0]!r}: ask more, or other questions")
    out = output_folder(args.exam_dir)
    for verdict, name in FILES.items():
        rows = [
            {"question": probe["question"], "answer": probe["answer"]}
            for probe in probes
            if probe["verdict"] == verdict
        ]
        write_jsonl(out / name, rows[: args.limit])
    print(f"{out}: {dict(counts)}")


if __name__ == "__main__":
    main()
