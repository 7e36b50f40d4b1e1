"""The arguments of `data_prep.conversations`, and what a part of the mixture must be."""

from dataclasses import dataclass, field

from eval.cli import UserError

KEYS = {
    "messages": {"name", "share", "datasets", "where", "tools", "systems"},
    "talks": {"name", "share", "kind", "turns", "of"},
    "identity": {"name", "share", "kind", "file", "override", "tools"},
    "tool_use": {"name", "share", "kind", "datasets", "where", "tools"},
}
NEEDS = {
    "messages": {"share", "datasets"},
    "talks": {"share", "turns", "of"},
    "identity": {"share", "file"},
    "tool_use": {"share", "datasets", "tools"},
}


@dataclass
class ConversationsArguments:
    parts: list[dict] = field(metadata={"help": "the mixture, a mapping each; see the module's docstring"})
    output_dir: str = field(metadata={"help": "folder for train.jsonl and validation.jsonl"})
    rows: int = field(metadata={"help": "rows for training"})
    validation_rows: int = field(default=0, metadata={"help": "rows for validation, in the same shares"})
    tokenizer: str | None = field(
        default=None, metadata={"help": "whose template shows calls and results; needed with tools"}
    )
    chat_template: str | None = field(
        default=None, metadata={"help": "Jinja file in place of the tokenizer's template, as recipes.sft takes it"}
    )
    max_result_tokens: int = field(default=256, metadata={"help": "of a tool's result, which is cut there"})
    seed: int = field(default=0, metadata={"help": "of drawing and order"})


def check_parts(parts: list[dict]) -> None:
    """Raises `UserError` for a part with a missing or unknown key, or shares that do not add up to 1."""
    if not parts:
        raise UserError(
            "parts is empty: give at least one, such as {name: talk, share: 1.0, datasets: [{path: talk.jsonl}]}"
        )
    names = [part.get("name") if isinstance(part, dict) else part for part in parts]
    for name, part in zip(names, parts):
        if not isinstance(part, dict) or not isinstance(name, str) or names.count(name) > 1:
            raise UserError(f"parts: each must be a mapping with a `name` of its own, but there is {part!r}"[:300])
        check_keys(part)
        check_values(part)
    rows_of = [part["name"] for part in parts if part.get("kind") != "talks"]
    for part in parts:
        others = part.get("of", rows_of)
        if not isinstance(others, list) or not others or any(other not in rows_of for other in others):
            raise UserError(
                f"part {part['name']}: of must be a list of parts whose rows are joined, from {', '.join(rows_of)},"
                f" but is {others}"
            )
    total = sum(part["share"] for part in parts)
    if abs(total - 1) > 1e-6:
        raise UserError(f"the shares of the parts must add up to 1, but add up to {total:g}")


def check_keys(part: dict) -> None:
    """Raises `UserError` for an unknown kind, or keys that do not go with it."""
    name, kind = part["name"], part.get("kind", "messages")
    if not isinstance(kind, str) or kind not in KEYS:
        raise UserError(f"part {name}: kind must be left out or one of {', '.join(list(KEYS)[1:])}, but is {kind}")
    needs = NEEDS[kind]
    wrong = (set(part) - KEYS[kind]) | (needs - set(part))
    if wrong:
        raise UserError(
            f"part {name}: missing or unknown key {', '.join(sorted(map(str, wrong)))}; it needs name,"
            f" {', '.join(sorted(needs))} and can have {', '.join(sorted(KEYS[kind] - needs - {'name'}))}"
        )


def check_values(part: dict) -> None:
    """Raises `UserError` for a value of another type or out of range."""
    name = part["name"]
    turns = part.get("turns", [1, 1])
    numbers = isinstance(turns, list) and len(turns) == 2 and all(isinstance(n, int) for n in turns)
    if not (numbers and 1 <= turns[0] <= turns[1]):
        raise UserError(f"part {name}: turns must be [least, most] with 1 <= least <= most, but is {turns}")
    if not isinstance(part["share"], int | float) or not part["share"] > 0:
        raise UserError(f"part {name}: share must be above 0, but is {part['share']}")
    if not isinstance(part.get("where") or {}, dict) or not isinstance(part.get("override") or False, bool):
        raise UserError(
            f"part {name}: where must be {{column: [values]}} and override true or false, but they are"
            f" {part.get('where')} and {part.get('override')}"
        )
    systems = part.get("systems", [None])
    listed = isinstance(systems, list) and systems
    if not listed or any(not isinstance(system, str | None) or system == "" for system in systems):
        raise UserError(f"part {name}: systems must be a list of texts or null, but is {systems!r}"[:300])
    tools = part.get("tools") or []
    named = isinstance(tools, list) and all(isinstance(tool, str) for tool in tools)
    if not named or (part.get("kind") == "tool_use" and not tools):
        raise UserError(
            f"part {name}: tools must be a list of names, such as [python, search=<index folder>], but is"
            f" {part.get('tools')}"
        )
