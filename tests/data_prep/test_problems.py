"""Published problems in the form that GRPO reads: what is asked, and a verifier that the reference solution passes."""

import gzip
import json

import pytest
from conftest import rows

from data_prep.problems import main
from eval.tools.sandbox import SandboxUnavailable, find_backend
from eval.verifiers import reward_function


def adapted(path, tmp_path, *argv) -> list[dict]:
    main(["--dataset", str(path), "--split", "test", "--output_dir", str(tmp_path / "out"), *argv])
    return rows(tmp_path / "out" / "test.jsonl")


def rewards(found: list[dict], completions: list[str]) -> list[float]:
    columns = {key: [row[key] for row in found] for key in found[0] if key != "prompt"}
    return reward_function("by_row")(completions=completions, **columns)


def write(path, lines: list[dict]):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_gsm8k(shared_data, tmp_path):
    found = adapted(shared_data / "gsm8k" / "test.jsonl", tmp_path)
    assert (
        len(found) == 1319
        and set(found[0]) == {"prompt", "answer", "verifier"}
        and found[0]["prompt"][0]["content"].endswith('end with "The answer is N."')
    )
    assert rewards(found, [f"So it is. The answer is {row['answer']}." for row in found]) == [1.0] * 1319


def test_humaneval(shared_data, tmp_path):
    try:
        find_backend()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    path = shared_data / "humaneval" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        solutions = [f"```python\n{row['prompt']}{row['canonical_solution']}```" for row in map(json.loads, lines)]
    found = adapted(path, tmp_path)
    assert (
        len(found) == 164
        and "```python\nfrom typing" in found[0]["prompt"][0]["content"]
        and "assert" not in found[0]["prompt"][0]["content"]
    )
    assert rewards(found[::8], solutions[::8]) == [1.0] * 21
    assert rewards(found[:8], solutions[1:9]) == [0.0] * 8


def test_replies_that_leave_out_what_the_prompt_shows(shared_data, tmp_path):
    """The function alone, as chat models write it: the prompt's imports and helpers are there all the same."""
    try:
        find_backend()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    path = shared_data / "humaneval" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        examples = [json.loads(line) for line in lines]
    alone = []
    for example in examples:
        at = example["prompt"].index(f"def {example['entry_point']}")
        alone.append(f"```python\n{example['prompt'][at:]}{example['canonical_solution']}```")
    shown = [k for k, example in enumerate(examples) if not example["prompt"].startswith(("def", "\n"))]
    asked = [0, 32, 38, 50, *shown[1::4]]
    found = adapted(path, tmp_path)
    assert rewards([found[k] for k in asked], [alone[k] for k in asked]) == [1.0] * len(asked)
    later = "```python\nfrom __future__ import annotations\n" + alone[0].removeprefix("```python\n")
    assert rewards([found[0]], [later]) == [1.0]
    assert rewards([found[38], found[50]], ["```python\ndef decode_cyclic(s): return s\n```"] * 2) == [0.0, 0.0]


def test_leetcode_starters_have_their_types(tmp_path):
    from data_prep.schemas.problems import apps

    try:
        find_backend()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    starter = "class Solution:\n    def total(self, xs: List[int]) -> int:"
    cases = {"inputs": [[[1, 2]], [[3]]], "outputs": [3, 3], "fn_name": "total"}
    rows = apps({"question": "Add them.", "input_output": json.dumps(cases), "starter_code": starter})
    assert rewards(rows, [f"```python\n{starter}\n        return sum(xs)\n```"]) == [1.0]
    assert rewards(rows, [f"```python\n{starter}\n        return max(xs)\n```"]) == [0.0]


def test_math_and_mbpp(tmp_path):
    found = adapted(
        write(tmp_path / "math.jsonl", [{"problem": "What is half of 1?", "answer": "\\frac{1}{2}", "level": 1}]),
        tmp_path,
    )
    assert found == [
        {
            "prompt": [
                {
                    "role": "user",
                    "content": "What is half of 1?\nThink step by step and end with the answer in \\boxed{}.",
                }
            ],
            "answer": "\\frac{1}{2}",
            "verifier": "math",
        }
    ]
    assert rewards(found, ["It is \\boxed{0.5}."]) == [1.0]
    task = {
        "text": "Write a function to double a number.",
        "code": "",
        "test_setup_code": "two = 2",
        "test_imports": ["import math"],
        "test_list": ["assert double(two) == 4", "assert double(3) == 6"],
    }
    found = adapted(write(tmp_path / "mbpp.jsonl", [task]), tmp_path, "--suffix", " Go.")
    assert (
        found[0]["prompt"][0]["content"]
        == "Write a function to double a number.\nIt has to pass: `assert double(two) == 4` Go."
    )
    assert (found[0]["verifier"], found[0]["tests"]) == (
        "code",
        "two = 2\nimport math\nassert double(two) == 4\nassert double(3) == 6",
    )


