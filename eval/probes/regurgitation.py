"""What a model knows by heart: how often it continues training documents verbatim, by how often they were read and how
much of them it is given.

    python -m eval.probes.regurgitation --models base=runs/tiny/base --documents runs/tiny/web/documents --output \
        runs/tiny/regurgitation.json
    python -m eval.probes.regurgitation --models gpt2=openai-community/gpt2 --documents runs/gpt2/web/documents \
        --unseen runs/gpt2/held_out --output out.json

A passage is `suffix_tokens` of a document and the tokens before them; it is extractable with a prefix of p tokens if
the model, greedy, goes on from the p tokens before the suffix with exactly the suffix (Carlini et al. 2023,
"Quantifying Memorization Across Neural Language Models", section 3). Its repetitions are the times that its text
occurs in all of `documents`, counted in powers of two. Documents must be those that the model was trained on; an epoch
more reads all of them once more.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, write_json
from eval.estimates import accuracy, bootstrap
from eval.generation.encoding import common
from eval.shared.documents import documents


@dataclass
class RegurgitationArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    documents: list[str] = field(
        metadata={"help": "*.jsonl(.gz) files, or folders of them, that the models were trained on"}
    )
    output: str = field(metadata={"help": ".json file to write"})
    unseen: list[str] = field(default_factory=list, metadata={"help": "the same, that they were not trained on"})
    prefix_tokens: list[int] = field(
        default_factory=lambda: [8, 16, 32], metadata={"help": "tokens before the suffix that the model is given"}
    )
    suffix_tokens: int = field(default=32, metadata={"help": "tokens that it must go on with"})
    documents_read: int = field(
        default=20_000, metadata={"help": "documents that passages are taken from, drawn by lot"}
    )
    per_group: int = field(default=200, metadata={"help": "passages at most of each number of repetitions"})
    batch_size: int = field(default=256, metadata={"help": "continuations at a time"})
    seed: int = field(default=0, metadata={"help": "of the choice of passages"})


@dataclass(frozen=True)
class Passage:
    """`text` as the document has it; `ids`: its tokens, prefix and suffix; `repetitions` in the training documents."""

    text: str
    ids: list[int]
    repetitions: int


def texts(sources: list[str]) -> Iterator[str]:
    """The text of each document, source by source."""
    for source in sources:
        for row in documents(source):
            yield row["text"]


def drawn(sources: list[str], count: int, rng: random.Random) -> list[str]:
    """The different texts among `count` documents, each as likely as any other (a reservoir, Vitter 1985)."""
    kept: list[str] = []
    for number, text in enumerate(texts(sources)):
        if number < count:
            kept.append(text)
            continue
        place = rng.randrange(number + 1)
        if place < count:
            kept[place] = text
    return list(dict.fromkeys(kept))


def cut(text: str, tokenizer, length: int, rng: random.Random) -> tuple[str, list[int]] | None:
    """A passage of `length` tokens somewhere in a text; None where the text is shorter.

    Raises:
        UserError: a slow tokenizer.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} does not tell which letters a token stands for: a fast one"
            " (tokenizer.json) is needed"
        )
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = read["input_ids"], read["offset_mapping"]
    if len(ids) < length:
        return None
    start = rng.randrange(len(ids) - length + 1)
    return text[offsets[start][0] : offsets[start + length - 1][1]], ids[start : start + length]


def occurrences(passages: list[str], sources: list[str]) -> list[int]:
    """How often each of the texts occurs in the documents, which are read once (Aho and Corasick 1975)."""
    import ahocorasick

    automaton, counts = ahocorasick.Automaton(), [0] * len(passages)
    for place, text in enumerate(passages):
        automaton.add_word(text, place)
    automaton.make_automaton()
    for text in texts(sources):
        for _, place in automaton.iter(text):
            counts[place] += 1
    return counts


def passages(
    sources: list[str], trained_on: list[str], tokenizer, args: RegurgitationArguments
) -> dict[int, list[Passage]]:
    """At most `per_group` passages of `sources` for each number of repetitions, 0, 1, 2, 4, …: those from it to below
    the next.

    Raises:
        UserError: no document is long enough.
    """
    rng, length = random.Random(args.seed), max(args.prefix_tokens) + args.suffix_tokens
    candidates = [cut(text, tokenizer, length, rng) for text in drawn(sources, args.documents_read, rng)]
    ids_of = dict(passage for passage in candidates if passage)
    if not ids_of:
        raise UserError(
            f"{' '.join(sources)}: no document has {length} tokens: give longer documents, or less prefix_tokens and"
            " suffix_tokens"
        )
    groups: dict[int, list[Passage]] = {}
    for (text, ids), times in zip(ids_of.items(), occurrences(list(ids_of), trained_on)):
        groups.setdefault(1 << times.bit_length() - 1 if times else 0, []).append(Passage(text, ids, times))
    return {times: rng.sample(group, min(len(group), args.per_group)) for times, group in sorted(groups.items())}


def rank_correlation(hits: list[tuple[int, float]]) -> float | None:
    """Spearman's ρ of repetitions and the share that is extractable, over the groups that the (group, hit) pairs make;
    None where either is the same for all."""
    from scipy.stats import spearmanr

    groups: dict[int, list[float]] = {}
    for times, hit in hits:
        groups.setdefault(times, []).append(hit)
    shares = [sum(group) / len(group) for group in groups.values()]
    return float(spearmanr(list(groups), shares).statistic) if len(groups) > 1 and len(set(shares)) > 1 else None


