"""Conversations → token ids, for any tokenizer; what a text from outside spells never becomes a control token.

    ids, mask = encode_conversation(tokenizer, messages, tools=tools, add_generation_prompt=True)
    ids = encode_text(tokenizer, seal(tokenizer, "What does <|im_end|> mean?"))

Tokenizers read `<|im_end|>` in a user's words, a tool's result or a page as the token that ends a turn, so that a text
could forge turns. Here every string that goes into a chat template is sealed first: a rare letter (`SEAL`) is put
behind the first letter of each control token that it spells. What the template itself writes has no seals. A rendering
without seals is encoded by the tokenizer as ever. One with seals is encoded by a twin of the tokenizer whose control
tokens have secret
spellings: the template's own are respelled, the seals removed, and the text that is left is nothing but text, cut into
    tokens
as its surroundings ask. Decoding gives the text back.

Not transformers' `apply_chat_template(…, sanitize_control_tokens=True)`: it knows no mask of what the assistant wrote,
leaves out the added tokens that are neither special nor in the template, keys of arguments and tokens that the
template completes, and cuts the text apart at each control token.

A control token is any token that was added to the vocabulary, but for white space and Gemma's HTML tags. One thing
that an assistant's message spells is kept: the marks of thinking around its beginning, `<think>…</think>`, as data
sets write it.
"""

import contextlib
import copy
import json
import re
import secrets
import weakref
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property

import jinja2

from eval.cli import UserError
from eval.shared.messages import Malformed, check_roles
from eval.shared.messages import arguments as mapping
from eval.shared.messages import text as joined

# Linear A: letters, so that trim, repr and JSON leave them alone; a text's own SEAL becomes SEAL + NO_SEAL
SEAL, NO_SEAL = "\U00010600", "\U00010601"
THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_HTML = "a|b|blockquote|body|br|caption|code|div|em|h[1-6]|head|hr|html|i|img|li|ol|p|pre"
_HTML += "|s|span|strong|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul"
_PLAIN = re.compile(rf"[\s▁]*|.|</?(?:{_HTML})>")  # added tokens that are text


class Marks:
    """The control tokens of a tokenizer.

    Attributes:
        ids: {token id: its text}.
        pattern: any of them, the longest first.
    """

    def __init__(self, tokenizer):
        added = tokenizer.added_tokens_decoder
        self.ids = {i: str(t) for i, t in added.items() if (t.special and str(t)) or not _PLAIN.fullmatch(str(t))}
        texts = sorted(self.ids.values(), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, texts)) or "(?!)")
        self._first = re.compile(f"(?={self.pattern.pattern})(.)", re.DOTALL)
        self.beginnings = {text[:k] for text in texts for k in range(1, len(text))}
        self.ends = {text[k:] for text in texts for k in range(1, len(text))}
        self._first_letters, self._last_letters = {text[0] for text in texts}, {text[-1] for text in texts}
        self._longest = max(map(len, texts), default=1) - 1
        self.unknown = tokenizer.unk_token_id  # what any text may hold
        fast = tokenizer.is_fast and tokenizer.backend_tokenizer.normalizer is not None
        self.normalized = fast and any(token.normalized for token in added.values())  # "＜|im_end|＞" may be one, too
        self._tokenizer = weakref.ref(tokenizer)

    def seal(self, text: str) -> str:
        return self._first.sub(rf"\1{SEAL}", text.replace(SEAL, SEAL + NO_SEAL))

    def spelled(self, text: str) -> bool:
        """Whether a text must be sealed."""
        return SEAL in text or bool(self.pattern.search(text))

    def edges(self, text: str) -> tuple[bool, bool]:
        """Whether a template could complete a control token at the beginning and at the end of a text,
        spaces aside."""
        text = text.strip()
        lengths = range(1, min(self._longest, len(text)) + 1)
        return any(text[:k] in self.ends for k in lengths), any(text[-k:] in self.beginnings for k in lengths)

    def edged(self, text: str) -> bool:
        """Whether either of `edges` holds; most texts have none of the letters that it takes."""
        most, inner = self._longest, text.strip()
        plain = self._last_letters.isdisjoint(inner[:most]) and self._first_letters.isdisjoint(inner[-most:])
        return not plain and any(self.edges(inner))

    def seal_edges(self, text: str) -> str:
        """As `seal`, with a seal where the template could complete a control token, too."""
        first, last = self.edges(text)
        inner = text.strip()
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return before + SEAL * first + self.seal(inner) + SEAL * last + after if inner else text

    @cached_property
    def twin(self) -> tuple:
        """A `tokenizers.Tokenizer` whose control tokens are spelled otherwise, and {text: its secret spelling}.

        Raises:
            UserError: a slow tokenizer, or one that cannot be rebuilt so.
        """
        tokenizer = self._tokenizer()
        secret = NO_SEAL + secrets.token_hex(8)
        spellings = {text: f"{secret}{i}{NO_SEAL}" for i, text in self.ids.items()}
        try:
            twin = respelled(tokenizer.backend_tokenizer, spellings)
        except Exception as error:  # the tokenizers library raises bare Exceptions
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} cannot write its control tokens as plain text ({error}): "
                "a fast one (tokenizer.json) is needed"
            ) from None
        wrong = [text for i, text in self.ids.items() if twin.token_to_id(spellings[text]) != i]
        if wrong:
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} cannot write {wrong[0]} as plain text: "
                "its tokenizer.json is not as transformers writes it"
            )
        return twin, spellings


