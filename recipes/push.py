"""Push a finished run to the Hub: each stage's model and each data set, with their cards; private unless told
otherwise.

    python -m recipes.push runs/tiny --namespace me --dry_run      # writes the cards to runs/tiny/hub, says what \
        would go where
    python -m recipes.push runs/tiny --namespace me
    python -m recipes.push runs/tiny --namespace me --stages sft grpo --datasets refusals --public --prefix \
        tumbler-tiny

A stage goes to `<namespace>/<prefix>-<stage>`, a data set to `<namespace>/<prefix>-<name>`, each in one commit
(`recipes.publishing.hub`). What is there and equal is not sent again, so the same command goes on with a push that was
cut off. `--push_to_hub true` at a recipe pushes its own model, with the same card made of its `stage.json` alone. The
token is the one of `hf auth login` or HF_TOKEN.
"""

import functools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse, user_errors, whole
from eval.report.chapters import Story
from eval.report.data_card import DATA_SETS, data_set_card, describe
from eval.report.experiments import Experiments
from eval.report.figures import compact
from eval.report.stages import PUBLISHED, method_of, stages
from eval.report.summary import Run, summarize
from recipes.publishing.hub import check_access, insist, public, push
from recipes.publishing.model_repository import on_hub, stage_files

SPLITS = ("train", "validation", "test")
MORE = {"refusals": ("probes",), "preferences": ("rankings",)}  # further files, each a configuration of its own


@dataclass
class PushArguments:
    run_dir: str = field(metadata={"help": "folder of a run, the first word"})
    namespace: str = field(metadata={"help": "user or organisation on the Hub"})
    stages: list[str] | None = field(
        default=None,
        metadata={"help": "folders of stages (default: all that the run trained, or none with --datasets)"},
    )
    datasets: list[str] | None = field(
        default=None,
        metadata={"help": f"of {', '.join(DATA_SETS)} (default: all that are there, or none where --stages is given)"},
    )
    prefix: str | None = field(
        default=None, metadata={"help": "of the repositories' names (default: tumbler-<run's folder>)"}
    )
    license: str = field(default="apache-2.0", metadata={"help": "as the Hub spells it"})
    public: bool = field(default=False, metadata={"help": "everyone may read what is pushed"})
    dry_run: bool = field(
        default=False, metadata={"help": "only write the cards to <run>/hub and say what would go where"}
    )


