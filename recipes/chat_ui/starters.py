"""Starter questions: what a first visitor may ask a model, each to show one thing that it can, or cannot.

A recipe's folder may hold `starters.yaml`, for the models of its runs (a run's `seconds.json` names its recipe);
others get `recipes/chat_ui/starters.yaml`. An entry:

    - text: "Can you tell me where {known} lives?"    # or the beginning that a base model is to continue
      shows: a fact that it read often                # a short label
      right: "{known[town]}"                          # the right answer, if there is one
      stages: [assistant, reasoner]                   # of `STAGES`: what it is for
      tools: [search]                                 # that must be at hand; left out: none

{group} is the first person of that group in the run's `world/facts.jsonl`, and {group[attribute]} what is true of it.
Entries about people are left out where the run has no world, or none of that group.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, read_jsonl

RECIPES = Path(__file__).parents[1]
STAGES = ("base", "assistant", "reasoner")
KEYS = {"text", "shows", "stages"}


@dataclass(frozen=True)
class Starter:
    """What to ask, what it shows, for which stages it is, the right answer ("": none), and the tools it needs."""

    text: str
    shows: str
    stages: tuple[str, ...]
    right: str = ""
    tools: tuple[str, ...] = ()


@dataclass
class Person:
    """A name, and what is true of it by attribute: what the templates of `starters.yaml` are filled with."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def __getitem__(self, attribute: str) -> str:
        return self.facts[attribute]


def stage_of(folder: str, base: bool) -> str:
    """Which of `STAGES` a model is: a reasoner practised on problems, by the `rewards` of its `stage.json`."""
    if base:
        return "base"
    try:
        record = json.loads((Path(folder) / "stage.json").read_text(encoding="utf-8"))
        practised = bool(record["config"].get("rewards"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        practised = False
    return "reasoner" if practised else "assistant"


def starters(run: str | Path) -> list[Starter]:
    """What the models in the folder of a run may be asked.

    Raises:
        UserError: `starters.yaml` of the recipe, or `world/facts.jsonl` of the run, is not in the form.
    """
    found, people = [], _people(Path(run) / "world" / "facts.jsonl")
    path = _file(Path(run))
    for number, entry in enumerate(_entries(path), 1):
        try:
            text, right = (str(entry.get(key, "")).format_map(people) for key in ("text", "right"))
        except KeyError:  # a person whom this run has not
            continue
        except (ValueError, IndexError, AttributeError) as error:
            cure = "write {group} or {group[attribute]}"
            where = f"{path}, entry {number}"
            raise UserError(f"{where}: its text or right cannot be filled in ({error}): {cure}") from None
        found.append(Starter(text, entry["shows"], tuple(entry["stages"]), right, tuple(entry.get("tools", ()))))
    return found


def fitting(given: list[Starter], stage: str, tools: list[str]) -> list[Starter]:
    """Those for a stage that has these tools (by name)."""
    return [starter for starter in given if stage in starter.stages and set(starter.tools) <= set(tools)]


def _file(run: Path) -> Path:
    """The recipe's own file, where the run is of a recipe that has one."""
    try:
        recipe = json.loads((run / "seconds.json").read_text(encoding="utf-8"))["recipe"]
        own = RECIPES / Path(recipe).name / "starters.yaml"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        own = None
    return own if own and own.is_file() else Path(__file__).with_name("starters.yaml")


def _entries(path: Path) -> list[dict]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(entries, list):
        raise UserError(f"{path} must be a list of starters")
    for number, entry in enumerate(entries, 1):
        keys = entry.keys() if isinstance(entry, dict) else set()
        texts = all(isinstance(entry[key], str) for key in ("text", "shows", "right") if key in keys)
        lists = all(isinstance(entry[key], list) for key in ("stages", "tools") if key in keys)
        complete = KEYS <= keys <= KEYS | {"right", "tools"} and texts and lists
        if not complete or not set(map(str, entry["stages"])) <= set(STAGES):
            stages = ", ".join(STAGES)
            form = f"text and shows (texts) and stages (of {stages}), may hold right (a text) and tools (a list)"
            raise UserError(f"{path}, entry {number}: it must hold {form}")
    return entries


def _people(path: Path) -> dict[str, Person]:
    """The first person of each group with facts; none without the file."""
    people: dict[str, Person] = {}
    if not path.is_file():
        return people
    for row in read_jsonl(path, ("person", "attribute", "value", "group"), "data_prep.world writes it"):
        person = people.setdefault(str(row["group"]), Person(row["person"]))
        if person.name == row["person"]:
            person.facts[row["attribute"]] = row["value"]
    return people
