"""Conversations of several questions: what is asked, what stays in them, and where they end."""

import json
from types import SimpleNamespace

import pytest

import eval.generation.generate
import eval.generation.models
from eval import turns
from eval.cli import UserError
from eval.generation.generate import Generation
from eval.shared.messages import check_prompt

ROOM = 100  # positions of the model


@pytest.fixture
def files(tmp_path):
    sums = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(9)]
    names = [{"question": f"Who is {name}?", "answer": name, "choices": ["Ada", "Bo"]} for name in ("Ada", "Bo")]
    for name, lines in (("sums", sums), ("names", names)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [f"final_number={tmp_path}/sums.jsonl", f"names_choice={tmp_path}/names.jsonl"]


@pytest.fixture
def asked(monkeypatch):
    """What a model that adds right, and knows Ada alone, was asked; each message takes ten positions."""
    prompts = []

    def generate(model, tokenizer, conversations, **options):
        assert options["temperature"] == 0.0
        prompts.append(conversations)
        return [[answer(conversation[-1]["content"])] for conversation in conversations]

    def answer(question: str) -> Generation:
        if question.endswith("+ 1?"):
            text = f"The answer is {int(question.split()[0]) + 1}."
            call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
            return Generation(text, [1], True, [call, {"role": "assistant", "content": text}])
        return Generation("It is Ada.", [1], True)

    model = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=ROOM))
    )
    monkeypatch.setattr(eval.generation.generate, "generate", generate)
    monkeypatch.setattr(
        eval.generation.generate, "encode", lambda tokenizer, rows, **_: [[0] * 10 * len(row) for row in rows]
    )
    monkeypatch.setattr(eval.generation.models, "load_models", lambda named: {name: (model, None) for name in named})
    return prompts


def run(tmp_path, files, *more: str) -> dict:
    output = tmp_path / "turns.json"
    models = [f"{name}={tmp_path / name}" for name in ("one", "two")]
    argv = ["--models", *models, "--questions", *files, "--output", str(output), "--conversations", "30", *more]
    turns.main.__wrapped__(argv)
    return json.loads(output.read_text())


def test_what_was_said_stays_and_all_models_are_asked_the_same(tmp_path, files, asked, capsys):
    results = run(tmp_path, files, "--turns", "3", "--max_new_tokens", "10")["models"]
    assert len(asked) == 6 and asked[:3] == asked[3:]
    first, second, _ = asked[:3]
    assert all(len(conversation) == 1 for conversation in first)
    for before, after in zip(first, second):
        assert after[: len(before)] == before and check_prompt({"prompt": after}, "here") is None
        assert len(after) == len(before) + (3 if before[-1]["content"].endswith("+ 1?") else 2)
    assert results["one"] == results["two"]
    assert [turn["n"] for turn in results["one"]["turns"]] == [30, 30, 30]
    assert results["one"]["questions"]["sums"]["value"] == 1.0
    questions = [conversation[-1]["content"] for turn in asked[:3] for conversation in turn]
    names = [question for question in questions if question.startswith("Who")]
    assert results["one"]["questions"]["names"]["value"] == names.count("Who is Ada?") / len(names)
    assert "two, turn 3: " in capsys.readouterr().out


def test_a_conversation_ends_where_the_positions_do(tmp_path, files, asked):
    results = run(tmp_path, files, "--turns", "6", "--max_new_tokens", "40")["models"]["one"]
    counts = [turn["n"] for turn in results["turns"]]
    assert counts[:2] == [30, 30] and 0 < counts[2] <= 30  # 60 positions: of the third turn's, those with few calls
    assert counts == sorted(counts, reverse=True) and len(counts) < 6
    assert all(10 * len(conversation) + 40 <= ROOM for prompts in asked for conversation in prompts)


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (["sums.jsonl"], "takes verifier=file.jsonl"),
        (["final_number=nowhere.jsonl"], "does not exist"),
        (["no_such={0}"], "no_such"),
        (["final_number={0}", "final_text={0}"], "each file name once"),
    ],
)
def test_questions_that_are_none(tmp_path, files, sources, says):
    path = files[0].partition("=")[2]
    with pytest.raises(UserError, match=says):
        turns.read_questions([source.format(path) for source in sources])


def test_numbers_out_of_range(tmp_path, files):
    with pytest.raises(UserError, match="at least 1"):
        run(tmp_path, files, "--turns", "0")
