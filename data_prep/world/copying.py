"""Words to be copied into Python, in which each token of letters that a tokenizer has stands as often.

    python -m data_prep.world.copying --tokenizer runs/tiny/tokenizer --output_dir runs/tiny/copying

A small model copies what it has seen copied: where no word of the practice had the token "keeper", "bookkeeper" became
"bookinging". Writes `tool_use.jsonl`, rows like those of the world's (`question`, `tool`, `query`, `reply`, `answer`,
`verifier`): letters are counted, or every third is read. No word is one of the benchmarks' split.
"""

import random
import re
from dataclasses import dataclass, field

from data_prep.problem_sets.generators import GENERATORS
from data_prep.problem_sets.splits import draw_of_split
from data_prep.problem_sets.words import LECTURE_WORDS
from data_prep.world.practice import python_row
from eval.cli import UserError, command, output_folder, parse, write_jsonl
from eval.generation.models import load_tokenizer

LONGEST = 12  # letters of a word


@dataclass
class CopyingArguments:
    tokenizer: str = field(metadata={"help": "folder or Hub id"})
    output_dir: str = field(metadata={"help": "folder for tool_use.jsonl"})
    times: int = field(default=6, metadata={"help": "words that are made around each token"})
    seed: int = field(default=0, metadata={"help": "of the words and the questions"})


def pieces_of(tokenizer) -> list[str]:
    """The tokens of a tokenizer that are small letters alone and leave room for another in a word."""
    texts = {tokenizer.decode([token]) for token in tokenizer.get_vocab().values()}
    letters = [text for text in texts if re.fullmatch("[a-z]+", text)]
    room = LONGEST - min(map(len, letters), default=0)
    return sorted(text for text in letters if len(text) <= room)


def word_around(rng: random.Random, piece: str, pieces: list[str]) -> str:
    """A word for training of at most 12 letters: the piece among one or two others."""

    def draw(r: random.Random) -> str:
        while True:
            parts = [piece, *r.sample(pieces, r.randint(1, 2))]
            r.shuffle(parts)
            word = "".join(parts)
            if len(word) <= LONGEST and word not in LECTURE_WORDS:
                return word

    return draw_of_split(rng, "train", draw, lambda word: f"word {word}")


def rows_of(pieces: list[str], times: int, seed: int) -> list[dict]:
    rng = random.Random(f"copying-{seed}")
    rows = []
    for piece in pieces * times:
        kind = rng.choice(("letters", "every_third"))
        problem = GENERATORS[kind](rng, "train", word_around(rng, piece, pieces))
        rows.append(python_row(rng, kind, problem))
    rng.shuffle(rows)
    return rows


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((CopyingArguments,), argv)
    if args.times < 1:
        raise UserError(f"times must be at least 1, but is {args.times}")
    pieces = pieces_of(load_tokenizer(args.tokenizer))
    if len(pieces) < 3:
        raise UserError(f"the tokenizer {args.tokenizer} has {len(pieces)} tokens of small letters: 3 are needed")
    rows = rows_of(pieces, args.times, args.seed)
    path = output_folder(args.output_dir) / "tool_use.jsonl"
    write_jsonl(path, rows)
    print(f"{path}: {len(rows):,} rows of words around {len(pieces):,} tokens")


if __name__ == "__main__":
    main()
