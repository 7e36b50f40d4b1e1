"""The tokenizer loses nothing and marks what carries loss; tokens on disk are the documents, split by their ids."""

import json
import pickle

import numpy as np
import pytest
from conftest import rows
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import tokenizer as tokenizer_module
from data_prep import tokens as tokens_module
from data_prep.tokens import TokenDataset, is_validation


def any_text():
    """Any Unicode text, now and then with the special tokens in it."""
    piece = st.one_of(
        st.text(), st.sampled_from(["<|im_end|>", "<|endoftext|>", "<|", "don 't", " .", "\r\n", "\u200b", "e\u0301", "🏳️‍🌈", "  "])
    )
    return st.lists(piece, max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=any_text())
def test_decoding_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(number=st.from_regex(r"[0-9]{1,12}", fullmatch=True))
@settings(max_examples=50, deadline=None)
def test_digits_stand_one_by_one(tokenizer, number):
    ids = tokenizer.encode(f"a{number} b")
    assert [tokenizer.decode([i]) for i in ids if tokenizer.decode([i]).strip().isdigit()] == list(number)


def test_special_tokens(tokenizer):
    special = [tokenizer.eos_token, tokenizer.pad_token, tokenizer_module.END_OF_TEXT, tokenizer_module.IM_START]
    assert tokenizer.eos_token == "<|im_end|>" and len({tokenizer.convert_tokens_to_ids(t) for t in special}) == 4
    for token in special:
        assert tokenizer.encode(token) == [tokenizer.convert_tokens_to_ids(token)]
    header = tokenizer.encode("<|im_start|>assistant\n")
    assert len(header) == 3  # a header costs the mark, the role and the line break


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am Tumbler."},
    {"role": "user", "content": "And what is 3 + 4?"},
    {"role": "assistant", "content": "The answer is 7."},
]


def test_chat_template_and_its_mask(tokenizer):
    out = tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = out["input_ids"], out["assistant_masks"]
    learned = tokenizer.decode([i for i, m in zip(ids, mask) if m])
    assert learned == "I am Tumbler.<|im_end|>The answer is 7.<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id and mask[-1] == 1  # nothing stands behind the last turn
    text = tokenizer.decode(ids)
    assert text.count("<|im_end|>") == 5 and text.endswith("The answer is 7.<|im_end|>")
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n")


def test_a_prompt_is_the_beginning_of_its_conversation(tokenizer):
    """What the policy continues is token for token what it was trained on."""
    for end in (2, 4):
        prompt = tokenizer.apply_chat_template(MESSAGES[:end], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(MESSAGES[: end + 1], return_dict=False)
        assert whole[: len(prompt)] == prompt


def test_vocab_size(tokenizer, tmp_path, capsys):
    assert len(tokenizer) == 512
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SystemExit) as exit_:
        tokenizer_module.main(["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out"), "--vocab_size", "259"])
    assert exit_.value.code == 2 and "vocab_size must be at least 260" in capsys.readouterr().err
    tokenizer_module.main(["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out"), "--vocab_size", "260"])


