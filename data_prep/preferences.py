"""Rankings → preference pairs: a model answers each prompt k times, somebody ranks the answers, pairs of them become
rows.

    python -m data_prep.preferences --model runs/tiny/sft --prompts_dir runs/tiny/world/verses --output_dir \
        runs/tiny/preferences
    python -m data_prep.preferences --model runs/tiny/sft --prompts_dir runs/tiny/world/verses --ranker none \
        --output_dir runs/mine
    python -m data_prep.preferences --rankings rankings.jsonl --output_dir runs/mine/preferences
    python -m data_prep.preferences --dataset Anthropic/hh-rlhf --split test --output_dir runs/hh-rlhf
    python -m data_prep.preferences --dataset Anthropic/hh-rlhf --split test --held_out 0.5 --output_dir runs/hh-rlhf

The first reads `{train,validation,test}.jsonl` of prompts (`prompt`: messages) and also writes `rankings.jsonl`
(`prompt`, `responses`, `ranking`: indices, best first). The ranker is a module with `rank(row, responses, rng,
noise)`; if it also has `score(row, response)`, the gold that only the evaluation may see, rows hold `gold_margin`: the
gold of chosen minus rejected, in standard deviations of the candidates' gold. The answers are written to
`answers.jsonl` a chunk of prompts at a time: a killed run resumes after the last, and with another ranker nothing is
asked again.

Strange replies that won a reward model over are unlearned by ranking them beside others: with the model before and the
model after as `--model`.

The second ranks nothing: it writes `candidates.jsonl` for people to rank in `data_prep.label`.

The third reads such rankings, people's: responses in one list are a tie, [[2], [0, 3], [1]] or [2, [0, 3], 1]; a
response that is not named is not ranked. A prompt goes with all of its rankings to the file of its `split`, or to one
by its hash (80, 10 and 10 %).

The last reads a published set into `<split>.jsonl`, whatever its columns: transcripts (Anthropic/hh-rlhf, Bai et al.
2022), messages (HuggingFaceH4/ultrafeedback_binarized), texts beside a prompt, votes, scores (openbmb/UltraFeedback,
Cui et al. 2023); docs/data.md lists them. Two equal replies, or scores, are no preference. With `held_out` its rows go
to `train.jsonl` and `test.jsonl` instead, by a hash of the conversation's first turn: all pairs that begin alike are
on one side.

Pairs are `prompt`, `chosen`, `rejected` (messages), and `rank_distance`: how many places lie between the two.
"""

import hashlib
import importlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.schemas.preferences import PAIRS
from data_prep.shared.chunks import by_chunks, same_settings, stream
from data_prep.shared.rankings import places
from data_prep.shared.sources import count, keep, load_source, print_left_out
from eval.cli import UserError, command, output_folder, parse, read_jsonl, write_jsonl
from eval.generation.replies import Replier, Reply
from eval.shared.fingerprints import model_fingerprint
from eval.shared.messages import check_prompt

SPLITS = ("train", "validation", "test")
ALONE = "it has fewer than two different answers"
PAIR = ("prompt", "chosen", "rejected", "rank_distance")


