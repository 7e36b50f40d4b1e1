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
    assert len(found) == 1319 and set(found[0]) == {"prompt", "answer", "verifier"} and found[0]["prompt"][0]["content"].endswith('end with "The answer is N."')
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
    assert len(found) == 164 and "```python\nfrom typing" in found[0]["prompt"][0]["content"] and "assert" not in found[0]["prompt"][0]["content"]
    assert rewards(found[::8], solutions[::8]) == [1.0] * 21
    assert rewards(found[:8], solutions[1:9]) == [0.0] * 8


def test_math_and_mbpp(tmp_path):
    found = adapted(write(tmp_path / "math.jsonl", [{"problem": "What is half of 1?", "answer": "\\frac{1}{2}", "level": 1}]), tmp_path)
    assert found == [{"prompt": [{"role": "user", "content": "What is half of 1?\nThink step by step and end with the answer in \\boxed{}."}], "answer": "\\frac{1}{2}", "verifier": "math"}]
    assert rewards(found, ["It is \\boxed{0.5}."]) == [1.0]
    task = {"text": "Write a function to double a number.", "code": "", "test_setup_code": "two = 2", "test_list": ["assert double(two) == 4", "assert double(3) == 6"]}
    found = adapted(write(tmp_path / "mbpp.jsonl", [task]), tmp_path, "--suffix", " Go.")
    assert found[0]["prompt"][0]["content"] == "Write a function to double a number.\nIt has to pass: `assert double(two) == 4` Go."
    assert (found[0]["verifier"], found[0]["tests"]) == ("code", "two = 2\nassert double(two) == 4\nassert double(3) == 6")


def test_an_unknown_set_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        adapted(write(tmp_path / "odd.jsonl", [{"query": "x"}]), tmp_path)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and "has the columns query; expected those of a known set: question, answer; problem, answer" in error and not (tmp_path / "out").exists()
