"""GRPO: practice on problems whose answers can be checked makes a reasoner.

    python -m recipes.grpo --config recipes/tiny/grpo.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.grpo --config \
        recipes/qwen3-0.6b/grpo.yaml

Rows are of a published set (docs/data.md), or hold `prompt` (messages) and the columns that the rewards read
(`answer`, `tests`, …). `rewards` names verifiers of `eval.verifiers`, the functions that also score the benchmarks;
`reward_weights` weighs them. With `tools` the model may call them while it answers; what they return is not trained
on. A watch over the run, and when it stops: `recipes.training.monitor`. Problems of several turns:
`recipes.rewards.environments`. Written criteria as one more reward: `recipes.rewards.rubric_reward`.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, user_errors
from eval.generation.generate import encode
from eval.judging.scores import Scores, by_verifier
from eval.verifiers import COLUMNS, reward_function
from recipes.rewards.environments import (
    Environment,
    EnvironmentArguments,
    check_environment,
    environment_of,
    environment_reward,
    reading_calls,
    rollout_scores,
)
from recipes.rewards.rubric_reward import RubricRewardArguments, check_rubric, rubric_of
from recipes.rewards.scores import weighted
from recipes.training.callbacks import StopAtReward
from recipes.training.monitor import Monitor, MonitorArguments
from recipes.training.setup import (
    DataArguments,
    leave_out,
    load_chat_tokenizer,
    load_data,
    load_model,
    parse_stage,
    positions,
    report_left_out,
    require_rows,
    require_vllm,
    whole_weights,
)
from recipes.training.stage import Stage
from recipes.training.watched import Data, held_out, train_watched


@dataclass
class GRPOScriptArguments(DataArguments, RubricRewardArguments, EnvironmentArguments, MonitorArguments):
    METHOD = "GRPO"

    rewards: list[str] = field(default_factory=lambda: ["final_number"], metadata={"help": "names in eval.verifiers"})
    tools: list[str] = field(default_factory=list, metadata={"help": "python, search=<index folder>, module:function"})
    stop_reward: float | None = field(
        default=None,
        metadata={"help": "stop when the mean reward of the last stop_window logged steps has reached this"},
    )
    stop_window: int = field(default=8, metadata={"help": "logged steps that stop_reward looks at"})
    max_result_tokens: int | None = field(
        default=None, metadata={"help": "of one tool's result (default: a quarter of max_completion_length)"}
    )


def check(args, training_args, environment: Environment | None) -> None:
    """Raises `UserError` for rewards that cannot be added up or judge themselves, and for what does not go with an
    environment."""
    weights, names = training_args.reward_weights, [*args.rewards, *filter(None, [args.rubric])]
    if not names and not (environment and environment.pays):
        raise UserError(
            "there is no reward: rewards must name at least one verifier, or set rubric, or an environment with a"
            " get_reward"
        )
    if weights and len(weights) != len(names):
        raise UserError(
            f"reward_weights must hold one number for each of {', '.join(names) or 'no reward'}, but are {weights}"
        )
    if args.rewards == [args.judge]:
        raise UserError(
            f"judge {args.judge} is the reward itself, and cannot tell whether that is gamed: name another, or none"
        )
    check_rubric(args, args.rewards or ([environment.name] if environment and environment.pays else []))
    if args.stop_window < 1:
        raise UserError(f"stop_window must be at least 1 logged step, but is {args.stop_window}")
    check_environment(environment, bool(args.tools), args.monitor_steps > 0)


def judgeable(rewards: list) -> Callable[[dict], bool]:
    """Whether any of the rewards can judge replies to a row: what none can would teach nothing, silently."""

    def judged(row: dict) -> bool:
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        said = [[{"role": "assistant", "content": ""}]]
        return any(reward(prompts=[row["prompt"]], completions=said, **columns) != [None] for reward in rewards)

    return judged


def usable(data, tests: tuple, where: str, rewards: list[str], left_out: Counter):
    """The rows that pass all of the tests, each a pair of what a row must pass and why it is left out; what is, is
    said.

    Raises:
        UserError: nothing is left because no reward can judge a row.
    """
    rows = len(data)
    for number, (keep, why) in enumerate(tests):
        data = leave_out(data, keep, why, left_out)
        if not number and rewards and not len(data):
            raise UserError(
                f"no row of {where} can be judged by {', '.join(rewards)}: name the verifier that reads their "
                "answers, or by_row where they name one each"
            )
    report_left_out(left_out, rows, where)
    return data


def watched_reward(names: list[str], rubric, weights: list[float] | None, environment: Environment | None) -> Scores:
    """The rewards of the watch, weighted as in training: verifiers, the rubric and the environment, where they are."""
    weights = weights or [1.0] * (len(names) + bool(rubric))
    parts = [(1.0, by_verifier(reward_function(names, weights[: len(names)])))] if names else []
    if rubric:
        parts.append((weights[-1], rubric))
    if environment and environment.pays:
        parts.append((1.0, rollout_scores))
    return weighted(parts)


def length(tokenizer, row: dict, tools: list) -> int:
    """Tokens of a prompt."""
    (ids,) = encode(tokenizer, [row["prompt"]], **({"tools": tools} if tools else {}))
    return len(ids)


def reads_thinking(tokenizer):
    """The tokenizer, with a response template where its marks of thinking are special tokens: decoded without them,
    rewards would take thoughts for the reply."""
    from eval.generation.call_format import reading

    marks = {"<think>", "[THINK]", "<|channel|>"} & set(tokenizer.all_special_tokens)
    if marks or "<|channel|>" in tokenizer.chat_template:
        with contextlib.suppress(ValueError):
            return reading(tokenizer)
    return tokenizer


def read_data(args, training_args, model_args, tokenizer, rewards: list, tools: list) -> Data:
    """The problems of the arguments that can be judged and are short enough.

    Raises:
        UserError: a verifier lacks a column, no row can be judged, or fewer are left than one batch needs.
    """
    train, evaluation = load_data(args, ("prompt",), training_args, COLUMNS, goal="problem")
    watched, judge = held_out(args, training_args.seed, "problem")
    for reward in rewards:  # raises where a verifier lacks a column
        reward([""], **{column: [value] for column, value in train[0].items()})
    if args.max_result_tokens is not None and not tools:
        raise UserError("max_result_tokens is of tools' results: name tools, or leave it out")
    room = (positions(model_args) or sys.maxsize) - training_args.max_completion_length
    judged = [(judgeable(rewards), f"{', '.join(args.rewards)} cannot judge it")] if rewards else []
    tests = (
        *judged,
        (
            lambda row: length(tokenizer, row, tools) <= room,
            f"the prompt has more than the {room} tokens that a completion leaves of the model's positions",
        ),
    )
    left_out = Counter()
    train = usable(train, tests, "the training data", args.rewards, left_out)
    if evaluation is not None:
        evaluation = usable(evaluation, tests, "the validation data", args.rewards, Counter())
    if watched:
        watched = usable(watched, tests, "monitor_datasets", args.rewards, Counter())
        if len(watched) < 2:
            raise UserError("monitor_datasets hold fewer than two prompts that can be judged and are short enough")
    prompts = training_args.generation_batch_size // training_args.num_generations
    batch = f"one batch of {prompts} prompts × {training_args.num_generations} completions"
    require_rows(train, prompts, f"{batch} (with fewer GRPO trains zero steps)")
    return Data(train, evaluation, watched, judge, left_out)


def make_monitor(args, training_args, model_args, stage: Stage, around: "Surroundings", data: Data, reward) -> Monitor:
    """The watch over the run, with the start model as reference (an adapter's is the model without it)."""
    from transformers import AutoModelForCausalLM

    reference = None
    if not model_args.use_peft:
        reference = load_model(AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
        reference = reference.to(training_args.device)
    options: dict[str, Any] = {}
    if around.environment:
        options = {"play": around.environment.play}
    elif around.tools:
        most = training_args.max_tool_calling_iterations  # None: no limit
        options = {
            "tools": around.tools,
            "max_result_tokens": args.max_result_tokens,
            "max_tool_calls": sys.maxsize if most is None else most,
        }
    return Monitor(
        args,
        stage.folder,
        around.tokenizer,
        data.watched,
        data.judge,
        reward,
        reference,
        training_args.max_completion_length,
        training_args.seed,
        **options,
    )


@dataclass
class Surroundings:
    """What the policy writes in: its tokenizer, the tools that it may call, its environment or None."""

    tokenizer: Any
    tools: list
    environment: Environment | None


def make_surroundings(args, model_args, environment: Environment | None) -> Surroundings:
    """The tokenizer and tools of the arguments, beside the environment.

    Raises:
        UserError: one of them is not there, or the chat template has no place for tools.
    """
    from eval.generation.tool_loop import Toolbox, load_tools

    tokenizer = reads_thinking(load_chat_tokenizer(model_args, "the sft model"))
    if environment:
        tokenizer = reading_calls(tokenizer, environment.tools)
    tools = load_tools(args.tools)
    if tools:
        Toolbox(tokenizer, tools, args.max_result_tokens or 1, 1.0)  # raises where its template has no place for them
    return Surroundings(tokenizer, tools, environment)


def dry_run(args, training_args, model_args, lengths: list[int]) -> None:
    """Print what the stage would do with prompts of these lengths."""
    from recipes.planning.dry_run import Job, tell

    models = {}
    if not model_args.use_peft and (args.monitor_steps or training_args.beta):
        models["reference"] = model_args.model_name_or_path
    tell(Job("grpo", args, training_args, model_args, lengths, args.rows_in_all, models=models))


def make_trainer(args, training_args, model_args, model, around: Surroundings, functions: list, data: Data, callbacks):
    """The trainer of a model on the problems."""
    from trl import get_peft_config

    from recipes.trainers.grpo import Trainer

    environment: dict[str, Any] = {}
    if around.environment and around.environment.factory:
        environment = {"environment_factory": around.environment.factory}
    elif around.environment:
        environment = {"environment": around.environment}
        functions, weights = [*functions, environment_reward(around.environment)], training_args.reward_weights
        training_args.reward_weights = [*weights, 1.0] if weights else None
    with user_errors("GRPO's settings"):
        return Trainer(
            model=model,
            reward_funcs=functions or None,
            tools=around.tools or None,
            **environment,
            max_result_tokens=args.max_result_tokens,
            args=training_args,
            train_dataset=data.train,
            eval_dataset=data.evaluation,
            processing_class=around.tokenizer,
            peft_config=get_peft_config(model_args),
            callbacks=callbacks,
        )


@command
def main(argv: list[str] | None = None) -> None:
    from trl import GRPOConfig, ModelConfig

    args, training_args, model_args = parse_stage((GRPOScriptArguments, GRPOConfig, ModelConfig), argv)

    # ---- Checks and data, before any work ----
    if not args.dry_run:
        require_vllm(training_args)
    environment = environment_of(args)
    check(args, training_args, environment)
    rewards = [reward_function(name) for name in args.rewards]
    around = make_surroundings(args, model_args, environment)
    tokenizer, tools = around.tokenizer, around.tools
    data = read_data(args, training_args, model_args, tokenizer, rewards, tools)
    if args.dry_run:
        return dry_run(args, training_args, model_args, [length(tokenizer, row, tools) for row in data.train])
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(training_args.seed)
    model = load_model(AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    with whole_weights(training_args):
        rubric = rubric_of(args)
    functions = [*rewards, rubric.by_rubric] if rubric else rewards
    callbacks = stage.callbacks(num_generations=training_args.num_generations)
    if args.stop_reward is not None:
        callbacks.append(StopAtReward(args.stop_reward, args.stop_window))
    monitor = None
    if data.watched:
        reward = watched_reward(args.rewards, rubric, training_args.reward_weights, environment)
        monitor = make_monitor(args, training_args, model_args, stage, around, data, reward)
        callbacks.append(monitor)
    trainer = make_trainer(args, training_args, model_args, model, around, functions, data, callbacks)
    train_watched(stage, trainer, monitor, data)


if __name__ == "__main__":
    main()
