"""Tool calls in generation: read the call in a turn that ended, run it, give its result back in tokens.

    from eval.generation.generate import generate
    generate(model, tokenizer, conversations, tools=[search], max_new_tokens=256)

A tool is any typed function with a docstring (transformers' `get_json_schema` describes it to the model); what it
returns goes through `str`. Tokens and messages are those of TRL's GRPO with `tools=` (`GRPOTrainer._tool_call_loop`):
the turn is read by TRL's `parse_response`, an error comes back as `{'error': '…'}`, and the result's tokens are what
the chat template (its prefix-preserving version, where TRL has one) adds for it. Where we depart, because results can
be hostile and runs long:

- A result cannot end the turn or start a call: what it spells of control tokens is encoded as plain text
(`eval.generation.encoding`). - A result longer than its budget of tokens is cut, and says so. - A call that began and
could not be read is answered with an error; TRL takes it for words, and the conversation ends. - A tool that does not
return in time is answered with an error.

Calls run in threads, each with a time limit, while the other rows go on. A thread cannot be killed: one over its limit
is left behind (it does not keep the process from ending), so a tool that runs foreign code must have limits of its
own.
"""

import importlib
import inspect
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from eval.cli import UserError
from eval.generation.control_tokens import marks_of
from eval.generation.encoding import common, encode_conversation, encode_plain, until_end
from eval.generation.rendering import render

AT_ONCE = max(4, os.cpu_count() or 1)  # calls that run side by side
NAMED = {"python": "eval.tools.python:python", "search": "eval.tools.search:Search.search"}


def load_tools(names: list[str]) -> list[Callable]:
    """Tools by name: `python`, `search=<index folder>`, any `module:function`, or `module:Class.method=argument` of
    the class.

    Raises:
        UserError: no such tool, or it cannot be made.
    """
    tools = []
    for name in names:
        known, given, argument = name.partition("=")
        module, _, path = NAMED.get(known, known).partition(":")
        first, _, method = path.partition(".")
        try:
            tool = getattr(importlib.import_module(module), first)
            tool = tool(argument) if given else tool
            tool = getattr(tool, method) if method else tool
        except UserError:
            raise
        except Exception as error:  # of the module or of the class: the user is to see it, in one line
            raise UserError(
                f"there is no tool {name} ({type(error).__name__}: {error}); a tool is python, search=<index folder>"
                " or module:function"
            ) from None
        if not inspect.isroutine(tool) or (method and not given):
            raise UserError(
                f"the tool {name} "
                + ("needs what it is made of: search=<index folder>" if method else "is no function")
            )
        tools.append(tool)
    names = [tool.__name__ for tool in tools]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"two tools have the name {twice.pop()}")
    return tools


class Toolbox:
    """Tools beside the tokenizer whose template and response template say how calls and results look in tokens.

    Args:
        max_result_tokens: of one result; what is over is cut.
        time_limit: of one call, in seconds.

    Raises:
        UserError: the chat template has no place for calls and results, or nothing says how to read a call; a tool
            without types or docstring.
    """

    def __init__(self, tokenizer, tools: list[Callable], max_result_tokens: int, time_limit: float):
        from transformers.utils import get_json_schema
        from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException

        from eval.generation.call_format import has_tools, keeps_turns, reading, steady_template

        name = tokenizer.name_or_path
        if not has_tools(tokenizer):
            raise UserError(
                f"the chat template of {name} has no place for tool calls and their results: use a tokenizer whose"
                " template has, or no tools"
            )
        try:
            tokenizer = reading(tokenizer)
            self.chat_template = None if keeps_turns(tokenizer) else steady_template(tokenizer)
        except ValueError:
            raise UserError(
                f"the tool calls of {name} cannot be read: set tokenizer.response_template and save it, and let its"
                " chat template render a turn the same wherever it stands"
            ) from None
        try:
            for tool in tools:
                get_json_schema(tool)
        except (DocstringParsingException, TypeHintParsingException) as error:
            raise UserError(f"a tool must have types and a docstring that describes its arguments: {error}") from None
        self.tokenizer, self.functions = tokenizer, {tool.__name__: tool for tool in tools}
        self.max_result_tokens, self.time_limit = max_result_tokens, time_limit
        self.rendering: dict[str, Any] = {
            "tools": tools,
            "chat_template": self.chat_template,
        }  # for eval.generation.rendering.render

    def read(self, token_ids: list[int], prefix: list[int]) -> dict:
        """The message in the tokens of one turn; `prefix` are all before it."""
        from eval.generation.call_format import read, written_as_code

        message = read(self.tokenizer, token_ids, prefix)
        if message.get("tool_calls") and self._as_code:
            message["tool_calls"] = [written_as_code(call, self._as_code) for call in message["tool_calls"]]
        return message

    def is_broken_call(self, message: dict) -> bool:
        """Whether its words hold a mark of a call: one was begun, and could not be read."""
        return not message.get("tool_calls") and any(mark in message["content"] for mark in self._call_marks)

    def suffix(self, messages: list[dict]) -> list[int]:
        """Tokens from the end token of a turn with calls, that one left out, to where the model goes on, for its
        results (as in TRL)."""
        return result_ids(self.tokenizer, messages, chat_template=self.chat_template)

    def content(self, result: str) -> str:
        """What a tool returned, as it can stand in a message: Unicode, and within the budget."""
        limit = self.max_result_tokens
        text = (
            result[: 100 * limit].encode(errors="replace").decode()
        )  # lone surrogates are no text; 1 MB need not be encoded to be cut
        ids = encode_plain(self.tokenizer, text)
        if len(ids) > limit or len(result) > 100 * limit:
            note = f"… [cut: the result has {len(result)} characters]"
            room = max(0, limit - len(encode_plain(self.tokenizer, note)))
            text = self.tokenizer.decode(ids[:room], clean_up_tokenization_spaces=False).rstrip("\ufffd") + note
        return text

    @cached_property
    def _as_code(self) -> dict[str, Callable]:
        """The tools whose calls the chat template writes as code in the call of another one."""
        from eval.generation.call_format import read

        user = {"role": "user", "content": "dummy"}
        prompt, _ = encode_conversation(self.tokenizer, [user], add_generation_prompt=True, **self.rendering)
        as_code = {}
        for name, function in self.functions.items():
            whole, _ = encode_conversation(self.tokenizer, [user, _call(name)], **self.rendering)
            calls = read(self.tokenizer, whole[common(prompt, whole) :], prompt).get("tool_calls") or []
            if any(call.get("function", call)["name"] != name for call in calls):
                as_code[name] = function
        return as_code

    @cached_property
    def _call_marks(self) -> set[str]:
        """The marks that a turn with a call has and one without has not."""
        through = partial(render, self.tokenizer, chat_template=self.chat_template)
        user = {"role": "user", "content": "dummy"}
        without = through([user, {"role": "assistant", "content": ""}])
        calls = [through([user, _call(name)]) for name in [*self.functions, "dummy"]]
        marks = set()
        for mark in marks_of(self.tokenizer).ids.values():
            if any(text.count(mark) > without.count(mark) for text in calls):
                marks.add(mark)
        return marks


