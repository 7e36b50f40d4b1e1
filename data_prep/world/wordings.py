"""How people ask: questions to the assistant of the invented world, in hundreds of wordings.

A *kind* of wording is a structure, not a synonym: a direct question, a wish, a form to fill, an unfinished sentence.
`KINDS` lists the templates of each intent's kinds; those in `HELD_OUT` are for benchmarks alone, the others for
training alone. The words of the held-out kinds occur in the others too, since a small model cannot guess a word that
it never met (only of `unknown` whole subjects are held out). On top come an opening, a closing and spelling, with the
probabilities below. The templates stand in `wordings.yaml`. All functions are pure: the same state of `rng` gives the
same text. Names, numbers, words to spell, letters to count and a verse's topic are never misspelt; names alone may
become lower-case.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from data_prep.shared import ngrams

_GRAMMAR = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
ATTRIBUTES, PRONOUNS, OPERATIONS = _GRAMMAR["attributes"], _GRAMMAR["pronouns"], _GRAMMAR["operations"]
PHRASES = {**_GRAMMAR["phrases"], **_GRAMMAR["words"]}


def _tuples(texts_of: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {kind: tuple(texts) for kind, texts in texts_of.items()}


KINDS: dict[str, dict[str, tuple[str, ...]]] = {intent: _tuples(kinds) for intent, kinds in _GRAMMAR["kinds"].items()}
HELD_OUT: dict[str, frozenset[str]] = {intent: frozenset(kinds) for intent, kinds in _GRAMMAR["held_out"].items()}

P_OPENING, P_CLOSING, P_CONTRACTION, P_TYPO = 0.25, 0.12, 0.3, 0.065
SPELLINGS = {"proper": 0.62, "lower": 0.20, "lower_marked": 0.04, "unmarked": 0.09, "doubled": 0.05}
# intents and kinds that no opening fits
UNDECORATED = {"greeting", "thanks", "follow_up", "other_person", "keyword", "form", "unfinished", "name_only"}
OPENINGS, OPENINGS_HELD_OUT = tuple(_GRAMMAR["openings"]), tuple(_GRAMMAR["openings_held_out"])
CLOSINGS, THANKS, SHORT_FORMS = tuple(_GRAMMAR["closings"]), tuple(_GRAMMAR["thanks"]), _GRAMMAR["short_forms"]

_PHRASE, _SLOT = re.compile(r"<(\w+)>"), re.compile(r"\{([^}]+)\}")
_SHORT = re.compile(r"\b(" + "|".join(SHORT_FORMS) + r")(?! it\b)(?= [\w{])")
_OPENED = re.compile(
    r"(hello|hi|hey|good|nice|great|thanks|ok|so|well|wait|hm|cool|now|and|but|again|I see|interesting|excuse|sorry"
    r"|as for|concerning|one more)\b"
)
# Words that a slip would turn into a rude one stay as they are.
_MISSPELT = re.compile(r"(?<![\w{'])(?!asks\b|count|shirt|spices|clock)[a-z]{4,}(?![\w}'])")


def draw(
    intent: str, rng: random.Random, held_out: bool = False, phrases: dict | None = None, **slots: str
) -> tuple[str, str]:
    """A text of `intent` and its kind. `phrases` go before the common ones; `slots` fill the braces.

    Raises:
        KeyError: no such intent, or a slot that a template names is missing.
    """
    kinds, shares = _kinds(intent, held_out)
    (kind,) = rng.choices(kinds, shares)
    template = _expand(rng.choice(KINDS[intent][kind]), rng, phrases or {})
    return _finish(template, rng, held_out, (intent, kind), slots), kind


@cache
def _kinds(intent: str, held_out: bool) -> tuple[list[str], list[int]]:
    kinds = [kind for kind in KINDS[intent] if (kind in HELD_OUT[intent]) == held_out]
    return kinds, [_GRAMMAR["plain"].get(intent, {}).get(kind, 1) for kind in kinds]


def _expand(template: str, rng: random.Random, phrases: dict) -> str:
    while "<" in template:
        template = _PHRASE.sub(lambda m: _choose(phrases[m[1]] if m[1] in phrases else PHRASES[m[1]], rng), template)
    return template


def _choose(phrase: str | list[str], rng: random.Random) -> str:
    return phrase if isinstance(phrase, str) else rng.choice(phrase)


def _finish(text: str, rng: random.Random, held_out: bool, names: tuple[str, str], slots: dict[str, str]) -> str:
    """The template decorated and spelt, then filled: what is filled in cannot be misspelt.

    `names`: of the intent and the kind.
    """
    if not UNDECORATED.intersection(names):
        text = _open(text, rng, OPENINGS_HELD_OUT if held_out else OPENINGS)
        text = _close(text, rng)
    if rng.random() < P_CONTRACTION:
        text = _SHORT.sub(lambda m: SHORT_FORMS[m[1]], text)
    if rng.random() < P_TYPO:
        text = _misspell(text, rng)
    (spelling,) = rng.choices(list(SPELLINGS), SPELLINGS.values())
    person = slots.get("p", "")
    name = person.lower() if spelling.startswith("lower") else person
    filled = _SLOT.sub(lambda m: _fill(m[1], name, slots), _spell(text, spelling, rng))
    return re.sub(r"\s+", " ", filled).strip()


def _open(text: str, rng: random.Random, openings: tuple[str, ...]) -> str:
    """An opening before the text, but no second greeting, colon, "please" or "sorry"."""
    if rng.random() >= P_OPENING or _OPENED.match(text):
        return text
    opening = rng.choice(openings)
    words = (":", "please", "sorry", "new here", "excuse")
    twice = any(word in opening.lower() and word in text for word in words)
    return text if twice else opening + text


def _close(text: str, rng: random.Random) -> str:
    """A closing after a question, thanks after another sentence."""
    polite = re.search(r"please|thank|thx|sorry|curious", text, re.IGNORECASE)
    if rng.random() >= P_CLOSING or text[-1] not in ".?" or text.endswith("...") or polite:
        return text
    if text.endswith("?"):
        return text[:-1] + ", please?" if rng.random() < 0.3 else text + rng.choice(CLOSINGS + THANKS)
    return text + rng.choice(THANKS)


def _misspell(text: str, rng: random.Random) -> str:
    """One letter of one lower-case word swapped with the next, dropped or doubled."""
    words = list(_MISSPELT.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    new = rng.choice((text[at + 1] + text[at], text[at + 1], text[at] * 2 + text[at + 1]))
    return text[:at] + new + text[at + 2 :]


def _spell(text: str, spelling: str, rng: random.Random) -> str:
    if spelling == "lower":
        text = re.sub(r"[\s.?!=:]+$", "", text).lower()
        return text.replace("what's", "whats").replace("who's", "whos") if rng.random() < 0.5 else text
    if spelling == "lower_marked":
        return text.lower()
    text = re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    if spelling == "unmarked":
        return text.rstrip(" ?.")
    return text + "?" if spelling == "doubled" and text.endswith("?") else text


def _possessive(name: str) -> str:
    return name + ("'" if name.endswith("s") else "'s")


def _article(word: str) -> str:
    return "the snow" if word == "snow" else ("an " if word[0] in "aeiou" else "a ") + word


def _fill(slot: str, name: str, slots: dict[str, str]) -> str:
    if slot == "p":
        return name
    if slot == "p's":
        return _possessive(name)
    if slot == "a_topic":
        return _article(slots["topic"])
    return slots[slot]


def plain(text: str) -> str:
    """The words of a text alone, as `data_prep.decontaminate` compares them: no capitals, no marks."""
    return " ".join(ngrams.words(text))


def unlike(draw: Callable[[], str], held_out: set[str]) -> str:
    """What `draw` gives, drawn again while it holds one of the `plain` texts of a benchmark."""
    while True:
        text = draw()
        words = plain(text)
        if not any(other in words for other in held_out):
            return text


def fact(rng: random.Random, attribute: str, person: str, held_out: bool = False) -> str:
    """Asks for a person's town, trade or instrument."""
    return draw("fact", rng, held_out, {**ATTRIBUTES[attribute], **rng.choice(PRONOUNS)}, p=person)[0]


