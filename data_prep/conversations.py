"""Conversations for SFT, mixed from a YAML.

    python -m data_prep.conversations --config recipes/tiny/conversations.yaml

Writes `train.jsonl` and `validation.jsonl` (no row of a source is in both) with `messages`, `kind` (the part's name)
and, where a part or a row of a source has tools, `tools` (their JSON schemas as a string, as TRL reads them). A part
is a mapping:

    - {name: talk, share: 0.6, datasets: [{path: HuggingFaceTB/smol-smoltalk, split: train}]}

- `share` of the `rows`; a source that has fewer is repeated, one that has more is drawn from.
- `datasets`: sources (see `data_prep.shared.sources`) of conversations in any form that `data_prep.schemas` knows.
  `where: {column: [values]}` takes some of their rows.
- `tools` (see `eval.generation.tool_loop.load_tools`): what the assistant is told it may call; rows that have `tools`
  of their own keep them.
- `systems`: system messages, one of which is drawn for each row without one; null is none, so that
  `[null, "Be brief."]` teaches both.
- `kind: talks`: `turns: [least, most]` rows of the parts that `of` names, one after the other: a change of subject.
  Calls and their results are joined as well; the parts have the same tools.
- `kind: identity`: who the model is, from `file` (data_prep/identity.yaml); with `override: true` who it is where a
  system message says so.
- `kind: tool_use`: rows of `question`, `tool`, `query`, `reply` become a call, its result and the reply. The call is
  run, and what it returned decides: `{result}` in the reply is filled in; with `evidence` each of its strings must
  stand in the result, else the row's `otherwise` is the reply, or without one the row is dropped; with `answer` and
  `verifier` the reply must be right; `then` are more questions that the result answers, each a mapping of `question`
  and `reply`. What is dropped is counted.

`data_prep/labelling_guidelines.md` says what a good answer is.
"""

import fcntl
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path

from data_prep.mixture.arguments import ConversationsArguments, check_parts
from data_prep.mixture.parts import Part, Rows, Talks
from data_prep.shared.progress import Progress
from data_prep.shared.sources import keep
from eval.cli import UserError, command, output_folder, parse


def check(args: ConversationsArguments) -> None:
    """Raises `UserError` for a part that is none, or a number out of range."""
    check_parts(args.parts)
    for key, least in (("rows", 1), ("validation_rows", 0), ("max_result_tokens", 1), ("seed", 0)):
        value = getattr(args, key)
        if value < least:
            raise UserError(f"{key} must be at least {least}, but is {value}")
    none = [part["name"] for part in args.parts if not round(part["share"] * args.rows)]
    if none:
        raise UserError(f"part {none[0]}: its share of {args.rows:,} rows is less than one: raise its share, or rows")


def draw(part: Part, rows: int, validation_rows: int) -> tuple[list[int], list[int]]:
    """The rows of a part for training and for validation; no row is in both.

    Raises:
        UserError: none would be left for training.
    """
    order = part.rng.sample(range(len(part)), len(part))
    held_out = round(part.spec["share"] * validation_rows)
    if held_out >= len(order):
        raise UserError(
            f"part {part.name} has {len(order)} rows, of which {held_out} would be for validation: lower"
            " validation_rows"
        )
    repeated = itertools.cycle(order[held_out:])
    return list(itertools.islice(repeated, round(part.spec["share"] * rows))), order[:held_out]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ConversationsArguments,), argv)
    from datasets import disable_progress_bars

    check(args)
    disable_progress_bars()
    parts = [Part(spec, args) for spec in args.parts if spec.get("kind") != "talks"]
    talks = [Talks(spec, args.seed, parts) for spec in args.parts if spec.get("kind") == "talks"]
    out = output_folder(args.output_dir)

    splits: dict[str, Rows] = {"train": [], "validation": []}
    for part in parts:
        train, validation = draw(part, args.rows, args.validation_rows)
        splits["train"] += [(part, i) for i in train]
        splits["validation"] += [(part, i) for i in validation]
        part.prepare(sorted({*train, *validation}))
    for split, total in (("train", args.rows), ("validation", args.validation_rows)):
        joined = [(talk, i) for talk in talks for i in talk.draw(splits[split], round(talk.spec["share"] * total))]
        splits[split] += joined
    for rows in splits.values():
        random.Random(args.seed).shuffle(rows)
    files = {out / f"{split}.jsonl": rows for split, rows in splits.items()}
    write(files, any(part.tools or part.own_tools for part in parts))
    keep_counts(out, parts)
    counts = Counter(part.name for part, _ in splits["train"])
    for part in parts:
        dropped = "".join(f", {n:,} dropped as {why}" for why, n in part.dropped.items())
        print(f"{part.name:<20} {counts[part.name]:>7,} of {len(part):,}{dropped}")
    for talk in talks:
        print(f"{talk.name:<20} {counts[talk.name]:>7,} of their rows")


def keep_counts(out: Path, parts: list[Part]) -> None:
    """What was left out of the sources, and which calls were dropped."""
    counts = []
    for part in parts:
        counts += part.read
    for part in parts:
        if part.dropped:
            counts.append({"path": part.name, "form": "calls", "rows_in": len(part), "left_out": dict(part.dropped)})
    keep(out, counts)


def write(files: dict[Path, Rows], tools: bool) -> None:
    """The rows of each file as JSON lines; the files appear when all of them are whole, one without rows goes."""
    temporary = {path: path.with_suffix(".part") for path in files}
    lock = os.open(next(iter(files)).parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another run that writes here at this time comes first
    try:
        for path, rows in files.items():
            count = write_rows(temporary[path], rows, tools, Progress(str(path)))
            if rows and not count:
                raise UserError(f"{path} would be empty: every row was dropped")
        for path in files:  # those of another run do not go together with these
            path.unlink(missing_ok=True)
        for path, rows in files.items():
            if rows:
                os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
        os.close(lock)


def write_rows(path: Path, rows: Rows, tools: bool, progress: Progress) -> int:
    """Write the rows that are not dropped; how many."""
    count = 0
    with path.open("w", encoding="utf-8") as lines:
        for number, (part, i) in enumerate(rows, 1):
            progress(number, "rows", number / len(rows))
            messages = part[i]
            if messages is None:
                continue
            row = {"messages": messages, "kind": part.name}
            if tools:
                row["tools"] = part.tools_of(i)
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


if __name__ == "__main__":
    main()