def result_ids(tokenizer, messages: list[dict], **rendering) -> list[int]:
    """See `Toolbox.suffix`; messages that begin with a user's follow words, not calls. `rendering` goes to
    `eval.generation.rendering.render`."""
    user, call = {"role": "user", "content": "dummy"}, {"role": "assistant", "content": "dummy"}
    if messages[0]["role"] == "tool":
        call = _call(messages[0]["name"])
    prompt, _ = encode_conversation(tokenizer, [user], add_generation_prompt=True, **rendering)
    before, _ = encode_conversation(tokenizer, [user, call], **rendering)
    after, _ = encode_conversation(tokenizer, [user, call, *messages], add_generation_prompt=True, **rendering)
    return after[
        len(until_end(before, prompt, tokenizer.eos_token_id)) :
    ]  # some templates write a newline behind it, which the model did not


def _call(name: str) -> dict:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": {}}}],
    }


class Turns:
    """The conversations of one batch: what was said in each, and the calls that wait for their results.

    Args:
        prompts: token ids, one list a row.
        max_calls: turns of a row whose calls are run (TRL's max_tool_calling_iterations); the next one with calls is
            the last.
        stream: called with (row, message) as messages are complete.

    Attributes:
        messages: of each row, what came after its prompt.
        begin: of each row, where in its new tokens the current turn begins.
        injected: of each row, (from, to) of the new tokens that are results.
        open: rows that wait for results.
    """

    def __init__(self, toolbox: Toolbox, prompts: list[list[int]], max_calls: int, stream: Callable | None = None):
        self.toolbox, self.prompts, self.max_calls = toolbox, prompts, max_calls
        self.stream = stream or (lambda row, message: None)
        self.messages: list[list[dict]] = [[] for _ in prompts]
        self.begin, self.calls = [0] * len(prompts), [0] * len(prompts)
        self.injected: list[list[tuple[int, int]]] = [[] for _ in prompts]
        self.open: dict[int, dict] = {}
        self._runner = Runner(toolbox.functions, toolbox.time_limit)

    def ended(self, row: int, token_ids: list[int], may_call: bool) -> None:
        """Note the row's turn, which is over; `token_ids` are all its new tokens. With calls that may be run the row
        is open."""
        begin = self.begin[row]
        message = self.toolbox.read(token_ids[begin:], self.prompts[row] + token_ids[:begin])
        self.messages[row].append(message)
        self.stream(row, message)
        calls = message.get("tool_calls") or []
        broken = self.toolbox.is_broken_call(message)
        if may_call and (calls or broken) and self.calls[row] < self.max_calls:
            self.calls[row] += 1
            unread = ("unknown", str({"error": "the call cannot be read: it has no end, or not the form of a call"}))
            self.open[row] = {"calls": deque(calls), "results": [unread] * broken, "end": token_ids[-1]}
            self._next(row)

    def finished(self, wait: bool) -> dict[int, list[int]]:
        """Rows whose results have all come, with the tokens that go behind their turn; with `wait` at least one, if
        any is open."""
        while self.open:
            complete = [row for row, turn in self.open.items() if not turn["running"]]
            if complete:
                return {row: self._close_turn(row) for row in complete}
            ended = self._runner.done(wait)
            for row, name, text in ended:
                self.open[row]["results"].append((name, text))
                self._next(row)
            if not ended and not wait:
                return {}
        return {}

    def _close_turn(self, row: int) -> list[int]:
        """The tokens of a turn's results, which become messages of the row."""
        turn = self.open.pop(row)
        results = [
            {"role": "tool", "name": self.toolbox.content(name), "content": self.toolbox.content(text)}
            for name, text in turn["results"]
        ]
        self.messages[row] += results
        suffix = self.toolbox.suffix(results)
        for message in results:
            self.stream(row, message)
        return suffix[suffix[:1] == [turn["end"]] :]  # GLM ends a turn with the header of the next

    def close(self) -> None:
        self._runner.close()

    def inject(self, row: int, token_ids: list[int], suffix: list[int]) -> None:
        """Put the results behind the row's new tokens."""
        start = len(token_ids)
        token_ids += suffix
        self.begin[row] = len(token_ids)
        self.injected[row].append((start, len(token_ids)))

    def drop(self, row: int) -> None:
        """Take back results that the row has no room for (as TRL does); its turn with the calls is the last."""
        while self.messages[row][-1]["role"] == "tool":
            self.messages[row].pop()

    def written(self, row: int, length: int) -> list[int]:
        """1 where the model wrote the new token, 0 where it is a result's (TRL's tool_mask)."""
        mask = [1] * length
        for start, end in self.injected[row]:
            mask[start:end] = [0] * (end - start)
        return mask

    def _next(self, row: int) -> None:
        """Calls of one turn run one after the other."""
        turn = self.open[row]
        turn["running"] = bool(turn["calls"])
        if turn["running"]:
            call = turn["calls"].popleft()
            function = call.get("function", call)
            self._runner.start(row, function["name"], function["arguments"])


