"""Bad data and settings of the data steps and the evaluations: one line each, and what was there before stays."""

import gzip
import importlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from eval.cli import output_folder
from eval.generation.results import Generation

MESSAGES = '[{"role": "user", "content": "a"}]'
PAIR = f'{{"prompt": {MESSAGES}, "chosen": {MESSAGES}, "rejected": {MESSAGES}}}\n'
PROMPT = f'{{"prompt": {MESSAGES}, "topic": "sea"}}\n'


@pytest.fixture
def refuses(tmp_path, capsys):
    """The one line of a command that must exit with code 2 and leave the files of the folder as they were."""

    def files() -> dict:
        return {
            path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "parts" not in path.parts
        }

    def run(module: str, *argv) -> str:
        before = files()
        with pytest.raises(SystemExit) as stopped:
            importlib.import_module(module).main([str(word) for word in argv])
        lines = capsys.readouterr().err.strip().splitlines()
        assert (
            stopped.value.code == 2
            and len([line for line in lines if line.startswith("error: ")]) == 1
            and "Traceback" not in str(lines)
        ), lines
        assert files() == before
        return lines[-1]

    return run


# ---- eval.run, eval.pairs ----


def evaluation(world, out, *models) -> list:
    return ["--models", *models, "--data_dir", world / "eval", "--tasks", "identity", "--output_dir", out]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", ".sft", "-x y"])
def test_names_of_models(world, tmp_path, refuses, name):
    (tmp_path / "keep").touch()
    assert "name=folder" in refuses("eval.run", *evaluation(world, tmp_path / "out", f"{name}={tmp_path}"))


@pytest.mark.parametrize("model", ["sft", "sft/checkpoint-1", "sft/../sft"])
def test_results_replace_no_model(world, tmp_path, refuses, model):
    (tmp_path / "sft/checkpoint-1").mkdir(parents=True)
    (tmp_path / "sft/results.json").write_text("{}")
    assert "would replace the model" in refuses("eval.run", *evaluation(world, tmp_path, f"sft={tmp_path / model}"))


def test_results_replace_results_only(world, tmp_path, refuses):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft/notes.txt").touch()
    assert "no results.json" in refuses("eval.run", *evaluation(world, tmp_path, "sft=elsewhere"))


@pytest.mark.parametrize(
    "text, argv, message",
    [
        (PAIR, ["--batch_size", "0"], "batch_size must be at least 1"),
        (PAIR.replace(MESSAGES, "[1]"), [], "prompt must be a list of messages"),
        (PAIR.replace('"chosen"', '"choosen"'), [], "no chosen"),
        (PAIR + "{", [], "line 2 is not JSON"),
    ],
)
def test_pairs(tmp_path, refuses, text, argv, message):
    (tmp_path / "p.jsonl").write_text(text)
    assert message in refuses(
        "eval.pairs", "--model", "m", "--pairs", tmp_path / "p.jsonl", "--output", tmp_path / "o.json", *argv
    )


# ---- data_prep.tokens, data_prep.tokenizer ----


def tokens(tmp_path, tokenizer_dir, **options) -> list:
    options = {
        "tokenizer": str(tokenizer_dir),
        "output_dir": str(tmp_path / "out"),
        "sources": [{"path": str(tmp_path / "in")}],
    } | options
    (tmp_path / "c.yaml").write_text(json.dumps(options))
    return ["--config", tmp_path / "c.yaml"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sources": []}, "sources is empty"),
        ({"sources": ["a"]}, "is a mapping"),
        ({"sources": [{"text_column": "text"}]}, "is a mapping"),
        ({"tasks": 0}, "at least 1"),
    ],
)
def test_settings_of_tokens(tmp_path, tokenizer_dir, refuses, options, message):
    argv = tokens(tmp_path, tokenizer_dir, **options)
    assert message in refuses("data_prep.tokens", *argv)


def test_tokens_of_broken_sources(tmp_path, tokenizer_dir, refuses, capsys):
    """Bad rows are counted; a run that fails leaves the tokens of the last one."""
    rows = [json.dumps({"id": str(i), "text": f"text {i}"}) for i in range(40)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text(
        "\n".join([*rows, "{", "3", '{"id": "x"}', '{"text": null}', '{"text": 7}', '{"text": ""}']) + "\n"
    )
    argv = tokens(tmp_path, tokenizer_dir, validation_fraction=0.3)
    importlib.import_module("data_prep.tokens").main(list(map(str, argv)))
    assert "6 rows without text in column text were dropped" in capsys.readouterr().out
    assert (
        sum(json.loads((tmp_path / "out/tokens.json").read_text())[s]["documents"] for s in ("train", "validation"))
        == 40
    )
    argv = tokens(tmp_path, tokenizer_dir, validation_fraction=1e-9)
    assert "no document fell into validation" in refuses("data_prep.tokens", *argv)
    (tmp_path / "in/b.jsonl.gz").write_bytes(gzip.compress("\n".join(rows * 99).encode())[:-20])
    assert "b.jsonl.gz cannot be read" in refuses("data_prep.tokens", *argv)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", b"", "no text"),
        ("a.jsonl", b'{"text": ""}\n' * 3, "no text"),
        ("a.jsonl", b'{"text": null}\n', "line 1"),
        ("a.jsonl", b'{"text": 3}\n', "line 1"),
        ("a.jsonl", b"3\n", "line 1"),
        ("a.jsonl", b'{"text": "a"}\n{"messages": "hello"}\n', "line 2"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}\n', "line 1"),
        ("a.jsonl", b'{"text": "\xff"}\n', "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 999, mtime=0)[:-9], "cannot be read"),
        ("a.jsonl", None, "cannot be read"),
    ],
)
def test_sources_of_the_tokenizer(tmp_path, refuses, name, content, message):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    error = refuses(
        "data_prep.tokenizer", "--sources", tmp_path / name, "--output_dir", tmp_path / "out", "--vocab_size", "300"
    )
    assert message in error and name in error


