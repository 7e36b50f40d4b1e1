"""Replacing what another library's module has while our code runs it, and setting variables for as long.

    with replaced(ppo_trainer, forward=ours):
        super().train()

Each library's replacements are declared in one module (`recipes.trainers.trl_patches`) as `Patch`, with the upstream
line that they depend on; `moved_upstream` says which of them are no longer there.
"""

import importlib
import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    """A name in a module of another library that we replace.

    Attributes:
        module: dotted name of the module.
        name: what is replaced.
        line: source text of that module which uses it as we expect.
        why: what the replacement is for.
    """

    module: str
    name: str
    line: str
    why: str


@contextmanager
def replaced(module, **attributes):
    """Within the block the module's attributes are these."""
    before = {name: getattr(module, name) for name in attributes}
    for name, value in attributes.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextmanager
def environment(**variables: str):
    """Within the block the environment variables are these."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def moved_upstream(patches: list[Patch]) -> list[str]:
    """A sentence for each patch whose module has no such name, or no longer uses it in that line."""
    sentences = []
    for patch in patches:
        module = importlib.import_module(patch.module)
        if not hasattr(module, patch.name):
            sentences.append(f"{patch.module} has no {patch.name} any more: find where it went ({patch.why}).")
        elif patch.line not in inspect.getsource(module):
            sentences.append(
                f"{patch.module} no longer says {patch.line!r}: look whether replacing {patch.name} still works"
                f" ({patch.why})."
            )
    return sentences
