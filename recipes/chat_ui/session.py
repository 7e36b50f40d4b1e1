"""A reply while it is written: what the chat in the terminal (`recipes.chat`) and on the web page
(`recipes.chat_ui.web`) share.

    talk = Talk(model, tokenizer, tools)
    done, messages = talk.reply([{"role": "user", "content": "Who are you?"}], listener, max_new_tokens=64,
    temperature=0)

Tokens are those of `eval.generation.generate`, which calls `listener` as they come; a listener that raises ends the
computation.
"""

import json
from pathlib import Path
from typing import Any

from eval.cli import UserError
from eval.generation.encoding import render
from eval.generation.generate import Generation, encode, generate
from eval.generation.tool_loop import Toolbox
from eval.senses.codes import BEGIN

LEAST_TEMPERATURE, MOST_TEMPERATURE, MOST_NEW_TOKENS = 0.01, 100, 1_000_000
MOST_CALLS = 8  # `max_tool_calls` of `generate`


class NoRoom(UserError):
    """The conversation fills the model's positions."""


class Listener:
    """What is told about a reply; each does nothing unless it is overridden."""

    def tokens(self, ids: list[int], written: bool) -> None:
        """Tokens behind those before: one that the model wrote, or those of results and the header of the
        next turn."""

    def text(self, field: str, text: str) -> None:
        """More of the current turn's `content`, `reasoning_content` or (what stands in the call) `tool_calls`."""

    def message(self, message: dict) -> None:
        """With tools: a turn is complete, or the result of a call."""


def load_model(path: str):
    """A causal language model, on the GPU if there is one."""
    from transformers import AutoModelForCausalLM

    from eval.generation.models import load_on_gpu

    return load_on_gpu(AutoModelForCausalLM, path)


