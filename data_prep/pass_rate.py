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
(DeepSeek-R1, 2025, section 2.4).

    python -m data_prep.pass_rate --model runs/tiny/grpo --problems runs/tiny/world/problems/train.jsonl --samples 1 \
        --most 1 --solutions 1 --output_dir runs/tiny/solutions
"""

import hashlib
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from data_prep.shared.chunks import by_chunks, dump, same_settings, stream
from data_prep.shared.dataset_rows import find_parts, read_rows
from eval.cli import UserError, command, output_folder, parse, whole, write_json
from eval.generation.replies import replier_of
from eval.shared.fingerprints import model_fingerprint
from eval.shared.messages import check_prompt
from eval.verifiers import get_verifier

DECIDE_NO_REPLY = ("output_dir", "problems", "limit", "least", "most", "batch_size")


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
        given = [score for name in names if (score := get_verifier(name)(text, **columns)) is not None]
    except (TypeError, ValueError, AttributeError) as error:
        asked = str(row["prompt"])[:80]
        raise UserError(
            f"the problem {asked} lacks a column that {', '.join(names)} reads, or has it in another form ({error}):"
            " data_prep.problems writes such rows"
        ) from None
    return min(given) >= 1 if given else None


def right_replies(row: dict, replies: list, names: list[str], most: int) -> list[str]:
    """The first `most` different replies that came to their end and satisfy every verifier."""
    right = [reply.text for reply in replies if reply.finished and scores(row, reply.text, names)]
    return list(dict.fromkeys(right))[:most]


def write_solutions(path, probes) -> int:
    """Right replies as conversations; how many."""
    count = 0
    with whole(path) as file:
        for row in stream(probes):
            for text in row["solutions"]:
                file.write(dump({"messages": [*row["prompt"], {"role": "assistant", "content": text}]}))
                count += 1
    return count


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PassRateArguments,), argv)
    check(args)
    out = output_folder(args.output_dir)

    # ---- Problems ----
    count, digest = 0, hashlib.sha256()
    with whole(out / "problems.jsonl") as file:
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
                f"the problems ({', '.join(map(str, args.problems))}) are empty: expected at least one row with"
                " `prompt`"
            )
        settings = {key: value for key, value in asdict(args).items() if key not in DECIDE_NO_REPLY}
        settings |= {"problems": digest.hexdigest(), "model_files": model_fingerprint(args.model)}
        probes = out / "probes.jsonl"
        same_settings(out / "settings.json", settings, probes)

    # ---- Ask ----
    def start():
        replier = replier_of(args)

        def ask(rows: list[dict], seed: int) -> list[dict]:
            found = []
            for row, replies in zip(rows, replier([row["prompt"] for row in rows], args.samples, seed)):
                judged = [right for reply in replies if (right := scores(row, reply.text, args.rewards)) is not None]
                rate: dict[str, Any] = {
                    "pass_rate": sum(judged) / len(judged) if judged else None,
                    "passed": sum(judged),
                    "judged": len(judged),
                }
                if args.solutions:
                    rate["solutions"] = right_replies(row, replies, args.rewards, args.solutions)
                found.append(row | rate)
            return found

        return ask

    by_chunks(probes, out / "problems.jsonl", count, "pass_rate", args.chunk, args.seed, start)

    # ---- Keep ----
    for stale in ("train.jsonl", "summary.json", "solutions.jsonl"):
        (out / stale).unlink(missing_ok=True)
    rates, kept = Counter(), 0
    with whole(out / "train.jsonl") as file:
        for row in stream(probes):
            rate = row["pass_rate"]
            rates[
                (
                    "unjudged"
                    if rate is None
                    else "0"
                    if rate == 0
                    else "1"
                    if rate == 1
                    else "below 0.5"
                    if rate < 0.5
                    else "from 0.5"
                )
            ] += 1
            if rate is not None and args.least <= rate <= args.most:
                file.write(dump({name: value for name, value in row.items() if name != "solutions"}))
                kept += 1
        told = ", ".join(
            f"{name}: {rates[name]:,}" for name in ("0", "below 0.5", "from 0.5", "1", "unjudged") if rates[name]
        )
        if not kept:
            raise UserError(
                f"no problem of {count:,} has a pass rate from {args.least} to {args.most} (pass rates {told}): move"
                " least and most, or give other problems"
            )
    write_json(
        out / "summary.json",
        {
            "problems": count,
            "kept": kept,
            "pass_rates": dict(rates),
            "least": args.least,
            "most": args.most,
            "settings": settings,
        },
    )
    if args.solutions:
        print(f"{out / 'solutions.jsonl'}: {write_solutions(out / 'solutions.jsonl', probes):,} right replies")
    print(f"{out / 'train.jsonl'}: {kept:,} of {count:,} problems (pass rates {told})")


if __name__ == "__main__":
    main()
