"""Words around each token of a tokenizer."""

import re
from collections import Counter

import pytest
from conftest import rows

from data_prep.problem_sets.splits import split_of
from data_prep.problem_sets.words import LECTURE_WORDS
from data_prep.world import copying
from eval.tools.python import python


class Tokenizer:
    texts = ["keeper", "ook", "b", "ous", " the", "9", "Ab", "aste", "<|user|>", "incomprehens", "ub"]

    def get_vocab(self):
        return {text: number for number, text in enumerate(self.texts)}

    def decode(self, ids):
        return self.texts[ids[0]]


def test_tokens_of_small_letters_that_leave_room_are_pieces():
    assert copying.pieces_of(Tokenizer()) == ["aste", "b", "keeper", "ook", "ous", "ub"]


def test_a_tokenizer_of_characters_and_one_without(monkeypatch):
    monkeypatch.setattr(Tokenizer, "texts", list("abc "))
    assert len(copying.rows_of(copying.pieces_of(Tokenizer()), times=9, seed=0)) == 27
    monkeypatch.setattr(Tokenizer, "texts", ["1", "A"])
    assert copying.pieces_of(Tokenizer()) == []


def test_each_piece_stands_in_words_for_training():
    pieces = copying.pieces_of(Tokenizer())
    made = copying.rows_of(pieces, times=5, seed=0)
    words = [re.search(r'"([a-z]+)"', row["query"])[1] for row in made]
    assert len(made) == 30 and len(set(words)) > 20
    counts = Counter(piece for word in words for piece in pieces if piece in word)
    assert all(counts[piece] >= 5 for piece in pieces)
    for row, word in zip(made, words):
        assert 2 <= len(word) <= 12 and split_of(f"word {word}") == "train" and word not in LECTURE_WORDS
        assert word in row["question"] and python(row["query"]).strip() == row["answer"]
    assert made == copying.rows_of(pieces, times=5, seed=0) != copying.rows_of(pieces, times=5, seed=1)


def test_the_command(tokenizer_dir, tmp_path, capsys):
    copying.main(f"--tokenizer {tokenizer_dir} --output_dir {tmp_path}/copying --times 1".split())
    made = rows(tmp_path / "copying" / "tool_use.jsonl")
    assert made and {"question", "tool", "query", "reply", "answer", "verifier"} == set(made[0])
    assert f"{len(made)} rows" in capsys.readouterr().out.replace(",", "")
    with pytest.raises(SystemExit) as stopped:
        copying.main(f"--tokenizer {tokenizer_dir} --output_dir {tmp_path}/none --times 0".split())
    assert stopped.value.code == 2 and not (tmp_path / "none").exists()
