"""An environment of the package verifiers with a tool: which of two things is heavier."""

import verifiers as vf
from datasets import Dataset

WEIGHTS = {"pear": 150, "melon": 900, "stone": 2000}


def weigh(thing: str) -> int:
    """Weigh a thing.

    Args:
        thing: its name.

    Returns:
        Grams.
    """
    return WEIGHTS[thing]


async def names_it(completion, answer) -> float:
    return float(answer in (completion[-1]["content"] or ""))


def load_environment():
    pairs = [("pear", "melon"), ("stone", "melon"), ("pear", "stone"), ("melon", "pear")]
    rows = [{"question": f"Which is heavier, {a} or {b}?", "answer": max(a, b, key=WEIGHTS.get)} for a, b in pairs]
    return vf.ToolEnv(dataset=Dataset.from_list(rows), tools=[weigh], rubric=vf.Rubric(funcs=[names_it]), max_turns=4)
