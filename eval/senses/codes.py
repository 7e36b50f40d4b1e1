"""Pieces of pictures and sounds as tokens: the nearest entry of a codebook, and the tokens that stand for entries.

    books = load("runs/tiny/experiments/senses_data")
    ids = to_tokens(tokenizer, "picture", books["picture"].encode(patches(picture)))    # <picture><picture_017>…
    picture_of(books["picture"].decode(codes_in(tokenizer, "picture", ids)))

The tokens are added to a tokenizer as its marks of tools are: control tokens, which no text from outside becomes
(`eval.generation.encoding`). A picture gets in by its codes alone, which are numbers.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.cli import UserError, existing

FILE = "codebooks.npz"
SENSES = ("picture", "sound")
BEGIN = "<|endoftext|>"  # before each document, behind the one before


@dataclass(frozen=True)
class Codebook:
    """`centres`: float32 of shape (codes, numbers of a piece)."""

    centres: np.ndarray

    def encode(self, pieces: np.ndarray) -> list[int]:
        """The nearest entry of each piece."""
        from scipy.cluster.vq import vq

        return vq(pieces, self.centres)[0].tolist()

    def decode(self, codes: list[int]) -> np.ndarray:
        """The pieces that the codes stand for."""
        return self.centres[codes]


def load(folder: str | Path) -> dict[str, Codebook]:
    """The codebooks of a folder, by sense.

    Raises:
        UserError: there are none, or they are none.
    """
    arrays = load_arrays(Path(folder) / FILE, SENSES)
    return {sense: Codebook(arrays[sense]) for sense in SENSES}


def load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of an .npz file that `data_prep.senses` wrote; none of them can hold code.

    Raises:
        UserError: there is no such file, or it lacks one.
    """
    cure = "python -m data_prep.senses writes it"
    existing(path, "file", cure)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({str(error)[:100]}): {cure}") from None


def marks(sense: str, codes: int) -> list[str]:
    """The tokens of a sense: its beginning, its end, and one for each code."""
    return [f"<{sense}>", f"</{sense}>", *(f"<{sense}_{code:03d}>" for code in range(codes))]


def to_tokens(tokenizer, sense: str, codes: list[int]) -> list[int]:
    """The token ids of codes, between those of beginning and end.

    Raises:
        UserError: the tokenizer has no tokens for them.
    """
    texts = [f"<{sense}>", *(f"<{sense}_{code:03d}>" for code in codes), f"</{sense}>"]
    ids = tokenizer.convert_tokens_to_ids(texts)
    missing = [text for text, i in zip(texts, ids) if i in (None, tokenizer.unk_token_id)]
    if missing:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no token {missing[0]}: take one that"
            " python -m data_prep.senses wrote"
        )
    return ids


def codes_in(tokenizer, sense: str, ids: list[int]) -> list[int]:
    """The codes of a sense among token ids; other tokens are left out."""
    found = (re.fullmatch(rf"<{sense}_(\d+)>", token) for token in tokenizer.convert_ids_to_tokens(ids))
    return [int(match[1]) for match in found if match]


def leading(tokenizer, sense: str, ids: list[int], length: int) -> list[int]:
    """The codes between the marks that token ids begin with; [] where there are not `length` codes and no more."""
    whole = ids[: length + 2]
    codes = codes_in(tokenizer, sense, whole)
    return codes if len(codes) == length and whole == to_tokens(tokenizer, sense, codes) else []
