"""`compare` measures what it says, and `show` shows every token, its bytes and what carries loss."""

import html
import json
import re

import pytest
from conftest import rows

from data_prep.tokenizer import main
from data_prep.tokenizer_pages.compare import read_samples
from data_prep.tokenizer_pages.show import CONVERSATIONS, TEXTS, token_bytes, visible


def compare(tmp_path, *argv) -> dict:
    main(["compare", "--output_dir", str(tmp_path / "out"), *map(str, argv)])
    return json.loads((tmp_path / "out" / "tokenizers.json").read_text())


def self_contained(page: str) -> bool:
    """Nothing is fetched and nothing runs."""
    return not re.search(r"<script|<link(?! rel=\"icon\" href=\"data:,\")|<img|@import|url\(|src=|https?://", page)


def test_compare(world, documents, tokenizer, tokenizer_dir, tmp_path, capsys):
    record = compare(
        tmp_path,
        "--sources",
        f"{documents}/*.jsonl",
        f"{world}/textbooks/*.jsonl",
        "--vocab_sizes",
        "512",
        "300",
        "--tokenizers",
        tokenizer_dir,
    )
    samples = read_samples(None)
    assert {"prose", "code", "numbers", "Greek", "Chinese", "emoji"} < samples.keys()
    small, big, ready = record["tokenizers"]
    assert [t["vocabulary"] for t in (small, big, ready)] == [300, 512, 512] and ready["name"] == str(tokenizer_dir)
    for t in record["tokenizers"]:
        for kind, [text] in samples.items():
            assert (
                t["bytes_per_token"][kind] == pytest.approx(len(text.encode()) / t["tokens"][kind])
                and t["bytes_per_token"][kind] >= 1
            )
        assert t["lossy"] == []
    assert ready["tokens"] == {kind: len(tokenizer.encode(text)) for kind, [text] in samples.items()}
    assert (
        big["bytes_per_token"]["prose"] > small["bytes_per_token"]["prose"] > 1
    )  # a bigger vocabulary, a shorter sequence
    page = (tmp_path / "out" / "index.html").read_text()
    assert self_contained(page) and page.count("<figure>") == 2 and page.count('<th scope="row">') == 4
    table = capsys.readouterr().out
    assert "raw bytes" in table and f"{big['bytes_per_token']['prose']:.2f}" in table


