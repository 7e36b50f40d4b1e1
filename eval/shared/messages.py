"""Messages: the one place that says what a conversation is, and that reads the ways in which others write one.

    conversation([{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."}])
    # [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello."}]

Ours is OpenAI's form: a list of mappings with `role` (system, user, assistant, tool) and `content` (a text), and
where they are needed `tool_calls` (whose arguments are a mapping), `tool_call_id`, `name`, `reasoning_content` or
`thinking`.
"""

import json

from eval.cli import UserError

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "ai": "assistant",
    "bing": "assistant", "bard": "assistant", "claude": "assistant", "function_call": "assistant",
    "function-call": "assistant",
    "tool_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "tool_response": "tool", "function_response": "tool",
    "function-response": "tool", "ipython": "tool", "environment": "tool",
}  # fmt: skip
RENDERED = {"system", "developer", "user", "assistant", "tool", "function", "ipython", "environment", "observation"}
RENDERED |= {"context", "documents", "document"}  # roles that some chat template knows
CALLS = ("function_call", "function-call", "tool_call")  # turns of ShareGPT whose text is a call
KEPT = ("tool_call_id", "name", "reasoning_content", "thinking")  # beside role, content and tool_calls


class Malformed(ValueError):
    """What is no conversation; the message says why, in the same words for the same reason."""


def text(content) -> str:
    """The text of a content: a string, or a list of strings or of parts of type text.

    Raises:
        Malformed: something else, such as a picture.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(part, str) for part in content):
        return "".join(content)
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") for part in content]
        kinds = {part.get("type", "text") for part in content}
        if kinds <= {"text", "input_text", "output_text"} and all(isinstance(part, str) for part in parts):
            return "".join(parts)
    raise Malformed("a turn is no text")


def arguments(value) -> dict:
    """The arguments of a call: a mapping, or one in JSON; null and "" are none.

    Raises:
        Malformed: neither.
    """
    try:
        value = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Malformed("the arguments of a call are no JSON object")
    return value


def call(given) -> dict:
    """A call in OpenAI's form, of that form or of {name, arguments}.

    Raises:
        Malformed: it names no function, or its arguments are none.
    """
    function = given.get("function") or given if isinstance(given, dict) else {}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise Malformed("a call names no function")
    number = {"id": given["id"]} if isinstance(given.get("id"), str) else {}
    given_arguments = function["arguments"] if "arguments" in function else function.get("parameters")
    return {
        "type": "function",
        **number,
        "function": {"name": function["name"], "arguments": arguments(given_arguments)},
    }


def result(content):
    """What a tool gave: a mapping, or a list that is no parts of a text, in JSON."""
    parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    structured = isinstance(content, dict) or (isinstance(content, list) and content and not parts)
    return json.dumps(without_nulls(content), ensure_ascii=False) if structured else content


def message(given) -> dict:
    """One turn in our form, of OpenAI's (with `role`), ShareGPT's (with `from`) or of `speaker` and `text`.

    Raises:
        Malformed: it has no role, or neither a text nor a call.
    """
    if not isinstance(given, dict):
        raise Malformed("a turn is no mapping of role and content")
    who = given.get("role") or given.get("from") or given.get("speaker")
    if not isinstance(who, str) or who.lower() not in ROLES:
        raise Malformed(
            f"a turn has no role, or one that is none of system, user, assistant, tool ({str(who)[:20]!r})"
        )
    role, content = (
        ROLES[who.lower()],
        next((given[key] for key in ("content", "value", "text") if given.get(key) is not None), None),
    )
    if role == "tool":
        content = result(content)
    calls = given.get("tool_calls") or (
        [given["function_call"]] if isinstance(given.get("function_call"), dict) else []
    )
    if who.lower() in CALLS and not calls and isinstance(content, str):
        try:
            parsed = json.loads(content)
        except ValueError:
            raise Malformed("a call is no JSON") from None
        calls, content = parsed if isinstance(parsed, list) else [parsed], ""
    if not isinstance(calls, list):
        raise Malformed("tool_calls are no list")
    if content is None and not calls:
        raise Malformed("a turn has no content")
    turn = {"role": role, "content": "" if content is None else text(content)}
    if calls:
        turn["tool_calls"] = [call(one) for one in calls]
    return turn | {key: given[key] for key in KEPT if isinstance(given.get(key), str)}


def conversation(given) -> list[dict]:
    """The turns in our form.

    Raises:
        Malformed: it is no list of turns, or one of them is none.
    """
    if not isinstance(given, list) or not given:
        raise Malformed("it is no list of turns")
    return [message(turn) for turn in given]


def is_plain(given) -> bool:
    """Whether it is a list of messages whose content is a text, as a model can be asked or scored."""
    return isinstance(given, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in given
    )


def check_roles(messages: list[dict]) -> None:
    """Raises `UserError` for a role that no template knows: some write a control token with it (`'<|' + role
    + '|>'`)."""
    for number, turn in enumerate(messages):
        if turn.get("role") not in RENDERED:
            problem = f"message {number} has the role {turn.get('role')!r}"
            raise UserError(f"{problem}: a role is system, user, assistant or tool")


def check_prompt(row: dict, where: str) -> None:
    """That `prompt` is a conversation that can be put to a chat model.

    Raises:
        UserError: it is a text, or not of messages with a role and a text.
    """
    if not row.get("prompt") or not is_plain(row["prompt"]):
        raise UserError(
            f"{where}: prompt must be messages" + ', such as [{"role": "user", "content": "Who are you?"}]'
        )


def without_nulls(value):
    """A value without the keys that hold null, at any depth: Arrow gives each mapping of a column the keys of all of
    them."""
    if isinstance(value, dict):
        return {key: without_nulls(held) for key, held in value.items() if held is not None}
    return [without_nulls(held) for held in value] if isinstance(value, list) else value