@pytest.mark.parametrize("row", ['{"body": "a"}', "{"])
def test_sources_without_text_are_refused(tmp_path, capsys, row):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(SystemExit) as exit_:
        tokenizer_module.main(["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and "a.jsonl" in error
    assert not (tmp_path / "out").exists()


# ---- Tokens ----


@pytest.fixture(scope="module")
def expected(world, documents, tokenizer) -> dict[str, set[tuple]]:
    """Each document of a split as token ids, the end token behind it."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    out = {"train": set(), "validation": set()}
    for path in [*documents.glob("*.jsonl"), *(world / "textbooks").glob("*.jsonl")]:
        for row in rows(path):
            out["validation" if is_validation(row["id"], 0.1) else "train"].add((*tokenizer.encode(row["text"]), end))
    return out


def read(tokens_dir, split) -> list[tuple]:
    tokens = np.fromfile(tokens_dir / f"{split}.ds", dtype=json.loads((tokens_dir / "tokens.json").read_text())["dtype"])
    ends = np.fromfile(tokens_dir / f"{split}.ds.index", dtype="<u8").astype(int)
    assert ends[-1] == len(tokens)
    return [tuple(part.tolist()) for part in np.split(tokens, ends[:-1])]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_tokens_are_the_documents(tokens_dir, expected, split):
    documents = read(tokens_dir, split)
    assert set(documents) == expected[split] and len(documents) == len(set(documents))
    record = json.loads((tokens_dir / "tokens.json").read_text())[split]
    assert record == {"tokens": sum(map(len, documents)), "documents": len(documents)}
    assert not list(tokens_dir.glob("parts"))


def test_validation_is_disjoint_from_training(tokens_dir):
    train, validation = (set(read(tokens_dir, split)) for split in ("train", "validation"))
    assert train and validation and not train & validation


def test_the_split_hangs_on_the_id_alone():
    ids = [f"doc-{i}" for i in range(4000)]
    share = sum(is_validation(i, 0.1) for i in ids) / len(ids)
    assert abs(share - 0.1) < 0.015
    assert {i for i in ids if is_validation(i, 0.05)} < {i for i in ids if is_validation(i, 0.1)}


def test_windows_are_the_documents_end_to_end(tokens_dir):
    data = TokenDataset(str(tokens_dir), "train", 64)
    whole = np.concatenate([np.array(d) for d in read(tokens_dir, "train")])
    windows = np.concatenate([data[i]["input_ids"].numpy() for i in range(len(data))])
    assert len(data) == len(whole) // 64 and np.array_equal(windows, whole[: len(data) * 64])
    assert all((data[i]["labels"] == data[i]["input_ids"]).all() for i in (0, len(data) - 1))


def test_the_dataset_pickles_without_its_tokens(tokens_dir):
    data = TokenDataset(str(tokens_dir), "train", 64)
    assert "tokens" not in vars(data) and len(data)  # nothing is mapped before it is read
    before = data[3]["input_ids"]
    copy = pickle.loads(pickle.dumps(data))
    assert "tokens" not in vars(copy) and len(pickle.dumps(data)) < 1000
    assert (copy[3]["input_ids"] == before).all() and isinstance(copy.tokens, np.memmap)


def test_tokens_do_not_hang_on_the_number_of_tasks(world, documents, tokenizer_dir, tokens_dir, tmp_path):
    sources = json.dumps([{"path": str(documents)}, {"path": str(world / "textbooks")}])
    (tmp_path / "c.yaml").write_text(f"sources: {sources}\nvalidation_fraction: 0.1\n")
    tokens_module.main(
        [
            "--config",
            str(tmp_path / "c.yaml"),
            "--tokenizer",
            str(tokenizer_dir),
            "--output_dir",
            str(tmp_path / "t"),
            "--seed",
            "5",
            "--tasks",
            "2",
        ]
    )
    for split in ("train", "validation"):
        assert sorted(read(tmp_path / "t", split)) == sorted(read(tokens_dir, split))
    assert read(tmp_path / "t", "train") != read(tokens_dir, "train")  # another seed, another order


@pytest.mark.parametrize(
    "options, message",
    [
        ({"end_of_text": "<|nothing|>"}, "is not a token of"),
        ({"validation_fraction": 0.0}, "must lie between 0 and 1"),
        ({"validation_fraction": 1e-9}, "no document fell into validation"),
        ({"sources": [{"path": "/nowhere"}]}, "/nowhere does not exist"),
        ({"tokenizer": "/nowhere"}, "/nowhere does not exist"),
        ({"sources": [{"path": "TEXTBOOKS", "colum": "text"}]}, "unknown key colum"),
        ({"sources": [{"path": "TEXTBOOKS", "text_column": "body"}]}, "body"),
    ],
)
def test_bad_input_is_one_line(world, tokenizer_dir, tmp_path, capsys, options, message):
    options = {"sources": [{"path": "TEXTBOOKS"}], "tokenizer": str(tokenizer_dir), "output_dir": str(tmp_path / "out")} | options
    (tmp_path / "c.yaml").write_text(json.dumps(options).replace("TEXTBOOKS", str(world / "textbooks")))
    with pytest.raises(SystemExit) as exit_:
        tokens_module.main(["--config", str(tmp_path / "c.yaml")])
    error = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2 and error[-1].startswith("error: ") and message in error[-1]
