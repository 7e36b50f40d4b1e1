"""Pictures that a model draws while it continues a caption, for the chat page.

python -m recipes.chat --web --model runs/tiny/experiments/senses    # then: two red circles
"""

import json
from pathlib import Path

from eval.senses.codes import FILE, Codebook, leading, load
from eval.senses.pictures import PATCHES, picture_of, pixels


def book_of(folder: str) -> Codebook | None:
    """The codebook of the pictures that a model was taught, which lies beside the tokenizer that its `stage.json`
    names; None for a model that was taught none.

    Raises:
        UserError: the codebook cannot be read.
    """
    try:
        config = json.loads((Path(folder) / "stage.json").read_text(encoding="utf-8"))["config"]
        beside = Path(config["tokenizer"]).parent
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return load(beside)["picture"] if (beside / FILE).is_file() else None


def drawn(tokenizer, book: Codebook, ids: list[int]) -> list[str]:
    """The whole pictures among the tokens of a reply, as SVG."""
    shown = []
    for place in range(len(ids)):
        codes = leading(tokenizer, "picture", ids[place:], PATCHES)
        if codes:
            shown.append(str(pixels(picture_of(book.decode(codes)).tolist(), "picture")))
    return shown