def test_an_unknown_set_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        adapted(write(tmp_path / "odd.jsonl", [{"query": "x"}]), tmp_path)
    error = capsys.readouterr().err
    assert (
        exit_.value.code == 2
        and "has no column prompt (it has query); expected one of these: " in error
        and "question, answer" in error
        and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize("name", ["apples", "letters", "every_third", "compare", "arithmetic", "countdown"])
def test_each_difficulty_has_solutions_that_its_verifier_passes(name):
    import random

    from data_prep import problems

    rng, lengths = random.Random(0), []
    for difficulty in (1, 2, 3):
        found = [
            problems.GENERATORS[name](rng, split, difficulty=difficulty)
            for split in problems.SPLITS
            for _ in range(60)
        ]
        rows_ = [problems.row(p) for p in found]
        columns = {key: [row[key] for row in rows_] for key in rows_[0] if key != "prompt"}
        assert reward_function("by_row")(completions=[p.solution for p in found], **columns) == [1.0] * 180
        assert (
            reward_function("by_row")(
                completions=[p.solution for p in found[1:]] + ["The answer is -7."], **columns
            ).count(1.0)
            < 150
        )  # letters: the next answer is often the same
        lengths.append(sum(len(p.question) for p in found))
    assert lengths[0] < lengths[1] < lengths[2]


def test_what_is_beside_the_point_belongs_to_others():
    import random
    import re

    from data_prep import problems

    rng, places = random.Random(1), set()
    for difficulty in (1, 2, 3):
        for _ in range(100):
            p = problems.apples(rng, "train", difficulty=difficulty)
            told = re.findall(r"[^.?]+[.?]", p.question)
            beside = [place for place, text in enumerate(told) if re.search(r" (has|likes|once paid) ", text)]
            assert len(beside) == difficulty - 1 and told[-2].startswith(" The total is ")
            (own,) = [text for place, text in enumerate(told) if " buys " in text]
            assert all(
                told[place].split()[0] != own.split()[0] and told[place].split()[-1].rstrip("s.") not in own
                for place in beside
            )
            assert (
                re.sub(r" ?[A-Z]\w+ (has|likes|once paid) [^.]+\.", "", p.question).strip()
                == "".join(t for i, t in enumerate(told) if i not in beside).strip()
            )
            places |= set(beside)
    assert places == {0, 1, 2, 3}


def test_generated_problems_differ_and_their_splits_share_none(tmp_path, capsys):
    for split in ("train", "test"):
        main(
            [
                "--generate",
                "apples",
                "--difficulty",
                "2",
                "--count",
                "50",
                "--split",
                split,
                "--output_dir",
                str(tmp_path),
            ]
        )
    asked = {
        split: {row["prompt"][0]["content"] for row in rows(tmp_path / f"{split}.jsonl")}
        for split in ("train", "test")
    }
    assert len(asked["train"]) == len(asked["test"]) == 50 and not asked["train"] & asked["test"]
    main(["--generate", "apples", "--expert", "0.38", "--count", "400", "--output_dir", str(tmp_path / "expert")])
    solved = rows(tmp_path / "expert/train.jsonl")
    assert 0.3 < sum(row["correct"] for row in solved) / 400 < 0.46 and all(
        "The answer is" in row["messages"][1]["content"] for row in solved
    )
    for argv, message in [
        (["--generate", "letters", "--expert", "0.5"], "goes with generate apples"),
        (["--generate", "pears"], "generate must be one of apples"),
        (["--generate", "apples", "--difficulty", "0"], "difficulty and count at least 1"),
        (["--generate", "apples", "--count", "99999", "--split", "validation"], "ask for fewer"),
        ([], "give a dataset, or the name of what to generate"),
        (["--generate", "apples", "--dataset", "x"], "give a dataset, or the name of what to generate"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            main([*argv, "--output_dir", str(tmp_path / "none")])
        assert exit_.value.code == 2 and message in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "completion, score",
    [
        ("The answer is 3 * 7 + 8.", 1.0),
        ("First 21. The answer is (7*3)+8", 1.0),
        ("The answer is 29.", 0.0),
        ("The answer is 3 * 7 + 8 + 0.", 0.0),
        ("The answer is 3 * 7 + 8 * 1.", 0.0),
        ("The answer is 3 * 7. The answer is 3 * 7 + 8.", 0.0),
        ("The answer is 3 ** 7 + 8.", 0.0),
        ("The answer is 37 - 8.", 0.0),
        ("The answer is 3 * 7 // 8.", 0.0),
        ("The answer is 8 / (7 - 7) + 3.", 0.0),
        ("The answer is " + "(" * 200 + "3 * 7 + 8" + ")" * 80 + ".", 0.0),
        ("The answer is not 3 * 7 + 8.", 0.0),
        ("", 0.0),
    ],
)
def test_countdown(completion, score):
    from eval.verifiers import countdown

    assert countdown(completion, answer="29", numbers=[7, 8, 3]) == score
    assert countdown(completion, answer="", numbers=[7]) is None


def test_problems_of_several_verifiers_are_practised_together(chat_model, tmp_path):
    """`numbers` is a column of the countdown alone."""
    from recipes.grpo import main as grpo

    for kind in ("apples", "countdown"):
        main(["--generate", kind, "--count", "8", "--output_dir", str(tmp_path / kind)])
    config = {
        "model_name_or_path": str(chat_model),
        "output_dir": str(tmp_path / "out"),
        "rewards": ["by_row"],
        "max_steps": 1,
        "per_device_train_batch_size": 16,
        "num_generations": 2,
        "datasets": [{"path": str(tmp_path / kind / "train.jsonl")} for kind in ("apples", "countdown")],
        "max_completion_length": 4,
        "use_cpu": True,
        "bf16": False,
        "logging_steps": 1,
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    grpo(["--config", str(tmp_path / "c.yaml")])
    assert any(row.get("reward") == 0.0 for row in rows(tmp_path / "out" / "log.jsonl"))
