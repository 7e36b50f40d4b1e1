"""RLOO: PPO's aim without a critic, as each reply is compared with the others to the same prompt.

    python -m recipes.rloo --config recipes/tiny/rloo.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml --num_processes 8 -m recipes.rloo \\
        --config recipes/qwen3-0.6b/rloo.yaml

Rows hold `prompt` (messages) and the columns that the verifiers read. The reward is a reward model's score
(`reward_model_path`), or verifiers of `eval.verifiers` (`rewards`), or the sum of both; `reward_weights` weighs them,
the reward model first. `beta` takes the KL divergence from the start off a reply's reward, as PPO's `kl_coef` does.
`num_iterations` optimiser steps read the same replies. A watch over the run, and when it stops:
`recipes.training.monitor`. Problems of several turns: `recipes.rewards.environments`. Ahmadian et al. 2024, "Back to
Basics".
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, user_errors
from eval.generation.generate import encode
from eval.judging.scores import Scores, by_reward_model, by_verifier
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
from recipes.training.monitor import Monitor, MonitorArguments
from recipes.training.setup import (
    DataArguments,
    leave_out,
    load_chat_tokenizer,
    load_data,
    load_model,
    parse_stage,
    report_left_out,
    require_judged,
    require_rows,
    require_vllm,
    whole_weights,
)
from recipes.training.stage import Stage
from recipes.training.watched import Data, held_out, train_watched

PENALTY = 1.0  # of recipes.ppo, too


@dataclass
class RLOOScriptArguments(DataArguments, RubricRewardArguments, EnvironmentArguments, MonitorArguments):
    METHOD = "RLOO"

    reward_model_path: str | None = field(default=None, metadata={"help": "folder or Hub id of a reward model"})
    rewards: list[str] = field(default_factory=list, metadata={"help": "names in eval.verifiers"})
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "taken off the reward model's score of a reply that does not end (default: 1)"}
    )
    max_prompt_length: int = field(default=512, metadata={"help": "longer prompts, in tokens, are left out"})


def check(args, training_args, environment: Environment | None) -> None:
    """Raises `UserError` for rewards that cannot be added up, and for what would be ignored."""
    names = [args.reward_model_path] * bool(args.reward_model_path) + args.rewards
    paid = [environment.name] if environment and environment.pays else []
    check_rubric(args, names + paid)
    check_environment(environment, False, args.monitor_steps > 0)
    names += [args.rubric] * bool(args.rubric)
    if not names and not paid:
        raise UserError(
            "there is no reward: set reward_model_path (a folder or Hub id), rewards (verifiers), or an environment"
        )
    weights, penalty = training_args.reward_weights, args.missing_eos_penalty
    if weights and len(weights) != len(names):
        raise UserError(
            f"reward_weights must hold one number for each of {', '.join(names) or 'no reward'}, but are {weights}"
        )
    if names == [args.judge]:
        gamed = "is the reward itself, and cannot tell whether that is gamed"
        raise UserError(f"judge {args.judge} {gamed}: name another, or none")
    if penalty is not None and not args.reward_model_path:
        raise UserError("missing_eos_penalty is taken off a reward model's score: set reward_model_path, or leave it")
    if penalty is not None and not 0 <= penalty < math.inf:
        raise UserError(f"missing_eos_penalty must be at least 0, but is {penalty}")


def reward_function(scores: Scores, ends: set[int], penalty: float) -> Callable[..., list[float]]:
    """A TRL reward function: a reward model's `scores`, less `penalty` where a reply's last token is not in `ends`."""

    def reward_model(prompts, completions, completion_ids, **_) -> list[float]:
        found = scores([{"prompt": prompt} for prompt in prompts], [turns[-1]["content"] for turns in completions])
        return [score if ids[-1] in ends else score - penalty for score, ids in zip(found, completion_ids)]

    return reward_model


def short_prompts(rows, tokenizer, most: int, where: str) -> tuple:
    """The rows whose prompt has at most `most` tokens, and how many were left out; it is said."""
    left_out = Counter()
    if rows is None:
        return None, left_out

    def fits(row: dict) -> bool:
        return len(encode(tokenizer, [row["prompt"]])[0]) <= most

    kept = leave_out(rows, fits, f"the prompt has more than max_prompt_length {most} tokens", left_out)
    report_left_out(left_out, len(rows), where)
    return kept, left_out


def read_data(args, training_args, tokenizer, verifiers: list, environment: Environment | None) -> Data:
    """The rows of the arguments whose prompts are short enough.

    Raises:
        UserError: a verifier lacks a column, a row cannot be judged, or fewer are left than one batch needs.
    """
    from eval.verifiers import COLUMNS

    goal = "problem" if verifiers else "prompt"
    train, evaluation = load_data(args, ("prompt",), training_args, COLUMNS if verifiers else (), goal=goal)
    watched, judge = held_out(args, training_args.seed, goal)
    for verifier in verifiers:
        verifier([""], **{column: [value] for column, value in train[0].items()})  # raises where a column is lacking
    every_row = args.reward_model_path or args.rubric or (environment and environment.pays)  # are judged by these
    if verifiers and not every_row:
        require_judged(verifiers, args.rewards, "the data", train)
        require_judged(verifiers, args.rewards, "monitor_datasets", watched)
    train, left_out = short_prompts(train, tokenizer, args.max_prompt_length, "the training data")
    evaluation, _ = short_prompts(evaluation, tokenizer, args.max_prompt_length, "the validation data")
    prompts = training_args.generation_batch_size // training_args.num_generations
    batch = f"{prompts} prompts × {training_args.num_generations} replies"
    batch += f", of prompts of at most max_prompt_length {args.max_prompt_length} tokens"
    require_rows(train, prompts, f"one batch of {batch} (with fewer RLOO trains zero steps)")
    return Data(train, evaluation, watched, judge, left_out)


@dataclass
class Rewards:
    """What replies are rewarded by.

    Attributes:
        functions: TRL reward functions, that of the reward model first.
        scores: the weighted sum of the parts, for the monitor.
        unfinished: what a reply without an end token loses of that sum.
    """

    functions: list
    scores: Scores
    unfinished: float


def make_rewards(
    args, training_args, model_args, verifiers: list, scoring_tokenizer, ends: set[int], environment
) -> Rewards:
    """The reward model of the arguments, the verifiers and what the environment pays, with their weights."""
    from transformers import AutoModelForSequenceClassification

    from eval.verifiers import reward_function as verifier_function

    functions, parts, penalty = list(verifiers), [], 0.0
    rubric, named = rubric_of(args), bool(args.reward_model_path)
    weights = training_args.reward_weights or [1.0] * (len(verifiers) + named + bool(rubric))
    if args.reward_model_path:
        options: dict[str, Any] = {"what": "reward model", "num_labels": 1}
        source = (AutoModelForSequenceClassification, args.reward_model_path, model_args, training_args)
        scores = by_reward_model(load_model(*source, **options).to(training_args.device), scoring_tokenizer)
        penalty = PENALTY if args.missing_eos_penalty is None else args.missing_eos_penalty
        functions.insert(0, reward_function(scores, ends, penalty))
        parts.append((weights[0], scores))
    if verifiers:
        own = weights[named : named + len(verifiers)]
        parts.append((1.0, by_verifier(verifier_function(args.rewards, own))))
    if rubric:
        functions.append(rubric.by_rubric)
        parts.append((weights[-1], rubric))
    if environment and environment.pays:
        functions.append(environment_reward(environment))
        parts.append((1.0, rollout_scores))
    return Rewards(functions, weighted(parts), weights[0] * penalty if named else 0.0)


def load_scoring_tokenizer(path: str | None):
    """The reward model's tokenizer; None without a reward model."""
    from eval.generation.models import load_tokenizer, require_chat_template, require_pad_token

    if not path:
        return None
    tokenizer = load_tokenizer(path, "reward model")
    require_chat_template(tokenizer, path)
    require_pad_token(tokenizer, path)
    return tokenizer