@dataclass
class PreferencesArguments:
    output_dir: str = field(metadata={"help": "folder to write"})
    model: list[str] = field(
        default_factory=list,
        metadata={
            "help": (
                "folder, Hub id or endpoint (URL up to /v1) of the model that answers; of several, each answers every"
                " prompt"
            )
        },
    )
    model_name: str | None = field(default=None, metadata={"help": "of the model behind an endpoint"})
    prompts_dir: str | None = field(
        default=None, metadata={"help": "with model: folder of {train,validation,test}.jsonl with `prompt`"}
    )
    rankings: str | None = field(default=None, metadata={"help": ".jsonl file of `prompt`, `responses`, `ranking`"})
    dataset: str | None = field(default=None, metadata={"help": "Hub id or file of a published set"})
    name: str | None = field(default=None, metadata={"help": "with dataset: its configuration, such as preference"})
    split: str = field(default="train", metadata={"help": "with dataset: split to read"})
    revision: str | None = field(default=None, metadata={"help": "with dataset: revision on the Hub"})
    rows: int | None = field(default=None, metadata={"help": "with dataset: only its first rows (default: all)"})
    held_out: float | None = field(
        default=None, metadata={"help": "with dataset: share of the prompts for test.jsonl; the others: train.jsonl"}
    )
    ranker: str = field(
        default="data_prep.world.taste",
        metadata={"help": "module with rank(), and score() if there is a gold; none: people will rank"},
    )
    candidates: int = field(default=8, metadata={"help": "answers a prompt; equal ones count once"})
    pairs: str = field(default="all", metadata={"help": f"which pairs of a ranking become rows: {', '.join(PAIRS)}"})
    noise: float = field(default=0.35, metadata={"help": "scale of the ranker's Gumbel noise, in units of its gold"})
    max_new_tokens: int = field(default=48, metadata={"help": "longest answer"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling"})
    chunk: int = field(default=256, metadata={"help": "prompts answered, and written, at a time"})
    batch_size: int = field(default=256, metadata={"help": "answers at a time, of a model that runs here"})
    backend: str = field(default="transformers", metadata={"help": "of a model that runs here: transformers or vllm"})
    seed: int = field(default=0, metadata={"help": "of sampling and ranking"})


def rows_of(ranked: dict, kind: str, where: str) -> Iterator[dict]:
    """The pairs of a ranking; `gold`, one score a response, gives them `gold_margin`."""
    levels, gold = places(ranked["ranking"], ranked["responses"], where), ranked.get("gold")
    for better, worse in PAIRS[kind](len(levels)):
        for i, j in itertools.product(levels[better], levels[worse]):
            pair = {
                "prompt": ranked["prompt"],
                "chosen": [{"role": "assistant", "content": ranked["responses"][i]}],
                "rejected": [{"role": "assistant", "content": ranked["responses"][j]}],
                "rank_distance": worse - better,
            }
            if gold:
                pair["gold_margin"] = gold[i] - gold[j]
            yield pair


# ---- A model's answers, and a ranker ----


def load_ranker(name: str):
    try:
        ranker = importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"ranker {name} cannot be imported ({error}): give a module with rank(row, responses, rng, noise)"
        ) from None
    if not hasattr(ranker, "rank"):
        raise UserError(f"ranker {name} has no rank(): give a module with rank(row, responses, rng, noise)")
    return ranker


def read_prompts(args: PreferencesArguments) -> list[dict]:
    """The rows of prompts, with their `split`."""
    cure = "python -m data_prep.world writes such prompts"
    rows = [
        {**row, "split": split}
        for split in SPLITS
        for row in read_jsonl(Path(args.prompts_dir) / f"{split}.jsonl", ("prompt",), cure)
    ]
    for row in rows:
        check_prompt(row, f"{args.prompts_dir}, a row of {row['split']}.jsonl")
    return rows


def different(groups: Iterable[list[Reply]]) -> list[str]:
    """The different texts of all models' replies, but for empty ones."""
    texts = [reply.text for reply in itertools.chain(*groups)]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def answers(args: PreferencesArguments, rows: list[dict]) -> list[dict]:
    """The rows with `responses` that differ."""

    def start():
        repliers = [
            Replier(
                name,
                args.max_new_tokens,
                args.temperature,
                args.model_name,
                batch_size=args.batch_size,
                backend=args.backend,
            )
            for name in args.model
        ]

        def answer(part: list[dict], place: int) -> list[dict]:
            prompts, seed = [row["prompt"] for row in part], args.seed + 1_000_003 * place
            groups = zip(*(replier(prompts, args.candidates, seed) for replier in repliers))
            return [row | {"responses": different(replies)} for row, replies in zip(part, groups)]

        return answer

    out = output_folder(args.output_dir)
    settings = {
        key: getattr(args, key)
        for key in ("model", "model_name", "candidates", "max_new_tokens", "temperature", "chunk", "seed")
    }
    settings |= {
        "model_files": [model_fingerprint(name) for name in args.model],
        "prompts": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    }
    same_settings(out / "settings.json", settings, out / "answers.jsonl")
    write_jsonl(out / "prompts.jsonl", rows)
    by_chunks(
        out / "answers.jsonl", out / "prompts.jsonl", len(rows), "responses", args.chunk, 0, start
    )  # seed 0: `start` gets the chunk's place
    return list(stream(out / "answers.jsonl"))


def ranked_answers(args: PreferencesArguments) -> list[dict]:
    """`prompt`, `responses`, `ranking`, `split` and, of a ranker with gold, `gold` in standard deviations."""
    ranker, rows = load_ranker(args.ranker), read_prompts(args)
    scored = hasattr(ranker, "score")
    for row in rows:  # what it lacks is an error before the work
        try:
            ranker.rank(row, ["a", "b"], random.Random(0), args.noise)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"ranker {args.ranker} cannot rank answers to a row of {row['split']}.jsonl in {args.prompts_dir}"
                f" ({error!r}): give the columns that it reads, another ranker, or none for people"
            ) from None
    rows, rng = answers(args, rows), random.Random(args.seed)
    for row in rows:
        row["ranking"] = ranker.rank(row, row["responses"], rng, args.noise)
        row["gold"] = [ranker.score(row, text) for text in row["responses"]] if scored else False
    if scored:
        standardise(rows)
    return rows