class Pushed:
    """What of a run goes where."""

    def __init__(self, args: PushArguments):
        self.args, self.run = args, Run(args.run_dir)
        folder = self.folder = self.run.folder
        self.records = {stage.name: stage.record for stage in stages(self.run)}
        self.on_hub = {name: on_hub(record) for name, record in self.records.items()}
        there = [name for name in DATA_SETS if (folder / name / "train.jsonl").exists()]
        both = args.stages is None and args.datasets is None
        trained = [name for name, record in self.records.items() if method_of(record) != PUBLISHED]
        self.stages, self.data_sets = (trained, there) if both else (args.stages or [], args.datasets or [])
        for asked, known, what in ((self.stages, self.records, "stage"), (self.data_sets, there, "data set")):
            missing = [name for name in asked if name not in known]
            if missing:
                raise UserError(f"{folder} has no finished {what} {missing[0]}; it has {', '.join(known) or 'none'}")
        if not self.stages and not self.data_sets:
            raise UserError(
                f"{folder} holds no finished stage and no data set: train with `make tiny`, or name another run"
            )
        self.summary = summarize(self.run)
        self.homes = {
            os.path.normpath(record["config"]["output_dir"]): name for name, record in self.records.items()
        }  # as they were when it was trained

    def id(self, name: str) -> str:
        return f"{self.args.namespace}/{self.args.prefix or 'tumbler-' + self.folder.resolve().name}-{name}"

    @functools.cache  # noqa: B019, it lives as long as the command
    def linked(self, name: str, kind: str) -> bool:
        """Whether cards may name the stage's or data set's repository: it goes to the Hub now, or is there."""
        from huggingface_hub import HfApi

        now = name in (self.stages if kind == "model" else self.data_sets)
        return (
            now
            or not self.args.dry_run
            and insist(lambda: HfApi().repo_exists(self.id(name), repo_type=kind), self.id(name))
        )

    def base(self, name: str) -> str | None:
        """The Hub id of the nearest model that the stage was trained from: one of this run, or one that was from
        there."""
        parent = self.records[name]["parent"]
        while parent and os.path.normpath(parent) in self.homes:
            stage = self.homes[os.path.normpath(parent)]
            if self.linked(stage, "model"):
                return self.id(stage)
            name, parent = stage, self.records[stage]["parent"]
        return self.on_hub[name].get(parent)

    def sources(self, name: str) -> list[str]:
        """The Hub ids of the data that the stage was trained on."""
        config = self.records[name]["config"]
        root = os.path.dirname(os.path.normpath(config["output_dir"]))
        paths = [str(source["path"]) for source in config.get("datasets") or []]
        whole_paths = [os.path.normpath(path) for path in paths]
        ours = []
        for made in DATA_SETS:
            inside = os.path.join(root, made) + "/"
            if any(path.startswith(inside) for path in whole_paths) and self.linked(made, "dataset"):
                ours.append(self.id(made))
        return ours + [self.on_hub[name][path] for path in paths if path in self.on_hub[name]]

    def evaluations(self, name: str) -> dict[str, tuple[str, dict]]:
        """File in the repository -> (setting, lm-eval's JSON) of each evaluation of the stage's model."""
        found = {}
        for path in sorted(self.folder.glob("eval/*/results.json")):
            label, results = path.parent.name, self.run(f"eval/{path.parent.name}/results.json")
            made_from = results.get("config", {}).get("made_from", {})
            if self.homes.get(os.path.normpath(made_from.get("model", ""))) == name or (
                label == name and "model" not in made_from
            ):
                setting = ", ".join(tool.partition("=")[0] for tool in made_from.get("tools", [])) or (
                    "" if label == name else label
                )
                found["results.json" if label == name else f"results_{label}.json"] = (setting, results)
        return found

    def fall(self, name: str) -> dict | None:
        """How a long PPO run on the stage's reward model overdid it, where that was tried."""
        experiments = Experiments(Story(self.run, self.summary))
        judged_by = self.run("experiments/ppo_long/stage.json").get("config", {}).get("reward_model_path")
        config = self.records[name]["config"]
        if not judged_by or judged_by not in (config["output_dir"], config.get("reward_model_path")):
            return None
        found = experiments.fall("ppo_long")
        if not found:
            return None
        return found | {"n": experiments.looks("ppo_long")[0]["judge"]["n"]}

    def data_set(self, name: str) -> dict[str, Path | bytes]:
        """What the repository of a data set holds."""
        folder = self.folder / name
        files: dict[str, Path | bytes] = {}
        configs: dict[str, dict] = {}
        for config, parts in {"default": SPLITS, **{more: (more,) for more in MORE.get(name, ())}}.items():
            for part in parts:
                path = folder / f"{part}.jsonl"
                if path.exists():
                    files[path.name] = path
                    configs.setdefault(config, {})[part] = describe(path)
        commit = self.run("seconds.json").get("git_commit") or "unknown"
        origin = f"recipe `{self.summary['recipe']}`, seed {self.summary['seed']}, commit `{commit}`"
        facts = self.facts_of(name)
        card = data_set_card(self.id(name), name, configs, license=self.args.license, origin=origin, facts=facts)
        return files | {"README.md": public(f"{card}\n", self.folder).encode()}

    def facts_of(self, name: str) -> list[str]:
        """Sentences for the card of a data set on how it was made."""
        asked = self.run("refusals/settings.json").get("settings") if name == "refusals" else None
        if not asked:
            return []
        counts = self.summary["refusals"]["verdicts"].items()
        verdicts = ", ".join(f"{verdict} {n:,}" for verdict, n in counts if n)
        return [
            f"`{asked['model']}` answered each question {asked['samples']} times and `{asked['judge']}` judged the"
            f" answers: {verdicts}."
        ]

    def stage(self, name: str) -> dict[str, Path | bytes]:
        """What the repository of a stage holds."""
        numbers = self.summary["stages"].get(name, {})
        return stage_files(
            self.folder / name,
            self.id(name),
            self.args.license,
            self.folder,
            self.evaluations(name),
            numbers,
            base_model=self.base(name),
            datasets=self.sources(name),
            fall=self.fall(name),
        )


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    (args,) = parse((PushArguments,), ["--run_dir", *argv] if argv and not argv[0].startswith("-") else argv)
    from huggingface_hub.utils import validate_repo_id

    pushed = Pushed(args)
    with user_errors("--namespace or --prefix"):
        for name in (*pushed.data_sets, *pushed.stages):
            validate_repo_id(pushed.id(name))
    without = [name for name in pushed.stages if not list((pushed.folder / name).glob("tokenizer*"))]
    if without:
        refused = f"{pushed.folder / without[0]} is not whole, its tokenizer is missing: train the stage again"
        if not args.dry_run:
            raise UserError(f"{refused}, or leave it out")
        print(f"note: without --dry_run this is refused: {refused}")
    if not args.dry_run:
        check_access(args.namespace)
    repos = [(pushed.id(name), "dataset", pushed.data_set(name)) for name in pushed.data_sets] + [
        (pushed.id(name), "model", pushed.stage(name)) for name in pushed.stages
    ]
    for number, (repo_id, kind, files) in enumerate(repos, 1):
        sizes = {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in files.items()
        }
        print(
            f"[{number}/{len(repos)}] {kind} {repo_id}: {len(files)} files, {compact(sum(sizes.values()))}B",
            flush=True,
        )
        if args.dry_run:
            print("".join(f"    {name:<28} {compact(size):>8}B\n" for name, size in sorted(sizes.items())), end="")
            with whole(output_folder(pushed.folder / "hub" / repo_id.split("/")[1]) / "README.md") as file:
                file.write(files["README.md"])
        else:
            push(repo_id, kind, files, not args.public)


if __name__ == "__main__":
    main()
