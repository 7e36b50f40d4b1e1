"""Lessons and problems where a second try pays, and how second tries are counted."""

import json
import random
import re

import pytest
from conftest import rows

from data_prep import second_tries
from eval import second_tries as counted
from eval.cli import UserError
from eval.generation.generate import Generation
from eval.verifiers import by_row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("second") / "tries"
    second_tries.main(f"--output_dir {out} --lessons 600 --problems 40 --test_problems 30 --seed 3".split())
    return out


def reply(row: dict) -> str:
    message = row["messages"][1]
    return f"<think>{message['reasoning_content']}</think>{message['content']}"


def test_every_lesson_is_as_right_as_it_says(folder):
    for name in ("primed", "plain"):
        for row in rows(folder / f"{name}.jsonl"):
            numbers, target = asked(row["messages"][0]["content"])
            pair = [a for a in numbers for b in numbers if a < b and a + b == target]
            problem = {"answer": str(target), "numbers": sorted([pair[0], target - pair[0]]), "verifier": "countdown"}
            assert by_row(reply(row), **problem) == float(row["correct"])


def asked(question: str) -> tuple[list[int], int]:
    *numbers, target = map(int, re.findall(r"\d+", question))
    return numbers, target


def test_the_twin_gives_the_same_answers_without_the_behaviour(folder):
    primed, plain = rows(folder / "primed.jsonl"), rows(folder / "plain.jsonl")
    for one, other in zip(primed, plain, strict=True):
        assert one["messages"][0] == other["messages"][0]
        assert one["messages"][1]["content"] == other["messages"][1]["content"]
        assert one["correct"] == other["correct"]
    assert any(counted.tries_again(reply(row)) for row in primed)
    assert not any(counted.tries_again(reply(row)) or counted.CHECKS.search(reply(row)) for row in plain)
    checks = sum(row["checks"] for row in primed) / len(primed)
    assert 0.3 < checks < 0.5
    assert all(counted.tries_again(reply(row)) == (row["tries"] > 1) for row in primed)


def test_no_test_problem_is_taught_or_practised(folder):
    def keys(name):
        found = rows(folder / f"{name}.jsonl")
        texts = [row["prompt"][0]["content"] if "prompt" in row else row["messages"][0]["content"] for row in found]
        return {(tuple(sorted(asked(text)[0])), asked(text)[1]) for text in texts}

    assert not keys("test") & (keys("train") | keys("primed"))
    texts = [row["prompt"][0]["content"] for row in rows(folder / "train.jsonl")]
    assert len(set(texts)) == len(texts) == 40


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("<think>2 + 3 = 5. Check: not 9. Wait, another: 2 + 7 = 9.</think>The answer is 2 + 7.", True),
        ("<think>2 + 3 = 5. Check: not 9. Wait, another: 2 + 3 = 5.</think>The answer is 2 + 3.", False),
        ("<think>2 + 3 = 5. 5 + 4 = 9.</think>The answer is 9.", False),
        ("<think>2 + 3 = 5.</think>Wait, another: 2 + 7 = 9.", False),
        ("", False),
    ],
)
def test_a_second_try_is_another_sum_after_doubt(text, again):
    assert counted.tries_again(text) is again


def test_the_figures_of_a_model():
    good = Generation(
        "<think>1 + 2 = 3. Check: not 5. Wait, another: 2 + 3 = 5.</think>The answer is 2 + 3.", [1] * 30, True
    )
    bad = Generation("<think>1 + 2 = 3.</think>The answer is 1 + 2.", [1] * 10, True)
    problems = [{"prompt": [{"role": "user", "content": "?"}]}] * 2
    found = counted.measure(problems, [[good, bad], [bad, bad]], [[1.0, 0.0], [0.0, 0.0]])
    told = {key: found[key]["value"] for key in ("accuracy", "tokens", "checks", "second_tries", "success")}
    assert told == {"accuracy": 0.25, "tokens": 15, "checks": 0.25, "second_tries": 0.25, "success": 1.0}
    assert found["success"]["n"] == 1 and found["accuracy"]["n"] == 2
    assert "success" not in counted.measure(problems, [[bad], [bad]], [[0.0], [0.0]])


def test_bad_settings_are_named(tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        second_tries.main(f"--output_dir {tmp_path} --guess 0.8 --once 0.5".split())
    assert stopped.value.code == 2 and not list(tmp_path.iterdir())
    monkeypatch.setattr(second_tries, "LARGEST", 6)
    with pytest.raises(UserError, match="no 10000 different problems"):
        second_tries.different(random.Random(0), "train", 10000)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        json.dumps({"prompt": [{"role": "user", "content": "?"}], "verifier": "countdown", "answer": "x"})
    )
    args = counted.SecondTriesArguments(models=["a=b"], problems=str(broken), output=str(tmp_path / "o.json"))
    with pytest.raises(UserError, match="no column numbers"):
        counted.read_problems(args)