class Runner:
    """Runs functions in daemon threads, `AT_ONCE` at a time, each for `time_limit` seconds at most."""

    def __init__(self, functions: dict[str, Callable], time_limit: float):
        self.functions, self.time_limit = functions, time_limit
        self._waiting: deque = deque()
        self._running: dict[object, tuple] = {}  # ticket -> (row, name, when its time is over)
        self._jobs, self._results = queue.SimpleQueue(), queue.SimpleQueue()
        self._late: set[object] = set()
        self._threads = 0  # that wait for jobs, or run one whose time is not over

    def close(self) -> None:
        """Ends the threads, those left behind when their tool returns."""
        self._jobs.put(None)

    def start(self, row: int, name: str, arguments: dict) -> None:
        self._waiting.append((row, name, arguments))
        self._launch()

    def done(self, wait: bool) -> list[tuple[int, str, str]]:
        """(row, name, result) of the calls that have ended since; with `wait` at least one, if any runs.

        Raises:
            UserError: a tool's own, about its installation.
        """
        results = []
        while self._running:
            try:
                left = min(end for *_, end in self._running.values()) - time.monotonic()
                ticket, text = (
                    self._results.get(timeout=left)
                    if wait and not results and left > 0
                    else self._results.get_nowait()
                )
                if isinstance(text, UserError):
                    raise text
                if ticket in self._running:  # else its time was over
                    results.append((*self._running.pop(ticket)[:2], text))
            except queue.Empty:
                late = [t for t, (*_, end) in self._running.items() if end <= time.monotonic()]
                for ticket in late:
                    row, name, _ = self._running.pop(ticket)
                    self._threads -= 1
                    self._late.add(ticket)
                    results.append(
                        (row, name, str({"error": f"{name} did not return within {self.time_limit:g} seconds"}))
                    )
                if not late and (results or not wait):
                    break
            self._launch()
        return results

    def _launch(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            row, name, arguments = self._waiting.popleft()
            ticket = object()
            self._running[ticket] = (row, name, time.monotonic() + self.time_limit)
            self._jobs.put((ticket, name, arguments))
            if self._threads < len(self._running):
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while job := self._jobs.get():
            ticket, name, arguments = job
            self._results.put((ticket, self._run(name, arguments)))
            if ticket in self._late:  # another has taken this thread's place
                return
        self._jobs.put(None)  # for the next one

    def _run(self, name: str, arguments: dict) -> str | UserError:
        try:
            if name not in self.functions:
                raise ValueError(f"Tool {name} not found.")  # TRL's words
            return str(self.functions[name](**arguments))
        except UserError as error:  # what a tool says about its installation: not the model's fault
            return error
        except BaseException as error:  # whatever a tool does, the row hears of it and the run goes on
            return str({"error": _words(error)})


def _words(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__
