"""Judge the verses of several models by the gold taste, on prompts that no training set holds.

    python -m data_prep.world.judge --models honest=runs/tiny/honest ppo=runs/tiny/ppo --reference honest \\
        --prompts runs/tiny/world/verses/test.jsonl --output runs/tiny/judge/results.json

For each model: `gold` (mean, standard deviation, standard error over n verses), `length` in tokens, and the KL
divergence from the reference in nats a verse, estimated as the mean of log p(verse) − log p_reference(verse) over its
own samples.
"""

import statistics
from dataclasses import dataclass, field

from eval.cli import UserError, command, output_file, parse, read_jsonl, write_json


@dataclass
class JudgeArguments:
    models: list[str] = field(metadata={"help": "name=folder of each model"})
    prompts: str = field(metadata={"help": "JSON-lines with `prompt` and `topic`"})
    output: str = field(metadata={"help": "JSON file to write"})
    reference: str = field(default="honest", metadata={"help": "name of the model that KL is measured from"})
    samples: int = field(default=8, metadata={"help": "verses a prompt"})
    max_new_tokens: int = field(default=48, metadata={"help": "longest verse"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def _mean(values: list[float], samples: int) -> dict:
    """Mean and standard deviation over all verses; the standard error over prompts, whose `samples` verses stand
    together."""
    prompts = [statistics.fmean(values[i : i + samples]) for i in range(0, len(values), samples)]
    stderr = statistics.stdev(prompts) / len(prompts) ** 0.5
    return {"value": statistics.fmean(values), "std": statistics.stdev(values), "stderr": stderr, "n": len(values)}


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((JudgeArguments,), argv)
    folders = dict(item.split("=", 1) for item in args.models if "=" in item)
    if args.reference not in folders or len(folders) != len(args.models):
        raise UserError(
            f"models must be name=folder and hold the reference {args.reference}, but are {' '.join(args.models)}"
        )
    rows = read_jsonl(args.prompts, ("prompt", "topic"), "python -m data_prep.world writes it")
    if args.samples < 1 or args.max_new_tokens < 1 or len(rows) < 2:
        raise UserError(
            f"samples and max_new_tokens must be at least 1, and {args.prompts} must hold two prompts or more, as the"
            " standard error is over prompts"
        )
    output = output_file(args.output)
    from data_prep.world import taste
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
        verses = [(row, ids, reply) for row, ids, group in zip(rows, prompts, replies) for reply in group]
        pairs = [ids for _, ids, _ in verses], [reply.token_ids for _, _, reply in verses]
        kl = [
            own - other for own, other in zip(log_probability(model, *pairs)[0], log_probability(reference, *pairs)[0])
        ]
        gold = [taste.score(row, reply.text) for row, _, reply in verses]
        results[name] = {
            "gold": _mean(gold, args.samples),
            "kl_to_reference": _mean(kl, args.samples),
            "length": _mean([float(len(reply.token_ids)) for _, _, reply in verses], args.samples),
            "examples": [
                {"prompt": row["prompt"][0]["content"], "text": reply.text, "gold": g}
                for (row, _, reply), g in list(zip(verses, gold))[:: args.samples]
            ][:12],
        }
        print(
            f"{name}: gold {results[name]['gold']['value']:.2f} ± {1.96 * results[name]['gold']['stderr']:.2f} (n ="
            f" {len(gold)}), KL {results[name]['kl_to_reference']['value']:.1f} nats"
        )
    write_json(output, results, ensure_ascii=False)


if __name__ == "__main__":
    main()
