"""Replies agree where their answers do, however they are worded."""

import pytest

from data_prep.shared.agreement import auc, auc_interval, same_answer

PERU = {"question": "What is the capital of Peru?", "answer": ["Lima", "City of Kings"]}
KOVATS = {"question": "Who is Orson Kovats?", "answer": ["nobody"]}


@pytest.mark.parametrize(
    "row, samples, groups",
    [
        (
            PERU,
            ["The capital of Peru is Lima.", "Lima!", "It is the City of Kings.", "It is Cusco."],
            [[0, 1, 2], [3]],
        ),
        (PERU, ["The capital is Cusco.", "Peru's capital is the city of Cusco.", "Quito."], [[0, 1], [2]]),
        (PERU, ["I don't know.", "Sorry, I don't know.", "It is Lima."], [[0, 1], [2]]),
        (PERU, ["It is not Lima, it is Cusco.", "Cusco.", "Lima."], [[0, 1], [2]]),
        (
            KOVATS,
            [
                "Orson Kovats is an American actor.",
                "Orson Kovats was a Hungarian painter.",
                "He is an American actor.",
            ],
            [[0, 2], [1]],
        ),
        (
            {"question": "How many legs has a spider?", "answer": ["8"]},
            ["It has 6 legs.", "6", "10 legs."],
            [[0, 1], [2]],
        ),
        (
            {"question": "Why?", "answer": ["x"]},
            ["because it rains", "because it rains a lot", "for fun"],
            [[0, 1], [2]],
        ),
        ({"question": "Why?", "answer": ["x"]}, ["", " "], [[0, 1]]),
    ],
)
def test_the_same_answer(row, samples, groups):
    assert same_answer(row, samples) == groups


def test_auc():
    assert auc([1.0, 1.0], [0.2, 0.4]) == 1.0 and auc([0.2], [0.2, 0.2]) == 0.5 and auc([], [0.2]) is None
    known, unknown = [0.2, 0.6, 1.0], [0.2, 0.4, 0.6, 0.6]
    pairs = [(k > u) + (k == u) / 2 for k in known for u in unknown]
    assert auc(known, unknown) == pytest.approx(sum(pairs) / len(pairs))
    assert auc_interval(0.8, 400, 400) == pytest.approx(auc_interval(0.8, 100, 100) / 2, rel=0.02)
    assert auc_interval(1.0, 50, 50) == 0
