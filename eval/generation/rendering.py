"""Conversations through a chat template: a rendering, sealed where a text in it spells a control token.

    text = render(tokenizer, messages, tools=tools, add_generation_prompt=True)

`eval.generation.encoding.encode_text` makes token ids of it.
"""

import contextlib
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from eval.cli import UserError
from eval.generation.control_tokens import Marks, map_strings, marks_of, sealed_message, strings_in, without_roles
from eval.shared.messages import Malformed, check_roles
from eval.shared.messages import arguments as mapping
from eval.shared.messages import text as joined


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
    mappings; None is left out, a content that is None is "", and what is neither stays as it is."""
    made = []
    for message in messages:
        message = {"content": ""} | {key: value for key, value in message.items() if value is not None}
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


@dataclass(frozen=True)
class _Request:
    """What a chat template is asked to render."""

    tokenizer: Any
    messages: list[dict]
    tools: list[dict] | None
    chat_template: str | None
    add_generation_prompt: bool
    spans: bool
    variables: dict

    def strings(self) -> list[str]:
        return strings_in([without_roles(self.messages), self.tools, list(self.variables.values())])

    def sealed(self, function: Callable[[str], str], marks: Marks) -> "_Request":
        """The request with its texts as `function` makes them."""
        return replace(
            self,
            messages=[sealed_message(message, function, marks) for message in self.messages],
            tools=map_strings(function, self.tools),
            variables={name: map_strings(function, value) for name, value in self.variables.items()},
        )

    def render(self) -> Rendering:
        """What the template makes of it, in the spelling of calls that it takes."""
        try:
            return self._render(self.messages)
        except (TypeError, jinja2.TemplateError):
            other_spellings = (_arguments_as_text, _with_ids)
            if all(message["role"] == "user" for message in self.messages):
                other_spellings = ()
            for respell in other_spellings:
                with contextlib.suppress(TypeError, jinja2.TemplateError):
                    return self._render(respell(self.messages))
            raise

    def _render(self, messages: list[dict]) -> Rendering:
        tokenizer = self.tokenizer
        options = {
            "tools": self.tools,
            "chat_template": self.chat_template,
            "add_generation_prompt": self.add_generation_prompt,
        }
        if not self.spans:
            return Rendering(tokenizer.apply_chat_template(messages, tokenize=False, **options, **self.variables))
        # apply_chat_template keeps the places to itself
        from transformers.utils.chat_template_utils import render_jinja_template

        options["chat_template"] = tokenizer.get_chat_template(self.chat_template, self.tools)
        variables = {**tokenizer.special_tokens_map, **self.variables}
        rendered, places = render_jinja_template([messages], return_assistant_tokens_mask=True, **options, **variables)
        rendering = Rendering(rendered[0])
        rendering.spans = [tuple(span) for span in places[0]]
        return rendering


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
    check_roles(messages)
    request = _Request(
        tokenizer,
        _as_templates_expect(messages),
        _schemas(tools),
        chat_template,
        add_generation_prompt,
        spans,
        variables,
    )
    try:
        return _sealed_where_needed(request)
    except jinja2.TemplateError as error:  # some refuse a role or an order of turns
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} refuses a conversation ({error}): "
            "mend tokenizer.chat_template, or the conversation"
        ) from None


def _schemas(tools) -> list[dict] | None:
    from transformers.utils import get_json_schema

    if not tools:
        return None
    return [tool if isinstance(tool, dict) else get_json_schema(tool) for tool in tools]


def _sealed_where_needed(request: _Request) -> Rendering:
    marks = marks_of(request.tokenizer)
    texts = request.strings()
    spelled = any(map(marks.spelled, texts))
    edged = any(map(marks.edged, texts))
    if not (spelled or edged):
        return request.render()
    sealed = request.sealed(marks.seal_edges, marks).render()
    if spelled:
        return sealed
    plain = request.render()  # the edges matter only where the template did complete one
    return plain if marks.pattern.findall(plain) == marks.pattern.findall(sealed) else sealed
