"""The arena: models answer the same prompts, pairs of answers are judged, and the verdicts become ratings.

    python -m eval.arena --models sft=runs/tiny/sft honest=runs/tiny/honest ppo=runs/tiny/ppo \
        --prompts runs/tiny/world/verses/test.jsonl --judge reward:runs/tiny/reward --output_dir runs/tiny/arena
    python -m eval.arena --judge votes=runs/tiny/votes.jsonl --output_dir runs/tiny/arena_people

The judge is a verifier, a reward model, a chat model or a function (`eval.judging.references` says how one is named),
or people, whose votes a file holds (`eval.judging.ratings` has its form). Written are
`answers.jsonl`, `votes.jsonl` (every two models on every prompt, sides by lot) and `ratings.json`. A run that was
stopped goes on: answers and votes that are there, from the same files and settings, stand.
"""

import hashlib
import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, named_folders, output_folder, parse, read_jsonl, write_json, write_jsonl
from eval.estimates import Z
from eval.judging.judges import load_judge, position_bias
from eval.judging.ratings import ratings, read_votes
from eval.judging.references import forms, parse_judge
from eval.shared.fingerprints import model_fingerprint
from eval.shared.messages import check_prompt

CHUNK = 64  # prompts that are answered, and pairs that are judged, before they are written