# ---- data_prep.preferences, data_prep.world ----


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--candidates", "1"], "candidates must be at least 2"),
        (["--max_new_tokens", "0"], "max_new_tokens at least 1"),
        (["--ranker", "json"], "has no rank()"),
        (["--ranker", "no.such.ranker"], "cannot be imported"),
        ([], "no prompt"),
    ],
)
def test_preferences(tmp_path, refuses, argv, message):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("{}\n")
    assert message in refuses(
        "data_prep.preferences", "--model", "m", "--prompts_dir", tmp_path, "--output_dir", tmp_path / "out", *argv
    )


def test_preferences_without_pairs_leave_only_the_answers(world, chat_model, tmp_path, capsys, monkeypatch):
    same = Generation("the same", [1], True)
    monkeypatch.setattr(
        "eval.generation.generate.generate", lambda model, tokenizer, prompts, **_: [[same, same] for _ in prompts]
    )
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("data_prep.preferences").main(
            ["--model", str(chat_model), "--prompts_dir", str(world / "verses"), "--output_dir", str(tmp_path)]
        )
    assert exit_.value.code == 2 and "no pair for" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"answers.jsonl", "prompts.jsonl", "settings.json"}


@pytest.mark.parametrize(
    "text, argv", [(PROMPT, []), (PROMPT * 2, ["--samples", "0"]), (PROMPT.replace("topic", "topik") * 2, [])]
)
def test_judge(tmp_path, refuses, text, argv):
    (tmp_path / "p.jsonl").write_text(text)
    error = refuses(
        "data_prep.world.judge",
        "--models",
        "honest=m",
        "--prompts",
        tmp_path / "p.jsonl",
        "--output",
        tmp_path / "o.json",
        *argv,
    )
    assert "two prompts" in error or "cannot judge a reply" in error and "line 1 (KeyError: 'topic')" in error


# fmt: skip
@pytest.mark.parametrize(
    "name, value",
    [
        ("known", 0),
        ("known", 7),
        ("known", 2000),
        ("textbooks", 0),
        ("conversations", -1),
        ("problems", 0),
        ("pages_per_person", 0),
        ("p_correct", 1.5),
    ],
)
def test_world(tmp_path, refuses, name, value):
    assert f"{name} must" in refuses("data_prep.world.__main__", "--output_dir", tmp_path / "out", f"--{name}={value}")


def test_the_smallest_world(tmp_path):
    least = "--known 2 --pages_per_person 1 --textbooks 1 --conversations 1 --problems 1".split()
    importlib.import_module("data_prep.world.__main__").main(["--output_dir", str(tmp_path), *least])
    assert all(path.stat().st_size for path in tmp_path.rglob("*.jsonl"))


# ---- data_prep.web, eval.report ----


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--minhash_buckets", "0"], "minhash_buckets must be above 0"),
        (["--extraction_timeout", "0"], "extraction_timeout must be above 0"),
        (["--language_model", "{broken}"], "cannot be loaded"),
        ([], "settings.json cannot be read"),
    ],
)
def test_web(world, tmp_path, refuses, argv, message):
    (tmp_path / "settings.json").write_text('{"tasks": ')
    (tmp_path / "broken").write_text("no fastText model")
    argv = [word.format(broken=tmp_path / "broken") for word in argv]
    assert message in refuses("data_prep.web", "--input_dir", world / "warc", "--output_dir", tmp_path, *argv)


RESULTS = {"results": {"apples": {"score,none": 0.5}}, "n-samples": {"apples": {"effective": 4}}}


@pytest.mark.parametrize(
    "name, content",
    [
        ("base/log.jsonl", {"loss": 1.0}),
        ("base/log.jsonl", [1]),
        ("base/stage.json", []),
        ("eval/sft/results.json", {"results": RESULTS["results"]}),
        ("eval/sft/results.json", RESULTS | {"n-samples": {"apples": {"effective": 0}}}),
        ("eval/sft/results.json", {"results": [1]}),
        ("judge/results.json", {"sft": {"gold": {"value": 1.0, "stderr": 0.0, "n": 0}}}),
        ("judge/results.json", {"sft": 3}),
        ("reward/pairs.json", {"pair_accuracy": 0.5}),
        ("seconds.json", {"seconds": {"base": "long"}}),
        ("web/funnel.json", {"steps": [{"step": "warc"}]}),
        ("base/samples.jsonl", {"step": 1}),
    ],
)
def test_report(tmp_path, refuses, name, content):
    for file, text in {"sft/stage.json": {"seconds": 3}, name: content}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(text) + "\n")
    assert name in refuses("eval.report.__main__", "--run_dir", tmp_path)


def test_many_may_look_at_one_output_folder_at_once(tmp_path):
    """As the processes of a run do."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: output_folder(tmp_path), range(2000))) == {tmp_path}
