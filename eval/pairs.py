"""How often a reward model prefers the better reply of a held-out pair.

    python -m eval.pairs --model runs/tiny/reward --pairs runs/tiny/preferences/test.jsonl --output \
        runs/tiny/reward/pairs.json

Rows: `prompt`, `chosen`, `rejected` (messages) and, where the truth behind the labels is known, `gold_margin`:
how much better the chosen reply truly is, in standard deviations. It is negative where the label is mistaken.
The output holds, each as {"value", "stderr", "n"}:

    pair_accuracy_labels   the model's preference against the label
    pair_accuracy          against the sign of gold_margin
    pair_accuracy_clear    the same, for |gold_margin| >= 1 only
    pair_accuracy_distance_N    against the label, for replies that stand N places apart (`rank_distance`)
    score_margin_distance_N     the score of chosen minus rejected, of the same
    calibration_error      expected calibration error of sigmoid(difference of the scores) as the probability of the
                           label (10 bins)
    length_correlation     of score and length in characters, over the different replies: a model that likes length has
                           it above 0
"""

import math
import statistics
from dataclasses import dataclass, field

from eval.cli import UserError, command, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy, expected_calibration_error, half_width
from eval.shared.messages import is_plain

CLEAR_MARGIN = 1.0  # standard deviations


@dataclass
class PairsArguments:
    model: str = field(metadata={"help": "folder or Hub id of the reward model"})
    pairs: str = field(metadata={"help": ".jsonl file of held-out pairs"})
    output: str = field(metadata={"help": ".json file to write"})
    batch_size: int = field(default=128, metadata={"help": "conversations scored at a time"})


def score(model, tokenizer, conversations: list[list[dict]], batch_size: int = 128) -> list[float]:
    """Scores of whole conversations by a model with one label, read at their end token.

    Raises:
        UserError: no chat template; the model's output is not one number; no padding token; no end token to read at.
    """
    import torch

    from eval.generation.models import require_chat_template, require_pad_token, scored_ids

    require_chat_template(tokenizer, tokenizer.name_or_path)
    if model.config.num_labels != 1:
        raise UserError(f"{tokenizer.name_or_path} is no reward model: it has {model.config.num_labels} labels, not 1")
    require_pad_token(tokenizer, tokenizer.name_or_path)
    model.config.pad_token_id = tokenizer.pad_token_id  # the model looks for the last token that is not padding
    rows = [scored_ids(tokenizer, c) for c in conversations]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    scores = [0.0] * len(rows)
    training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            width = len(rows[batch[-1]])
            ids = torch.tensor([rows[i] + [tokenizer.pad_token_id] * (width - len(rows[i])) for i in batch])
            mask = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in batch])
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits[:, 0]
            for i, value in zip(batch, logits.float().tolist()):
                scores[i] = value
    model.train(training)
    return scores


def calibration_error(differences: list[float], bins: int = 10) -> dict:
    """Expected calibration error of sigmoid(|difference|) as the probability that the higher score is the label's."""
    sure = [1 / (1 + math.exp(-min(abs(d), 700.0))) for d in differences]
    right = [0.5 if d == 0 else float(d > 0) for d in differences]
    return {"value": expected_calibration_error(sure, right, bins, low=0.5), "stderr": None, "n": len(differences)}


def length_correlation(scores: dict[tuple[str, str], float]) -> dict | None:
    """Pearson's r of the scores and lengths of replies (prompt, text), its standard error that of a sample without
    correlation; None where either is the same for all."""
    x, y = [len(text) for _, text in scores], list(scores.values())
    if len(set(x)) < 2 or len(set(y)) < 2 or len(x) < 3:
        return None
    return {"value": statistics.correlation(x, y), "stderr": 1 / math.sqrt(len(x) - 1), "n": len(x)}


def judge(
    chosen: list[float], rejected: list[float], gold_margins: list[float | None], distances: list[int | None]
) -> dict[str, dict]:
    """The accuracies and the calibration of the module's docstring; an equal score is half a hit. What the rows do not
    tell is left out."""
    prefers = [0.5 if c == r else float(c > r) for c, r in zip(chosen, rejected)]
    gold = [(p if margin > 0 else 1 - p, abs(margin)) for p, margin in zip(prefers, gold_margins) if margin]
    out = {"pair_accuracy_labels": accuracy(prefers)}
    if gold:
        out["pair_accuracy"] = accuracy([hit for hit, _ in gold])
    clear = [hit for hit, margin in gold if margin >= CLEAR_MARGIN]
    if clear:
        out["pair_accuracy_clear"] = accuracy(clear)
    for distance in sorted({d for d in distances if d}):
        out[f"pair_accuracy_distance_{distance}"] = accuracy([p for p, d in zip(prefers, distances) if d == distance])
        out[f"score_margin_distance_{distance}"] = accuracy(
            [c - r for c, r, d in zip(chosen, rejected, distances) if d == distance]
        )
    return out | {"calibration_error": calibration_error([c - r for c, r in zip(chosen, rejected)])}


def read_pairs(path: str) -> list[dict]:
    """The rows of a .jsonl file.

    Raises:
        UserError: the file is missing, empty, not JSON lines, or lacks a column of messages.
    """
    columns, cure = ("prompt", "chosen", "rejected"), "python -m data_prep.preferences writes it"
    rows = read_jsonl(path, columns, cure)
    for number, row in enumerate(rows, 1):
        wrong = [column for column in columns if not is_plain(row[column])]
        if wrong:
            raise UserError(f"{path}, line {number}: {wrong[0]} must be a list of messages (role, content): {cure}")
        if not isinstance(row.get("gold_margin"), (int, float, type(None))):
            raise UserError(f"{path}, line {number}: gold_margin must be a number: {cure}")
        if not isinstance(row.get("rank_distance"), (int, type(None))):
            raise UserError(f"{path}, line {number}: rank_distance must be a whole number: {cure}")
    return rows


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PairsArguments,), argv)
    if args.batch_size < 1:
        raise UserError(f"batch_size must be at least 1, but is {args.batch_size}")
    rows = read_pairs(args.pairs)
    output = output_file(args.output, [args.pairs])

    from eval.generation.models import load_reward_model

    model, tokenizer = load_reward_model(args.model)
    chosen = score(model, tokenizer, [r["prompt"] + r["chosen"] for r in rows], args.batch_size)
    rejected = score(model, tokenizer, [r["prompt"] + r["rejected"] for r in rows], args.batch_size)
    margins = [r.get("gold_margin") for r in rows]
    distances = [r.get("rank_distance") for r in rows]
    results = judge(chosen, rejected, margins, distances)
    sides = [
        ((str(r["prompt"]), r[side][-1]["content"]), score)
        for side, scores in (("chosen", chosen), ("rejected", rejected))
        for r, score in zip(rows, scores)
    ]
    correlation = length_correlation(dict(sides))
    if correlation:
        results["length_correlation"] = correlation
    write_json(output, results)
    for name, r in results.items():
        half = half_width(r)
        interval = f" ± {half:.3f}" if half is not None else ""
        print(f"{name}: {r['value']:.3f}{interval} (n = {r['n']})")


if __name__ == "__main__":
    main()
