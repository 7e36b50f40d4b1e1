"""Rankings → preference pairs: a model answers each prompt k times, somebody ranks the answers, pairs of them become
rows.

    python -m data_prep.preferences --model runs/tiny/sft --prompts_dir runs/tiny/world/verses --output_dir \
        runs/tiny/preferences
    python -m data_prep.preferences --model runs/tiny/sft --prompts_dir runs/tiny/world/verses --ranker none \
        --output_dir runs/mine
    python -m data_prep.preferences --rankings rankings.jsonl --output_dir runs/mine/preferences
    python -m data_prep.preferences --dataset Anthropic/hh-rlhf --split test --output_dir runs/hh-rlhf

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
Cui et al. 2023); docs/data.md lists them. Two equal replies, or scores, are no preference.

Pairs are `prompt`, `chosen`, `rejected` (messages), and `rank_distance`: how many places lie between the two.
"""

import hashlib
import importlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.schemas.preferences import PAIRS
from data_prep.shared.chunks import by_chunks, same_settings, stream
from data_prep.shared.rankings import places
from data_prep.shared.sources import count, keep, load_source, print_left_out
from eval.cli import UserError, command, output_folder, parse, read_jsonl, write_jsonl
from eval.generation.replies import Replier
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
            pair = {"prompt": ranked["prompt"]}
            pair |= {
                side: [{"role": "assistant", "content": ranked["responses"][k]}]
                for side, k in (("chosen", i), ("rejected", j))
            }
            yield pair | {"rank_distance": worse - better} | ({"gold_margin": gold[i] - gold[j]} if gold else {})


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
            said = zip(*(replier(prompts, args.candidates, seed) for replier in repliers))
            return [
                row
                | {
                    "responses": list(
                        dict.fromkeys(reply.text for reply in itertools.chain(*groups) if reply.text.strip())
                    )
                }
                for row, groups in zip(part, said)
            ]

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
    for row in rows:  # what it lacks is told before the work
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
        row["gold"] = [ranker.score(row, text) for text in row["responses"]] if scored else None
    golds = [g for row in rows if scored for g in row["gold"]]
    mean = sum(golds) / max(1, len(golds))
    deviation = (sum((g - mean) ** 2 for g in golds) / max(1, len(golds))) ** 0.5 or 1.0
    return [row | {"gold": scored and [g / deviation for g in row["gold"]]} for row in rows]


# ---- Rankings and published sets ----


def split_of(row: dict) -> str:
    n = int(hashlib.md5(json.dumps(row["prompt"], sort_keys=True).encode()).hexdigest(), 16) % 10
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


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PreferencesArguments,), argv)
    if args.backend == "vllm" and isinstance(args.model, list) and len(args.model) > 1:
        raise UserError("backend vllm keeps the GPU's memory for one model: give one, or leave the option out")
    if args.pairs not in PAIRS:
        raise UserError(f"pairs must be one of {', '.join(PAIRS)}, but is {args.pairs}")
    if (
        args.candidates < 2
        or min(args.max_new_tokens, args.chunk, args.batch_size) < 1
        or not 0 < args.temperature < math.inf
    ):
        told = f"{args.candidates}, {args.max_new_tokens}, {args.chunk}, {args.batch_size} and {args.temperature}"
        raise UserError(
            "candidates must be at least 2, max_new_tokens at least 1, chunk and batch_size too, and temperature"
            f" above 0, but are {told}"
        )
    if (
        (args.revision or args.name)
        and not args.dataset
        or (args.ranker == "none" or args.model_name)
        and not args.model
    ):
        raise UserError("revision and name go with dataset, ranker none and model_name with model: leave it out")
    if sum(map(bool, (args.model, args.rankings, args.dataset))) != 1 or bool(args.model) != bool(args.prompts_dir):
        raise UserError("give one of: model with prompts_dir, rankings, dataset")
    if args.ranker == "none" and args.model:
        given = answers(args, read_prompts(args))
        rows = [{k: row[k] for k in ("prompt", "responses", "split")} for row in given if len(row["responses"]) > 1]
        if not rows:
            raise UserError(
                f"{', '.join(args.model)} gave fewer than two different answers to every prompt; raise candidates or"
                " temperature"
            )
        gone = len(given) - len(rows)
        print_left_out("the prompts", len(given), Counter({ALONE: gone} if gone else {}))
        write_jsonl(Path(args.output_dir) / "candidates.jsonl", rows)
        print(
            f"{args.output_dir}: candidates for {len(rows):,} prompts; rank them with python -m data_prep.label"
            f" --items {args.output_dir}/candidates.jsonl --output_dir {args.output_dir}/labels"
        )
        return
    files: dict[str, list[dict]] = {}
    rankings = []
    if args.dataset:
        from data_prep.schemas import convert

        data = load_source({"path": args.dataset, "name": args.name, "split": args.split, "revision": args.revision})
        pairs, form, left_out = convert(data, "pair", args.dataset, kind=args.pairs)
        files[args.split] = [
            pair | {"rank_distance": pair.get("rank_distance", 1)}
            for pair in pairs.select_columns([c for c in PAIR if c in pairs.column_names])
        ]
        counts = [count(args.dataset, form, len(data), left_out)]
    else:
        rankings = ranked_answers(args) if args.model else given_rankings(args.rankings)
        files = {split: [] for split in SPLITS}
        without = Counter()
        for number, row in enumerate(rankings, 1):
            where = f"{args.rankings or ', '.join(args.model)}, row {number}"
            pairs = list(rows_of(row, args.pairs, where))
            files[row["split"]] += pairs
            without.update([] if pairs else [ALONE if len(row["responses"]) < 2 else "its ranking is a tie"])
        counts = [count(args.rankings or ", ".join(args.model), "rankings", len(rankings), without)]
    empty = [split for split, pairs in files.items() if not pairs]
    if empty and (len(empty) == len(files) or not args.rankings):  # people's rankings come in one by one
        cure = (
            f"{', '.join(args.model)} gave fewer than two different answers to every prompt; raise candidates or"
            " temperature"
            if args.model
            else "every row is a tie, or too few rows"
        )
        raise UserError(f"no pair for {', '.join(empty)}: {cure}")
    out = output_folder(args.output_dir)
    kept = [{k: row[k] for k in ("prompt", "responses", "ranking", "split")} for row in rankings]
    for name, lines in (
        ({"rankings": kept} if args.model else {}) | {split: pairs for split, pairs in files.items() if pairs}
    ).items():
        write_jsonl(out / f"{name}.jsonl", lines)
    keep(out, counts)
    print(f"{out}: " + ", ".join(f"{split} {len(pairs):,} pairs" for split, pairs in files.items()))


if __name__ == "__main__":
    main()
