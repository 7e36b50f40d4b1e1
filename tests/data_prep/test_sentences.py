"""Where sentences end: what probing, own replies and the library of search cut by."""

import pytest

from data_prep.shared.sentences import first_sentence, sentence_around, sentences


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("It is Lima. It lies on", "It is Lima."),
        ("It is Lima", None),
        ("John F. Kennedy was president. He", "John F. Kennedy was president."),
        ("The capital of St. Lucia is Castries! And", "The capital of St. Lucia is Castries!"),
        ('He said "no." Then', 'He said "no."'),
        ("It weighs 3.5 kg and", None),
        ("Lima\n\nPeru is", "Lima"),
        ("  Lima.  ", "Lima."),
        ("", None),
    ],
)
def test_the_first_sentence(text, sentence):
    assert first_sentence(text) == sentence


@pytest.mark.parametrize(
    "text, answer, sentence",
    [
        ("It rained. Dr. Who came in 1973. He left.", "1973", "Dr. Who came in 1973."),
        ("It cost 3.5 dollars.  So it was.", "3.5", "It cost 3.5 dollars."),
        ("One sentence without an end", "end", "One sentence without an end"),
        ("First. The last", "last", "The last"),
    ],
)
def test_the_sentence_that_answers(text, answer, sentence):
    start = text.index(answer)
    assert sentence_around(text, start, start + len(answer)) == sentence


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Mr. Smith lives in St. Lucia. He paints.", ["Mr. Smith lives in St. Lucia.", "He paints."]),
        ("It took approx. two\nhours. Why?", ["It took approx. two hours.", "Why?"]),
        ("1. Mix.\n2. Bake", ["1. Mix.", "2. Bake"]),
        ('"Stop!" he said. (So he did.) Then', ['"Stop!"', "he said.", "(So he did.)", "Then"]),
        ("It was in 1905. War", ["It was in 1905.", "War"]),
        ("  ", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected
