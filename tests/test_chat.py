"""A conversation in the terminal: what is typed comes from a pipe."""

import io

import pytest
from test_generate_tools import END, PYTHON, scripted, search, search_for, tokenizer  # noqa: F401


@pytest.fixture
def chat(tokenizer, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Runs `recipes.chat` on lines, with a model that says the scripted turns; what it printed."""
    import transformers

    import eval.models
    from recipes.chat import main

    tokenizer.save_pretrained(tmp_path / "model")
    load = eval.models.load_pretrained

    def run(script: dict, lines: str, *argv: str) -> str:
        model = scripted(tokenizer, script)
        monkeypatch.setattr(eval.models, "load_pretrained", lambda cls, *a, **k: model if cls is transformers.AutoModelForCausalLM else load(cls, *a, **k))
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        capsys.readouterr()
        main(["--model", str(tmp_path / "model"), "--temperature", "0", *argv])
        return capsys.readouterr().out

    return run


def test_a_conversation_with_tools(chat):
    turns = [f"Look.{search_for('who')}", f"<think>so\nso</think>Nobody < me.{END}", f"Again{END}"]
    out = chat({"a": turns}, "Question a.\nAnd then?\n", "--tools", f"{__name__}:search", "--system", "Be brief.")
    assert out == "Look.\n  | search: who\n  | = nothing about who\n  | thinking: so\n  | so\nNobody < me.\nAgain\n"


def test_calls_that_fail_are_shown(chat):
    turns = [f"{PYTHON[0]}x = 1\nprint(x){PYTHON[1]}{END}", f"{PYTHON[0]}1{END}", f"Oh.{END}"]
    out = chat({"a": turns}, "Question a.\n", "--tools", f"{__name__}:search")
    first, _, rest = out.partition("\n  | = ")
    assert first == "  | python: x = 1\n  | print(x)"
    assert "Tool python not found" in rest and out.endswith("\nOh.\n")


def test_commands_and_the_end(chat):
    out = chat({"a": [f"One.{END}", f"Two.{END}"], "b": [f"First.{END}"]}, "Question a.\n\nmore\n/help\n/reset\nQuestion b.\n/quit\nQuestion a.\n")
    assert out == "One.\nTwo.\nthere is no command /help; there are /reset and /quit\nFirst.\n"


def test_no_room(chat):
    out = chat({"a": ["so " * 99]}, "Question a.\nQuestion a.\n", "--max_new_tokens", "20")
    assert out.count("\n") >= 1 and "no room" not in out
    out = chat({}, f"{'word ' * 60000}\n")
    assert out.startswith("(no room: this conversation has ") and "/reset" in out


def test_a_base_model_continues(tokenizer, tmp_path, monkeypatch, capsys):  # noqa: F811
    from conftest import save_model

    from recipes.chat import main

    folder = save_model(tmp_path / "base", tokenizer)

    def says(*argv) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO("once upon\nonce upon\n"))
        main(["--model", str(folder), "--max_new_tokens", "9", *argv])
        return capsys.readouterr().out

    completed = says("--complete", "--temperature", "0")
    assert completed[: len(completed) // 2] * 2 == completed  # no memory
    assert says("--complete", "--seed", "1") == says("--complete", "--seed", "1") != completed
    (folder / "chat_template.jinja").unlink()
    assert says("--temperature", "0") == completed
    for argv, message in [
        (["--system", "Be brief."], "has a chat template|with a chat template"),
        (["--tools", "nothing"], "there is no tool nothing"),
        (["--temperature", "-1"], "temperature must not be negative"),
        (["--temperature", "nan"], "temperature must not be negative"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--model", str(tmp_path / "none")], "does not exist"),
        (["--nonsense"], "--nonsense"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            says(*argv)
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
        assert any(part in error for part in message.split("|")), error


def test_input_that_is_no_text(chat, monkeypatch, capsys):
    monkeypatch.setattr(io, "StringIO", lambda lines: io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(SystemExit) as stopped:
        chat({}, "")
    assert stopped.value.code == 2 and "not UTF-8" in capsys.readouterr().err
