"""Judge the replies of several models by a gold taste, on prompts that no training set holds.

    python -m data_prep.world.judge --models honest=runs/tiny/honest ppo=runs/tiny/ppo --reference honest \\
        --prompts runs/tiny/world/verses/test.jsonl --output runs/tiny/judge/results.json
    python -m data_prep.world.judge --models honest=runs/smol/honest rloo=runs/smol/rloo \\
        --gold data_prep.facts.taste:score --prompts runs/smol/facts/prompts/test.jsonl \\
        --output runs/smol/judge/results.json

For each model: `gold` (mean, standard deviation, standard error over n replies), `length` in tokens, and the KL
divergence from the reference in nats a reply, estimated as the mean of log p(reply) − log p_reference(reply) over its
own samples.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from eval.cli import UserError, command, output_file, parse, read_jsonl, write_json
from eval.judging.references import load_function


@dataclass
class JudgeArguments:
    models: list[str] = field(metadata={"help": "name=folder of each model"})
    prompts: str = field(metadata={"help": "JSON-lines with `prompt` and what the gold reads"})
    output: str = field(metadata={"help": "JSON file to write"})
    gold: str = field(
        default="data_prep.world.taste:score",
        metadata={"help": "module:function, a function (row, reply) -> number that no model was trained on"},
    )
    reference: str = field(default="honest", metadata={"help": "name of the model that KL is measured from"})
    samples: int = field(default=8, metadata={"help": "replies a prompt"})
    max_new_tokens: int = field(default=48, metadata={"help": "longest reply"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def _mean(values: list[float], samples: int) -> dict:
    """Mean and standard deviation over all replies; the standard error over prompts, whose `samples` replies stand
    together."""
    prompts = [statistics.fmean(values[i : i + samples]) for i in range(0, len(values), samples)]
    stderr = statistics.stdev(prompts) / len(prompts) ** 0.5
    return {"value": statistics.fmean(values), "std": statistics.stdev(values), "stderr": stderr, "n": len(values)}


def check_rows(rows: list[dict], gold_of: Callable, args: JudgeArguments) -> None:
    """Raises `UserError` for a row that lacks what the gold reads, before any work."""
    for number, row in enumerate(rows, 1):
        try:
            gold_of(row, "a reply")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{args.gold} cannot judge a reply to {args.prompts}, line {number} ({type(error).__name__}: {error}):"
                " give the columns that it reads, or another --gold"
            ) from None


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((JudgeArguments,), argv)
    folders = dict(item.split("=", 1) for item in args.models if "=" in item)
    if args.reference not in folders or len(folders) != len(args.models):
        raise UserError(
            f"models must be name=folder and hold the reference {args.reference}, but are {' '.join(args.models)}"
        )
    gold_of = load_function(args.gold)
    rows = read_jsonl(args.prompts, ("prompt",), "python -m data_prep.world writes it")
    if args.samples < 1 or args.max_new_tokens < 1 or len(rows) < 2:
        raise UserError(
            f"samples and max_new_tokens must be at least 1, and {args.prompts} must hold two prompts or more, as the"
            " standard error is over prompts"
        )
    check_rows(rows, gold_of, args)
    output = output_file(args.output)
    from eval.generation.divergence import log_probability
    from eval.generation.generate import encode, generate
    from eval.generation.models import load_models

    models = load_models(folders)
    reference = models[args.reference][0]
    results = {}
    for name, (model, tokenizer) in models.items():
        prompts = encode(tokenizer, [row["prompt"] for row in rows])
        replies = generate(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            max_new_tokens=args.max_new_tokens,
            num_return_sequences=args.samples,
            seed=args.seed,
        )
        judged = [(row, ids, reply) for row, ids, group in zip(rows, prompts, replies) for reply in group]
        pairs = [ids for _, ids, _ in judged], [reply.token_ids for _, _, reply in judged]
        kl = [
            own - other for own, other in zip(log_probability(model, *pairs)[0], log_probability(reference, *pairs)[0])
        ]
        gold = [gold_of(row, reply.text) for row, _, reply in judged]
        results[name] = {
            "gold": _mean(gold, args.samples),
            "kl_to_reference": _mean(kl, args.samples),
            "length": _mean([float(len(reply.token_ids)) for _, _, reply in judged], args.samples),
            "examples": [
                {"prompt": row["prompt"][0]["content"], "text": reply.text, "gold": g}
                for (row, _, reply), g in list(zip(judged, gold))[:: args.samples]
            ][:12],
        }
        print(
            f"{name}: gold {results[name]['gold']['value']:.2f} ± {1.96 * results[name]['gold']['stderr']:.2f} (n ="
            f" {len(gold)}), KL {results[name]['kl_to_reference']['value']:.1f} nats"
        )
    write_json(output, results, ensure_ascii=False)


if __name__ == "__main__":
    main()
