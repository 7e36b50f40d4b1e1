"""What a model says unasked: samples that begin with nothing, by temperature, and how much they differ.

    python -m eval.probes.dreams --models base=runs/tiny/base --begin "<|endoftext|>" --output dreams.json

A base model is a simulator of its documents; begun with the token that documents begin with, it dreams one. For each
temperature: the share of different texts, distinct-3 (different word trigrams among all, after Li et al. 2016; of
texts cut to one length, as longer ones repeat more), seq-rep-2 within a text (Welleck et al. 2020), how many end by
themselves, and the nats a token that the model itself needs for them at temperature 1.
"""

import math
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, write_json
from eval.estimates import accuracy
from eval.generation.divergence import log_probability, repeated

SHOWN, COLDEST = 5, 1e-3


@dataclass
class DreamsArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each base model"})
    output: str = field(metadata={"help": ".json file to write"})
    temperatures: list[float] = field(
        default_factory=lambda: [0.25, 0.5, 0.75, 1.0, 1.25, 1.5],
        metadata={"help": f"of sampling, at least {COLDEST}"},
    )
    begin: str | None = field(
        default=None,
        metadata={"help": "token that documents begin with, such as <|endoftext|> (default: the tokenizer's)"},
    )
    samples: int = field(default=100, metadata={"help": "texts for each temperature"})
    max_new_tokens: int = field(default=96, metadata={"help": "of a text"})
    batch_size: int = field(default=128, metadata={"help": "texts at a time"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def beginning(tokenizer, name: str, given: str | None) -> list[int]:
    """The token that documents begin with: the one given, else the tokenizer's first, else its end token, which in
    most corpora stands between documents.

    Raises:
        UserError: it has none of these.
    """
    token = (tokenizer.bos_token or tokenizer.eos_token) if given is None else given
    if token not in tokenizer.get_vocab():
        raise UserError(
            f"the tokenizer of {name} has no token {token or 'that begins or ends a document'}: give one that stands"
            " between documents with --begin"
        )
    return [tokenizer.convert_tokens_to_ids(token)]


def distinct(texts: list[str], length: int, n: int = 3) -> float | None:
    """The share of different n-grams among all in the first `length` words of the texts; None where they have none."""
    grams = []
    for text in texts:
        words = text.lower().split()[:length]
        grams += zip(*(words[i:] for i in range(n)))
    return len(set(grams)) / len(grams) if grams else None


def measure(model, start: list[int], generations: list, length: int, batch_size: int) -> dict:
    """The figures of the texts that `eval.generation.generate` sampled at one temperature; `length`: words of a text
    that are compared."""
    texts = [g.text for g in generations]
    logps, _ = log_probability(
        model, [start] * len(generations), [g.token_ids for g in generations], batch_size=batch_size
    )
    return {
        "different": accuracy([1 / texts.count(text) for text in texts]),
        "distinct_3": {"value": distinct(texts, length), "n": len(texts)},
        "repeated": accuracy([repeated(text) for text in texts]),
        "ended": accuracy([float(g.finished) for g in generations]),
        "nats_per_token": accuracy([-logp / len(g.token_ids) for logp, g in zip(logps, generations)]),
        "examples": texts[:SHOWN],
    }


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((DreamsArguments,), argv)
    models = named_folders(args.models)
    if (
        not args.temperatures
        or not all(COLDEST <= t < math.inf for t in args.temperatures)
        or args.samples < 4
        or min(args.max_new_tokens, args.batch_size) < 1
    ):
        raise UserError(
            f"temperatures must be at least {COLDEST}, samples at least 4, max_new_tokens and batch_size at least 1"
        )
    output_file(args.output, list(models.values()))
    from tqdm import tqdm

    from eval.generation.generate import generate
    from eval.generation.models import load_models

    loaded, results = load_models(models), {}
    starts = {name: beginning(tokenizer, models[name], args.begin) for name, (_, tokenizer) in loaded.items()}
    with tqdm(total=len(models) * len(args.temperatures) * args.samples, unit="text", mininterval=1) as bar:
        for name, (model, tokenizer) in loaded.items():
            options = {
                "max_new_tokens": args.max_new_tokens,
                "batch_size": args.batch_size,
                "seed": args.seed,
                "progress": bar.update,
            }
            generations = {}
            for t in sorted(set(args.temperatures)):
                groups = generate(model, tokenizer, [starts[name]] * args.samples, temperature=t, **options)
                generations[t] = [g for (g,) in groups]
            lengths = sorted(len(g.text.split()) for done in generations.values() for g in done)
            length = max(3, lengths[len(lengths) // 4])
            results[name] = {
                t: measure(model, starts[name], done, length, args.batch_size) for t, done in generations.items()
            }
            for t, figures in results[name].items():
                alike = "–" if figures["distinct_3"]["value"] is None else f"{figures['distinct_3']['value']:.3f}"
                bar.write(
                    f"{name}, temperature {t}: distinct-3 {alike}, ended {figures['ended']['value']:.2f} (n ="
                    f" {args.samples}): {' '.join(figures['examples'][0].split())[:80]}"
                )
    write_json(
        args.output,
        {"samples": args.samples, "max_new_tokens": args.max_new_tokens, "seed": args.seed, "models": results},
        ensure_ascii=False,
    )


if __name__ == "__main__":
    main()