def standardise(rows: list[dict]) -> None:
    """Give the gold of all rows in standard deviations."""
    golds = [gold for row in rows for gold in row["gold"]]
    mean = sum(golds) / max(1, len(golds))
    deviation = (sum((gold - mean) ** 2 for gold in golds) / max(1, len(golds))) ** 0.5 or 1.0
    for row in rows:
        row["gold"] = [gold / deviation for gold in row["gold"]]


# ---- Rankings and published sets ----


def hash_of(value) -> int:
    """A number of 128 bits that depends on the value alone."""
    return int(hashlib.md5(json.dumps(value, sort_keys=True).encode()).hexdigest(), 16)


def split_of(row: dict) -> str:
    n = hash_of(row["prompt"]) % 10
    return row.get("split") or ("train" if n < 8 else SPLITS[n - 7])


def given_rankings(path: str) -> list[dict]:
    """The rows of a file of rankings, each with its `split`."""
    cure = "expected the rankings of people, one a line"
    rows = read_jsonl(path, ("prompt", "responses", "ranking"), cure)
    for number, row in enumerate(rows, 1):
        check_prompt(row, f"{path}, line {number}")
        row["split"] = split_of(row)
        if (
            not isinstance(row["responses"], list)
            or not all(isinstance(text, str) for text in row["responses"])
            or row["split"] not in SPLITS
        ):
            raise UserError(
                f"{path}, line {number}: responses must be texts and split one of {', '.join(SPLITS)}: {cure}"
            )
    return rows


def check(args: PreferencesArguments) -> None:
    """Raises `UserError` for values that are out of range, or that do not go together."""
    if args.backend == "vllm" and isinstance(args.model, list) and len(args.model) > 1:
        raise UserError("backend vllm keeps the GPU's memory for one model: give one, or leave the option out")
    if args.pairs not in PAIRS:
        raise UserError(f"pairs must be one of {', '.join(PAIRS)}, but is {args.pairs}")
    least = min(args.max_new_tokens, args.chunk, args.batch_size)
    if args.candidates < 2 or least < 1 or not 0 < args.temperature < math.inf:
        given = f"{args.candidates}, {args.max_new_tokens}, {args.chunk}, {args.batch_size} and {args.temperature}"
        raise UserError(
            "candidates must be at least 2, max_new_tokens at least 1, chunk and batch_size too, and temperature"
            f" above 0, but are {given}"
        )
    of_a_dataset = args.revision or args.name or args.rows is not None or args.held_out is not None
    of_a_model = args.ranker == "none" or args.model_name
    if of_a_dataset and not args.dataset or of_a_model and not args.model:
        raise UserError(
            "revision, name, rows and held_out go with dataset, ranker none and model_name with model: leave it out"
        )
    if args.held_out is not None and not 0 < args.held_out < 1:
        raise UserError(f"held_out must lie between 0 and 1, but is {args.held_out}")
    if sum(map(bool, (args.model, args.rankings, args.dataset))) != 1 or bool(args.model) != bool(args.prompts_dir):
        raise UserError("give one of: model with prompts_dir, rankings, dataset")


# ---- The commands ----


