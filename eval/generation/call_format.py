"""How a model family writes its calls of tools, and how they are read back.

    tokenizer = reading(tokenizer)
    message = read(tokenizer, token_ids, prefix_ids)    # {"role": "assistant", "content": …, "tool_calls": […],
    "reasoning_content": …}

What says how to read is a response template (transformers' `parse_response`): the tokenizer's own; else that of TRL,
which knows the chat templates of many families; else it is made here from what the chat template writes for a call,
where that is JSON between two marks, and kept if it reads the call back. TRL is not needed for a tokenizer that has
its own.
"""

import ast
import copy
import inspect
import json
import re

from eval.cli import UserError
from eval.generation.control_tokens import marks_of
from eval.generation.encoding import common, encode_conversation, until_end
from eval.generation.rendering import render

USER = {"role": "user", "content": "dummy"}
NAME, KEY, VALUE, RESULT = "tool_name_a8f3", "argument_b9d4", "value_d6e7", "result_c4f9"
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": NAME, "arguments": {KEY: VALUE}}}],
}
ANSWER = {"role": "tool", "name": NAME, "content": RESULT}


def has_tools(tokenizer) -> bool:
    """Whether the chat template writes calls, their arguments and their results: some leave them out without
    a word."""
    if not tokenizer.chat_template:
        return False
    try:
        text = render(tokenizer, [USER, CALL, ANSWER])
    except (UserError, TypeError):
        return False
    return all(part in text for part in (NAME, KEY, VALUE, RESULT))


def keeps_turns(tokenizer) -> bool:
    """Whether a turn with a call is rendered the same when its result follows."""
    prompt, _ = encode_conversation(tokenizer, [USER], add_generation_prompt=True)
    before, _ = encode_conversation(tokenizer, [USER, CALL])
    after, _ = encode_conversation(tokenizer, [USER, CALL, ANSWER], add_generation_prompt=True)
    before = until_end(before, prompt, tokenizer.eos_token_id)
    return after[: len(before)] == before


def steady_template(tokenizer) -> str | None:
    """TRL's version of a chat template that renders a turn in another way once others follow.

    Raises:
        ValueError: TRL does not know it, or is not there.
    """
    try:
        from trl.chat_template_utils import get_training_chat_template
    except ImportError as error:
        raise ValueError(str(error)) from None
    return get_training_chat_template(tokenizer)


def reading(tokenizer):
    """The tokenizer, or a copy of it, with a response template.

    Raises:
        ValueError: nothing says how calls are read.
    """
    if getattr(tokenizer, "response_template", None) is not None:
        return tokenizer
    tokenizer = copy.copy(tokenizer)
    try:
        from trl.chat_template_utils import add_response_schema

        return add_response_schema(tokenizer)
    except (ImportError, ValueError):
        tokenizer.response_template = derived(tokenizer)
        return tokenizer


def derived(tokenizer) -> dict:
    """A response template from what the chat template writes for a call: JSON between two marks, with the tool's name
    in it or before it.

    Raises:
        ValueError: it writes something else, or cannot be read back.
    """
    start, whole = render(tokenizer, [USER], add_generation_prompt=True), render(tokenizer, [USER, CALL])
    again = render(tokenizer, [USER, CALL, ANSWER], add_generation_prompt=True)
    same = common(start, whole)
    if same < len(start):  # the header begins the thinking
        same = max(
            (match.end() for match in marks_of(tokenizer).pattern.finditer(whole) if match.end() <= same), default=0
        )
    body = whole[same:]
    call = re.search(r"\{.*\}", body, re.DOTALL)
    if not call:
        raise ValueError("a call is no JSON")
    over = re.escape(tokenizer.eos_token)
    form = _named_inside if NAME in call[0] else _named_before
    calls = form(body, *call.span(), over, marks_of(tokenizer).pattern)
    marks = marks_of(tokenizer)
    anchors = set()
    for text in (start, again):
        places = [match.start() for match in marks.pattern.finditer(text)]
        if places:
            anchors.add(text[places[-1] :])
    if not anchors:
        raise ValueError("no mark begins a turn")
    fields = {"tool_calls": calls, "content": {"close_pattern": rf"{over}\s*", "content": "text"}}
    if {"<think>", "</think>"} <= set(marks.ids.values()):
        fields = {
            "reasoning_content": {"open": "<think>", "close_pattern": r"</think>\s*", "content": "text"},
            **fields,
        }
    template = {"defaults": {"role": "assistant"}, "start_anchor": sorted(anchors), "fields": fields}
    message = tokenizer.parse_response(body, template, prefix=str(start))
    if [c["function"] for c in message.get("tool_calls") or []] != [CALL["tool_calls"][0]["function"]]:
        raise ValueError("a call is not read back")
    return template


