"""Which of some texts' n-grams occur in another text."""

import re
from collections import Counter, defaultdict

WORD = re.compile(r"\w+(?:[.,]\d+)*")  # 9.11 and 1,000 are one word each


def words(text: str) -> list[str]:
    return [word.lower().replace(",", "") for word in WORD.findall(text)]


class Index:
    """The n-grams of the pieces (questions and long answers) of the evaluation sets, and which piece holds which."""

    def __init__(self, n: int, short_n: int):
        self.n, self.short_n = n, short_n
        self.grams: dict[str, int] = {}
        self.pieces: list[list[int]] = []  # the n-grams of each
        self.holders: list[list[int]] = []  # the pieces of each n-gram
        self.starts: dict[tuple[str, str], set[int]] = defaultdict(
            set
        )  # two words -> lengths of the n-grams that begin so

    def add(self, text: list[str]) -> int | None:
        """The number of the new piece; None for fewer than two words, which are nothing to look for."""
        n = next((n for n in (self.n, self.short_n) if len(text) >= n), len(text))
        if n < 2:
            return None
        piece = []
        for i in range(len(text) - n + 1):
            gram = self.grams.setdefault(" ".join(text[i : i + n]), len(self.grams))
            if gram == len(self.holders):
                self.holders.append([])
                self.starts[text[i], text[i + 1]].add(n)
            self.holders[gram].append(len(self.pieces))
            piece.append(gram)
        self.pieces.append(piece)
        return len(self.pieces) - 1

    def find(self, text: list[str]) -> dict[int, int]:
        """n-gram -> where in `text` it begins."""
        found = {}
        for i, two in enumerate(zip(text, text[1:])):
            for n in self.starts.get(two, ()):
                gram = self.grams.get(" ".join(text[i : i + n]))
                if gram is not None:
                    found.setdefault(gram, i)
        return found

    def shares(self, found: dict[int, int]) -> dict[int, float]:
        """Piece -> the share of its n-grams that are among `found`."""
        counts = Counter(piece for gram in found for piece in self.holders[gram])
        return {piece: count / len(self.pieces[piece]) for piece, count in counts.items()}
