"""A conversation in the terminal: what is typed comes from a pipe."""

import io

import pytest
from test_generate_tools import END, PYTHON, scripted, search, search_for, tokenizer  # noqa: F401


@pytest.fixture
def chat(tokenizer, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Runs `recipes.chat` on lines, with a model that says the scripted turns; what it printed."""
    import transformers

    import eval.generation.models
    from recipes.chat import main

    tokenizer.save_pretrained(tmp_path / "model")
    load = eval.generation.models.load_pretrained

    def run(script: dict, lines: str, *argv: str) -> str:
        model = scripted(tokenizer, script)
        monkeypatch.setattr(
            eval.generation.models,
            "load_pretrained",
            lambda cls, *a, **k: model if cls is transformers.AutoModelForCausalLM else load(cls, *a, **k),
        )
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        capsys.readouterr()
        main(["--model", str(tmp_path / "model"), "--temperature", "0", *argv])
        return capsys.readouterr().out

    return run


def test_a_conversation_with_tools(chat):
    turns = [f"Look.{search_for('who')}", f"<think>so\nso</think>Nobody < me.{END}", f"Again{END}"]
    out = chat({"a": turns}, "Question a.\nAnd then?\n", "--tools", f"{__name__}:search", "--system", "Be brief.")
    first = "Look.\n  | ⟶ search: who\n  | ⟵ nothing about who\n  | thinking: so\n  | so\nNobody < me.\n"
    assert out == f"> Question a.\n{first}> And then?\nAgain\n"


def test_calls_that_fail_are_shown(chat):
    turns = [f"{PYTHON[0]}x = 1\nprint(x){PYTHON[1]}{END}", f"{PYTHON[0]}1{END}", f"Oh.{END}"]
    out = chat({"a": turns}, "Question a.\n", "--tools", f"{__name__}:search")
    first, second, third, rest = out.partition("> Question a.\n")[2].split("\n", 3)
    assert (first, second) == ("  | ⟶ python: x = 1", "  |   print(x)")
    assert third == "  | ⟵ error: Tool python not found."
    assert rest == "1\n  | ⟵ error: the call cannot be read: it has no end, or not the form of a call\nOh.\n"


def test_a_call_without_tools_is_told(chat):
    out = chat({"a": [f"Look.{search_for('who')}"]}, "Question a.\n")
    assert out == "> Question a.\nLook.\n  | ⟶ not run, as there are no tools: who\n"


def test_what_was_cut_is_told(chat):
    out = chat({"a": ["so " * 99]}, "Question a.\n", "--max_new_tokens", "20")
    assert out.endswith("so\n(cut: no more than 20 new tokens were allowed)\n")
    turns = [search_for("x" * 40), f"Oh.{END}"]
    out = chat({"a": turns}, "Question a.\n", "--tools", f"{__name__}:search", "--max_new_tokens", "50")
    assert "(cut: the result of the last call does not fit into 50 new tokens, which results count towards, or" in out
    assert "Oh." not in out
    turns = [search_for("who"), "so " * 99]
    out = chat({"a": turns}, "Question a.\n", "--tools", f"{__name__}:search", "--max_new_tokens", "100")
    assert out.endswith("so\n(cut: no more than 100 new tokens were allowed, which results of tools count towards)\n")
    calls = [search_for("who")] * 9
    out = chat({"a": calls}, "Question a.\n", "--tools", f"{__name__}:search", "--max_new_tokens", "4000")
    assert out.count("⟶") == 9 and out.count("⟵") == 8
    assert out.endswith("(cut: a reply has at most 8 calls of tools)\n")


def test_help_says_what_to_ask_and_a_number_asks_it(chat):
    script = {"": [f"Seven.{END}"]}
    out = chat(script, "/help\n/2\n/99\n")
    assert "/reset" in out and "  /1  Who are you?\n      what it says of itself\n" in out
    assert "  /2  What is 3 + 4?\n      a sum in its head (right: 7)\n" in out
    assert "Once upon" not in out and "678" not in out
    assert "> /2\n> What is 3 + 4?\nSeven.\n" in out
    assert "there is no command /99; there are /help, /reset and /quit" in out
    assert "678" in chat(script, "/help\n", "--tools", "python")
    base = chat(script, "/help\n", "--complete")
    assert "  /1  Once upon a time\n" in base and "Question: What is 3 + 4? ⏎ Answer:" in base


def test_commands_and_the_end(chat):
    script = {"a": [f"One.{END}", f"Two.{END}"], "b": [f"First.{END}"]}
    out = chat(script, "Question a.\n\nmore\n/hello\n/reset\nQuestion b.\n/quit\nQuestion a.\n")
    refused = "> /hello\nthere is no command /hello; there are /help, /reset and /quit\n"
    assert out == f"> Question a.\nOne.\n> more\nTwo.\n{refused}> /reset\n> Question b.\nFirst.\n"


def test_no_room(chat):
    out = chat({"a": ["so " * 99]}, "Question a.\nQuestion a.\n", "--max_new_tokens", "20")
    assert out.count("\n") >= 1 and "no room" not in out
    out = chat({}, f"{'word ' * 60000}\n")
    assert out.partition("\n")[2].startswith("(no room: this conversation has ") and "/reset" in out


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
        (["--temperature", "-1"], "temperature must be 0"),
        (["--temperature", "nan"], "temperature must be 0"),
        (["--temperature", "inf"], "temperature must be 0"),
        (["--temperature", "1e-38"], "temperature must be 0"),
        (["--max_new_tokens", "0"], "max_new_tokens must lie"),
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