def _named_inside(body: str, begin: int, end: int, over: str, _) -> dict:
    """The field `tool_calls` where a call is {"name": …, "arguments": …}, or a list of such."""
    call = json.loads(body[begin:end])
    several = body[:begin].rstrip().endswith("[") and body[end:].lstrip().startswith("]")
    if several:
        begin, end = body.rindex("[", 0, begin), body.index("]", end) + 1
    opening, closing = body[:begin].strip(), re.split(over, body[end:])[0].strip()
    arguments = next((key for key in ("arguments", "parameters") if key in call), None)
    if not opening or not arguments or call.get("name") != NAME:
        raise ValueError("a call has another form")
    inner = "" if several else "content."
    function = {"name": f"{{{inner}name}}", "arguments": f"{{{inner}{arguments}}}"}
    close = rf"{re.escape(closing)}\s*" if closing else rf"(?={over})"
    field = {
        "open": opening,
        "close_pattern": close,
        "content": "json",
        "transform": {"type": "function", "function": function},
    }
    return field | ({"transform_each": True} if several else {"repeats": True})


def _named_before(body: str, begin: int, end: int, over: str, marks: re.Pattern) -> dict:
    """The field `tool_calls` where the name stands before JSON of the arguments (DeepSeek-V3); marks around all calls
    come once."""
    opening, named, between = body[:begin].strip().partition(NAME)
    closing = re.split(over, body[end:])[0].strip()
    first, last = marks.match(opening), list(marks.finditer(closing))
    if not named or not first or not last or json.loads(body[begin:end]) != {KEY: VALUE}:
        raise ValueError("a call has another form")
    opening, closing = re.escape(opening), re.escape(closing)
    if len(marks.findall(body[:begin])) > 2 and len(last) > 1:
        opening = rf"(?:{re.escape(first[0])})?\s*{opening.removeprefix(re.escape(first[0]))}"
        closing = rf"{closing.removesuffix(re.escape(last[-1][0]))}(?:{re.escape(last[-1][0])})?"
    transform = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
    pattern = rf"{opening}(?P<name>\S+?){re.escape(between)}\s*"
    return {
        "open_pattern": pattern,
        "close_pattern": rf"\s*{closing}\s*",
        "content": "json",
        "repeats": True,
        "transform": transform,
    }


def read(tokenizer, token_ids: list[int], prefix: list[int]) -> dict:
    """The message in the tokens of one turn; `prefix` are all before it. What cannot be read is content, as in TRL."""
    try:
        message = tokenizer.parse_response(token_ids, prefix=prefix)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(
            isinstance(call.get("function", call).get("name"), str) for call in calls
        ):
            raise ValueError("not the form of a call")
    except (ValueError, TypeError, AttributeError, KeyError):
        return {"role": "assistant", "content": tokenizer.decode(token_ids, skip_special_tokens=True)}
    content = message.get("content")
    message["content"] = (content.removesuffix(tokenizer.eos_token) if isinstance(content, str) else content) or ""
    for call in calls:
        function = call.get("function", call)
        function["arguments"] = {} if function.get("arguments") is None else function["arguments"]
    return message


def written_as_code(call: dict, functions: dict) -> dict:
    """A call of one of `functions` that stands as code in the call of another tool, as `weather(city='Rome')` between
    the marks of Python, as its own call; any other call as it is.

    Args:
        call: as `read` gives it.
        functions: {name: function}.
    """
    given = list(call.get("function", call)["arguments"].values())
    if len(given) != 1 or not isinstance(given[0], str):
        return call
    try:
        code = ast.parse(given[0].strip(), mode="eval").body
        if not isinstance(code, ast.Call) or not isinstance(code.func, ast.Name):
            return call
        function = functions[code.func.id]
        places = [ast.literal_eval(value) for value in code.args]
        names = {keyword.arg: ast.literal_eval(keyword.value) for keyword in code.keywords}
        bound = inspect.signature(function).bind_partial(*places, **names)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return call  # other code, or arguments that must be computed
    return {"type": "function", "function": {"name": code.func.id, "arguments": dict(bound.arguments)}}
