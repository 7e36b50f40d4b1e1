"""Published benchmarks from files: what counts as right, and where their rows are looked for."""

import json

import pytest
from conftest import ROOT

from eval.lm_harness.tasks import data_file, load
from eval.tools.sandbox import SandboxUnavailable, find_backend

FOLDER = ROOT / "eval" / "tasks" / "real"
FILES = {  # of each task: its file in the data folder, and a row of it
    "gsm8k_chat": (
        "gsm8k/test.jsonl",
        {"question": "1,000 + 234?", "answer": "It is <<1000+234=1234>>1,234.\n#### 1,234"},
    ),
    "humaneval_chat": (
        "humaneval/HumanEval.jsonl.gz",
        {
            "task_id": "HumanEval/0",
            "prompt": "import math\n\ndef half(x: int) -> int:\n    ''' Half of x. '''\n",
            "entry_point": "half",
            "canonical_solution": "    return x // 2\n",
            "test": "def check(candidate):\n    assert candidate(7) == math.floor(3.5)\n",
        },
    ),
    "nq_open_chat": ("nq-open/dev.jsonl", {"question": "capital of peru", "answer": ["Lima", "City of Kings"]}),
    "web_questions_chat": ("webquestions/test.jsonl", {"question": "capital of peru?", "answers": ["Lima"]}),
}
PATHS = [str(FOLDER / f"{name}.yaml") for name in FILES]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    import gzip

    folder = tmp_path_factory.mktemp("data")
    for file, row in FILES.values():
        (folder / file).parent.mkdir()
        line = json.dumps(row).encode() + b"\n"
        (folder / file).write_bytes(gzip.compress(line) if file.endswith(".gz") else line)
    return load(PATHS, data_dir=str(folder))[0]


def test_every_file_of_the_folder_is_examined():
    assert {path.stem for path in FOLDER.glob("*.yaml") if path.stem != "_defaults"} == set(FILES)


@pytest.mark.parametrize(
    "name, reply, outcomes",
    [
        ("gsm8k_chat", "First 1,000, then 234. The answer is 1234.", {"score": 1.0}),
        ("gsm8k_chat", "The answer is 1235.", {"score": 0.0}),
        ("gsm8k_chat", "The answer is 1,000. The answer is 1234.", {"score": 0.0}),
        ("nq_open_chat", "It is Lima.", {"score": 1.0, "right": 1.0, "made_up": 0.0, "refused": 0.0}),
        ("nq_open_chat", "I don't know.", {"score": 0.0, "right": 0.0, "made_up": 0.0, "refused": 1.0}),
        ("nq_open_chat", "It is Cusco.", {"score": 0.0, "right": 0.0, "made_up": 1.0, "refused": 0.0}),
        ("web_questions_chat", "Lima", {"score": 1.0, "right": 1.0, "made_up": 0.0, "refused": 0.0}),
        ("web_questions_chat", "Cusco", {"score": 0.0, "right": 0.0, "made_up": 1.0, "refused": 0.0}),
    ],
)
def test_what_is_right(tasks, name, reply, outcomes):
    (doc,) = tasks[name].eval_docs
    assert tasks[name].process_results(doc, [reply]) == outcomes
    assert set(outcomes) == set(tasks[name].higher_is_better())


@pytest.mark.parametrize("body, score", [("return math.floor(x / 2)", 1.0), ("return x", 0.0)])
def test_a_program_has_to_pass(tasks, body, score):
    """The function alone, as a chat model writes it: what its prompt imports is there."""
    try:
        find_backend()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    (doc,) = tasks["humaneval_chat"].eval_docs
    reply = f"Here:\n```python\ndef half(x):\n    {body}\n```"
    assert tasks["humaneval_chat"].process_results(doc, [reply]) == {"score": score}


def test_without_a_sandbox_a_program_is_left_out(tasks, monkeypatch):
    monkeypatch.setattr("eval.checking.math_code.passes", lambda *_: None)
    (doc,) = tasks["humaneval_chat"].eval_docs
    assert tasks["humaneval_chat"].process_results(doc, ["```python\ndef half(x): pass\n```"]) == {}


def test_what_is_asked(tasks):
    asked = {name: task.doc_to_text(next(iter(task.eval_docs))) for name, task in tasks.items()}
    assert asked["nq_open_chat"] == asked["web_questions_chat"] == "capital of peru?"
    assert asked["gsm8k_chat"] == '1,000 + 234?\nThink step by step and end with "The answer is N."'
    assert asked["humaneval_chat"].startswith("Complete this function.\n```python\nimport math\n\ndef half(x")


def test_the_file_in_its_folder_comes_before_one_of_its_name(tmp_path):
    path = str(FOLDER / "gsm8k_chat.yaml")
    (tmp_path / "test.jsonl").write_text("{}\n")
    assert data_file(path, str(tmp_path)) == tmp_path / "test.jsonl"
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text("{}\n")
    assert data_file(path, str(tmp_path)) == tmp_path / "gsm8k" / "test.jsonl"
