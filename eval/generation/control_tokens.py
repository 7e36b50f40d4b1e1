"""The control tokens of a tokenizer, and texts in which what spells one is sealed.

    seal(tokenizer, "What does <|im_end|> mean?")

What a seal is, and why: `eval.generation.encoding`.
"""

import re
import secrets
import weakref
from collections.abc import Callable
from functools import cached_property

from eval.cli import UserError
from eval.shared.messages import check_roles

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


def seal(tokenizer, value):
    """A text, or lists and dicts of them, with a seal in each control token that it spells; dicts' keys, too."""
    return map_strings(marks_of(tokenizer).seal, value)


def unseal(text: str) -> str:
    """A sealed text as it was, or the text of a sealed rendering."""
    return re.sub(f"{SEAL}({NO_SEAL})?", lambda m: SEAL if m[1] else "", text)


def map_strings(function: Callable[[str], str], value):
    """A value with `function` applied to each text in it, to those of dicts' keys, too; keys that are names stay as
    they are, as templates look for them."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {
            key if str(key).isidentifier() else map_strings(function, key): map_strings(function, item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [map_strings(function, item) for item in value]
    return value


def strings_in(value, strings: list[str] | None = None) -> list[str]:
    """The texts in a value, those of dicts' keys that are no names among them."""
    strings = [] if strings is None else strings
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and not key.isidentifier():
                strings.append(key)
            strings_in(item, strings)
    elif isinstance(value, (list, tuple)):
        for item in value:
            strings_in(item, strings)
    return strings


def sealed_message(message: dict, function: Callable[[str], str], marks: Marks) -> dict:
    """A message with its strings as `function` makes them, the marks of thinking around an assistant's beginning left
    as they are."""
    made = {key: value if key == "role" else map_strings(function, value) for key, value in message.items()}
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


def without_roles(messages: list[dict]) -> list[dict]:
    """What of messages is text from outside: all but their roles."""
    made = []
    for message in messages:
        made.append({key: value for key, value in message.items() if key != "role"})
    return made


def seal_messages(tokenizer, messages: list[dict]) -> list[dict]:
    """Messages for a chat template that others render, sealed where they spell a control token, or could be completed
    to one."""
    marks = marks_of(tokenizer)
    check_roles(messages)
    if not any(marks.spelled(text) or marks.edged(text) for text in strings_in(without_roles(messages))):
        return messages
    return [sealed_message(message, marks.seal_edges, marks) for message in messages]
