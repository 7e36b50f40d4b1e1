"""Rankings → preference pairs: a model answers each prompt k times, somebody ranks the answers, pairs of them become rows.

    python -m data_prep.preferences --model runs/tiny/sft --prompts_dir runs/tiny/world/verses --output_dir runs/tiny/preferences

Reads `{train,validation,test}.jsonl` of prompts (`prompt`: messages), writes `rankings.jsonl` (`prompt`, `responses`,
`ranking`: indices, best first) and for each split `prompt`, `chosen`, `rejected`. The ranker is a module with
`rank(row, responses, rng, noise)`; if it also has `score(row, response)`, the gold that only the evaluation may see, rows hold
`gold_margin`: the gold of chosen minus rejected, in standard deviations of the candidates' gold.
"""

import importlib
import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse, read_jsonl

SPLITS = ("train", "validation", "test")
PAIRS = {
    "all": lambda ranking: list(itertools.combinations(ranking, 2)),
    "adjacent": lambda ranking: list(itertools.pairwise(ranking)),
    "best_worst": lambda ranking: [(ranking[0], ranking[-1])],
}


@dataclass
class PreferencesArguments:
    model: str = field(metadata={"help": "folder or Hub id of the model that answers"})
    prompts_dir: str = field(metadata={"help": "folder of {train,validation,test}.jsonl with `prompt`"})
    output_dir: str = field(metadata={"help": "folder to write"})
    ranker: str = field(default="data_prep.world.taste", metadata={"help": "module with rank(), and score() if there is a gold"})
    candidates: int = field(default=8, metadata={"help": "answers a prompt; equal ones count once"})
    pairs: str = field(default="all", metadata={"help": f"which pairs of a ranking become rows: {', '.join(PAIRS)}"})
    noise: float = field(default=0.35, metadata={"help": "scale of the ranker's Gumbel noise, in units of its gold"})
    max_new_tokens: int = field(default=48, metadata={"help": "longest answer"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling"})
    seed: int = field(default=0, metadata={"help": "of sampling and ranking"})


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PreferencesArguments,), argv)
    if args.pairs not in PAIRS:
        raise UserError(f"pairs must be one of {', '.join(PAIRS)}, but is {args.pairs}")
    if args.candidates < 2 or args.max_new_tokens < 1:
        raise UserError(f"candidates must be at least 2 and max_new_tokens at least 1, but are {args.candidates} and {args.max_new_tokens}")
    try:
        ranker = importlib.import_module(args.ranker)
    except (ImportError, ValueError) as error:
        raise UserError(f"ranker {args.ranker} cannot be imported ({error}): give a module with rank(row, responses, rng, noise)") from None
    if not hasattr(ranker, "rank"):
        raise UserError(f"ranker {args.ranker} has no rank(): give a module with rank(row, responses, rng, noise)")
    cure = "python -m data_prep.world writes such prompts"
    rows = [{**row, "split": split} for split in SPLITS for row in read_jsonl(Path(args.prompts_dir) / f"{split}.jsonl", ("prompt",), cure)]
    from transformers import AutoModelForCausalLM

    from eval.generate import generate
    from eval.models import load_pretrained, load_tokenizer

    tokenizer = load_tokenizer(args.model)
    model = load_pretrained(AutoModelForCausalLM, args.model, "model")
    out = output_folder(args.output_dir)
    replies = generate(
        model,
        tokenizer,
        [row["prompt"] for row in rows],
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        num_return_sequences=args.candidates,
        seed=args.seed,
    )
    rng = random.Random(args.seed)
    scored = hasattr(ranker, "score")
    for row, generations in zip(rows, replies):
        row["responses"] = list(dict.fromkeys(g.text for g in generations if g.text.strip()))
        row["ranking"] = ranker.rank(row, row["responses"], rng, args.noise)
        row["gold"] = [ranker.score(row, text) for text in row["responses"]] if scored else None
    golds = [g for row in rows if scored for g in row["gold"]]
    mean = sum(golds) / max(1, len(golds))
    deviation = (sum((g - mean) ** 2 for g in golds) / max(1, len(golds))) ** 0.5 or 1.0
    files = {split: [] for split in SPLITS}
    for row in rows:
        for better, worse in PAIRS[args.pairs](row["ranking"]) if len(row["ranking"]) > 1 else []:
            pair = {"prompt": row["prompt"]}
            pair |= {k: [{"role": "assistant", "content": row["responses"][i]}] for k, i in (("chosen", better), ("rejected", worse))}
            if scored:
                pair["gold_margin"] = (row["gold"][better] - row["gold"][worse]) / deviation
            files[row["split"]].append(pair)
    if empty := [split for split, pairs in files.items() if not pairs]:
        raise UserError(f"no pair for {', '.join(empty)}: {args.model} gave fewer than two different answers to every prompt; raise candidates or temperature")
    rankings = [{k: row[k] for k in ("prompt", "responses", "ranking", "split")} for row in rows]
    for name, lines in {"rankings": rankings, **files}.items():
        (out / f"{name}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    print(f"{out}: " + ", ".join(f"{split} {len(pairs):,} pairs" for split, pairs in files.items()))


if __name__ == "__main__":
    main()
