"""The text of a reply that verifiers read: what the user sees, in one spelling."""

import re
import unicodedata

from eval.checking.thinking import visible

MAX_CHARACTERS = 10_000  # of the reply without its thinking; a worked solution of MATH takes less than half


# Not those that join letters.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def reply(completion: str) -> str:
    """What the user sees of a completion: the text without its thinking (`eval.checking.thinking`), in NFC, without
    invisible characters, spaces collapsed; "" when too long.
    """
    text = visible(completion).strip().replace("\u2019", "'")
    if len(text) > MAX_CHARACTERS:
        return ""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return "\n".join(
        " ".join(line.split()) for line in text.splitlines() if line.strip()
    )  # also keeps the patterns fast