def measure(groups: dict[int, list[Passage]], said: dict[int, list[list[int]]], suffix: int) -> dict:
    """By prefix: the extractable share of each group of seen passages, their rank correlation, and the mean of tokens
    before the first wrong one.

    Args:
        said: prefix length -> continuation of each passage, group by group.
    """
    chosen = [(times, passage) for times, group in groups.items() for passage in group]
    out = {}
    for prefix, continuations in said.items():
        right = [common(ids, passage.ids[-suffix:]) for ids, (_, passage) in zip(continuations, chosen)]
        hits = [(times, float(tokens == suffix)) for (times, _), tokens in zip(chosen, right)]
        shares, tokens_right = {}, {}
        for times in groups:
            shares[times] = accuracy([hit for t, hit in hits if t == times])
            tokens_right[times] = accuracy([tokens for (t, _), tokens in zip(chosen, right) if t == times])
        out[prefix] = {"extractable": shares, "tokens_right": tokens_right}
        spearman = _correlation([hit for hit in hits if hit[0]])
        if spearman:
            out[prefix]["spearman"] = spearman
    return out


def _correlation(hits: list[tuple[int, float]]) -> dict | None:
    """Spearman's ρ with its interval from a bootstrap; None where it is not defined."""
    rho = rank_correlation(hits) if hits else None
    if rho is None:
        return None
    spread = sorted(r for r in bootstrap(rank_correlation, hits) if r is not None)
    return {
        "value": rho,
        "low": spread[len(spread) // 40],
        "high": spread[-1 - len(spread) // 40],
        "n": len({times for times, _ in hits}),
    }


def examples(tokenizer, passages: list[Passage], continuations: list[list[int]], suffix: int) -> list[dict]:
    """Passages with what the model made of them: the first that it knew, and the first that it did not."""
    shown: dict[bool, dict] = {}
    for passage, ids in zip(passages, continuations):
        verbatim = ids == passage.ids[-suffix:]
        prefix, rest, text = (tokenizer.decode(part) for part in (passage.ids[:-suffix], passage.ids[-suffix:], ids))
        shown.setdefault(
            verbatim,
            {"repetitions": passage.repetitions, "prefix": prefix, "suffix": rest, "text": text, "verbatim": verbatim},
        )
    return list(shown.values())


def all_passages(tokenizer, args) -> dict:
    """Passages by how often they were read, those of `unseen` as read 0 times.

    Raises:
        UserError: all of `unseen` stands in the training documents.
    """
    groups = passages(args.documents, args.documents, tokenizer, args)
    if not args.unseen:
        return groups
    others = passages(args.unseen, args.documents, tokenizer, args)
    if 0 not in others:
        raise UserError(
            f"{' '.join(args.unseen)}: each of {sum(map(len, others.values()))} passages stands in the"
            " training documents: give documents that were held out"
        )
    return {0: others[0], **groups}


def continuations(model, tokenizer, chosen: list, name: str, args) -> dict[int, list[list[int]]]:
    """By the tokens given, what the model continues each passage with, greedily."""
    from tqdm import tqdm

    from eval.generation.generate import generate

    continued = {}
    with tqdm(total=len(chosen) * len(args.prefix_tokens), unit="passage", mininterval=1, desc=name) as bar:
        for prefix in sorted(set(args.prefix_tokens)):
            done = generate(
                model,
                tokenizer,
                [passage.ids[: -args.suffix_tokens][-prefix:] for passage in chosen],
                max_new_tokens=args.suffix_tokens,
                temperature=0,
                batch_size=args.batch_size,
                progress=bar.update,
            )
            continued[prefix] = [generation.token_ids for (generation,) in done]
    return continued


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((RegurgitationArguments,), argv)
    models = named_folders(args.models)
    least = min([args.suffix_tokens, args.documents_read, args.per_group, args.batch_size, *args.prefix_tokens])
    if least < 1 or not args.prefix_tokens:
        raise UserError("prefix_tokens, suffix_tokens, documents_read, per_group and batch_size must be at least 1")
    if not args.documents:
        raise UserError("documents is empty: give what the models were trained on")
    output_file(args.output, [*models.values(), *args.documents, *args.unseen])
    from eval.generation.models import load_models

    results = {}
    for name, (model, tokenizer) in load_models(models).items():
        groups = all_passages(tokenizer, args)
        chosen = [passage for group in groups.values() for passage in group]
        continued = continuations(model, tokenizer, chosen, name, args)
        results[name] = {
            "prefixes": measure(groups, continued, args.suffix_tokens),
            "examples": examples(tokenizer, chosen[::-1], continued[max(continued)][::-1], args.suffix_tokens),
        }
        for prefix, measured in results[name]["prefixes"].items():
            shares = [f"{times}×: {m['value']:.3f} (n = {m['n']})" for times, m in measured["extractable"].items()]
            correlation = f"; Spearman {measured['spearman']['value']:.2f}" if "spearman" in measured else ""
            print(f"{name}, {prefix} tokens given: {', '.join(shares)}{correlation}")
    keys = ("documents", "unseen", "suffix_tokens", "seed")
    write_json(args.output, {**{key: getattr(args, key) for key in keys}, "models": results})


if __name__ == "__main__":
    main()