def dry_run(args, training_args, model_args, tokenizer, train) -> None:
    """Print what the stage would do."""
    from recipes.planning.dry_run import Job, tell

    models = {}
    if not model_args.use_peft and (args.monitor_steps or training_args.beta):
        models["reference"] = model_args.model_name_or_path
    if args.reward_model_path:
        models["reward model"] = args.reward_model_path
    lengths = [len(encode(tokenizer, [row["prompt"]])[0]) for row in train]
    tell(Job("rloo", args, training_args, model_args, lengths, args.rows_in_all, models=models))


def load_policy(training_args, model_args, watched: bool) -> tuple:
    """The policy, and its reference: None with an adapter, and where nothing is measured from it."""
    from transformers import AutoModelForCausalLM

    source = (AutoModelForCausalLM, model_args.model_name_or_path, model_args, training_args)
    model = load_model(*source)
    if model_args.use_peft or not (watched or training_args.beta):
        return model, None
    return model, load_model(*source).to(training_args.device)


def make_monitor(
    args, training_args, stage: Stage, tokenizer, data: Data, rewards: Rewards, reference, environment
) -> Monitor:
    """The watch over the run."""
    return Monitor(
        args,
        stage.folder,
        tokenizer,
        data.watched,
        data.judge,
        rewards.scores,
        reference,
        training_args.max_completion_length,
        training_args.seed,
        rewards.unfinished,
        environment.play if environment else None,
    )


