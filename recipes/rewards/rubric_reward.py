"""A judge by written criteria as a reward of `recipes.grpo` and `recipes.rloo`, beside verifiers and reward models.

    rubric: rubric.yaml              # see eval.judging.rubric
    rubric_model: runs/smollm2/hub   # the chat model that scores each criterion

What a language model likes can be gained by pleasing it. So a rubric that is the only reward is refused unless a watch
has another judge (`judge`, see `recipes.training.monitor`), and the judge of the watch is never the rubric.
"""

from dataclasses import dataclass, field

from eval.cli import UserError


@dataclass
class RubricRewardArguments:
    """Keys of the stages that take a rubric as a reward."""

    rubric: str | None = field(
        default=None, metadata={"help": "YAML of criteria that rubric_model scores replies by: one more reward"}
    )
    rubric_model: str | None = field(default=None, metadata={"help": "folder, Hub id or endpoint of that chat model"})
    rubric_model_name: str | None = field(default=None, metadata={"help": "of the model behind an endpoint"})
    rubric_tokens: int = field(default=96, metadata={"help": "tokens of its answer to a criterion"})


def check_rubric(args, others: list[str]) -> None:
    """Raises `UserError` where the rubric lacks its model, cannot be read, or would judge its own training alone.

    Args:
        others: names of the other rewards.
    """
    from eval.judging.rubric import load_rubric

    if bool(args.rubric) != bool(args.rubric_model):
        raise UserError("rubric and rubric_model belong together: the criteria, and the chat model that scores them")
    if not args.rubric:
        return
    load_rubric(args.rubric)
    if not others and not args.judge:
        raise UserError(
            "the rubric would be the only judge of its own training: add a verifier (rewards) or a reward model, or"
            " another judge in the watch (monitor_steps, monitor_datasets, judge)"
        )


def rubric_of(args: RubricRewardArguments):
    """The rubric with its model; None where the stage has none. The same reply gets the same score: it is asked at
    temperature 0."""
    if not args.rubric:
        return None
    from eval.generation.replies import Replier
    from eval.judging.rubric import Rubric

    model = Replier(args.rubric_model, args.rubric_tokens, temperature=0, name=args.rubric_model_name)
    return Rubric(args.rubric, model)