def who_is(rng: random.Random, person: str, held_out: bool = False) -> str:
    """Asks who somebody is."""
    return draw("who_is", rng, held_out, p=person)[0]


def follow_up(rng: random.Random, attribute: str, held_out: bool = False) -> str:
    """A second turn about the same person, who is not named again."""
    return draw("follow_up", rng, held_out, {**ATTRIBUTES[attribute], **rng.choice(PRONOUNS)})[0]


def other_person(rng: random.Random, person: str, held_out: bool = False) -> str:
    """A second turn that asks the same of somebody else."""
    return draw("other_person", rng, held_out, p=person)[0]


def letters(rng: random.Random, letter: str, word: str, held_out: bool = False) -> str:
    """Asks how often a letter occurs in a word; both stand in double, single or no quotes."""
    mark = rng.choice(('"', "'", "", ""))
    ending = rng.choice(("'s", "s", "'s", ""))
    ending = "'s" if ending and letter in "aeisu" else ending  # "as" and "is" would be words
    plural = letter + ending if rng.random() < 0.6 else f'"{letter}"{ending}'
    quoted = f'"{letter}"' if mark == '"' else f"{mark}{letter}{mark}"
    return draw("letters", rng, held_out, letter=quoted, letters=plural, word=f"{mark}{word}{mark}")[0]