@dataclass
class ArenaArguments:
    judge: str = field(metadata={"help": f"{forms()}; or the votes of people: votes=<file.jsonl>"})
    output_dir: str = field(metadata={"help": "folder of answers.jsonl, votes.jsonl and ratings.json"})
    models: list[str] = field(default_factory=list, metadata={"help": "name=folder (or Hub id) of each chat model"})
    prompts: str | None = field(
        default=None, metadata={"help": ".jsonl file of `prompt`, and what the verifier reads"}
    )
    limit: int | None = field(default=None, metadata={"help": "only the first prompts"})
    samples: int = field(default=1, metadata={"help": "answers of each model to a prompt"})
    max_new_tokens: int = field(default=256, metadata={"help": "of an answer"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling; 0 is greedy"})
    batch_size: int = field(default=256, metadata={"help": "answers sampled at a time"})
    judge_name: str | None = field(default=None, metadata={"help": "name of the model behind the judge's endpoint"})
    judge_tokens: int = field(default=256, metadata={"help": "of a judge model's reason and verdict"})
    resamples: int = field(default=1000, metadata={"help": "of the bootstrap over prompts"})
    seed: int = field(default=0, metadata={"help": "of sampling, sides and bootstrap"})


def digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def answer(
    args: ArenaArguments, models: dict[str, str], rows: list[dict], made_from: dict[str, str], path: Path
) -> dict[str, list[list[str]]]:
    """The `samples` answers of each model to each row, those in the file first; others are added to it, chunk by
    chunk."""
    from tqdm import tqdm

    from eval.generation.replies import Replier, hash_seed

    there = (
        read_jsonl(
            path, ("model", "prompt", "responses", "made_from"), "eval.arena writes it; remove it to begin again"
        )
        if path.exists()
        else []
    )
    there = [
        row for row in there if made_from.get(row["model"], row["made_from"]) == row["made_from"]
    ]  # also those of models that are not asked now
    answers: dict[str, list] = {name: [] for name in models}
    for row in there:
        if row["model"] in answers:
            answers[row["model"]].append(row["responses"])
    with tqdm(
        total=len(models) * len(rows),
        initial=sum(map(len, answers.values())),
        unit="prompt",
        mininterval=1,
        desc="answers",
    ) as bar:
        for name, model in models.items():
            done = answers[name]
            replier = (
                Replier(model, args.max_new_tokens, args.temperature, batch_size=args.batch_size)
                if len(done) < len(rows)
                else None
            )
            for start in range(len(done), len(rows), CHUNK):
                prompts = [row["prompt"] for row in rows[start : start + CHUNK]]
                groups = replier(prompts, args.samples, hash_seed(args.seed, start, 0))
                new = []
                for replies in groups:
                    new.append([reply.text for reply in replies])
                there += [
                    {"model": name, "prompt": prompt, "responses": texts, "made_from": made_from[name]}
                    for prompt, texts in zip(prompts, new)
                ]
                write_jsonl(path, there)
                done += new
                bar.update(len(new))
    return answers


def own_votes(path: Path) -> list[dict]:
    """The votes of an earlier run.

    Raises:
        UserError: there are others among them, such as people's.
    """
    there = read_votes(path) if path.exists() else []
    if any("made_from" not in row for row in there):
        raise UserError(
            f"{path} holds votes that are not of eval.arena, and would be lost: choose another --output_dir, or rate"
            f" them with --judge votes={path}"
        )
    return there


def vote(
    judge,
    kind: str,
    matches: list[tuple],
    rows: list[dict],
    answers: dict,
    made_from: str,
    there: list[dict],
    path: Path,
) -> list[dict]:
    """The votes on `matches` (row, sample, left model, right model), those that are there first; without those that
    the judge has no verdict on."""
    from tqdm import tqdm

    votes = {tuple(row["match"]): row for row in there if row["made_from"] == made_from}
    todo = [match for match in matches if match not in votes]
    with tqdm(total=len(matches), initial=len(votes), unit="pair", mininterval=1, desc="votes") as bar:
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            pairs = []
            for row, sample, *names in part:
                pairs.append((rows[row], [answers[name][row][sample] for name in names]))
            for match, (row, texts), verdict in zip(part, pairs, judge(pairs)):
                if verdict["winner"]:
                    responses = [[{"role": "assistant", "content": text}] for text in texts]
                    shown = {"prompt": row["prompt"], "models": list(match[2:]), "responses": responses}
                    votes[match] = {**shown, **verdict, "judge": kind, "match": match, "made_from": made_from}
            if votes:
                write_jsonl(path, list(votes.values()))
            bar.update(len(part))
    return [votes[match] for match in matches if match in votes]


def table(rated: dict) -> str:
    width = max(map(len, rated["models"])) + 2
    lines = [f"{'model':<{width}}{'rating':>8}{'95 % interval':>18}{'won/lost/tied':>18}  wins against"]
    for name, row in rated["models"].items():
        rates = ", ".join(
            f"{other} {rate['value']:.2f} ± {Z * rate['stderr']:.2f}"
            for other, rate in rated["win_rates"][name].items()
        )
        counts = f"{row['wins']}/{row['losses']}/{row['ties']}"
        interval = "–" if row["low"] is None else f"{row['low']:.0f} … {row['high']:.0f}"
        lines.append(f"{name:<{width}}{row['rating']:>8.0f}{interval:>18}{counts:>18}  {rates}")
    lines += [rated["note"]] if rated["note"] else []
    lines.append(
        f"{rated['votes']:,} votes about {rated['prompts']:,} prompts, {rated['ties']:,} ties, {rated['unjudged']:,}"
        " pairs without a verdict"
    )
    for what, share in (
        ("the left answer won", rated["left"]),
        *((f"the judge's verdicts, {key}", m) for key, m in (rated["position"] or {}).items()),
    ):
        lines += [f"{what}: {share['value']:.2f} ± {Z * share['stderr']:.2f}"] if share else []
    return "\n".join(lines)


def judge_kind(judge: str) -> tuple[str, str]:
    """What votes name as their judge, and the file of votes that are there, if it is one."""
    kind, _, file = judge.partition("=")
    if kind == "votes":
        return kind, file
    reference = parse_judge(judge)
    if reference is None:
        return "", ""  # `load_judge` says what a judge is
    return ("model" if reference.kind == "chat" else reference.kind), ""


def check_arguments(args, kind: str) -> None:
    """Raises `UserError` for numbers out of range, and for options that do nothing with this kind of judge."""
    least_one = min(args.samples, args.max_new_tokens, args.judge_tokens, args.batch_size)
    if args.resamples < 100 or least_one < 1 or (args.limit or 2) < 2:
        raise UserError(
            "resamples must be at least 100, limit 2, and samples, max_new_tokens, judge_tokens and batch_size 1"
        )
    idle = [] if kind == "model" else ["judge_name", "judge_tokens"]
    if kind == "votes":
        idle += ["models", "prompts", "limit", "samples", "max_new_tokens", "temperature", "batch_size"]
    given = [name for name in idle if getattr(args, name) != getattr(ArenaArguments, name, [])]
    if given:
        raise UserError(f"--{given[0]} does nothing with the judge {args.judge}: leave it out")


def read_prompts(args, models: dict[str, str]) -> list[dict]:
    """The conversations to answer.

    Raises:
        UserError: fewer than two models, no file, or a row that is no conversation to answer.
    """
    if len(models) < 2 or not args.prompts:
        raise UserError(
            "give --prompts, and two models or more to --models as name=folder, but got:"
            f" {' '.join(args.models) or 'none'}"
        )
    rows = read_jsonl(args.prompts, ("prompt",), "give a .jsonl file of conversations to answer")[: args.limit]
    for number, row in enumerate(rows, 1):
        check_prompt(row, f"{args.prompts}, line {number}")
    return rows


def hold(args, kind: str, models: dict[str, str]) -> tuple[list[dict], int, dict, Path]:
    """Have the models answer and the judge vote: the votes, how many pairs got none, the settings of the answers, and
    the folder that all is in."""
    rows = read_prompts(args, models)
    there = own_votes(Path(args.output_dir) / "votes.jsonl")
    judge = load_judge(args.judge, rows, args.judge_name, args.judge_tokens)
    output_dir = output_folder(args.output_dir)
    settings = {name: getattr(args, name) for name in ("samples", "max_new_tokens", "temperature", "limit", "seed")}
    prompts = [row["prompt"] for row in rows]
    answers_from = {name: digest(path, model_fingerprint(path), settings, prompts) for name, path in models.items()}
    answers = answer(args, models, rows, answers_from, output_dir / "answers.jsonl")
    rng = random.Random(args.seed)
    meetings = itertools.product(range(len(rows)), range(args.samples), itertools.combinations(models, 2))
    matches = [(row, sample, *rng.sample(pair, 2)) for row, sample, pair in meetings]
    made_from = digest(args.judge, judge.made_from, rows, answers_from)
    votes = vote(judge, kind, matches, rows, answers, made_from, there, output_dir / "votes.jsonl")
    if not votes:
        raise UserError(f"the judge {args.judge} has no verdict on any of {len(matches):,} pairs: take another")
    return votes, len(matches) - len(votes), settings, output_dir


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ArenaArguments,), argv)
    kind, votes_file = judge_kind(args.judge)
    models = named_folders(args.models) if args.models else {}
    check_arguments(args, kind)
    if kind == "votes":
        votes, unjudged, settings, output_dir = read_votes(votes_file), 0, {}, output_folder(args.output_dir)
    else:
        votes, unjudged, settings, output_dir = hold(args, kind, models)
    rated = ratings(votes, args.resamples, args.seed) | {
        "unjudged": unjudged,
        "position": position_bias(votes),
        "judge": args.judge,
        "prompts_file": args.prompts,
    }
    for name, path in models.items():
        if name in rated["models"]:
            rated["models"][name]["model"] = path
    rated["settings"] = {**settings, "resamples": args.resamples, "seed": args.seed}
    write_json(output_dir / "ratings.json", rated)
    print(table(rated))


if __name__ == "__main__":
    main()
