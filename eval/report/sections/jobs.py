"""Jobs of several calls in the report: success by the number of calls that a job takes, before and after practice.

Drawn from `experiments/jobs.json` (`eval.long_jobs`); a run without that file has no such section.
"""

from markupsafe import Markup

from eval.report.chapters import Story
from eval.report.figures import lines

FILE = "experiments/jobs.json"


class Jobs:
    """What the template asks for; `models`: name -> the figures of `eval.long_jobs`."""

    def __init__(self, story: Story):
        self.story = story
        self.models: dict[str, dict] = story.run(FILE).get("models", {})
        self.there = bool(self.models)

    def by_calls(self, title: str, key: str, whole: bool = True) -> Markup:
        """One measure of each model by the number of calls that a job takes."""
        series, counts = {}, set()
        for name, measured in self.models.items():
            rows = {int(calls): row[key] for calls, row in measured["by_calls"].items()}
            series[name] = [(calls, measure["value"]) for calls, measure in sorted(rows.items())]
            counts |= {measure["n"] for measure in rows.values()}
        note = f"n = {min(counts)} jobs a point; {FILE}"
        return self.story.or_absent(lines(title, series, "searches that a job takes", note, whole), title, FILE)

    def numbers(self) -> dict[str, dict]:
        """For the summary: model -> success by the number of calls, and of all jobs of four calls and more."""
        numbers: dict[str, dict] = {}
        for name, measured in self.models.items():
            by_calls = {calls: row["success"] for calls, row in measured["by_calls"].items()}
            numbers[name] = {"by_calls": by_calls, "success_from_4": measured["success_from_4"]}
        return numbers