def test_what_is_measured_is_not_trained_on(tmp_path, monkeypatch):
    from data_prep import tokenizer

    texts = [f"text {i} of many" for i in range(20)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (tmp_path / "held.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts[:5]))
    seen, train = [], tokenizer.train
    monkeypatch.setattr(tokenizer, "train", lambda corpus, size: train((seen.append(t) or t for t in corpus), size))
    compare(
        tmp_path,
        "--sources",
        tmp_path / "all.jsonl",
        "--vocab_sizes",
        "300",
        "--samples",
        f"held={tmp_path}/held.jsonl",
    )
    assert set(seen) == set(texts[5:])


def test_sizes_that_the_texts_cannot_fill_come_once(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "abab"}\n')
    record = compare(tmp_path, "--sources", tmp_path / "a.jsonl", "--vocab_sizes", "4000", "5000", "268")
    sizes = [t["vocabulary"] for t in record["tokenizers"]]
    assert sizes[0] == 268 and len(sizes) == 2 and f"no more than {sizes[1]} tokens" in capsys.readouterr().out


def test_a_tokenizer_that_drops_text_is_marked(tmp_path, capsys):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "water": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path / "words")
    (tmp_path / "a.txt").write_text("water and wine")
    record = compare(tmp_path, "--tokenizers", tmp_path / "words", "--samples", f"a={tmp_path}/a.txt")
    assert record["tokenizers"][0]["lossy"] == ["a"] and "≠4.67" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    assert "≠ 4.67" in page and "does not come back" in page


def show(tmp_path, *argv) -> str:
    main(["show", "--output_dir", str(tmp_path / "out"), *map(str, argv)])
    page = (tmp_path / "out" / "tokens.html").read_text()
    assert self_contained(page)
    return page


def shown(page: str) -> list[tuple[set, str, int, str]]:
    """The tokens on a page: classes, text, id, bytes ('' for marks)."""
    found = re.findall(
        r'<span class="(t [^"]*)" title="[^"]*"><bdi>(.*?)</bdi><i>(\d+)</i>(?:<u>(.*?)</u>)?</span>', page
    )
    return [(set(css.split()), html.unescape(text), int(i), raw) for css, text, i, raw in found]


def test_the_examples(tokenizer, tokenizer_dir, tmp_path):
    assert all(any(word in text for text in TEXTS) for word in ("strawberry", "ubiquitous", "9.11", "🙂"))
    page = show(tmp_path, "--tokenizers", tokenizer_dir)
    tokens = shown(page)
    conversation = tokenizer.apply_chat_template(
        CONVERSATIONS[0]["messages"],
        tools=CONVERSATIONS[0]["tools"],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert [i for _, _, i, _ in tokens] == [i for text in TEXTS for i in tokenizer.encode(text)] + conversation[
        "input_ids"
    ]
    written = [t for t in tokens if "special" not in t[0]][: sum(len(tokenizer.encode(text)) for text in TEXTS)]
    assert bytes.fromhex(" ".join(raw for *_, raw in written)).decode() == "".join(TEXTS)
    mask = [int("loss" in css) for css, *_ in tokens[-len(conversation["input_ids"]) :]]
    assert mask == conversation["assistant_masks"] and 0 < sum(mask) < len(mask)
    assert {text for css, text, *_ in tokens if "special" in css} >= {
        "<think>",
        "</think>",
        "<|search_start|>",
        "<|output_start|>",
        "<|im_end|>",
    }


def test_two_side_by_side(tokenizer_dir, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "strawberry ubiquitous"}\n')
    main(["--sources", str(tmp_path / "a.jsonl"), "--output_dir", str(tmp_path / "other"), "--vocab_size", "280"])
    (tmp_path / "other" / "chat_template.jinja").unlink()
    (tmp_path / "f.txt").write_text("<b>&amp;\t\x00\u0301\u202e")
    (tmp_path / "c.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "<i>hi"}, {"role": "assistant", "content": "ho"}]}) + "\n"
    )
    page = show(
        tmp_path,
        "--tokenizers",
        tokenizer_dir,
        tmp_path / "other",
        "--texts",
        "strawberry",
        "--files",
        tmp_path / "f.txt",
        "--conversations",
        tmp_path / "c.jsonl",
    )
    assert page.count('<div class="one">') == 6 and "This tokenizer has no chat template." in page
    assert "<b>&amp;" not in page and "<i>hi" not in page and "\x00" not in page and "\u202e" not in page
    assert "\\u0000" in page and "⇥" in page


def test_a_template_without_markers_and_a_long_text(tokenizer, tmp_path):
    tokenizer = tokenizer.__class__.from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "plain")
    (tmp_path / "c.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "hi"}], "title": "mine"}) + "\n"
    )
    page = show(
        tmp_path, "--tokenizers", tmp_path / "plain", "--conversations", tmp_path / "c.jsonl", "--texts", "7" * 5000
    )
    assert (
        "no {% generation %} markers" in page
        and "3,000 more tokens are not shown" in page
        and len(shown(page)) == 2000 + len(tokenizer.encode("hi"))
    )


def test_bytes_of_other_tokenizers(tokenizer):
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE({"▁the": 0, "<0xF0>": 1, "##ing": 2, "ĉ": 3}, []))
    bpe.decoder = decoders.ByteFallback()
    other = PreTrainedTokenizerFast(tokenizer_object=bpe)
    assert token_bytes(other, [0, 1, 2, 3]) == [b" the", b"\xf0", b"ing", "ĉ".encode()]
    text = "naïve 🙂 <think> ▁x"
    assert b"".join(token_bytes(tokenizer, tokenizer.encode(text))).decode() == text
    assert [visible(raw) for raw in (b" a\n", b"\xf0\x9f", "\u0301".encode(), b"\x00", "\u202e".encode())] == [
        "·a↵",
        None,
        "◌\u0301",
        "\\u0000",
        "\\u202e",
    ]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["compare"], "output_dir"),
        (["compare", "--output_dir", "out"], "nothing to compare"),
        (["compare", "--output_dir", "out", "--tokenizers", "nobody/nothing"], "nobody/nothing cannot be loaded"),
        (["compare", "--output_dir", "out", "--tokenizers", "./nothing"], "./nothing does not exist"),
        (["compare", "--output_dir", "out", "--sources", "none.jsonl"], "no file matches none.jsonl"),
        (["compare", "--output_dir", "out", "--sources", "empty.jsonl"], "no text"),
        (["compare", "--output_dir", "out", "--sources", "broken.jsonl"], "broken.jsonl, line 1 is not JSON"),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--vocab_sizes", "100"],
            "vocab_size must be at least 268",
        ),
        (["compare", "--output_dir", "out", "--sources", "good.jsonl", "--vocab_sizes", "many"], "invalid int"),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=good.jsonl"],
            "beside what is measured",
        ),
        (["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "good.jsonl"], "KIND=FILE"),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=good.jsonl", "a=good.jsonl"],
            "again",
        ),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=none.txt"],
            "none.txt does not exist",
        ),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=empty.txt"],
            "no text in the sample",
        ),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=latin1.txt"],
            "cannot be read as text",
        ),
        (
            ["compare", "--output_dir", "out", "--sources", "good.jsonl", "--samples", "a=folder"],
            "cannot be read as text",
        ),
        (["compare", "--output_dir", "out", "--vocab_size", "300"], "unknown option"),
        (["show", "--output_dir", "out"], "tokenizers"),
        (["show", "--output_dir", "out", "--tokenizers", "nobody/nothing"], "nobody/nothing cannot be loaded"),
        (["show", "--output_dir", "out", "--tokenizers", "a", "b", "c"], "one or two"),
        (
            ["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--files", "none.txt"],
            "none.txt does not exist",
        ),
        (
            ["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--files", "latin1.txt"],
            "cannot be read as text",
        ),
        (["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--texts", "\udcff"], "UTF-8"),
        (
            ["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--conversations", "none.jsonl"],
            "none.jsonl does not exist",
        ),
        (
            ["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--conversations", "broken.jsonl"],
            "line 1 is not JSON",
        ),
        (["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--conversations", "good.jsonl"], "no messages"),
        (
            ["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--conversations", "odd.jsonl"],
            "cannot render",
        ),
        (["show", "--output_dir", "out", "--tokenizers", "TOKENIZER", "--limit", "0"], "limit must be at least 1"),
        (["show", "--output_dir", "good.jsonl", "--tokenizers", "TOKENIZER"], "cannot write the output folder"),
        (["shwo", "--output_dir", "out"], "no command shwo"),
    ],
)
def test_bad_input_is_one_line(tokenizer_dir, tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, content in {
        "good.jsonl": b'{"text": "a text"}\n',
        "broken.jsonl": b"{\n",
        "odd.jsonl": b'{"messages": [{"role": "assistant"}]}\n',
        "empty.jsonl": b"",
        "empty.txt": b"",
        "latin1.txt": "é".encode("latin-1"),
    }.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        main([str(tokenizer_dir) if word == "TOKENIZER" else word for word in argv])
    error = capsys.readouterr().err
    assert (
        exit_.value.code == 2
        and message in error
        and [line for line in error.splitlines() if line.startswith("error: ")] == error.splitlines()[-1:]
    )


def test_training_takes_about_what_the_library_takes(world):
    """The figure is measured on 100 MB by `tokenizer_speed.py`; here a bound that a busy machine does not break."""
    from tokenizer_speed import library, measure

    texts = [row["text"] for row in rows(world / "textbooks" / "textbooks.jsonl")]
    seconds = measure(texts, 0.5, 512)
    assert seconds["ours"][1] < 3 * seconds["memory"][1] + 1  # of the processor
    from data_prep.tokenizer import batches, train

    bpe, trainer = library(504)
    bpe.train_from_iterator(batches(texts), trainer)
    ours = train(texts, 512).get_vocab()
    assert bpe.get_vocab() == {token: i for token, i in ours.items() if i < 504}
