"""What names a judge, and the scores of judges."""

import pytest

from eval.cli import UserError
from eval.judging.judges import load_judge
from eval.judging.references import JudgeReference, parse_judge
from eval.judging.scores import load_scores


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("verifier:final_number", "verifier", "final_number"),
        ("reward:runs/tiny/reward", "reward", "runs/tiny/reward"),
        ("reward:org/model=v2", "reward", "org/model=v2"),
        ("chat:http://localhost:8000/v1", "chat", "http://localhost:8000/v1"),
        ("python:data_prep.world.taste:score", "python", "data_prep.world.taste:score"),
        ("verifier=final_number", "verifier", "final_number"),
        ("reward=C:/models/reward", "reward", "C:/models/reward"),
        ("model=http://localhost:8000/v1", "chat", "http://localhost:8000/v1"),
    ],
)
def test_a_judge_is_its_kind_and_what_it_is(text, kind, value):
    assert parse_judge(text) == parse_judge(text, bare=True) == JudgeReference(kind, value)


@pytest.mark.parametrize("text", ["best", "", "reward:", "verifier=", "model:x", "votes=some.jsonl", "http://host/v1"])
def test_what_names_no_judge(text):
    assert parse_judge(text) is None
    if text:
        with pytest.raises(UserError, match="a judge is verifier:<name>, reward:.*but got"):
            load_judge(text, [])


@pytest.mark.parametrize(
    "text, kind",
    [("final_number", "verifier"), ("data_prep.world.taste:score", "python"), ("runs/tiny/reward", "reward")],
)
def test_recipes_leave_the_kind_out(text, kind):
    assert parse_judge(text, bare=True) == JudgeReference(kind, text)


def test_scores_of_verifiers_and_functions():
    rows = [{"prompt": [{"role": "user", "content": "3 + 4?"}], "answer": "7"}] * 2
    texts = ["The answer is 7.", "The answer is 8."]
    assert load_scores("verifier:final_number")(rows, texts) == load_scores("final_number")(rows, texts) == [1.0, 0.0]
    assert load_scores("python:test_references:letters")(rows, texts) == [16, 16]
    for wrong in ("python:test_references:none", "python:no_such_module:score", "verifier:none", "chat:model"):
        with pytest.raises(UserError):
            load_scores(wrong)


def letters(row: dict, text: str) -> int:
    return len(text)


def test_a_function_judges_pairs():
    judge = load_judge("python:test_references:letters", [])
    row = {"prompt": [{"role": "user", "content": "?"}]}
    winners = judge([(row, ["aa", "b"]), (row, ["a", "bb"]), (row, ["a", "b"])])
    assert [winner["winner"] for winner in winners] == ["a", "b", "tie"] and judge.made_from
