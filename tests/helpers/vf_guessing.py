"""An environment of the package verifiers with turns in words: find a number, told each time where it lies."""

import re

import verifiers as vf
from datasets import Dataset

PROMPT = [{"role": "user", "content": "I think of a number from 1 to 15. Guess."}]


def named(messages) -> int | None:
    """The last number in the last message."""
    numbers = re.findall(r"\d+", messages[-1]["content"] or "")
    return int(numbers[-1]) if numbers else None


class Guessing(vf.MultiTurnEnv):
    @vf.stop
    async def found(self, state) -> bool:
        turns = state["trajectory"]
        return bool(turns) and named(turns[-1]["completion"]) == int(state["answer"])

    async def env_response(self, messages, state, **_):
        guess, told = named(messages), "say a number"
        if guess is not None:
            told = "higher" if guess < int(state["answer"]) else "lower"
        return [{"role": "user", "content": told}]


async def found(state) -> float:
    """1 for a number that was named, or less the more guesses it took."""
    return 1.0 / len(state["trajectory"]) if named(state["completion"]) == int(state["answer"]) else 0.0


def load_environment(count: int = 8, changed: bool = False, groups: bool = False):
    rows = [{"prompt": PROMPT, "answer": str(n % 15 + 1), "info": {"n": n}} for n in range(count)]
    data = Dataset.from_list(rows)
    kind = Rewriting if changed else Guessing
    functions = [compared] if groups else [found]
    return kind(dataset=data, eval_dataset=data.select(range(2)), rubric=vf.Rubric(funcs=functions), max_turns=4)


class Rewriting(Guessing):
    async def get_prompt_messages(self, state):
        if not state["trajectory"]:
            return state["prompt"]
        return [vf.UserMessage(content="Something else."), vf.UserMessage(content="Guess again.")]


async def compared(completions) -> list[float]:
    return [float(len(completion)) for completion in completions]
