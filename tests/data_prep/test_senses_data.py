"""Pictures and melodies as tokens: what is held out is in no training set, and a token comes from a code alone."""

import itertools
import shutil

import numpy as np
import pytest

from data_prep.senses.__main__ import combinations, main
from data_prep.senses.melodies import INSTRUMENTS, KEYS, MELODIES
from eval.senses.codes import codes_in, load
from eval.senses.pictures import COLOURS, COUNTS, SHAPES, caption, picture_of, read

SMALL = "--pictures 180 --sounds 144 --test_each 1 --picture_codes 200 --sound_codes 40 --seed 3"
LISTS = {"pictures": (COUNTS, tuple(COLOURS), tuple(SHAPES)), "sounds": (tuple(MELODIES), KEYS, tuple(INSTRUMENTS))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer_dir):
    out = tmp_path_factory.mktemp("senses")
    main(f"--tokenizer {tokenizer_dir} --output_dir {out} {SMALL}".split())
    return out


@pytest.fixture(scope="module")
def made(folder):
    """The tokenizer, and the documents of training and validation as token ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    files = [folder / "tokens" / f"{split}.ds" for split in ("train", "validation")]
    return tokenizer, [row for file in files for row in documents_of(file, "<u4", end)]


def documents_of(file, dtype: str, end: int) -> list[tuple[int, ...]]:
    """The documents of a file of tokens, without their end tokens."""
    ids = np.fromfile(file, dtype=dtype).tolist()
    assert ids[-1] == end
    return [tuple(group) for ended, group in itertools.groupby(ids, lambda i: i == end) if not ended]


@pytest.fixture(scope="module")
def others(tmp_path_factory, tokens_dir, folder):
    """Tokens of text that another tokenizer made."""
    copy = tmp_path_factory.mktemp("others") / "tokens"
    shutil.copytree(tokens_dir, copy)
    shutil.copy(folder / "tokenizer" / "tokenizer.json", copy)
    return copy


def words(tokenizer, ids: list[int]) -> str:
    """What of a document is text."""
    marks = [
        i for i in ids if tokenizer.convert_ids_to_tokens(i).startswith(("<picture", "</picture", "<sound", "</so"))
    ]
    return tokenizer.decode([i for i in ids if i not in marks])


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
def test_one_combination_in_four_is_held_out_and_any_two_parts_are_taught_together(lists):
    taught, held = (set(combinations(*lists, held_out=flag)) for flag in (False, True))
    every = set(itertools.product(*lists))
    assert taught | held == every and not taught & held
    assert len(held) == len(every) / 4
    for one, other in itertools.combinations(range(3), 2):
        pairs = {(row[one], row[other]) for row in taught}
        assert pairs == set(itertools.product(lists[one], lists[other]))


def test_no_document_holds_a_combination_that_is_tested(folder, made):
    tokenizer, rows = made
    captions = {words(tokenizer, row) for row in rows} - set(MELODIES)
    assert captions == {caption(*thing) for thing in combinations(*LISTS["pictures"], held_out=False)}
    with np.load(folder / "test.npz") as test:
        assert set(test["captions"]) == {caption(*thing) for thing in combinations(*LISTS["pictures"], held_out=True)}
        assert [read(picture) for picture in test["pictures"]] == test["captions"].tolist()
        played = {f"{m}, {k} semitones up, {i}" for m, k, i in combinations(*LISTS["sounds"], held_out=True)}
        assert set(test["played"]) == played and set(test["melodies"]) == set(MELODIES)


def test_a_picture_is_read_before_its_caption_and_after_it(folder, made):
    tokenizer, rows = made
    book, begin = load(folder)["picture"], tokenizer.convert_tokens_to_ids("<picture>")
    pictures = [row for row in rows if begin in row]
    assert len(pictures) == 2 * 180 and len(rows) == 2 * 180 + 144
    assert sum(row[0] == begin for row in pictures) == 180
    right = 0
    for row in pictures:
        codes = codes_in(tokenizer, "picture", row)
        assert len(codes) == 16
        right += read(picture_of(book.decode(codes))) == words(tokenizer, row)
    assert right > 0.7 * len(pictures)


def test_codebooks_do_not_hang_on_the_test_set(folder, tmp_path, tokenizer_dir):
    other = SMALL.replace("--test_each 1", "--test_each 2")
    main(f"--tokenizer {tokenizer_dir} --output_dir {tmp_path} {other}".split())
    for sense, book in load(folder).items():
        assert np.array_equal(book.centres, load(tmp_path)[sense].centres)
    assert (folder / "tokens" / "train.ds").read_bytes() == (tmp_path / "tokens" / "train.ds").read_bytes()


def test_the_new_tokens_stand_behind_the_old_ones(made, tokenizer):
    extended, _ = made
    old = tokenizer.get_vocab()
    assert {text: i for text, i in extended.get_vocab().items() if text in old} == old
    assert len(extended) == len(old) + 2 + 200 + 2 + 40


def test_text_is_among_the_documents_as_it_was(tmp_path, tokenizer_dir, tokens_dir):
    options = f"--tokenizer {tokenizer_dir} --text {tokens_dir} --text_share 0.2 --output_dir {tmp_path} {SMALL}"
    main(options.split())
    known = set(documents_of(tokens_dir / "train.ds", "<u2", 0))
    rows = [
        *documents_of(tmp_path / "tokens/train.ds", "<u4", 0),
        *documents_of(tmp_path / "tokens/validation.ds", "<u4", 0),
    ]
    text = [row for row in rows if row in known]
    assert len(rows) - len(text) == 2 * 180 + 144 and len(text) == len(set(text))
    assert 0.15 < sum(map(len, text)) / sum(map(len, rows)) <= 0.2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--pictures 0", "must be at least 1"),
        ("--pictures 2", "picture_codes must be between 2 and 32"),
        ("--validation_fraction 1", "between 0 and 1"),
        ("--text {tokens}", "another tokenizer's than"),
        ("--end_of_text <none>", "is not a token of"),
        ("--tokenizer {extended}", "has tokens for a picture already"),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(options, says, folder, others, tmp_path, tokenizer_dir, capsys):
    options = options.format(extended=folder / "tokenizer", tokens=others)
    with pytest.raises(SystemExit) as stopped:
        main(f"--tokenizer {tokenizer_dir} --output_dir {tmp_path} {SMALL} {options}".split())
    assert stopped.value.code == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())
