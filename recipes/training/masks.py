"""Conversations → token ids, and which of them the assistant wrote: what SFT learns.

    template = training_template(tokenizer, path)
    row = encode_row({"messages": [...]}, tokenizer, template)    # input_ids, assistant_masks

The chat template's own generation markers say what the assistant wrote; else those of TRL's version of it; else what a
turn adds to its rendering, which is proven row by row: the conversation up to the turn's header, and up to its end
token, must both be beginnings of the whole. What a row spells of control tokens is plain text
(`eval.generation.encoding`).
"""

import json
import re

from eval.cli import UserError
from eval.generation.encoding import Rendering, common, encode_conversation, encode_with_mask, marks_of, render, unseal

PROBE = [
    {"role": role, "content": text}
    for role, text in (("user", "dummy"), ("assistant", "first"), ("user", "dummy"), ("assistant", "second"))
]


def training_template(tokenizer, path: str) -> str | None:
    """A chat template with generation markers, or None where the mask is derived from the tokenizer's own.

    Raises:
        UserError: no chat template; none of the three ways marks what to learn, or the end token among it.
    """
    from trl.chat_template_utils import (
        get_training_chat_template,
        has_generation_markers,
        is_chat_template_stop_token_trained,
    )

    from eval.generation.models import require_chat_template

    require_chat_template(tokenizer, path)
    template = tokenizer.chat_template
    if not has_generation_markers(template):
        try:
            template = get_training_chat_template(tokenizer)  # TRL carries marked versions of well-known templates
        except ValueError:
            try:
                derived_spans(tokenizer, PROBE)
                return None
            except UserError:
                raise UserError(
                    f"the chat template of {path} has no {{% generation %}} markers: wrap what the assistant writes,"
                    " its end token included, in {% generation %} … {% endgeneration %}, save it to a file and"
                    " give --chat_template file.jinja"
                ) from None
    if not is_chat_template_stop_token_trained(tokenizer, template):
        raise UserError(
            f"in the chat template of {path} the end token {tokenizer.eos_token} stands outside {{% generation %}}, so"
            " the model would never learn to stop: move it before {% endgeneration %} and give --chat_template"
            " file.jinja"
        )
    return template


def derived_spans(tokenizer, messages: list[dict], **rendering) -> tuple:
    """A conversation's rendering, and (from, to) of the letters of each assistant's turn, its end token included.

    Raises:
        UserError: a turn is rendered in another way once others follow, or has no end token.
    """
    whole, spans, end = render(tokenizer, messages, **rendering), [], tokenizer.eos_token
    for k, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = render(tokenizer, messages[:k], add_generation_prompt=True, **rendering) if k else ""
        stop = render(tokenizer, messages[: k + 1], **rendering)
        turn = stop[: stop.rindex(end) + len(end)] if end and end in stop[len(start) :] else ""
        if not turn.startswith(start) or not whole.startswith(turn) or not k:
            why = "it is rendered in another way once others follow" if turn else f"it has no end token {end}"
            raise UserError(
                f"the chat template of {tokenizer.name_or_path} has no {{% generation %}} markers, and what the"
                f" assistant wrote in message {k} cannot be told without: {why};"
                " give --chat_template file.jinja with markers"
            )
        spans.append((len(start), len(turn)))
    return whole, spans


def encode_row(row: dict, tokenizer, template: str | None, assistant_only: bool = True) -> dict:
    """`input_ids` of a row's `messages` (with `tools`, `chat_template_kwargs`) and, of the assistant's tokens only,
    `assistant_masks`.

    Raises:
        UserError: the chat template refuses the conversation, or see `derived_spans`.
    """
    tools = row.get("tools")
    rendering = {
        "tools": json.loads(tools) if isinstance(tools, str) else tools,
        **(row.get("chat_template_kwargs") or {}),
    }
    if not assistant_only:
        return {"input_ids": encode_conversation(tokenizer, row["messages"], **rendering)[0]}
    if template is None:
        text, spans = derived_spans(tokenizer, row["messages"], **rendering)
    else:
        rendering["chat_template"] = template
        text = render(tokenizer, row["messages"], spans=True, **rendering)
        spans = (
            text.spans
            if template == tokenizer.chat_template
            else without_headers(tokenizer, text, row["messages"], rendering)
        )
    check_thinking(tokenizer, text, row["messages"])
    ids, mask = encode_with_mask(tokenizer, text, spans)
    if 1 not in mask:
        said = str(row["messages"])[:80]
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} marks nothing to learn in a conversation: {said}"
        )
    return {"input_ids": ids, "assistant_masks": mask}


def without_headers(tokenizer, text: Rendering, messages: list[dict], rendering: dict) -> list[tuple[int, int]]:
    """The spans of a rendering without what the model is given at the beginning of its turn: some of TRL's templates
    mark that, too."""
    marks, spans = marks_of(tokenizer).pattern, list(text.spans)
    for k, message in enumerate(messages):
        if message["role"] != "assistant" or not k:
            continue
        given = render(tokenizer, messages[:k], **rendering, add_generation_prompt=True)
        same = common(text, given)
        if same < len(given):  # not half a control token, and no word that merely begins alike
            same = max((match.end() for match in marks.finditer(given) if match.end() <= same), default=0)
        spans = [(same if start < same < end else start, end) for start, end in spans]
    return spans


def check_thinking(tokenizer, text: str, messages: list[dict]) -> None:
    """Raises `UserError` where the template leaves out the thinking of the last turn: it would not be learned, without
    a word."""
    last = messages[-1]
    thinking = next((last[key] for key in ("reasoning_content", "thinking", "reasoning") if last.get(key)), None)
    content = last.get("content")
    if thinking is None and isinstance(content, str):
        thought = re.match(r"\s*<think>(.*?)</think>", content, re.DOTALL)
        thinking = thought[1] if thought else None
    if last["role"] == "assistant" and isinstance(thinking, str) and thinking.strip() not in unseal(text):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} leaves out the thinking of message {len(messages) - 1}"
            f" ({thinking.strip()[:60]!r}): give --chat_template file.jinja that writes reasoning_content, or data"
            " without thinking"
        )
