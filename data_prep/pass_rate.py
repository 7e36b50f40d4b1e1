"""Problems by how often a model solves them: what it always or never solves teaches nothing, since GRPO's advantages
are then all zero.

    python -m data_prep.pass_rate --model runs/tiny/honest --problems runs/tiny/world/problems/train.jsonl \
        --output_dir runs/tiny/solvable

Rows have `prompt` (messages) and what the verifiers in `rewards` read, as for `recipes.grpo`. Each is answered
`samples` times; its pass rate is the share of replies with the full score of every verifier. The output folder:

    probes.jsonl    each row with `pass_rate`, `passed` and `judged` (counts); in the order of the problems
    train.jsonl     the rows with a pass rate from `least` to `most`, which is what `recipes.grpo` practises on
    summary.json    how many rows have which rate, and where the replies are from
    solutions.jsonl with `solutions`: up to so many right replies a problem as `messages`, for `recipes.sft`

A killed run resumes after its last whole chunk, and its files are byte-identical; with other thresholds nothing is
asked again. Online, as a step of training, this is the dynamic sampling of DAPO (Yu et al. 2025, section 3.2); before
training it costs each problem once.

A reasoner's solutions teach a smaller model by supervised fine-tuning: so were R1's distilled models made
(DeepSeek-R1, 2025, section 2.4). A model's own ones teach itself (STaR, Zelikman et al. 2022), calls of `tools`
included.

    python -m data_prep.pass_rate --model runs/tiny/grpo --problems runs/tiny/world/problems/train.jsonl --samples 1 \
        --most 1 --solutions 1 --output_dir runs/tiny/solutions
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from data_prep.shared.chunks import by_chunks, dump, same_settings, stream
from data_prep.shared.dataset_rows import find_parts, read_rows
from eval.cli import UserError, command, output_folder, parse, whole, write_json
from eval.generation.replies import Reply, replier_of
from eval.generation.tool_loop import load_tools
from eval.shared.fingerprints import model_fingerprint
from eval.shared.messages import check_prompt
from eval.verifiers import get_verifier

DECIDE_NO_REPLY = ("output_dir", "problems", "limit", "least", "most", "batch_size")
GROUPS = ("0", "below 0.5", "from 0.5", "1", "unjudged")  # of pass rates, as they are counted


@dataclass
class PassRateArguments:
    model: str = field(metadata={"help": "folder, Hub id or endpoint (URL up to /v1)"})
    problems: list[str] = field(
        metadata={
            "help": "files, globs, folders, Hub ids, or sources as JSON, with `prompt` and what the rewards read"
        }
    )
    output_dir: str = field(metadata={"help": "folder to write"})
    rewards: list[str] = field(
        default_factory=lambda: ["final_number"],
        metadata={"help": "names in eval.verifiers, all of which a reply must satisfy"},
    )
    least: float = field(default=0.1, metadata={"help": "pass rate from which a problem is kept"})
    most: float = field(default=0.9, metadata={"help": "pass rate up to which a problem is kept"})
    samples: int = field(default=8, metadata={"help": "replies to each problem"})
    temperature: float = field(default=1.0, metadata={"help": "of the replies: as in training"})
    max_new_tokens: int = field(default=256, metadata={"help": "of a reply: as in training"})
    limit: int | None = field(default=None, metadata={"help": "only the first problems"})
    model_name: str | None = field(default=None, metadata={"help": "of the model behind an endpoint"})
    revision: str | None = field(default=None, metadata={"help": "of the model on the Hub"})
    chunk: int = field(default=64, metadata={"help": "problems asked, and written, at a time"})
    batch_size: int = field(default=256, metadata={"help": "replies at a time, of a model that runs here"})
    backend: str = field(default="transformers", metadata={"help": "of a model that runs here: transformers or vllm"})
    seed: int = field(default=0, metadata={"help": "of sampling"})
    solutions: int = field(default=0, metadata={"help": "right replies that are kept of each problem; 0: none"})
    tools: list[str] = field(
        default_factory=list, metadata={"help": "python, search=<index folder> or module:function, called by a reply"}
    )
    max_result_tokens: int | None = field(default=None, metadata={"help": "of one result of a tool, as in training"})
    max_tool_calls: int = field(default=8, metadata={"help": "turns of a reply whose calls are run, as in training"})


def check(args: PassRateArguments) -> None:
    for key in ("samples", "chunk", "batch_size"):
        if getattr(args, key) < 1:
            raise UserError(f"{key} must be at least 1, but is {getattr(args, key)}")
    if not 0 <= args.least <= args.most <= 1:
        raise UserError(
            f"least and most must lie between 0 and 1, least not above most, but are {args.least} and {args.most}"
        )
    if not 0 <= args.temperature < math.inf:
        raise UserError(f"temperature must be at least 0, but is {args.temperature}")
    if args.temperature == 0 and args.samples > 1:
        raise UserError(
            f"at temperature 0 all {args.samples} samples would be the same: raise temperature, or take one sample"
        )
    if args.max_tool_calls < 1 or (args.max_result_tokens is not None and args.max_result_tokens < 1):
        raise UserError(
            f"max_tool_calls and max_result_tokens must be at least 1, but are {args.max_tool_calls} and"
            f" {args.max_result_tokens}"
        )
    if args.max_result_tokens is not None and not args.tools:
        raise UserError("max_result_tokens is of the results of tools: name them with --tools, or leave it out")
    if args.solutions < 0:
        raise UserError(f"solutions must not be negative, but is {args.solutions}")
    if args.limit is not None and args.limit < 1 or not args.rewards:
        raise UserError("limit must be at least 1, and rewards name at least one verifier")
    for name in args.rewards:
        get_verifier(name)


def scores(row: dict, text: str, names: list[str]) -> bool | None:
    """Whether a reply satisfies every verifier that can judge it; None where none can."""
    columns = {key: value for key, value in row.items() if key != "prompt"}
    try:
        verdicts = [get_verifier(name)(text, **columns) for name in names]
    except (TypeError, ValueError, AttributeError) as error:
        asked = str(row["prompt"])[:80]
        raise UserError(
            f"the problem {asked} lacks a column that {', '.join(names)} reads, or has it in another form ({error}):"
            " data_prep.problems writes such rows"
        ) from None
    judged = [score for score in verdicts if score is not None]
    return min(judged) >= 1 if judged else None


def right_replies(row: dict, replies: list[Reply], names: list[str], most: int) -> list[list[dict]]:
    """The turns of the first `most` different replies that came to their end and satisfy every verifier."""
    right = [reply for reply in replies if reply.finished and scores(row, reply.text, names)]
    turns = [reply.messages or [{"role": "assistant", "content": reply.text}] for reply in right]
    return list({dump({"turns": own}): own for own in turns}.values())[:most]


def write_solutions(path: Path, probes: Path, tools: list[Callable]) -> int:
    """Right replies as conversations, with what describes the tools where there are any; how many."""
    from transformers.utils import get_json_schema

    described = {"tools": json.dumps([get_json_schema(tool) for tool in tools])} if tools else {}
    count = 0
    with whole(path) as file:
        for row in stream(probes):
            for turns in row["solutions"]:
                file.write(dump({"messages": [*row["prompt"], *turns], **described}))
                count += 1
    return count


def write_problems(file: IO[bytes], args: PassRateArguments) -> tuple[int, str]:
    """Store the problems. Returns their number and SHA-256; a `UserError` where there is none."""
    count, digest = 0, hashlib.sha256()
    for part in find_parts(args.problems):
        for number, _, row in read_rows(part):
            if args.limit and count >= args.limit:
                break
            check_prompt(row, f"{part.path}, row {number}")
            scores(row, "", args.rewards)  # raises where a column is missing
            line = dump(row)
            file.write(line)
            digest.update(line)
            count += 1
    if not count:
        raise UserError(
            f"the problems ({', '.join(map(str, args.problems))}) are empty: expected at least one row with `prompt`"
        )
    return count, digest.hexdigest()


def start_asking(args: PassRateArguments, tools: list[Callable]) -> Callable[[list[dict], int], list[dict]]:
    """Load the model; returns `ask(rows, seed)`, which adds its pass rate to each problem."""
    limits = {"max_result_tokens": args.max_result_tokens, "max_tool_calls": args.max_tool_calls}
    replier = replier_of(args, tools=tools, **limits)

    def ask(rows: list[dict], seed: int) -> list[dict]:
        replies = replier([row["prompt"] for row in rows], args.samples, seed)
        return [row | rated(row, samples, args) for row, samples in zip(rows, replies)]

    return ask


def rated(row: dict, replies: list[Reply], args: PassRateArguments) -> dict[str, Any]:
    """The pass rate of a problem and its counts, with right replies where they are wanted."""
    verdicts = [scores(row, reply.text, args.rewards) for reply in replies]
    judged = [right for right in verdicts if right is not None]
    rate: dict[str, Any] = {
        "pass_rate": sum(judged) / len(judged) if judged else None,
        "passed": sum(judged),
        "judged": len(judged),
    }
    if args.solutions:
        rate["solutions"] = right_replies(row, replies, args.rewards, args.solutions)
    return rate


def group_of(rate: float | None) -> str:
    """The group of `GROUPS` that a pass rate is counted in."""
    if rate is None:
        return "unjudged"
    if rate in (0, 1):
        return str(int(rate))
    return "below 0.5" if rate < 0.5 else "from 0.5"


def write_kept(path: Path, probes: Path, args: PassRateArguments) -> tuple[int, Counter]:
    """Write the problems within the thresholds. Returns how many, and how many have which pass rate.

    Raises:
        UserError: there is none.
    """
    rates, kept = Counter(), 0
    with whole(path) as file:
        for row in stream(probes):
            rate = row["pass_rate"]
            rates[group_of(rate)] += 1
            if rate is not None and args.least <= rate <= args.most:
                file.write(dump({name: value for name, value in row.items() if name != "solutions"}))
                kept += 1
        if not kept:
            raise UserError(
                f"no problem of {rates.total():,} has a pass rate from {args.least} to {args.most} (pass rates"
                f" {listed(rates)}): move least and most, or give other problems"
            )
    return kept, rates


def listed(rates: Counter) -> str:
    return ", ".join(f"{name}: {rates[name]:,}" for name in GROUPS if rates[name])


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PassRateArguments,), argv)
    check(args)
    tools = load_tools(args.tools)
    out = output_folder(args.output_dir)
    problems, probes = out / "problems.jsonl", out / "probes.jsonl"

    # ---- Ask ----
    with whole(problems) as file:
        count, digest = write_problems(file, args)
        settings = {key: value for key, value in asdict(args).items() if key not in DECIDE_NO_REPLY}
        settings |= {"problems": digest, "model_files": model_fingerprint(args.model)}
        same_settings(out / "settings.json", settings, probes)
    by_chunks(probes, problems, count, "pass_rate", args.chunk, args.seed, lambda: start_asking(args, tools))

    # ---- Keep ----
    train, solutions = out / "train.jsonl", out / "solutions.jsonl"
    for stale in (train, out / "summary.json", solutions):
        stale.unlink(missing_ok=True)
    kept, rates = write_kept(train, probes, args)
    thresholds = {"least": args.least, "most": args.most}
    summary = {"problems": count, "kept": kept, "pass_rates": dict(rates), **thresholds, "settings": settings}
    write_json(out / "summary.json", summary)
    if args.solutions:
        print(f"{solutions}: {write_solutions(solutions, probes, tools):,} right replies")
    print(f"{train}: {kept:,} of {count:,} problems (pass rates {listed(rates)})")


if __name__ == "__main__":
    main()
