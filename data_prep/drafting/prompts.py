"""What is drafted for: conversations up to a turn of the user."""

import json
from dataclasses import dataclass

from data_prep.shared.dataset_rows import Part, columns_of, find_parts, read_rows
from data_prep.shared.ngrams import words
from eval.cli import UserError

COLUMNS = ("prompt", "messages", "question")  # the first that a row has
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Prompt:
    messages: list[dict]
    tools: list | None
    source: str
    row: int

    def request(self, guidelines: str) -> list[dict]:
        """The messages under the guidelines; one system message, since many templates take no second."""
        first, *rest = self.messages
        if first["role"] != "system":
            return [{"role": "system", "content": guidelines}, *self.messages]
        system = f"{guidelines}\n\n# The system message of this conversation\n\n{first['content']}"
        return [{"role": "system", "content": system}, *rest]

    def count_words(self) -> int:
        return sum(len(words(message.get("content", ""))) for message in self.messages)


def read_prompt(row: dict, where: str) -> list[dict]:
    """The messages up to the last turn of the user; a `UserError` where there is none."""
    column = columns_of(row, COLUMNS, where)[0]
    value = row[column]
    messages = value if isinstance(value, list) else [{"role": "user", "content": value}]
    messages = [without_null(message) if isinstance(message, dict) else {} for message in messages]
    while messages and messages[-1].get("role") != "user":
        messages.pop()
    if not messages:
        raise UserError(
            f"{where}: {column} has no turn of the user; it must be text or messages such as "
            + '[{"role": "user", "content": "Who are you?"}]'
        )
    for number, message in enumerate(messages, 1):
        content = message.get("content", "" if message.get("tool_calls") else None)
        if message.get("role") not in ROLES or not isinstance(content, str):
            raise UserError(
                f"{where}: message {number} of {column} must have a role ({', '.join(ROLES)}) and a text as content"
            )
    if not messages[-1]["content"].strip():
        raise UserError(f"{where}: the last turn of the user in {column} is empty")
    try:
        json.dumps([messages, row.get("tools")], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where} holds half a character (a lone surrogate): write the row again, or remove it"
        ) from None
    return messages


def without_null(message: dict) -> dict:
    """The message with its own keys only: Arrow gives each the keys of all, null where they do not belong."""
    return {key: value for key, value in message.items() if value is not None}


def read_prompts(sources: list) -> list[Prompt]:
    """The prompts of all sources; a `UserError` where there is none."""
    prompts = []
    for part in find_parts(sources):
        source = source_name(part)
        for number, _, row in read_rows(part):
            messages = read_prompt(row, f"{part.path}, row {number}")
            prompts.append(Prompt(messages, row.get("tools") or None, source, number))
    if not prompts:
        raise UserError(
            f"the prompts ({', '.join(map(str, sources))}) are empty: expected at least one row with"
            f" {', '.join(COLUMNS)}"
        )
    return prompts


def source_name(part: Part) -> str:
    """The path of a source, with its configuration and split where it has them."""
    spec = part.spec or {}
    return ":".join([part.path, *(spec[key] for key in ("name", "split") if spec.get(key))])
