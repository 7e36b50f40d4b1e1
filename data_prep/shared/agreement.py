"""Which replies to a question give the same answer: what `data_prep.refusals` counts agreement by.

    same_answer({"question": "What is the capital of Peru?", "answer": ["Lima"]},
                ["The capital of Peru is Lima.", "Lima!", "It is Cusco."])      # [[0, 1], [2]]

Replies of a real model are never equal twice, their answers are. Two replies agree where they say the same by the
first of these that says anything of both:

    refusal    both decline
    choices    the same of the row's `choices`, where it has any
    alias      both assert the reference, by whichever of its aliases
    names      asserted names and numbers that the question does not hold: each reply's first is among the other's
    words      else their words beyond those of the question: F1 of `SAME_WORDS` or more

Replies that agree make a group (each joins the first group with whose first member it agrees), as the samples of
semantic entropy do (Farquhar et al. 2024, Nature 630, section "Clustering by semantic equivalence"); there a model of
entailment decides in both directions, here words do, which costs nothing and is exact for short answers. A reply that
gives its answer in a paraphrase without a name ("a man of science" and "a physicist") makes a group of its own.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from eval.checking.wording import normal_words
from eval.verifiers import asserted, refusal, reply

SAME_WORDS = 0.6  # F1
# Words that say how an answer is given and not which: copulas, prepositions, pronouns, "known for".
_STOP = frozenset(
    "a an the is was are were be been it its he she they his her their this that these those in on at of for "
    "to by with from as and or which who whom whose what where when why how has have had also known called "
    "named there one most very about into than answer located can you i me my do does did not no never neither "
    "nor cannot without false wrong".split()
)
_WORD = r"(?:[^\W\d_]*[A-ZÀ-ÞĀ-Ž][\w’'-]*|[0-9][0-9.,]*)"
_NAME = re.compile(rf"(?<![\w-]){_WORD}(?: {_WORD})*")  # "New Zealand" and "Room 7" are one name each
_POSSESSIVE = re.compile(r"['’]s\b")


@dataclass(frozen=True)
class Answer:
    """Of a reply: what it has `chosen` (None without choices), `refused`, `right`, its `names` and `words`."""

    chosen: frozenset | None
    refused: bool
    right: bool
    names: tuple[frozenset, ...]
    words: tuple[str, ...]


@functools.lru_cache(maxsize=64)
def _known_words(question: str) -> frozenset:
    return frozenset(normal_words(_POSSESSIVE.sub("", question))) | _STOP


def _names(text: str, known: frozenset) -> tuple[frozenset, ...]:
    """The words of each name or number that the text asserts; none whose words are all `known`."""
    names = [match[0].rstrip(".,") for match in _NAME.finditer(_POSSESSIVE.sub("", text))]
    unknown = [name for name in names if not set(normal_words(name)) <= known]
    bare = [_without_stop_words(name) for name in unknown]
    candidates = [name for name in dict.fromkeys(bare) if name]
    claimed = asserted(text, candidates) if candidates else set()
    return tuple(frozenset(normal_words(name)) for name in candidates if name.casefold() in claimed)


def _without_stop_words(name: str) -> str:
    return " ".join(word for word in name.split() if word.casefold() not in _STOP)


def answer_of(row: dict, text: str) -> Answer:
    """What the reply `text` answers to `row` (question, answer, choices)."""
    claim, aliases = reply(text), {a.casefold() for a in row["answer"]}
    values = [*row["answer"], *row.get("choices", ())]
    named = asserted(text, values)
    known = _known_words(row.get("question", ""))
    words = tuple(word for word in normal_words(_POSSESSIVE.sub("", claim)) if word not in known)
    chosen = frozenset("" if value in aliases else value for value in named) if "choices" in row else None
    return Answer(chosen, refusal(text) == 1.0, bool(named & aliases), _names(claim, known), words)


def _f1(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    both = (Counter(one) & Counter(other)).total()
    return 2 * both / (len(one) + len(other)) if one or other else 1.0


def _among(name: frozenset, names: tuple[frozenset, ...]) -> bool:
    """Whether a name is one of the names, or a part or a longer form of one: Cusco and Cusco City."""
    return any(name <= other or other <= name for other in names)


def agree(one: Answer, other: Answer) -> bool:
    """Whether two replies give the same answer (see the module's docstring)."""
    if one.refused or other.refused:
        return one.refused and other.refused
    if one.chosen or other.chosen:
        return one.chosen == other.chosen
    if one.right or other.right:
        return one.right and other.right
    if one.names and other.names:
        return _among(one.names[0], other.names) and _among(other.names[0], one.names)
    return _f1(one.words, other.words) >= SAME_WORDS


def same_answer(row: dict, samples: list[str]) -> list[list[int]]:
    """The places of the samples that give the same answer, the largest group first, equal ones in order."""
    of_text = {text: answer_of(row, text) for text in dict.fromkeys(samples)}
    answers = [of_text[text] for text in samples]
    groups: list[list[int]] = []
    for place, answer in enumerate(answers):
        group = next((group for group in groups if agree(answers[group[0]], answer)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return sorted(groups, key=len, reverse=True)


def auc(known: Sequence[float], unknown: Sequence[float]) -> float | None:
    """The chance that a known question's value is above an unknown one's, ties half; None where one of both is empty.

    This is the area under the ROC curve (Hanley and McNeil 1982).
    """
    if not known or not unknown:
        return None
    counts, below, area = Counter(unknown), 0, 0.0
    at = Counter(known)
    for value in sorted(counts.keys() | at.keys()):
        area += at[value] * (below + counts[value] / 2)
        below += counts[value]
    return area / (len(known) * len(unknown))


def auc_interval(area: float, known: int, unknown: int) -> float:
    """Half the 95 % interval of an AUC of so many questions: 1.96 standard errors (Hanley and McNeil 1982, eq. 1)."""
    one = area / (2 - area)
    two = 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (known - 1) * (one - area**2) + (unknown - 1) * (two - area**2)
    return 1.96 * (max(spread, 0.0) / (known * unknown)) ** 0.5
