"""Compare tokenizers: the bytes that a token covers in prose, code, numbers and other scripts.

    python -m data_prep.tokenizer compare --sources 'runs/tiny/web/documents/*.jsonl.gz' --vocab_sizes 512 1024 \
        2048 4096 \
        --tokenizers openai-community/gpt2 runs/tiny/tokenizer --output_dir runs/tiny/tokenizers
    python -m data_prep.tokenizer compare --tokenizers Qwen/Qwen3-0.6B --samples prose=a.txt law=b.jsonl \
        --output_dir runs/tokenizers

A tokenizer trades the size of its vocabulary, which is rows of the embedding and of the output layer, for the length
of the sequence, which is steps of the model. One end of the scale are the raw bytes: 256 symbols, one for each byte.
`--sources` trains a tokenizer of each of `--vocab_sizes` (nothing of them is kept); `--tokenizers` adds ready ones.

Trained and measured texts must differ. The built-in samples (`tokenizer_samples.yaml`, a page of each kind) are in no
corpus; of `--samples` every text that is measured is left out of training. A tokenizer whose text does not come back
from its tokens is marked with ≠: what it drops costs it no tokens, so its figure says little.

Writes a table to the screen, `tokenizers.json` and `index.html`.
"""

import glob
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, existing, output_folder


@dataclass
class Arguments:
    output_dir: str = field(metadata={"help": "folder for tokenizers.json and index.html"})
    sources: list[str] | None = field(
        default=None, metadata={"help": "JSON-lines files (globs) with `text` or `messages` to train on"}
    )
    vocab_sizes: list[int] = field(
        default_factory=lambda: [512, 1024, 2048, 4096], metadata={"help": "vocabularies to train on the sources"}
    )
    tokenizers: list[str] = field(default_factory=list, metadata={"help": "ready tokenizers: folders or Hub ids"})
    samples: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "texts to measure, KIND=FILE (plain text, or JSON lines if named .jsonl or .jsonl.gz); default:"
                " built-in"
            )
        },
    )


def read_samples(given: list[str] | None) -> dict[str, list[str]]:
    """Kind -> texts.

    Raises:
        UserError: not KIND=FILE, a kind twice, or a file that is missing, no UTF-8 text or empty.
    """
    from data_prep.tokenizer import texts

    if given is None:
        import yaml

        built_in = yaml.safe_load((Path(__file__).parent / "tokenizer_samples.yaml").read_text(encoding="utf-8"))
        return {kind: [text] for kind, text in built_in.items()}
    samples = {}
    for item in given:
        kind, equals, path = item.partition("=")
        if not (kind and equals and path) or kind in samples:
            again = " again" if kind in samples else ""
            raise UserError(
                f"--samples takes KIND=FILE with a kind for each file, such as prose=book.txt, but not {item}{again}"
            )
        existing(path, "the sample", "give a text file or JSON lines")
        try:
            read = (
                texts([glob.escape(path)])
                if path.endswith((".jsonl", ".jsonl.gz"))
                else [Path(path).read_bytes().decode()]
            )
            samples[kind] = [text for text in read if text]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the sample {path} cannot be read as text in UTF-8: {error}") from None
        if not samples[kind]:
            raise UserError(f"there is no text in the sample {path}")
    return samples


