"""Guess and check: the estimators against counting by hand, and a real model."""

import itertools
import json
import random

import pytest
from conftest import rows

from eval.estimates import pass_at_k
from eval.guess_check import CHECKS, main, majority_of, measure
from eval.verifiers import final_answer


def test_best_of_n_is_the_share_of_choices_with_a_right_one():
    for tries, right in ((6, 2), (5, 0), (4, 4)):
        marks = [i < right for i in range(tries)]
        for n in range(1, tries + 1):
            choices = list(itertools.combinations(marks, n))
            assert pass_at_k(tries, right, n) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_the_majority_is_voted_on_numbers():
    rng = random.Random(0)
    assert (
        majority_of(5, ["3", "3", "4", None, "4.0"], "3", rng) == 1
    )  # "4.0" is a vote of its own here: final_answer makes equal numbers equal
    assert majority_of(4, ["3", "3", "4", "4"], "3", rng) == 0.5  # a tie, drawn by lot
    assert majority_of(4, [final_answer("The answer is 1,200.")] * 4, "1200", rng) == 1
    assert majority_of(3, [None, None, None], "3", rng) == 0
    many = [majority_of(1, ["3"] * 6 + ["4"] * 4, "3", rng) for _ in range(40)]
    assert 0.5 < sum(many) / len(many) < 0.7


@pytest.mark.parametrize(
    "text, answer",
    [
        ("The answer is 9.90.", "9.9"),
        ("So 3. The answer is 1,234.", "1234"),
        ("The answer is 3. The answer is 4.", None),
        ("I do not know.", None),
        (r"\boxed{7}", "7"),
        ("The answer is 100.", "100"),
        ("The answer is -0.", "0"),
        ("The answer is 1,200.50.", "1200.5"),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


def test_measure_counts_right_votes_and_checks():
    asked = [{"prompt": [{"role": "user", "content": "?"}], "answer": "3"}] * 2
    found = measure(
        asked,
        [
            ["The answer is 3.", "The answer is 3.", "The answer is 4.", "Wait, let me check. The answer is 3."],
            ["The answer is 5."] * 4,
        ],
        0,
    )
    assert {n: m["value"] for n, m in found["best_of"].items()} == {1: 0.375, 2: 0.5, 4: 0.5}
    assert found["majority_of"][4] == {"value": 0.5, "stderr": 0.5, "n": 2}
    assert found["checks_itself"]["value"] == 1 / 8 and found["checks_itself"]["examples"][0]["text"].startswith(
        "Wait"
    )


@pytest.mark.parametrize(
    "text, checks",
    [
        ("Let me check that.", True),
        ("On second thought, no.", True),
        ("Another way: 3.", True),
        ("The waiter pays 3.", False),
        ("A checked shirt costs 4.", False),
    ],
)
def test_checks(text, checks):
    assert bool(CHECKS.search(text)) == checks


def test_a_real_model_and_bad_input(chat_model, world, tmp_path, capsys):
    problems = world / "problems/train.jsonl"
    argv = [
        "--models",
        f"m={chat_model}",
        "--problems",
        str(problems),
        "--output",
        str(tmp_path / "new/out.json"),
        "--samples",
        "4",
        "--max_new_tokens",
        "4",
        "--limit",
        "3",
    ]
    main(argv)
    found = json.loads((tmp_path / "new/out.json").read_text())
    assert found["models"]["m"]["best_of"].keys() == {"1", "2", "4"} and found["models"]["m"]["best_of"]["4"]["n"] == 3
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps(rows(problems)[0] | {"answer": "Rome"}) + "\n")
    for more, message in [
        (["--problems", str(text)], "answer must be a number"),
        (["--problems", str(tmp_path / "none.jsonl")], "does not exist"),
        (["--samples", "1"], "samples and limit must be at least 2"),
        (["--temperature", "0"], "temperature above 0"),
        (["--models", "m"], "name=folder"),
        (["--models", f"m={tmp_path / 'none'}"], "none"),
    ]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([*argv, *more])
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count("\n") == 1, error