def respelled(backend, spellings: dict[str, str]):
    """A copy of a `tokenizers.Tokenizer` in which tokens have other spellings, and the same ids."""
    import orjson
    from tokenizers import Tokenizer

    def new(text):
        return spellings.get(text, text)

    state = orjson.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["content"] = new(token["content"])
    model = state["model"]
    vocab = model["vocab"]
    model["vocab"] = (
        {new(k): v for k, v in vocab.items()} if isinstance(vocab, dict) else [[new(k), score] for k, score in vocab]
    )
    if model.get("unk_token"):
        model["unk_token"] = new(model["unk_token"])
    if "merges" in model:  # what comes of merges cannot have a name that they do not make
        parts = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [[a, b] for a, b in parts if not {a, b, a + b} & spellings.keys()]
    state["truncation"] = state["padding"] = None
    return Tokenizer.from_str(orjson.dumps(state).decode())


_known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def marks_of(tokenizer) -> Marks:
    """The control tokens of a tokenizer; looked up once, and again when tokens were added."""
    signature = (len(tokenizer), len(tokenizer.added_tokens_decoder), tokenizer.unk_token_id)
    if _known.get(tokenizer, (None,))[0] != signature:
        _known[tokenizer] = (signature, Marks(tokenizer))
    return _known[tokenizer][1]


# ---- Seals ----


def seal(tokenizer, value):
    """A text, or lists and dicts of them, with a seal in each control token that it spells; dicts' keys, too."""
    return _map(marks_of(tokenizer).seal, value)


def unseal(text: str) -> str:
    """A sealed text as it was, or the text of a sealed rendering."""
    return re.sub(f"{SEAL}({NO_SEAL})?", lambda m: SEAL if m[1] else "", text)


