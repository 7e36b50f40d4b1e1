"""Environments: problems of several turns, in which a model acts by calling tools on a state of its rollout's own.

    environment: data_prep.world.guessing:GuessNumber      # of recipes.grpo: module:class, TRL's `environment_factory`

An environment is a class without arguments. `reset(**row)` begins a rollout with the columns of its row and may return
a text that is added to the prompt; every other public method is a tool, with typed arguments and a docstring that says
what they are; `get_reward()`, where there is one, pays the rollout beside the verifiers of `rewards`. TRL runs the
turns; calls, results and prompts are encoded as elsewhere (`eval.generation.encoding`).
"""

import importlib
import inspect

from eval.cli import UserError

FORM = "an environment is module:class, such as data_prep.world.guessing:GuessNumber"


def load_environment(name: str):
    """The class that makes an environment.

    Raises:
        UserError: there is none of that name, it cannot be made, or it has no `reset` or no tool.
    """
    module, _, path = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), path)
        made = factory()
    except Exception as error:  # of the module or of the class: the user is to see it, in one line
        raise UserError(f"there is no environment {name} ({type(error).__name__}: {error}); {FORM}") from None
    if not callable(getattr(made, "reset", None)):
        raise UserError(f"the environment {name} has no method reset(**row): {FORM}")
    if not tools_of(made):
        raise UserError(f"the environment {name} has no public method beside reset and get_reward: what is a tool?")
    return factory


def tools_of(environment) -> list:
    """The methods of an environment that a model may call."""
    methods = inspect.getmembers(environment, predicate=inspect.ismethod)
    return [method for name, method in methods if not name.startswith("_") and name not in ("reset", "get_reward")]


def reading_calls(tokenizer, factory):
    """The tokenizer, with what says how the calls of an environment's tools are read.

    Raises:
        UserError: nothing does, or the chat template writes a call of a tool as one of another.
    """
    from eval.generation.call_format import USER, read, reading
    from eval.generation.encoding import encode_conversation, until_end

    try:
        tokenizer = reading(tokenizer)
    except ValueError as error:
        raise UserError(
            f"how the chat template writes calls is not known ({error}): an environment needs it"
        ) from None
    prompt, _ = encode_conversation(tokenizer, [USER], add_generation_prompt=True)
    for tool in tools_of(factory()):
        arguments = dict.fromkeys(inspect.signature(tool).parameters, 1)
        call = {"type": "function", "function": {"name": tool.__name__, "arguments": arguments}}
        turn = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
        ids = until_end(encode_conversation(tokenizer, turn)[0], prompt, tokenizer.eos_token_id)
        found = read(tokenizer, ids[len(prompt) :], prompt).get("tool_calls") or []
        if [made["function"].get("name") for made in found] != [tool.__name__]:
            raise UserError(
                f"the chat template does not write a call of the environment's tool {tool.__name__} so that it can be"
                " read back: take a model whose template writes calls as JSON (Qwen3, …)"
            )
    return tokenizer


def pays(factory) -> bool:
    """Whether an environment has a reward of its own."""
    return callable(getattr(factory(), "get_reward", None))
