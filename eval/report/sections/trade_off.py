"""What honesty costs, in the report: the facts it knew and refuses beside the answers it makes up, model by model.

Drawn of a run that begins with a pretrained model, from `experiments/eval/<model>/results.json` beside the run's own
stages, and from `experiments/edge.json` (`data_prep.facts.edge`); a run without such experiments has no such section.
"""

from markupsafe import Markup

from eval.report.chapters import Story
from eval.report.summary import measures_of

FOLDER = "experiments/eval"
EDGE = "experiments/edge.json"
FILE = f"{FOLDER}/<model>/results.json"
COLUMNS = (  # task, outcome, head of the table
    ("known", "right", "it knew: right"),
    ("known", "refused", "it knew: refused"),
    ("unknown", "refused", "it did not know: refused"),
    ("unknown", "made_up", "it did not know: made up"),
    ("invented", "made_up", "invented: made up"),
    ("everyday", "refused", "everyday requests: refused"),
)


class TradeOff:
    """What the template asks for; `models`: name -> task -> outcome -> measure, as far as COLUMNS names it."""

    columns = COLUMNS

    def __init__(self, story: Story):
        self.story = story
        self.models: dict[str, dict] = {}
        tried = sorted(path.parent.name for path in (story.run.folder / FOLDER).glob("*/results.json"))
        layers = story.run(EDGE).get("layers", [])
        self.edge: dict | None = max(layers, key=lambda layer: layer["auc"]["value"], default=None)
        self.there = story.pretrained and bool(tried or self.edge)
        if not self.there:
            return
        for role in ("hub", "honest"):
            self._add(story.name(role), story.measure(role, "facts") or {})
        for name in tried:
            results = story.run(f"{FOLDER}/{name}/results.json")
            measured = {task: measures_of(results, task) for task in results.get("results", {})}
            taken = name in story.summary["stages"]  # a stage of the run itself keeps its name
            self._add(f"{FOLDER}/{name}" if taken else name, measured)

    def _add(self, name: str, facts: dict[str, dict]) -> None:
        kept: dict[str, dict] = {}
        for task, outcome, _ in COLUMNS:
            measure = facts.get(task, {}).get(outcome)
            if measure:
                kept.setdefault(task, {})[outcome] = measure
        if kept:
            self.models[name] = kept

    def side_by_side(self, title: str) -> Markup:
        """Of each model what it knew and refuses, and what it makes up."""
        series = {}
        for task, outcome, head in COLUMNS:
            if (task, outcome) in (("known", "refused"), ("unknown", "made_up"), ("invented", "made_up")):
                series[head] = {name: facts.get(task, {}).get(outcome) for name, facts in self.models.items()}
        return self.story.compare(title, series, "questions", FILE)

    def numbers(self) -> dict[str, dict]:
        """For the summary: what the table shows, and the layer whose states tell best what is known."""
        return {"models": self.models} | ({"edge": self.edge} if self.edge else {})
