"""How a model family writes its calls of tools, and how they are read back.

    tokenizer = reading(tokenizer)
    message = read(tokenizer, token_ids, prefix_ids)    # {"role": "assistant", "content": …, "tool_calls": […], "reasoning_content": …}

What says how to read is a response template (transformers' `parse_response`): the tokenizer's own; else that of TRL, which knows
the chat templates of many families; else it is made here from what the chat template writes for a call, where that is JSON between
two marks, and kept if it reads the call back. TRL is not needed for a tokenizer that has its own.
"""

import copy
import json
import re

from eval.cli import UserError
from eval.encoding import encode_conversation, marks_of, render

USER = {"role": "user", "content": "dummy"}
NAME, KEY, VALUE, RESULT = "tool_name_a8f3", "argument_b9d4", "value_d6e7", "result_c4f9"
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": NAME, "arguments": {KEY: VALUE}}}]}
ANSWER = {"role": "tool", "name": NAME, "content": RESULT}


def has_tools(tokenizer) -> bool:
    """Whether the chat template writes calls, their arguments and their results: some leave them out without a word."""
    if not tokenizer.chat_template:
        return False
    try:
        text = render(tokenizer, [USER, CALL, ANSWER])
    except (UserError, TypeError):
        return False
    return all(part in text for part in (NAME, KEY, VALUE, RESULT))


def keeps_turns(tokenizer) -> bool:
    """Whether a turn with a call is rendered the same when its result follows."""
    before, _ = encode_conversation(tokenizer, [USER, CALL])
    after, _ = encode_conversation(tokenizer, [USER, CALL, ANSWER], add_generation_prompt=True)
    end = tokenizer.eos_token_id
    if end in before:
        before = before[: len(before) - before[::-1].index(end)]
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
    """A response template from what the chat template writes for a call: JSON (an object, or a list of one) between two marks.

    Raises:
        ValueError: it writes something else, or cannot be read back.
    """
    start, whole = render(tokenizer, [USER], add_generation_prompt=True), render(tokenizer, [USER, CALL])
    again = render(tokenizer, [USER, CALL, ANSWER], add_generation_prompt=True)
    body = whole[len(start) :]
    found = re.search(r"\{.*\}", body, re.DOTALL)
    if not whole.startswith(start) or not found or NAME not in found[0]:
        raise ValueError("a call is no JSON")
    begin, end = found.span()
    several = body[:begin].rstrip().endswith("[") and body[end:].lstrip().startswith("]")
    if several:
        begin, end = body.rindex("[", 0, begin), body.index("]", end) + 1
    opening, closing = body[:begin].strip(), body[end:].partition(tokenizer.eos_token)[0].strip()
    call = json.loads(found[0])
    arguments = next((key for key in ("arguments", "parameters") if key in call), None)
    if not opening or not arguments or call.get("name") != NAME:
        raise ValueError("a call has another form")
    over = re.escape(tokenizer.eos_token)
    inner = "" if several else "content."
    function = {"name": f"{{{inner}name}}", "arguments": f"{{{inner}{arguments}}}"}
    calls = {"open": opening, "close_pattern": rf"{re.escape(closing)}\s*" if closing else rf"(?={over})", "content": "json"}
    calls |= {"transform": {"type": "function", "function": function}, **({"transform_each": True} if several else {"repeats": True})}
    marks = marks_of(tokenizer)
    anchors = {text[[match.start() for match in marks.pattern.finditer(text)][-1] :] for text in (start, again) if marks.pattern.search(text)}
    if not anchors:
        raise ValueError("no mark begins a turn")
    fields = {"tool_calls": calls, "content": {"close_pattern": rf"{over}\s*", "content": "text"}}
    if {"<think>", "</think>"} <= set(marks.ids.values()):
        fields = {"reasoning_content": {"open": "<think>", "close_pattern": r"</think>\s*", "content": "text"}, **fields}
    template = {"defaults": {"role": "assistant"}, "start_anchor": sorted(anchors), "fields": fields}
    message = tokenizer.parse_response(body, template, prefix=str(start))
    if [c["function"] for c in message.get("tool_calls") or []] != [CALL["tool_calls"][0]["function"]]:
        raise ValueError("a call is not read back")
    return template


def read(tokenizer, token_ids: list[int], prefix: list[int]) -> dict:
    """The message in the tokens of one turn; `prefix` are all before it. What cannot be read is content, as in TRL."""
    try:
        message = tokenizer.parse_response(token_ids, prefix=prefix)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call.get("function", call).get("name"), str) for call in calls):
            raise ValueError("not the form of a call")
    except (ValueError, TypeError, AttributeError, KeyError):
        return {"role": "assistant", "content": tokenizer.decode(token_ids, skip_special_tokens=True)}
    content = message.get("content")
    message["content"] = (content.removesuffix(tokenizer.eos_token) if isinstance(content, str) else content) or ""
    for call in calls:
        function = call.get("function", call)
        function["arguments"] = {} if function.get("arguments") is None else function["arguments"]
    return message