def write_candidates(args: PreferencesArguments) -> None:
    """A model's answers, for people to rank."""
    answered = answers(args, read_prompts(args))
    rows = [only(row, ("prompt", "responses", "split")) for row in answered if len(row["responses"]) > 1]
    if not rows:
        raise UserError(alike(args))
    alone = len(answered) - len(rows)
    print_left_out("the prompts", len(answered), Counter({ALONE: alone} if alone else {}))
    write_jsonl(Path(args.output_dir) / "candidates.jsonl", rows)
    print(
        f"{args.output_dir}: candidates for {len(rows):,} prompts; rank them with python -m data_prep.label"
        f" --items {args.output_dir}/candidates.jsonl --output_dir {args.output_dir}/labels"
    )


def only(row: dict, columns: tuple[str, ...]) -> dict:
    return {column: row[column] for column in columns}


def alike(args: PreferencesArguments) -> str:
    """The error where the models always say the same."""
    return (
        f"{', '.join(args.model)} gave fewer than two different answers to every prompt; raise candidates or"
        " temperature"
    )


def read_published(args: PreferencesArguments) -> tuple[list[dict], dict]:
    """(The pairs of a published set, its record.)"""
    from data_prep.schemas import convert

    source = {"path": args.dataset, "name": args.name, "split": args.split, "revision": args.revision}
    data = load_source(source | {"rows": args.rows})
    pairs, form, left_out = convert(data, "pair", args.dataset, kind=args.pairs)
    columns = [column for column in PAIR if column in pairs.column_names]
    rows = [{**pair, "rank_distance": pair.get("rank_distance", 1)} for pair in pairs.select_columns(columns)]
    return rows, count(args.dataset, form, len(data), left_out)


def is_held_out(pair: dict, share: float) -> bool:
    """Whether a pair is for the test: by a hash of its first turn, so for all pairs that begin alike."""
    return hash_of(pair["prompt"][0]) / 2**128 < share


def split_pairs(pairs: list[dict], share: float) -> dict[str, list[dict]]:
    """The pairs for training and for the test, of whose conversations `share` are for the test."""
    files: dict[str, list[dict]] = {"train": [], "test": []}
    for pair in pairs:
        files["test" if is_held_out(pair, share) else "train"].append(pair)
    return files


def pairs_of(rankings: list[dict], args: PreferencesArguments) -> tuple[dict[str, list[dict]], dict]:
    """(The pairs of each split, the record of the rankings.)"""
    source = args.rankings or ", ".join(args.model)
    files: dict[str, list[dict]] = {split: [] for split in SPLITS}
    without = Counter()
    for number, row in enumerate(rankings, 1):
        pairs = list(rows_of(row, args.pairs, f"{source}, row {number}"))
        files[row["split"]] += pairs
        if not pairs:
            without[ALONE if len(row["responses"]) < 2 else "its ranking is a tie"] += 1
    return files, count(source, "rankings", len(rankings), without)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PreferencesArguments,), argv)
    check(args)
    if args.ranker == "none" and args.model:
        write_candidates(args)
        return
    rankings: list[dict] = []
    if args.dataset:
        pairs, record = read_published(args)
        files = split_pairs(pairs, args.held_out) if args.held_out else {args.split: pairs}
    else:
        rankings = ranked_answers(args) if args.model else given_rankings(args.rankings)
        files, record = pairs_of(rankings, args)
    empty = [split for split, pairs in files.items() if not pairs]
    if empty and (len(empty) == len(files) or not args.rankings):  # people's rankings come in one by one
        cure = alike(args) if args.model else "every row is a tie, or too few rows"
        raise UserError(f"no pair for {', '.join(empty)}: {cure}")
    out = output_folder(args.output_dir)
    if args.model:
        ranked = [only(row, ("prompt", "responses", "ranking", "split")) for row in rankings]
        write_jsonl(out / "rankings.jsonl", ranked)
    for split, pairs in files.items():
        if pairs:
            write_jsonl(out / f"{split}.jsonl", pairs)
    keep(out, [record])
    print(f"{out}: " + ", ".join(f"{split} {len(pairs):,} pairs" for split, pairs in files.items()))


if __name__ == "__main__":
    main()
