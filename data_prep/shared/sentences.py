"""Where the sentences of an English text end.

    sentences("Mr. Smith lives in St. Lucia. He paints.")     # ["Mr. Smith lives in St. Lucia.", "He paints."]

A rule for clean prose, without a model: the full stop of an abbreviation, an initial or a list's number ends no
sentence, nor does one that goes on in lower case.
"""

import re

_END = re.compile(r"\.[\"'”’)\]]*(?=\s+[^\sa-z]|\s*$)|[!?][\"'”’)\]]*(?=\s|$)")
_SHORT = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Mt|No|vs|c|ca|e\.g|i\.e)|\b[A-Z](?:\.[A-Z])*|^\s*[0-9]{1,3})\.$"
)


def sentence_ends(text: str) -> list[int]:
    """The places behind the last characters of the sentences that end in a text."""
    ends = []
    for end in _END.finditer(text):
        line_start = text.rfind("\n", 0, end.start()) + 1
        before = text[line_start : end.start() + 1]
        if end.end() == len(text) or not _SHORT.search(before):
            ends.append(end.end())
    return ends


def first_sentence(text: str) -> str | None:
    """The text up to the end of its first sentence, at most its first line; None where no sentence ends in it."""
    text = text.strip()
    line = text.partition("\n")[0]
    ends = sentence_ends(line)
    if ends:
        return line[: ends[0]]
    return line if "\n" in text and line else None


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with single spaces; what stands behind the last end is one, too."""
    places = [0, *sentence_ends(text), len(text)]
    cut = [" ".join(text[start:end].split()) for start, end in zip(places, places[1:])]
    return [sentence for sentence in cut if sentence]


def sentence_around(text: str, start: int, end: int) -> str:
    """The sentence of a text in which the characters from `start` to `end` stand, its spaces single."""
    ends = sentence_ends(text)
    begins = max((place for place in ends if place <= start), default=0)
    stops = min((place for place in ends if place >= end), default=len(text))
    return " ".join(text[begins:stops].split())
