"""Environments: problems of several turns, in which something answers what the model writes.

    environment: data_prep.world.guessing:GuessNumber    # of recipes.grpo and recipes.rloo: module:class
    environment: verifiers:wordle                        # an environment of the package verifiers

A class is one of TRL's `environment_factory`, without arguments. `reset(**row)` begins a rollout with the columns of
its row and may return a text that is added to the prompt; every other public method is a tool, with typed arguments
and a docstring that says what they are; `get_reward()`, where there is one, pays the rollout beside the verifiers of
`rewards`. In GRPO's training TRL runs its turns; in RLOO's and in the watch `recipes.rewards.rollouts` does.

Environments of verifiers: `recipes.rewards.verifiers_environments`.
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError
from recipes.rewards.rollouts import Ask, NoRoom, Outcome, Play
from recipes.training.setup import sharding

FORM = "an environment is module:class, such as data_prep.world.guessing:GuessNumber, or verifiers:<name>"
PACKAGE = "verifiers:"


@dataclass(frozen=True)
class Environment:
    """An environment that was loaded.

    Attributes:
        name: of its reward in the log.
        play: runs one rollout, see `recipes.rewards.rollouts`.
        pays: whether it has a reward of its own.
        tools: the arguments of each tool that the model may call, by name.
        factory: of a class, TRL's `environment_factory`.
    """

    name: str
    play: Play
    pays: bool
    tools: dict[str, list[str]]
    factory: Callable | None = None


@dataclass
class EnvironmentArguments:
    """Keys of the stages that take an environment."""

    environment: str | None = field(
        default=None,
        metadata={"help": "module:class or verifiers:<name>, of several turns (recipes.rewards.environments)"},
    )
    environment_args: dict[str, Any] | None = field(
        default=None, metadata={"help": "of an environment of verifiers: what its load_environment takes"}
    )


def environment_of(args: EnvironmentArguments) -> Environment | None:
    """The environment of the arguments; None where they name none."""
    if args.environment:
        return load_environment(args.environment, args.environment_args)
    if args.environment_args:
        raise UserError("environment_args are for an environment: set environment, or leave them out")
    return None


def check_environment(environment: Environment | None, tools: bool, watched: bool) -> None:
    """Raises `UserError` for what does not go with an environment: other tools where its turns are run here, and
    weights that are spread, as the processes have different numbers of turns."""
    if environment and tools and (watched or not environment.factory):
        raise UserError(
            "tools go with an environment only in GRPO with a class and without a watch: leave out tools, or"
            f" {'monitor_steps' if environment.factory else 'environment'}"
        )
    if environment and sharding():
        raise UserError(f"an environment does not run under {sharding()}: use accelerate_configs/ddp.yaml")


def load_environment(name: str, arguments: dict | None = None) -> Environment:
    """The environment of a name.

    Raises:
        UserError: there is none of that name, it cannot be made, or it has no `reset` or no tool.
    """
    if name.startswith(PACKAGE):
        from recipes.rewards.verifiers_environments import load

        return load(name.removeprefix(PACKAGE), arguments or {})
    if arguments:
        raise UserError(f"environment_args are for environments of verifiers: {name} is a class without arguments")
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
    tools = {tool.__name__: list(inspect.signature(tool).parameters) for tool in tools_of(made)}
    return Environment(path, player(factory), callable(getattr(made, "get_reward", None)), tools, factory)


def tools_of(environment) -> list:
    """The methods of an environment that a model may call."""
    methods = inspect.getmembers(environment, predicate=inspect.ismethod)
    return [method for name, method in methods if not name.startswith("_") and name not in ("reset", "get_reward")]


def player(factory: Callable) -> Play:
    """How a rollout with a class goes: TRL's rules."""

    async def play(row: dict, ask: Ask) -> Outcome:
        environment = factory()
        told = environment.reset(**row)
        *before, last = row["prompt"]
        messages = [*before, last if told is None else {**last, "content": last["content"] + told}]
        tools = tools_of(environment)
        with contextlib.suppress(NoRoom):
            message = await ask(messages, tools)
            while message.get("tool_calls"):
                results = [await _result(tools, call) for call in message["tool_calls"]]
                messages = [*messages, message, *results]
                message = await ask(messages, tools)
        pay = getattr(environment, "get_reward", None)
        return Outcome(await _awaited(pay()) if pay else None)

    return play


async def _awaited(value):
    return await value if inspect.isawaitable(value) else value


async def _result(tools: list, call: dict) -> dict:
    """The message with what a call returned, or with its error."""
    function = call.get("function", call)
    name = function["name"]
    try:
        found = {tool.__name__: tool for tool in tools}.get(name)
        if not found:
            raise ValueError(f"Tool {name} not found.")  # TRL's words
        content = str(await _awaited(found(**function["arguments"])))
    except Exception as error:  # whatever a tool does, the model hears of it and the run goes on
        content = str({"error": str(error)})
    return {"role": "tool", "name": name, "content": content}


def reading_calls(tokenizer, tools: dict[str, list[str]]):
    """The tokenizer, with what says how the calls of an environment's tools are read.

    Raises:
        UserError: nothing does, or the chat template writes a call of a tool as one of another.
    """
    from eval.generation.call_format import USER, read, reading
    from eval.generation.encoding import encode_conversation, until_end

    if not tools:
        return tokenizer
    try:
        tokenizer = reading(tokenizer)
    except ValueError as error:
        raise UserError(
            f"how the chat template writes calls is not known ({error}): an environment needs it"
        ) from None
    prompt, _ = encode_conversation(tokenizer, [USER], add_generation_prompt=True)
    for name, arguments in tools.items():
        call = {"type": "function", "function": {"name": name, "arguments": dict.fromkeys(arguments, 1)}}
        turn: list[dict] = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
        ids = until_end(encode_conversation(tokenizer, turn)[0], prompt, tokenizer.eos_token_id)
        found = read(tokenizer, ids[len(prompt) :], prompt).get("tool_calls") or []
        if [made["function"].get("name") for made in found] != [name]:
            raise UserError(
                f"the chat template does not write a call of the environment's tool {name} so that it can be"
                " read back: take a model whose template writes calls as JSON (Qwen3, …)"
            )
    return tokenizer


def environment_reward(environment: Environment) -> Callable:
    """A TRL reward function of what the environment paid; the trainers hand it the rollouts."""

    def reward(rollout, log_metric=None, **_) -> list[float | None]:
        outcomes = [each.outcome for each in rollout]
        for name in {name for outcome in outcomes for name in outcome.metrics} if log_metric else ():
            known = [outcome.metrics[name] for outcome in outcomes if name in outcome.metrics]
            log_metric(f"environment/{name}", sum(known) / len(known))
        return [outcome.reward for outcome in outcomes]

    reward.__name__ = environment.name
    return reward


def rollout_scores(rows: list[dict], _) -> list[float | None]:
    """What the environment paid, as scores of the watch (`eval.judging.scores`): its rows hold their rollouts."""
    return [row["rollout"].outcome.reward for row in rows]
