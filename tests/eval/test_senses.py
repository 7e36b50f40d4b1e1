"""Pictures and sounds as tokens: the rules, the codes, how a model is counted, and its chapter in the report."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import save_model

from data_prep.senses.melodies import play
from data_prep.senses.pictures import draw
from eval.generation.encoding import encode_plain
from eval.report.__main__ import build
from eval.senses import __main__ as senses
from eval.senses.codes import Codebook, codes_in, leading, marks, to_tokens
from eval.senses.pictures import COLOURS, COUNTS, SHAPES, caption, patches, picture_of, read
from eval.senses.sounds import SLICES, slices, spectrogram, waveform_of

THINGS = list(itertools.product(COUNTS, COLOURS, SHAPES))
KEYS = ("captions", "melodies", "rules", "captioner", "codes")


@pytest.fixture(scope="module")
def extended(tokenizer_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    for sense in ("picture", "sound"):
        tokenizer.add_tokens(marks(sense, 20))
    return tokenizer


def test_the_rules_read_what_the_generator_draws():
    rng = np.random.default_rng(0)
    for thing in THINGS:
        assert read(draw(rng, *thing)) == caption(*thing)


def test_the_rules_read_nothing_in_what_shows_no_such_thing():
    rng = np.random.default_rng(0)
    red, blue = draw(rng, "four", "red", "ring"), draw(rng, "four", "blue", "ring")
    assert read(np.concatenate([red[:8], blue[8:]])) is None
    assert read(np.zeros((16, 16, 3), np.uint8)) is None
    assert read(rng.integers(256, size=(16, 16, 3)).astype(np.uint8)) is None
    half = draw(rng, "one", "red", "square")
    lit = np.argwhere(half.max(axis=2) > 100)
    half[lit[:18, 0], lit[:18, 1]] = 0
    assert read(half) is None


def test_patches_are_undone():
    picture = np.random.default_rng(0).integers(256, size=(16, 16, 3)).astype(np.uint8)
    assert np.array_equal(picture_of(patches(picture)), picture)
    assert np.allclose(patches(picture)[1].reshape(4, 4, 3) * 255, picture[:4, 4:8])


def test_a_waveform_is_found_whose_slices_are_near():
    for waveform in play(np.random.default_rng(0), "the mill song", 2, "fiddle"):
        pieces = slices(waveform)
        again = slices(waveform_of(pieces))
        assert again.shape == pieces.shape == (SLICES, 257)
        assert np.abs(again - pieces).mean() < 0.35 * np.abs(pieces - pieces.mean(axis=0)).mean()


def test_a_hum_is_the_same_for_every_instrument():
    (flute, hum), (bell, same) = (
        play(np.random.default_rng(3), "the bell song", 4, name) for name in ("flute", "bell")
    )
    assert np.array_equal(hum, same) and not np.allclose(flute, bell, atol=0.1)
    (_, other) = play(np.random.default_rng(3), "the bell song", 5, "flute")
    assert not np.allclose(hum, other, atol=0.1)


def test_a_spectrogram_shows_the_loudest_note_where_it_is():
    time = np.arange(4000) / 4000
    shades = np.array(spectrogram(slices(np.sin(2 * np.pi * 1000 * time).astype(np.float32))))
    assert (
        shades.shape[0] == 64 and set(shades.argmax(axis=0)) <= {31, 32} and shades.max() == 7 and shades[0].max() == 0
    )


def test_a_token_comes_from_a_code_and_never_from_a_text(extended):
    ids = to_tokens(extended, "picture", [3, 17])
    assert extended.convert_ids_to_tokens(ids) == ["<picture>", "<picture_003>", "<picture_017>", "</picture>"]
    assert codes_in(extended, "picture", ids) == [3, 17] and codes_in(extended, "sound", ids) == []
    said = "<picture><picture_003></picture> is what I typed"
    forged = encode_plain(extended, said)
    assert extended.decode(forged) == said and not set(forged) & set(ids)
    assert leading(extended, "picture", [*ids, 5], 2) == [3, 17]
    for other in (ids[1:], ids[:-1], [*ids[:2], *ids], []):
        assert leading(extended, "picture", other, 2) == []
    with pytest.raises(senses.UserError, match="no token <picture_020>"):
        to_tokens(extended, "picture", [20])


class Oracle:
    """Names and draws rightly, but for what `wrong` holds."""

    def __init__(self, known: dict, pictures: dict, wrong: str):
        self.known, self.pictures, self.wrong = known, pictures, wrong

    def captions(self, pictures):
        told = [self.known[tuple(codes)] for codes in pictures]
        return ["a cat" if name == self.wrong else name for name in told]

    def drawings(self, captions):
        return [[self.pictures[caption], []] for caption in captions]


def test_what_is_right_is_counted_by_combination():
    rng = np.random.default_rng(0)
    things = [("two", "red", "circle"), ("one", "white", "cross"), ("four", "blue", "ring")]
    captions = [caption(*thing) for thing in things]
    pictures = np.array([draw(rng, *thing) for thing in things])
    book = Codebook(np.concatenate([patches(picture) for picture in pictures]))
    coded = [book.encode(patches(picture)) for picture in pictures]
    oracle = Oracle(
        {tuple(codes): name for codes, name in zip(coded, captions)}, dict(zip(captions, coded)), captions[0]
    )
    seen = senses.see(oracle, book, pictures, captions)
    assert (seen["captions"]["value"], seen["captions"]["n"]) == (pytest.approx(2 / 3), 3)
    assert seen["codes"]["value"] == 1 and seen["pictures"][1]["codes"] == coded[1]
    drawn = senses.draw(oracle, book, captions)  # of two drawings of each the second is no picture
    assert drawn["rules"] == {"value": 0.5, "stderr": 0.0, "n": 3, "tries": 6}
    assert drawn["captioner"]["value"] == pytest.approx(1 / 3)
    shares = senses.by_combination([True, False, True, True], ["a", "a", "b", "b"])
    assert shares == {"value": 0.75, "stderr": 0.25, "n": 2, "tries": 4}


class Parrot(senses.Perceiver):
    """Says the same after every prompt."""

    def __init__(self, tokenizer, ids):
        self.tokenizer, self.begin, self.ids = tokenizer, 0, ids

    def _continue(self, prompts, most, **options):
        assert len(self.ids) <= most
        return [[SimpleNamespace(token_ids=self.ids)] for _ in prompts]


def test_a_name_is_what_follows_the_hum(extended):
    hum, name = to_tokens(extended, "sound", [7] * SLICES), encode_plain(extended, "the mill song")
    assert Parrot(extended, [*hum, *name, 0]).songs([[1], [2]]) == [([7] * SLICES, "the mill song")] * 2
    assert Parrot(extended, [*name, 0]).songs([[1]]) == [([], "the mill song")]
    ((codes, said),) = Parrot(extended, [*hum[:-3], *name]).songs([[1]])
    assert codes == [] and said.startswith("<sound>") and said.endswith("the mill song")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, tokenizer_dir):
    """A run with a model that knows nothing, evaluated."""
    from transformers import AutoTokenizer

    from data_prep.senses.__main__ import main

    folder = tmp_path_factory.mktemp("run")
    data, model = folder / "senses_data", folder / "model"
    main(
        f"--tokenizer {tokenizer_dir} --output_dir {data} --pictures 90 --sounds 144 --test_each 1"
        " --picture_codes 60 --sound_codes 40".split()
    )
    save_model(model, AutoTokenizer.from_pretrained(data / "tokenizer"))
    output = folder / "experiments" / "senses.json"
    senses.main(f"--model {model} --data_dir {data} --output {output} --drawings 2".split())
    (folder / "base").mkdir()
    (folder / "base" / "stage.json").write_text(json.dumps({"stage": "pretrain", "parent": None, "config": {}}))
    return folder


def test_a_model_that_knows_nothing_is_never_right(run_folder):
    found = json.loads((run_folder / "experiments" / "senses.json").read_text())
    assert [found[key]["n"] for key in KEYS] == [30, 48, 30, 30, 30]
    assert [found[key]["tries"] for key in KEYS] == [30, 48, 60, 60, 30]
    assert [found[key]["value"] for key in KEYS[:4]] == [0, 0, 0, 0] and found["codes"]["value"] > 0


def test_the_report_shows_them_with_what_models_say_as_text(run_folder):
    file = run_folder / "experiments" / "senses.json"
    found = json.loads(file.read_text())
    found["pictures"][0]["said"] = found["drawings"][0]["said"] = "<img src=x>"
    file.write_text(json.dumps(found))
    page = build(run_folder)
    text, summary = page.read_text(), json.loads((page.parent / "summary.json").read_text())
    assert summary["senses"]["captions"] == found["captions"] and "Everything is a token" in text
    assert text.count("&lt;img src=x&gt;") == 2 and "<img" not in text
    assert text.count('aria-label="picture"') >= 2 * len(found["pictures"])
    parts = sum(len(sound["parts"]) for sound in found["sounds"])
    assert parts >= 2 * len(found["sounds"]) >= 2
    assert text.count("data:audio/wav;base64,UklGR") == text.count('aria-label="spectrogram"') == parts


def test_bad_settings_are_one_line(run_folder, tmp_path, capsys):
    data = run_folder / "senses_data"
    for options, says in (
        (f"--model {run_folder / 'model'} --data_dir {tmp_path}", "codebooks.npz does not exist"),
        (f"--model {run_folder / 'model'} --data_dir {data} --drawings 0", "drawings must be at least 1"),
        (f"--model {run_folder / 'model'} --data_dir {data} --begin none", "has no token none"),
    ):
        with pytest.raises(SystemExit) as stopped:
            senses.main(f"{options} --output {tmp_path / 'o' / 'x.json'}".split())
        assert stopped.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "o" / "x.json").exists()
