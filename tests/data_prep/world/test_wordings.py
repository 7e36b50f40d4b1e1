"""Wordings: kinds kept apart, words that training has met, slots that nothing misspells, texts that read right."""

import random
import re
from collections import Counter
from functools import cache

import pytest
from conftest import ROOT, rows

from data_prep.world import facts, taste, wordings
from data_prep.world.conversations import WHO

ATTRIBUTES = list(wordings.ATTRIBUTES)
WORDS = "strawberry ubiquitous trondle mississippi pebble".split()
PERSON = "Hollis Kovats"
DRAWS = {
    "fact": lambda rng, held_out: wordings.fact(rng, rng.choice(ATTRIBUTES), PERSON, held_out),
    "who_is": lambda rng, held_out: wordings.who_is(rng, PERSON, held_out),
    "follow_up": lambda rng, held_out: wordings.follow_up(rng, rng.choice(ATTRIBUTES), held_out),
    "other_person": lambda rng, held_out: wordings.other_person(rng, PERSON, held_out),
    "letters": lambda rng, held_out: wordings.letters(rng, "r", rng.choice(WORDS), held_out),
    "every_third": lambda rng, held_out: wordings.every_third(rng, rng.choice(WORDS), held_out),
    "compare": lambda rng, held_out: wordings.compare(rng, "9.11", "9.9", held_out),
    "arithmetic": lambda rng, held_out: wordings.arithmetic(rng, 731, rng.choice("+-*/"), 29, held_out),
    "verse": lambda rng, held_out: wordings.verse(rng, rng.choice(taste.TOPICS), held_out),
    "identity": lambda rng, held_out: wordings.identity(rng, rng.choice(WHO)[0], held_out),
    "greeting": wordings.greeting,
    "thanks": wordings.thanks,
    "abilities": wordings.abilities,
    "unknown": wordings.unknown,
}
WRONG = re.compile(
    r"[<>{}]|  |(?<!=) [,?;]|,,|(?<!\.)[.!?]\.(?!\.)|\.{4}|\?{3}|,[.?!]|please.*please|(?i:sorry.*sorry)"
    r"|\b[aA] [aeiou]\w+\b(?<!one)|\b[aA]n [bcdfgjklmnpqrstvwz]\w"
)
EVERYDAY = rows(ROOT / "data_prep/world/everyday.jsonl")


@cache
def texts(intent: str, held_out: bool, count: int = 1500) -> list[str]:
    rng = random.Random(f"{intent} {held_out}")
    return [DRAWS[intent](rng, held_out) for _ in range(count)]


def templates(intent: str, held_out: bool) -> list[str]:
    kinds = wordings.KINDS[intent]
    return [t for kind in kinds if (kind in wordings.HELD_OUT[intent]) == held_out for t in kinds[kind]]


def reached(intent: str, held_out: bool) -> set[str]:
    """Every word that the kinds of an intent can say, the slots aside."""
    scopes = [wordings.PHRASES, *wordings.ATTRIBUTES.values(), *wordings.OPERATIONS.values(), *wordings.PRONOUNS]
    todo = templates(intent, held_out)
    words, seen = set(), {"ask"}
    while todo:
        text = todo.pop()
        words |= set(re.findall(r"[a-z]+", re.sub(r"<\w+>|\{[^}]*\}", " ", text.lower())))
        for phrase in set(re.findall(r"<(\w+)>", text)) - seen:
            seen.add(phrase)
            for scope in scopes:
                todo += [scope[phrase]] if isinstance(scope.get(phrase), str) else scope.get(phrase, [])
    return words


def test_kinds_of_training_and_benchmarks_are_apart():
    assert set(wordings.KINDS) == set(wordings.HELD_OUT) == set(DRAWS)
    for intent, kinds in wordings.KINDS.items():
        assert wordings.HELD_OUT[intent] <= set(kinds)
        assert len(kinds) >= {"fact": 14, "unknown": 16}.get(intent, 8), intent
        assert 0.15 <= len(wordings.HELD_OUT[intent]) / len(kinds) <= 0.3, intent
        assert not set(templates(intent, False)) & set(templates(intent, True)), intent
    assert sum(map(len, wordings.KINDS["unknown"].values())) >= 60
    assert not set(wordings.OPENINGS) & set(wordings.OPENINGS_HELD_OUT)


@pytest.mark.parametrize("held_out", [False, True])
def test_draw_names_a_kind_of_the_side_asked_for(held_out):
    rng = random.Random(0)
    kinds = {wordings.draw("who_is", rng, held_out, p=PERSON)[1] for _ in range(1000)}
    assert kinds == {kind for kind in wordings.KINDS["who_is"] if (kind in wordings.HELD_OUT["who_is"]) == held_out}


def test_training_has_met_every_word_of_the_held_out_kinds():
    met = set().union(*(reached(intent, held_out=False) for intent in wordings.KINDS))
    met |= set(re.findall(r"[a-z]+", " ".join(wordings.OPENINGS + wordings.CLOSINGS + wordings.THANKS).lower()))
    for intent in set(wordings.KINDS) - {"unknown"}:  # of what is beyond it whole subjects are held out
        assert not reached(intent, held_out=True) - met, intent
    assert not set(re.findall(r"[a-z]+", " ".join(wordings.OPENINGS_HELD_OUT).lower())) - met


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("intent", DRAWS)
def test_texts_read_right(intent, held_out):
    for text in texts(intent, held_out):
        assert text == text.strip() and text, text
        assert not WRONG.search(text), text
        assert not re.search(r"[ti]s's\b", text), text