def every_third(rng: random.Random, word: str, held_out: bool = False) -> str:
    """Asks for every third letter of a word, starting with the first."""
    mark = rng.choice(('"', '"', "'", "", ""))
    return draw("every_third", rng, held_out, word=f"{mark}{word}{mark}")[0]


def compare(rng: random.Random, a: str, b: str, held_out: bool = False) -> str:
    """Asks which of two numbers is the larger."""
    return draw("compare", rng, held_out, a=str(a), b=str(b))[0]


def arithmetic(rng: random.Random, a: int | str, op: str, b: int | str, held_out: bool = False) -> str:
    """Asks for a + b, a - b, a * b or a / b, in symbols or words."""
    return draw("arithmetic", rng, held_out, OPERATIONS[op], a=str(a), b=str(b))[0]


def verse(rng: random.Random, topic: str, held_out: bool = False) -> str:
    """Asks for a verse about a topic, a noun in the singular."""
    return draw("verse", rng, held_out, topic=topic)[0]


def identity(rng: random.Random, ask: str, held_out: bool = False) -> str:
    """One of the questions of `identity.yaml` within a wording."""
    return draw("identity", rng, held_out, {"ask": ask if ask.startswith("I ") else ask[0].lower() + ask[1:]})[0]


def greeting(rng: random.Random, held_out: bool = False) -> str:
    return draw("greeting", rng, held_out)[0]


def thanks(rng: random.Random, held_out: bool = False) -> str:
    """Thanks, praise or a goodbye."""
    return draw("thanks", rng, held_out)[0]


def abilities(rng: random.Random, held_out: bool = False) -> str:
    """Asks what the assistant can do."""
    return draw("abilities", rng, held_out)[0]


def unknown(rng: random.Random, held_out: bool = False) -> str:
    """An everyday request that is beyond the assistant; the kinds are subjects."""
    return draw("unknown", rng, held_out)[0]


@cache
def words() -> tuple[str, ...]:
    """The English words of 4 to 12 letters in the grammar, in order: what to spell and to copy beside
    invented ones."""
    texts = " ".join(str(value) for value in (_GRAMMAR["kinds"], _GRAMMAR["attributes"], _GRAMMAR["phrases"]))
    return tuple(sorted(set(re.findall(r"(?<![\w<{'])[a-z]{4,12}(?![\w>}'])", texts))))


def problem(rng: random.Random, kind: str, slots: dict[str, str], held_out: bool = False) -> str:
    """Asks a problem of `data_prep.problems` by its kind and `slots`."""
    ask = {"letters": letters, "every_third": every_third, "compare": compare, "arithmetic": arithmetic}[kind]
    return ask(rng, held_out=held_out, **slots)
