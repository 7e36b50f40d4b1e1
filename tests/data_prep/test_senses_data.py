"""Pictures and melodies as tokens: what is held out is in no training set, and a token comes from a code alone."""

import itertools

import numpy as np
import pytest

from data_prep.senses.__main__ import combinations, main
from data_prep.senses.melodies import INSTRUMENTS, KEYS, MELODIES
from eval.senses.codes import codes_in, leading, load
from eval.senses.pictures import COLOURS, COUNTS, SHAPES, caption, picture_of, read
from eval.senses.sounds import SLICES

SMALL = "--pictures 180 --sounds 144 --test_each 1 --picture_codes 200 --sound_codes 40 --seed 3"
LISTS = {"pictures": (COUNTS, tuple(COLOURS), tuple(SHAPES)), "sounds": (tuple(MELODIES), KEYS, tuple(INSTRUMENTS))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer_dir):
    out = tmp_path_factory.mktemp("senses")
    main(f"--tokenizer {tokenizer_dir} --output_dir {out} {SMALL}".split())
    return out


@pytest.fixture(scope="module")
def made(folder):
    """The tokenizer, and the documents of training and validation as token ids, without their end tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    rows = []
    for split in ("train", "validation"):
        ids = np.fromfile(folder / "tokens" / f"{split}.ds", dtype="<u4").tolist()
        assert ids[-1] == end
        rows += [list(group) for ended, group in itertools.groupby(ids, lambda i: i == end) if not ended]
    return tokenizer, rows


def words(tokenizer, ids: list[int]) -> str:
    """What of a document is text."""
    marks = ("<picture", "</picture", "<sound", "</sound")
    return tokenizer.decode([i for i in ids if not tokenizer.convert_ids_to_tokens(i).startswith(marks)])


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


def test_a_melody_is_hummed_before_it_is_named(folder, made):
    tokenizer, rows = made
    begin = tokenizer.convert_tokens_to_ids("<sound>")
    sounds = [row for row in rows if begin in row]
    assert len(sounds) == 144
    for row in sounds:
        played, hummed = row[: SLICES + 2], row[SLICES + 2 : 2 * SLICES + 4]
        assert (
            len(leading(tokenizer, "sound", played, SLICES))
            == len(leading(tokenizer, "sound", hummed, SLICES))
            == SLICES
        )
        assert tokenizer.decode(row[2 * SLICES + 4 :]) in MELODIES


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--pictures 0", "must be at least 1"),
        ("--pictures 2", "picture_codes must be between 2 and 32"),
        ("--validation_fraction 1", "between 0 and 1"),
        ("--end_of_text <none>", "is not a token of"),
        ("--tokenizer {extended}", "has tokens for a picture already"),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(options, says, folder, tmp_path, tokenizer_dir, capsys):
    options = options.format(extended=folder / "tokenizer")
    with pytest.raises(SystemExit) as stopped:
        main(f"--tokenizer {tokenizer_dir} --output_dir {tmp_path} {SMALL} {options}".split())
    assert stopped.value.code == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())