def completes(path: str, tokenizer) -> bool:
    """Whether a model is a base model, which continues text: it has no chat template, or its `stage.json` says that it
    was pretrained."""
    try:
        return (
            not tokenizer.chat_template
            or json.loads((Path(path) / "stage.json").read_text(encoding="utf-8"))["parent"] is None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_sampling(temperature: float, max_new_tokens: int) -> None:
    """Raises `UserError` for settings of sampling that no model can take; a division by very little overflows."""
    if not (temperature == 0 or LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE):
        limits = f"between {LEAST_TEMPERATURE} and {MOST_TEMPERATURE}"
        raise UserError(f"temperature must be 0 (greedy), or {limits}, but is {temperature}")
    if not 1 <= max_new_tokens <= MOST_NEW_TOKENS:
        raise UserError(f"max_new_tokens must lie between 1 and {MOST_NEW_TOKENS:,}, but is {max_new_tokens}")


def cut(done: Generation, max_new_tokens: int) -> str:
    """Why a reply was cut off, in words, "" where the model ended it; `max_new_tokens` is what was asked for."""
    if done.finished:
        return ""
    calls = [message for message in done.messages if message.get("tool_calls")]
    if calls and calls[-1] is done.messages[-1] and len(calls) > MOST_CALLS:
        return f"cut: a reply has at most {MOST_CALLS} calls of tools"
    if calls and calls[-1] is done.messages[-1]:
        limit = f"{max_new_tokens} new tokens, which results count towards, or into the model's context"
        return f"cut: the result of the last call does not fit into {limit}"
    if len(done.token_ids) >= max_new_tokens:
        results = ", which results of tools count towards" if calls else ""
        return f"cut: no more than {max_new_tokens} new tokens were allowed{results}"
    return "cut: the model's context is full"


class Talk:
    """A model to talk to.

    Args:
        tools: functions that it may call.
        book: the codebook of the pictures that it draws (`recipes.chat_ui.pictures`), as a text begins a document;
            None: it draws none.

    Raises:
        UserError: see `eval.generation.tool_loop.Toolbox`.
    """

    def __init__(self, model, tokenizer, tools: list, book=None):
        self.model, self.tokenizer, self.tools, self.book = model, tokenizer, tools, book
        vocabulary = tokenizer.get_vocab() if book else {}
        self.begin = [vocabulary[BEGIN]] if BEGIN in vocabulary else []  # a text could else be a document's end
        self.toolbox = (
            Toolbox(tokenizer, tools, 0, 0) if tools else None
        )  # for what it renders; `generate` has its own, with limits
        if tools:
            self.tokenizer = self.toolbox.tokenizer
        self.rendering = self.toolbox.rendering if tools else {}
        self.positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def ids(self, prompt: list[dict] | str) -> list[int]:
        ids = encode(self.tokenizer, [prompt], **self.rendering)[0]
        return [*self.begin, *ids] if isinstance(prompt, str) else ids

    def render(self, messages: list[dict], **more) -> str:
        """For `eval.generation.encoding.encode_text`: what the messages spell of control tokens is sealed."""
        return render(self.tokenizer, messages, **{"add_generation_prompt": True, **self.rendering, **more})

    def reply(
        self,
        prompt: list[dict] | str,
        listener: Listener,
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int | None = None,
    ) -> tuple[Generation, list[dict]]:
        """The answer to a conversation, or what continues a text, and the messages that it comes to.

        Raises:
            NoRoom: nothing fits behind the prompt. What does not fit of `max_new_tokens` is left out.
            UserError: see `eval.generation.generate.generate`.
        """
        length = len(self.ids(prompt))
        room = min(max_new_tokens, self.positions - length) if self.positions else max_new_tokens
        if room < 1:
            raise NoRoom(f"no room: this conversation has {length} tokens, the model {self.positions} positions")
        said, results = [], []
        reader = _Reader(self.tokenizer, listener.text, "" if isinstance(prompt, str) else self.render(prompt))

        def stream(_, piece: int | dict) -> None:
            if isinstance(piece, int):
                if results:
                    listener.tokens(self.toolbox.suffix(results), False)
                    results.clear()
                listener.tokens([piece], True)
                reader.token(piece)
                return
            reader.end()
            said.append(piece)
            listener.message(piece)
            if piece["role"] == "tool":
                results.append(piece)
                reader.begin(self.render([*prompt, *said]))

        limits = {"max_new_tokens": room, "max_tool_calls": MOST_CALLS}
        sampling = {"temperature": temperature, "seed": seed}
        settings: dict[str, Any] = {**limits, **sampling, "tools": self.tools, "stream": stream}
        prompts: Any = [self.ids(prompt) if isinstance(prompt, str) else prompt]
        ((done,),) = generate(self.model, self.tokenizer, prompts, **settings)
        reader.end()
        return done, done.messages or [{"role": "assistant", "content": "", **reader.said}]


class _Reader:
    """Reads the tokens of a turn as they come, and tells their text by field.

    Attributes:
        said: the text so far of each field but `tool_calls`.
    """

    def __init__(self, tokenizer, tell, prefix: str):
        self.tokenizer, self.tell = tokenizer, tell
        self.begin(prefix)

    def begin(self, prefix: str) -> None:
        """A new turn; `prefix` is what was given to the model: its template may have begun the turn. "" is none: all
        is content."""
        self.ids, self.shown, self.said = [], "", {}
        reads = bool(prefix) and getattr(self.tokenizer, "response_template", None) is not None
        self.parser = self.tokenizer.get_response_parser(prefix=prefix) if reads else None

    def token(self, token_id: int) -> None:
        self.ids.append(token_id)
        self._read(whole=False)

    def end(self) -> None:
        """The rest: half a character, and what the parser held back, as it could have been the beginning of a mark."""
        try:
            self._read(whole=True)
            self._events(self.parser.finalize()[1] if self.parser and self.ids else [])
        except ValueError:  # a call that cannot be read; the model is told
            pass
        self.ids, self.shown, self.parser = [], "", None

    def _read(self, whole: bool) -> None:
        text = self.tokenizer.decode(self.ids, skip_special_tokens=self.parser is None)
        if whole or not text.endswith("\ufffd"):  # else a character is half written
            new, self.shown = text[len(self.shown) :], text
            self._events(
                self.parser.feed(new) if self.parser else [{"type": "region_chunk", "field": "content", "text": new}]
            )

    def _events(self, events: list[dict]) -> None:
        for event in events:
            if event["type"] == "region_chunk" and event["text"]:
                if event["field"] != "tool_calls":
                    self.said[event["field"]] = self.said.get(event["field"], "") + event["text"]
                self.tell(event["field"], event["text"])