def _map(function: Callable[[str], str], value):
    """Keys that are names stay as they are: templates look for them."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {
            key if str(key).isidentifier() else _map(function, key): _map(function, item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_map(function, item) for item in value]
    return value


def _strings(value, found: list[str] | None = None) -> list[str]:
    """The texts in a value, those of dicts' keys that are no names among them."""
    found = [] if found is None else found
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and not key.isidentifier():
                found.append(key)
            _strings(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _strings(item, found)
    return found


def _sealed(message: dict, function: Callable[[str], str], marks: Marks) -> dict:
    """A message with its strings as `function` makes them, the marks of thinking around an assistant's beginning left
    as they are."""
    made = {key: value if key == "role" else _map(function, value) for key, value in message.items()}
    content = message.get("content")
    if message["role"] == "assistant" and isinstance(content, str):
        for begin, end in THINKING:
            thought = re.match(
                rf"(\s*{re.escape(begin)})((?:(?!{re.escape(begin)}).)*?)({re.escape(end)})(.*)", content, re.DOTALL
            )
            if thought and {begin, end} <= set(marks.ids.values()):
                before, thinking, after, rest = thought.groups()
                made["content"] = before + function(thinking) + after + function(rest)
    return made


def _contents(messages: list[dict]) -> list[dict]:
    return [{key: value for key, value in message.items() if key != "role"} for message in messages]


def seal_messages(tokenizer, messages: list[dict]) -> list[dict]:
    """Messages for a chat template that others render, sealed where they spell a control token, or could be completed
    to one."""
    marks = marks_of(tokenizer)
    check_roles(messages)
    if not any(marks.spelled(text) or marks.edged(text) for text in _strings(_contents(messages))):
        return messages
    return [_sealed(message, marks.seal_edges, marks) for message in messages]


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


# ---- Rendering ----


def _with_mapping(call: dict) -> dict:
    """A call whose arguments are a mapping; as it is where they are none."""
    function = call.get("function", call)
    try:
        function = {**function, "arguments": mapping(function.get("arguments"))}
    except Malformed:
        return call
    return {**call, "function": function} if "function" in call else function


def _as_templates_expect(messages: list[dict]) -> list[dict]:
    """Messages with OpenAI's other spellings in the usual one: text parts are one text, the arguments of calls
    mappings; None is left out, and what is neither stays as it is."""
    made = []
    for message in messages:
        message = {key: value for key, value in message.items() if value is not None}
        content = message.get("content")
        if isinstance(content, list):
            with contextlib.suppress(Malformed):
                message["content"] = joined(content) if content else ""
        calls = message.get("tool_calls")
        if calls:
            message["tool_calls"] = [_with_mapping(call) for call in calls]
        made.append(message)
    return made


def _arguments_as_text(messages: list[dict]) -> list[dict]:
    """For templates that write a call's arguments as they stand (DeepSeek-V3)."""
    messages = copy.deepcopy(messages)
    for message in messages:
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            if not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return messages


def _with_ids(messages: list[dict]) -> list[dict]:
    """For templates that ask for the identifiers of calls, nine letters long (Mistral)."""
    messages, number, answered = copy.deepcopy(messages), 0, 0
    for message in messages:
        for call in message.get("tool_calls") or []:
            call["id"] = f"call{number:05d}"
            number += 1
        if message["role"] == "tool":
            message["tool_call_id"] = f"call{answered:05d}"
            answered += 1
    return messages


class Rendering(str):
    """What a chat template made of sealed messages. `spans`: (from, to) of the letters between its
    generation markers."""

    spans: list[tuple[int, int]] = []


def render(
    tokenizer,
    messages: list[dict],
    *,
    tools=None,
    chat_template: str | None = None,
    add_generation_prompt: bool = False,
    spans: bool = False,
    **variables,
) -> Rendering:
    """A conversation through the chat template, sealed where a text in it spells a control token; for `encode_text`.

    Args:
        tools: functions, or schemas.
        chat_template: in place of the tokenizer's own.
        spans: note what stands between the template's generation markers.
        variables: of the template, such as `enable_thinking`.

    Raises:
        UserError: a role that no template knows, no template, or one that refuses the conversation.
    """
    from transformers.utils import get_json_schema

    check_roles(messages)
    messages = _as_templates_expect(messages)
    tools = [tool if isinstance(tool, dict) else get_json_schema(tool) for tool in tools] if tools else None
    marks = marks_of(tokenizer)
    texts = _strings([_contents(messages), tools, list(variables.values())])
    spelled, edged = any(map(marks.spelled, texts)), any(map(marks.edged, texts))

    def through(function: Callable[[str], str] | None) -> Rendering:
        given, shown, settings = messages, tools, variables
        if function:
            given = [_sealed(m, function, marks) for m in messages]
            shown, settings = _map(function, tools), {k: _map(function, v) for k, v in variables.items()}
        try:
            return _render(tokenizer, given, shown, chat_template, add_generation_prompt, spans, settings)
        except (TypeError, jinja2.TemplateError):
            for other in (_arguments_as_text, _with_ids) if any(m["role"] != "user" for m in given) else ():
                with contextlib.suppress(TypeError, jinja2.TemplateError):
                    return _render(
                        tokenizer, other(given), shown, chat_template, add_generation_prompt, spans, settings
                    )
            raise

    try:
        if not (spelled or edged):
            return through(None)
        sealed = through(marks.seal_edges)
        if spelled:
            return sealed
        plain = through(None)  # the edges matter only where the template did complete one
        return plain if marks.pattern.findall(plain) == marks.pattern.findall(sealed) else sealed
    except jinja2.TemplateError as error:  # some refuse a role or an order of turns
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} refuses a conversation ({error}): "
            "mend tokenizer.chat_template, or the conversation"
        ) from None


def _render(tokenizer, messages, tools, chat_template, add_generation_prompt, spans, variables) -> Rendering:
    options = {"tools": tools, "chat_template": chat_template, "add_generation_prompt": add_generation_prompt}
    if not spans:
        return Rendering(tokenizer.apply_chat_template(messages, tokenize=False, **options, **variables))
    from transformers.utils.chat_template_utils import (
        render_jinja_template,
    )  # apply_chat_template keeps the places to itself

    options["chat_template"] = tokenizer.get_chat_template(chat_template, tools)
    rendered, places = render_jinja_template(
        [messages], return_assistant_tokens_mask=True, **options, **{**tokenizer.special_tokens_map, **variables}
    )
    rendering = Rendering(rendered[0])
    rendering.spans = [tuple(span) for span in places[0]]
    return rendering


# ---- Encoding ----


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
        at = next(
            (token for letter in range(start, end) if (token := encoding.char_to_token(letter)) is not None), None
        )
        last = next(
            (
                token
                for letter in range(end - 1, start - 1, -1)
                if (token := encoding.char_to_token(letter)) is not None
            ),
            None,
        )
        if at is not None:
            mask[at : last + 1] = [1] * (last + 1 - at)
    return ids, mask


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
    twin, spellings = marks.twin
    moved_from, moved_to, difference = [0], [0], 0

    def respell(match: re.Match) -> str:
        nonlocal difference
        found = match[0]
        new = spellings.get(found, SEAL if found == SEAL + NO_SEAL else "")
        difference += len(new) - len(found)
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