def measure(tokenizer, samples: dict[str, list[str]]) -> dict:
    """The size of the vocabulary, the tokens of each kind of text, and the kinds that do not come back from their
    tokens."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False, verbose=False)

    ids = {kind: list(map(encode, texts)) for kind, texts in samples.items()}

    def lost(kind):
        return any(
            tokenizer.decode(row, clean_up_tokenization_spaces=False) != text
            for row, text in zip(ids[kind], samples[kind])
        )

    return {
        "vocabulary": len(tokenizer),
        "tokens": {kind: sum(map(len, rows)) for kind, rows in ids.items()},
        "lossy": list(filter(lost, samples)),
    }


def trained(sources: list[str], sizes: list[int], samples: dict[str, list[str]]):
    """Yields a tokenizer of each size; sizes that the texts cannot fill come once."""
    from data_prep.tokenizer import texts, train

    measured = {text for texts_ in samples.values() for text in texts_}

    def corpus():
        return (text for text in texts(sources) if text not in measured)

    if not any(corpus()):
        raise UserError(f"{' '.join(sources)}: there is no text in these files beside what is measured")
    reached = 0
    for size in sorted(set(sizes)):
        tokenizer = train(corpus(), size)
        if len(tokenizer) > reached:
            yield tokenizer
        reached = max(reached, len(tokenizer))
        if reached < size:
            print(f"the sources hold no more than {reached} tokens")
            return


def figures(results: list[dict], groups: dict[str, list[str]], size: dict[str, int]) -> list:
    """Sequence length against vocabulary for each group of kinds, as trained here; the length of all samples together
    for every tokenizer."""
    from eval.report.figures import bars, lines

    def per_byte(result, kinds):
        return sum(result["tokens"][kind] for kind in kinds) / sum(size[kind] for kind in kinds)

    here = [r for r in results if r["trained"]]
    trade = {}
    if here:
        for name, kinds in groups.items():
            trade[name] = [(8.0, 1.0)] + [(math.log2(r["vocabulary"]), per_byte(r, kinds)) for r in here]
    rows = [("raw bytes", 100.0, "100")] + [
        (r["name"][-26:], 100 * per_byte(r, size), f"{100 * per_byte(r, size):.1f}") for r in results
    ]
    return [
        lines(
            "Tokens per byte",
            trade,
            "vocabulary size, as a power of 2",
            "From the 2⁸ raw bytes on, trained on the same texts",
            whole=True,
        ),
        bars("Tokens for 100 bytes", rows, f"All samples together, {sum(size.values()):,} bytes"),
    ]


def run(args: Arguments) -> None:
    from data_prep.tokenizer_pages.show import page
    from eval.generation.models import load_tokenizer

    if not (args.sources or args.tokenizers):
        raise UserError("nothing to compare: give --sources to train on, or --tokenizers")
    samples = read_samples(args.samples)
    loaded = {name: load_tokenizer(name) for name in args.tokenizers}
    out = output_folder(args.output_dir)
    own = trained(args.sources, args.vocab_sizes, samples) if args.sources else []
    results = [{"name": f"{len(t):,} tokens", "trained": True, **measure(t, samples)} for t in own]
    results += [{"name": name, "trained": False, **measure(t, samples)} for name, t in loaded.items()]
    size = {kind: sum(map(len, map(str.encode, texts))) for kind, texts in samples.items()}
    kinds = list(samples)  # a figure has four colours
    groups = {kind: [kind] for kind in kinds[: 3 if len(kinds) > 4 else 4]}
    if len(kinds) > 4:
        groups["the rest" if args.samples else "other scripts"] = kinds[3:]
    for r in results:
        r["bytes_per_token"] = {kind: size[kind] / max(1, n) for kind, n in r["tokens"].items()}
    measured = {kind: {"texts": len(samples[kind]), "bytes": n} for kind, n in size.items()}
    record = {"samples": measured, "sources": args.sources, "tokenizers": results}
    (out / "tokenizers.json").write_text(json.dumps(record, indent=1) + "\n")
    html = page("tokenizer_compare.html", record=record, figures=figures(results, groups, size))
    (out / "index.html").write_text(html, encoding="utf-8")

    width = max(len(r["name"]) for r in results + [{"name": "bytes per token"}])
    print(f"{'bytes per token':{width}} vocabulary", *(f"{kind:>{max(7, len(kind))}}" for kind in size))
    for r in [
        {"name": "raw bytes", "vocabulary": 256, "lossy": [], "bytes_per_token": dict.fromkeys(size, 1.0)},
        *results,
    ]:
        cells = (
            f"{'≠' if kind in r['lossy'] else ''}{value:.2f}".rjust(max(7, len(kind)))
            for kind, value in r["bytes_per_token"].items()
        )
        print(f"{r['name']:{width}} {r['vocabulary']:10,}", *cells)
    print(f"{out / 'index.html'}")
