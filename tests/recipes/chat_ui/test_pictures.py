"""Drawings on the chat page: whole pictures among the tokens of a reply, by the codebook that the model was taught."""

import json

import numpy as np
from test_chat_web import END, Talk, letters, opened, say, scripted  # noqa: F401
from test_label import browser  # noqa: F401

from eval.senses.codes import FILE, Codebook, marks, to_tokens
from eval.senses.pictures import picture_of, pixels
from recipes.chat_ui.pictures import book_of, drawn

BOOK = Codebook(np.linspace(0, 1, 20 * 48, dtype=np.float32).reshape(20, 48))
CODES = list(range(2, 18))


def seeing(tokenizer):
    """A copy of the tokenizer with the tokens of pictures."""
    import copy

    made = copy.deepcopy(tokenizer)
    made.add_tokens(marks("picture", len(BOOK.centres)))
    return made


def test_only_whole_pictures_are_shown(letters):  # noqa: F811
    tokenizer = seeing(letters)
    whole = to_tokens(tokenizer, "picture", CODES)
    svg = str(pixels(picture_of(BOOK.centres[CODES]).tolist(), "picture"))
    assert svg.startswith("<svg") and svg.count("<rect") > 50
    assert drawn(tokenizer, BOOK, [5, *whole, 0]) == [svg] and drawn(tokenizer, BOOK, [*whole, *whole]) == [svg, svg]
    for other in (whole[1:], whole[:-1], [*whole[:5], 5, *whole[5:]], []):
        assert drawn(tokenizer, BOOK, other) == []


def test_a_caption_begins_a_document_where_pictures_are_drawn(letters):  # noqa: F811
    tokenizer = seeing(letters)
    model = scripted(tokenizer, {})
    plain, drawing = (Talk(model, tokenizer, [], book).ids("two red circles") for book in (None, BOOK))
    assert drawing == [tokenizer.convert_tokens_to_ids("<|endoftext|>"), *plain]
    talk = [{"role": "user", "content": "two red circles"}]
    assert Talk(model, tokenizer, [], BOOK).ids(talk) == Talk(model, tokenizer, []).ids(talk)


def test_the_codebook_is_the_one_beside_the_tokenizer(tmp_path):
    model, data = tmp_path / "model", tmp_path / "data"
    for folder in (model, data):
        folder.mkdir()
    assert book_of(str(model)) is None
    (model / "stage.json").write_text(json.dumps({"config": {"tokenizer": str(data / "tokenizer")}}))
    assert book_of(str(model)) is None
    np.savez(data / FILE, picture=BOOK.centres, sound=BOOK.centres[:2])
    assert np.array_equal(book_of(str(model)).centres, BOOK.centres)


def test_the_page_shows_a_drawing(opened, letters):  # noqa: F811
    tokenizer = seeing(letters)
    drawing = tokenizer.decode(to_tokens(tokenizer, "picture", CODES))
    model = scripted(tokenizer, {"a": [drawing + END, drawing.removesuffix("</picture>") + END]})
    page = opened({"one": (Talk(model, tokenizer, [], BOOK), None, False)})
    say(page, "Question a.")
    assert page.locator("#log .picture svg").count() == 1
    say(page, "And then?")
    assert page.locator("#log .reply").count() == 2 and page.locator("#log .picture svg").count() == 1