def make_trainer(
    training_args, model_args, tokenizer, models: tuple, functions: list, data: Data, callbacks: list, environment
):
    """The trainer of the policy, the first of `models`; the other is its reference."""
    from trl import get_peft_config

    from recipes.trainers.rloo import Trainer

    model, reference = models
    weights = training_args.reward_weights
    if weights and environment and environment.pays:
        training_args.reward_weights = [*weights, 1.0]
    with user_errors("RLOO's settings"):
        return Trainer(
            model=model,
            reward_funcs=functions,
            reference=reference,
            environment=environment,
            args=training_args,
            train_dataset=data.train,
            eval_dataset=data.evaluation,
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),
            callbacks=callbacks,
        )


@command
def main(argv: list[str] | None = None) -> None:
    from trl import ModelConfig, RLOOConfig

    args, training_args, model_args = parse_stage((RLOOScriptArguments, RLOOConfig, ModelConfig), argv)

    # ---- Checks and data, before any work ----
    from eval.verifiers import reward_function as verifier_function

    if not args.dry_run:
        require_vllm(training_args)
    environment = environment_of(args)
    check(args, training_args, environment)
    verifiers = [verifier_function(name) for name in args.rewards]
    tokenizer = load_chat_tokenizer(model_args, "the sft model")
    if environment:
        tokenizer = reading_calls(tokenizer, environment.tools)
    scoring_tokenizer = load_scoring_tokenizer(args.reward_model_path)
    data = read_data(args, training_args, tokenizer, verifiers, environment)
    if args.dry_run:
        return dry_run(args, training_args, model_args, tokenizer, data.train)
    stage = Stage(args, training_args, model_args)
    if stage.finished:
        return

    # ---- Train ----
    from transformers import set_seed

    from eval.generation.generate import end_token_ids

    set_seed(training_args.seed)
    model, reference = load_policy(training_args, model_args, bool(data.watched))
    ends = end_token_ids(model.generation_config.eos_token_id, tokenizer)
    with whole_weights(training_args):
        rewards = make_rewards(args, training_args, model_args, verifiers, scoring_tokenizer, ends, environment)
    callbacks = stage.callbacks(num_generations=training_args.num_generations)
    monitor = None
    if data.watched:
        monitor = make_monitor(args, training_args, stage, tokenizer, data, rewards, reference, environment)
        callbacks.append(monitor)
    models = (model, reference)
    trainer = make_trainer(
        training_args, model_args, tokenizer, models, rewards.functions, data, callbacks, environment
    )
    train_watched(stage, trainer, monitor, data)


if __name__ == "__main__":
    main()