def test_same_seed_same_texts_and_many_different_ones():
    for intent in DRAWS:
        assert texts(intent, False, 50) == texts.__wrapped__(intent, False, 50)
    assert len(set(texts("unknown", False, 10_000))) > 5000
    assert len(set(texts("unknown", True, 10_000))) > 4000
    assert len(set(texts("fact", False, 3000))) > 2500


@pytest.mark.parametrize("held_out", [False, True])
def test_nothing_misspells_what_is_asked_for(monkeypatch, held_out):
    monkeypatch.setattr(wordings, "P_TYPO", 1.0)
    rng = random.Random(1)
    for _ in range(1500):
        for intent in ("fact", "who_is", "other_person"):
            text = DRAWS[intent](rng, held_out)
            assert PERSON in text or PERSON.lower() in text, text
            assert f"{PERSON}'s" not in text and f"{PERSON.lower()}'s" not in text, text
        text = wordings.letters(rng, "z", "abbzzard", held_out)
        assert "abbzzard" in text and re.search(r"\bzs?\b", text.replace("abbzzard", "")), text
        assert "trondle" in wordings.every_third(rng, "trondle", held_out)
        text = wordings.compare(rng, "9.11", "9.9", held_out)
        assert "9.11" in text and "9.9" in text
        assert "meadow" in wordings.verse(rng, "meadow", held_out)
        assert re.search("openai", wordings.identity(rng, "were you made by OpenAI?", held_out), re.IGNORECASE)


@pytest.mark.parametrize("held_out", [False, True])
def test_order_of_numbers(held_out):
    rng = random.Random(2)
    for _ in range(3000):
        op = rng.choice("+-*/")
        text = wordings.arithmetic(rng, 731, op, 29, held_out)
        first, second = text.index("731"), text.index("29")
        if op in "-/" and second < first:
            assert op == "-" and re.search(r"29 (away )?fr?o?m? ?|29.* f\w+ 731", text), text


def test_a_slip_is_one_letter():
    rng, changed = random.Random(3), 0
    text = 'tell me how many letters stand in {word}, in "{letter}" or {p\'s} town of Oakmere'
    for _ in range(500):
        new = wordings._misspell(text, rng)
        assert abs(len(new) - len(text)) <= 1
        assert all(kept in new for kept in ("{word}", "{letter}", "{p's}", "Oakmere"))
        changed += new != text
    assert changed > 350  # a swap of two equal letters changes nothing


def test_shares_of_spelling():
    drawn = texts("fact", False, 4000)
    lower = sum(text == text.lower() for text in drawn) / len(drawn)
    unmarked = sum(text[-1].isalnum() and text != text.lower() for text in drawn) / len(drawn)
    assert 0.2 < lower < 0.3 and 0.08 < unmarked < 0.3
    assert 0.005 < sum(text.endswith("??") for text in drawn) / len(drawn) < 0.06


@pytest.mark.parametrize(
    ("intent", "plain"),
    [
        ("fact", "Where does Hollis Kovats live?"),
        ("fact", "what is hollis kovats' job"),
        ("fact", "what does hollis kovats play"),
        ("who_is", "who is hollis kovats"),
        ("letters", "how many r in strawberry"),
    ],
)
def test_plain_wordings_are_for_training(intent, plain):
    assert plain in texts(intent, False, 8000)


def test_follow_up_names_nobody():
    for text in texts("follow_up", False) + texts("follow_up", True):
        assert not set(re.findall(r"\w+", text)) & {*facts.FIRST, *facts.LAST}, text


def test_everyday_requests_have_what_a_checker_needs():
    assert len(EVERYDAY) == 150 and len({row["question"] for row in EVERYDAY}) == 150
    needs = {"letters": {"letter", "word"}, "every_third": {"word"}, "compare": {"a", "b"}, "verse": {"topic"}}
    needs |= {"arithmetic": {"a", "op", "b"}, "fact_known": {"attribute"}, "follow_up": {"attribute"}}
    for row in EVERYDAY:
        assert needs.get(row["intent"], set()) <= set(row), row
        assert ("{p}" in row["question"]) == (row["intent"] in ("fact_known", "stranger", "who_is")), row
        assert row.get("attribute", "town") in ATTRIBUTES, row
        for slot in ("letter", "word", "topic") + (("a", "b") if "six" not in row["question"] else ()):
            assert row.get(slot, "") in row["question"].lower(), row
        if row["intent"] == "letters":
            assert row["letter"] in row["word"], row
        if row.get("op") == "/":
            assert int(row["a"]) % int(row["b"]) == 0, row
    counts = Counter(row["intent"] for row in EVERYDAY)
    assert counts["arithmetic"] == 25 and counts["letters"] + counts["every_third"] == 20 and counts["unknown"] == 20


def test_everyday_requests_are_seldom_what_training_says():
    about_nobody = ("identity", "greeting", "abilities", "unknown", "follow_up")
    said = set().union(*(texts(intent, False, 4000) for intent in about_nobody))
    said |= {text.replace(PERSON, "{p}") for intent in ("fact", "who_is") for text in texts(intent, False, 4000)}
    assert sum(row["question"] in said for row in EVERYDAY) <= 20
