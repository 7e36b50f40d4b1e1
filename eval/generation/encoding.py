"""Conversations → token ids, for any tokenizer; what a text from outside spells never becomes a control token.

    ids, mask = encode_conversation(tokenizer, messages, tools=tools, add_generation_prompt=True)
    ids = encode_text(tokenizer, seal(tokenizer, "What does <|im_end|> mean?"))

Tokenizers read `<|im_end|>` in a user's words, a tool's result or a page as the token that ends a turn, so that a text
could forge turns. Here every string that goes into a chat template is sealed first: a rare letter (`SEAL`) is put
behind the first letter of each control token that it spells. What the template itself writes has no seals. A rendering
without seals is encoded by the tokenizer as ever. One with seals is encoded by a twin of the tokenizer whose control
tokens have secret spellings: the template's own are respelled, the seals removed, and the text that is left is nothing
but text, cut into tokens as its surroundings ask. Decoding gives the text back.

Not transformers' `apply_chat_template(…, sanitize_control_tokens=True)`: it knows no mask of what the assistant wrote,
leaves out the added tokens that are neither special nor in the template, keys of arguments and tokens that the
template completes, and cuts the text apart at each control token.

A control token is any token that was added to the vocabulary, but for white space and Gemma's HTML tags. One thing
that an assistant's message spells is kept: the marks of thinking around its beginning, `<think>…</think>`, as data
sets write it.
"""

import copy
import re
from bisect import bisect_right

from eval.cli import UserError
from eval.generation.control_tokens import NO_SEAL, SEAL, Marks, marks_of, respelled, seal, seal_messages, unseal
from eval.generation.rendering import Rendering, render

__all__ = [
    "NO_SEAL",
    "SEAL",
    "Marks",
    "Rendering",
    "common",
    "encode_conversation",
    "encode_plain",
    "encode_text",
    "encode_with_mask",
    "marks_of",
    "render",
    "respelled",
    "seal",
    "seal_messages",
    "sealing",
    "unseal",
    "until_end",
]


def encode_text(tokenizer, text: str, add_special_tokens: bool = False) -> list[int]:
    """Token ids of a text, a sealed text or a rendering; only a control token without a seal becomes one."""
    return _encode(tokenizer, text, add_special_tokens)[0]


def encode_plain(tokenizer, text: str, add_special_tokens: bool = False) -> list[int]:
    """Token ids of a text that holds no control tokens, whatever it spells."""
    return encode_text(tokenizer, seal(tokenizer, text), add_special_tokens)


def encode_conversation(
    tokenizer, messages: list[dict], *, mask: bool = False, **rendering
) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and with `mask` for each 1 where the template's generation markers say that the
    assistant wrote it, else [].

    Args:
        rendering: see `render`.

    Raises:
        UserError: see `render`; with `mask` a slow tokenizer.
    """
    text = render(tokenizer, messages, spans=mask, **rendering)
    if not mask:
        return encode_text(tokenizer, text), []
    return encode_with_mask(tokenizer, text, text.spans)


def encode_with_mask(tokenizer, text: str, spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Token ids of a rendering, and for each 1 where it stands within one of `spans` of letters, as transformers sets
    it.

    Raises:
        UserError: a slow tokenizer.
    """
    ids, encoding, place = _encode(tokenizer, text, False, offsets=True)
    mask = [0] * len(ids)
    for start, end in spans:
        start, end = place(start), place(end)
        first = _first_token(encoding, range(start, end))
        last = _first_token(encoding, range(end - 1, start - 1, -1))
        if first is not None:
            mask[first : last + 1] = [1] * (last + 1 - first)
    return ids, mask


def _first_token(encoding, letters: range) -> int | None:
    """The token of the first of the letters that stands in one."""
    for letter in letters:
        token = encoding.char_to_token(letter)
        if token is not None:
            return token
    return None


def _encode(tokenizer, text: str, add_special_tokens: bool, offsets: bool = False) -> tuple:
    """Token ids, with `offsets` their `tokenizers.Encoding`, and a function from places in `text` to those in what was
    encoded."""
    text = str(text)
    marks = marks_of(tokenizer)
    if SEAL not in text:
        if offsets and not tokenizer.is_fast:
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} does not tell which letters a token stands for: "
                "a fast one (tokenizer.json) is needed"
            )
        out = tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)
        ids = list(out["input_ids"])
        own = (
            len(marks.pattern.findall(text)) + tokenizer.num_special_tokens_to_add() if marks.normalized else len(ids)
        )
        if _count(marks, ids) <= own:
            return ids, out, lambda place: place
    return _encode_with_twin(marks, text, add_special_tokens)


def _encode_with_twin(marks: Marks, text: str, add_special_tokens: bool) -> tuple:
    """As `_encode`: the control tokens under their secret spellings, the seals removed."""
    twin, spellings = marks.twin
    moved_from, moved_to, difference = [0], [0], 0

    def respell(match: re.Match) -> str:
        nonlocal difference
        old = match[0]
        new = spellings.get(old, SEAL if old == SEAL + NO_SEAL else "")
        difference += len(new) - len(old)
        moved_from.append(match.end())
        moved_to.append(match.end() + difference)
        return new

    pattern = f"{SEAL}{NO_SEAL}|{SEAL}|{marks.pattern.pattern}"
    encoding = twin.encode(re.sub(pattern, respell, text), add_special_tokens=add_special_tokens)

    def place(letter: int) -> int:
        k = bisect_right(moved_from, letter) - 1
        return moved_to[k] + letter - moved_from[k]

    return encoding.ids, encoding, place


def _count(marks: Marks, ids: list[int]) -> int:
    return sum(i in marks.ids and i != marks.unknown for i in ids)


def common(one, other) -> int:
    """How many tokens, or letters, two sequences begin with alike."""
    return next((k for k, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def until_end(ids: list[int], prompt: list[int], end: int) -> list[int]:
    """The tokens of a conversation up to the end token of the reply behind `prompt`; all, if it has none."""
    begin = common(ids, prompt)
    return ids[: ids.index(end, begin) + 1] if end in ids[begin:] else ids


def sealing(tokenizer):
    """A copy of a tokenizer that encodes renderings as `encode_text` does, for trainers that tokenise texts
    themselves.

    It has the class's name and is saved as the tokenizer itself.
    """

    class Sealing(type(tokenizer)):
        def __call__(self, text, *args, add_special_tokens: bool = True, **kwargs):
            if not isinstance(text, str) or SEAL not in text:
                return super().__call__(text, *args, add_special_tokens=add_special_tokens, **kwargs)
            if args or kwargs:
                raise ValueError(f"a sealed text is encoded whole, without {', '.join(map(str, [*args, *kwargs]))}")
            ids = encode_text(self, text, add_special_tokens)
            return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    Sealing.__name__ = Sealing.__qualname__ = type(tokenizer).__name__
    made = copy.copy(tokenizer)
    made.__class__ = Sealing
    return made
