"""What names a judge, on a command line and in a recipe alike: its kind and what it is.

    verifier:final_number                  a verifier of `eval.verifiers`
    reward:runs/tiny/reward                a reward model: folder or Hub id
    chat:runs/smollm2/hub                  a chat model: folder, Hub id, or the URL of an endpoint up to /v1
    python:data_prep.world.taste:score     a function (row, reply) -> number, or None where it cannot judge

    parse_judge("reward:runs/tiny/reward")    ->  JudgeReference(kind="reward", value="runs/tiny/reward")

The arena's older spelling is read as well: `=` behind the kind, and `model` for `chat`. So is that of recipes, which
leave the kind out (`parse_judge(..., bare=True)`): a verifier's name, module:function, else a reward model.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from eval.cli import UserError

KINDS = {
    "verifier": "<name>",
    "reward": "<folder or Hub id>",
    "chat": "<folder, Hub id or URL>",
    "python": "<module:function>",
}
OLD_KINDS = {"model": "chat"}  # behind `=` only


@dataclass(frozen=True)
class JudgeReference:
    """A judge by name; `kind` is one of `KINDS`."""

    kind: str
    value: str


def forms() -> str:
    """The forms of a reference, for messages and help texts."""
    return ", ".join(f"{kind}:{value}" for kind, value in KINDS.items())


def parse_judge(text: str, bare: bool = False) -> JudgeReference | None:
    """The judge that a text names; None where it has no such form.

    Args:
        bare: a text without a kind is a verifier's name, module:function, or a reward model.
    """
    for separator in ":=":
        kind, _, value = text.partition(separator)
        if separator == "=":
            kind = OLD_KINDS.get(kind, kind)
        if kind in KINDS and value:
            return JudgeReference(kind, value)
    return _without_kind(text) if bare and text else None


def _without_kind(text: str) -> JudgeReference:
    from eval.verifiers import VERIFIERS

    if text in VERIFIERS:
        return JudgeReference("verifier", text)
    return JudgeReference("python" if ":" in text else "reward", text)


def load_function(name: str) -> Callable:
    """The function that `module:function` names.

    Raises:
        UserError: there is none.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there is no judge {name} ({error}); a judge is {forms()}") from None
