"""Pictures and melodies of the invented world as tokens: what a model learns to see, draw and hear from.

    python -m data_prep.senses --tokenizer runs/tiny/tokenizer --output_dir runs/tiny/experiments/senses_data

Pictures are cut into patches, sounds into slices of a spectrogram. k-means on pieces of the training set makes a
codebook of each (as VQ-VAE's, van den Oord et al. 2017, but fixed before the model is trained), and each of its
entries becomes a token. The folder holds

    tokenizer/       the tokenizer given, with the new tokens behind its own
    tokens/          for recipes.pretrain: documents of a picture and its caption, a caption and its picture, a melody,
                     the same hummed, and its name
    codebooks.npz    see eval.senses.codes
    test.npz         pictures and sounds of held-out combinations, see eval.senses

Of the combinations of count, colour and shape, and of melody, key and instrument, one in four is held out, whole:
those whose places in their lists sum to a multiple of four. Any two of the three stand together in training.

A melody is hummed before it is named. Named at once, each combination's codes are learned by heart, which says nothing
of those that are held out; what is hummed is the same for every instrument.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.senses.melodies import INSTRUMENTS, KEYS, MELODIES, play
from data_prep.senses.pictures import draw
from eval.cli import UserError, command, output_folder, parse, write_json
from eval.senses.codes import BEGIN, FILE, Codebook, marks, to_tokens
from eval.senses.pictures import COLOURS, COUNTS, SHAPES, caption, patches
from eval.senses.sounds import slices

HELD_OUT = 4  # one combination in so many
FITTED = {"picture": 1000, "sound": 500}  # training examples whose pieces the codebooks are fitted to, at most


@dataclass
class SensesArguments:
    tokenizer: str = field(metadata={"help": "folder or Hub id of the tokenizer that gets the new tokens"})
    output_dir: str = field(metadata={"help": "folder to write"})
    pictures: int = field(default=8000, metadata={"help": "training pictures, each in two documents"})
    sounds: int = field(default=3000, metadata={"help": "training sounds"})
    test_each: int = field(default=4, metadata={"help": "test examples of each held-out combination"})
    picture_codes: int = field(default=384, metadata={"help": "tokens for patches"})
    sound_codes: int = field(default=256, metadata={"help": "tokens for slices"})
    validation_fraction: float = field(default=0.02, metadata={"help": "share of documents kept for validation"})
    end_of_text: str = field(default=BEGIN, metadata={"help": "token after each document"})
    seed: int = field(default=0, metadata={"help": "of the pictures, the sounds and the codebooks"})


@dataclass(frozen=True)
class Example:
    """A picture or a waveform, and what it is called; `combination` is a text, too. `hummed`: of a melody."""

    content: np.ndarray
    name: str
    combination: str
    hummed: np.ndarray | None = None


def combinations(*lists, held_out: bool) -> list[tuple]:
    """The combinations of one item from each list that are held out, or the others."""
    chosen = []
    for places in itertools.product(*(range(len(items)) for items in lists)):
        if (sum(places) % HELD_OUT == 0) == held_out:
            chosen.append(tuple(items[place] for items, place in zip(lists, places)))
    return chosen


def picture_examples(rng: np.random.Generator, count: int, held_out: bool) -> list[Example]:
    """`count` pictures, as many of each combination as of any other, or one fewer."""
    things = combinations(COUNTS, tuple(COLOURS), tuple(SHAPES), held_out=held_out)
    made = []
    for number in range(count):
        thing = things[number % len(things)]
        made.append(Example(draw(rng, *thing), caption(*thing), caption(*thing)))
    return made


def sound_examples(rng: np.random.Generator, count: int, held_out: bool) -> list[Example]:
    """`count` sounds, as many of each combination as of any other, or one fewer, slow and fast ones."""
    tunes = combinations(tuple(MELODIES), KEYS, tuple(INSTRUMENTS), held_out=held_out)
    made = []
    for number in range(count):
        melody, key, instrument = tunes[number % len(tunes)]
        waveform, hummed = play(rng, melody, key, instrument)
        made.append(Example(waveform, melody, f"{melody}, {key} semitones up, {instrument}", hummed))
    return made


def fit(pieces: np.ndarray, codes: int, seed: int, option: str) -> Codebook:
    """The codebook of (n, d) pieces.

    Raises:
        UserError: there are fewer pieces than codes, or more codes than tokens have names for.
    """
    from sklearn.cluster import MiniBatchKMeans

    if not 2 <= codes <= min(1000, len(pieces)):
        raise UserError(f"{option} must be between 2 and {min(1000, len(pieces))}, but is {codes}")
    means = MiniBatchKMeans(codes, random_state=seed, n_init=1, max_iter=20).fit(pieces)
    return Codebook(means.cluster_centers_.astype(np.float32))


def extended(tokenizer, wanted: dict[str, int]):
    """The tokenizer with so many codes' tokens of each sense behind its own.

    Raises:
        UserError: it has the tokens already.
    """
    from tokenizers import AddedToken

    for sense, codes in wanted.items():
        new = [AddedToken(mark, normalized=False, special=False) for mark in marks(sense, codes)]
        if tokenizer.add_tokens(new) < len(new):
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} has tokens for a {sense} already: give the one before it"
            )
    return tokenizer


def documents(perceived: list[int], named: list[int], end: int, both: bool) -> list[list[int]]:
    """The documents of one example: what is perceived before its name, and with `both` the other way round, too."""
    made = [[*perceived, *named, end]]
    if both:
        made.append([*named, *perceived, end])
    return made


def write_tokens(folder: Path, examples: list[list[list[int]]], fraction: float, rng: np.random.Generator) -> dict:
    """The documents of each example in an order by lot, as `data_prep.shared.token_dataset` reads them.

    Returns:
        {split: {"tokens", "documents"}}
    """
    rng.shuffle(examples)
    held = max(1, round(fraction * len(examples)))
    folder.mkdir(exist_ok=True)
    counts = {}
    for split, part in (("validation", examples[:held]), ("train", examples[held:])):
        rows = list(itertools.chain.from_iterable(part))
        rng.shuffle(rows)
        tokens = np.concatenate(rows)
        tokens.astype("<u4").tofile(folder / f"{split}.ds")
        counts[split] = {"tokens": len(tokens), "documents": len(rows)}
    write_json(folder / "tokens.json", {"dtype": "<u4", **counts})
    return counts


def write_test(path: Path, rng: np.random.Generator, each: int) -> None:
    """Examples of the held-out combinations, as they are before they are cut."""
    things = combinations(COUNTS, tuple(COLOURS), tuple(SHAPES), held_out=True)
    tunes = combinations(tuple(MELODIES), KEYS, tuple(INSTRUMENTS), held_out=True)
    pictures = picture_examples(rng, each * len(things), held_out=True)
    sounds = sound_examples(rng, each * len(tunes), held_out=True)
    np.savez_compressed(
        path,
        pictures=[row.content for row in pictures],
        captions=[row.name for row in pictures],
        sounds=np.array([row.content for row in sounds], np.float16),
        melodies=[row.name for row in sounds],
        played=[row.combination for row in sounds],
    )


def check(args: SensesArguments) -> None:
    """Raises `UserError` for settings out of range."""
    if min(args.pictures, args.sounds, args.test_each) < 1:
        raise UserError("pictures, sounds and test_each must be at least 1")
    if not 0 < args.validation_fraction < 1:
        raise UserError(f"validation_fraction must lie between 0 and 1, but is {args.validation_fraction}")


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SensesArguments,), argv)
    check(args)
    from tqdm import tqdm

    from eval.generation.encoding import encode_plain
    from eval.generation.models import load_tokenizer

    # ---- Tokenizer ----
    tokenizer = load_tokenizer(args.tokenizer)
    if args.end_of_text not in tokenizer.get_vocab():
        raise UserError(f"end_of_text {args.end_of_text} is not a token of {args.tokenizer}")
    end = tokenizer.convert_tokens_to_ids(args.end_of_text)
    wanted = {"picture": args.picture_codes, "sound": args.sound_codes}
    tokenizer = extended(tokenizer, wanted)
    out = output_folder(args.output_dir)

    # ---- Pictures and sounds, codebooks ----
    rng = np.random.default_rng(args.seed)
    examples = {
        "picture": picture_examples(rng, args.pictures, held_out=False),
        "sound": sound_examples(rng, args.sounds, held_out=False),
    }
    cut = {"picture": patches, "sound": slices}
    books = {}
    for sense, rows in examples.items():
        shown = [part for row in rows[: FITTED[sense]] for part in (row.content, row.hummed) if part is not None]
        pieces = np.concatenate([cut[sense](part) for part in shown])
        books[sense] = fit(pieces, wanted[sense], args.seed, f"{sense}_codes")

    # ---- Documents ----
    made = []
    for sense, rows in examples.items():
        named = {name: encode_plain(tokenizer, name) for name in {row.name for row in rows}}
        for row in tqdm(rows, unit=sense, mininterval=1):
            perceived = to_tokens(tokenizer, sense, books[sense].encode(cut[sense](row.content)))
            if row.hummed is not None:
                perceived += to_tokens(tokenizer, sense, books[sense].encode(cut[sense](row.hummed)))
            made.append(documents(perceived, named[row.name], end, both=sense == "picture"))
    counts = write_tokens(out / "tokens", made, args.validation_fraction, rng)
    tokenizer.save_pretrained(out / "tokenizer")
    np.savez_compressed(out / FILE, picture=books["picture"].centres, sound=books["sound"].centres)
    write_test(out / "test.npz", rng, args.test_each)
    told = ", ".join(f"{split} {c['tokens']:,} tokens in {c['documents']:,} documents" for split, c in counts.items())
    print(f"{out}: {len(tokenizer)} in the vocabulary, {told}")


if __name__ == "__main__":
    main()
