"""Which stages a run has, and what the report may call them.

A stage's `stage.json` says its `method` (how it was trained), its `role` (what it is in the story that the report
tells) and the `command` that made it. The names of the stages' folders are free: a run whose stages are called a, b, c
is reported as one whose stages are called by their roles.

    stages(run)                  # in the order in which the run's pipeline trained them
    roles(run)["honest"]         # the name of the stage, or evaluation, with that role
"""

from dataclasses import dataclass
from pathlib import Path

PUBLISHED = "published weights"  # the method of a stage that takes a model as it is (`recipes.pretrained`)
# method -> the role of a stage that names none, and the transformers class that loads the model
METHODS = {
    PUBLISHED: ("hub", "AutoModelForCausalLM"),
    "pretraining": ("base", "AutoModelForCausalLM"),
    "supervised fine-tuning": ("sft", "AutoModelForCausalLM"),
    "reward modelling": ("reward", "AutoModelForSequenceClassification"),
    "PPO": ("ppo", "AutoModelForCausalLM"),
    "RLOO": ("rloo", "AutoModelForCausalLM"),
    "direct preference optimisation": ("dpo", "AutoModelForCausalLM"),
    "GRPO": ("grpo", "AutoModelForCausalLM"),
    "on-policy distillation": ("distilled", "AutoModelForCausalLM"),
}
# a key that only one method's config has: the method of a record that does not name it, as older ones
KEYS = {
    "tokens_dir": "pretraining",
    "margin_per_place": "reward modelling",
    "normalize_advantages": "RLOO",  # before PPO and GRPO, whose keys it has, too
    "f_divergence_type": "direct preference optimisation",
    "reward_model_path": "PPO",
    "teacher_model_name_or_path": "on-policy distillation",
    "rewards": "GRPO",
}
# the roles that the report has chapters for, in its order; tools: the evaluation of honest with search and Python
ROLES = ("base", "sft", "honest", "tools", "reward", "ppo", "grpo")


@dataclass(frozen=True)
class Stage:
    """A stage of a run, or an evaluation of one with tools.

    Attributes:
        name: of its folder, and of its column in the report.
        role: what it is in the report's story; a role of `ROLES`, or another.
        record: its `stage.json`; {} of an evaluation.
        with_tools: it is an evaluation with tools.
    """

    name: str
    role: str
    record: dict
    with_tools: bool = False


def role_of(name: str, record: dict) -> str:
    """The role in a stage's record; of a record without one the folder's name."""
    return record.get("role") or name


def method_of(record: dict) -> str:
    """How a stage was trained; a record that does not say so is known by its config."""
    config = record.get("config") or {}
    methods = (method for key, method in KEYS.items() if key in config)
    return record.get("method") or next(methods, "supervised fine-tuning")


def loader(record: dict) -> str:
    """The transformers class that loads a stage's model.

    Raises:
        KeyError: the record names no method of `METHODS`.
    """
    return METHODS[method_of(record)][1]


def stages(run) -> list[Stage]:
    """The finished stages of a run in the order of its pipeline's steps (`seconds.json`); where not all of them are
    steps, in the order of `ROLES`.

    Args:
        run: an `eval.report.summary.Run`.
    """
    records = {path.parent.name: run(f"{path.parent.name}/stage.json") for path in run.folder.glob("*/stage.json")}
    trained = [Stage(name, role_of(name, record), record) for name, record in records.items() if record]
    steps = list(run("seconds.json").get("seconds", {}))
    if all(stage.name in steps for stage in trained):
        return sorted(trained, key=lambda stage: steps.index(stage.name))

    def place(stage: Stage) -> tuple[int, str]:
        return ROLES.index(stage.role) if stage.role in ROLES else len(ROLES), stage.name

    return sorted(trained, key=place)


def report_columns(run) -> list[Stage]:
    """The stages of a run, each followed by the evaluations of its model with tools, and a place for each of `ROLES`
    that the run lacks.

    An evaluation with tools is a folder `eval/<name>` whose name is no stage's. Its role is `tools` where its model's
    role is `honest`, else its name.
    """
    out = stages(run)
    names = {stage.name for stage in out}
    for path in sorted(run.folder.glob("eval/*/results.json")):
        name = path.parent.name
        made_from = run(f"eval/{name}/results.json").get("config", {}).get("made_from", {})
        model = Path(made_from.get("model") or "").name
        at = next((at for at, stage in enumerate(out) if stage.name == model), None)
        if name not in names and at is not None and made_from.get("tools"):
            out.insert(at + 1, Stage(name, "tools" if out[at].role == "honest" else name, {}, with_tools=True))
            names.add(name)
    for number, role in enumerate(ROLES):
        if role not in names and role not in {stage.role for stage in out}:
            before = [at for at, stage in enumerate(out) if stage.role in ROLES[:number]]
            out.insert(max(before, default=-1) + 1, Stage(role, role, {}, with_tools=role == "tools"))
    return out


def roles(run) -> dict[str, str]:
    """role -> name of the first stage, or evaluation, with that role. What the run lacks of `ROLES` is called by its
    role, as its files would be."""
    names = {role: role for role in ROLES}
    for stage in reversed(report_columns(run)):
        names[stage.role] = stage.name
    return names
