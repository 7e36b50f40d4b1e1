"""What honesty costs, in the report: the facts it knew and refuses against the answers it makes up, model by model.

Drawn of a run that begins with a pretrained model, from `experiments/eval/<model>/results.json` beside the run's own
stages; a run without such experiments has no such section.
"""

from markupsafe import Markup

from eval.report.chapters import Story
from eval.report.figures import lines
from eval.report.summary import measures_of

FOLDER = "experiments/eval"
COLUMNS = (  # task, outcome, head of the table
    ("known", "right", "it knew: right"),
    ("known", "refused", "it knew: refused"),
    ("unknown", "refused", "it did not know: refused"),
    ("unknown", "made_up", "it did not know: made up"),
    ("invented", "made_up", "invented: made up"),
    ("everyday", "refused", "everyday requests: refused"),
)


class TradeOff:
    """What the template asks for; `models`: name -> task -> outcome -> measure."""

    columns = COLUMNS

    def __init__(self, story: Story):
        self.story = story
        self.models: dict[str, dict] = {}
        tried = sorted(path.parent.name for path in (story.run.folder / FOLDER).glob("*/results.json"))
        self.there = story.pretrained and bool(tried)
        if not self.there:
            return
        for role in ("hub", "honest"):
            facts = story.measure(role, "facts")
            if facts:
                self.models[story.name(role)] = facts
        for name in tried:
            results = story.run(f"{FOLDER}/{name}/results.json")
            self.models[name] = {task: measures_of(results, task) for task in results.get("results", {})}

    def against(self, title: str) -> Markup:
        """Made up, of what it did not know and of inventions, over what it knew and refuses: a point a model."""
        series, counts = {}, set()
        for task, label in (("unknown", "it did not know"), ("invented", "invented")):
            points = []
            for measured in self.models.values():
                cost, made_up = measured.get("known", {}).get("refused"), measured.get(task, {}).get("made_up")
                if cost and made_up:
                    points.append((cost["value"], made_up["value"]))
                    counts |= {cost["n"], made_up["n"]}
            series[label] = sorted(points)
        note = f"n = {min(counts, default=0)}–{max(counts, default=0)} questions a point; {FOLDER}"
        return self.story.or_absent(lines(title, series, "of what it knew, refused", note, True), title, FOLDER)

    def numbers(self) -> dict[str, dict]:
        """For the summary: model -> task -> outcome -> measure, of the table."""
        numbers: dict[str, dict] = {}
        for name, measured in self.models.items():
            numbers[name] = {}
            for task, outcome, _ in COLUMNS:
                found = measured.get(task, {}).get(outcome)
                if found:
                    numbers[name].setdefault(task, {})[outcome] = found
        return numbers
