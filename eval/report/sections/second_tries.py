"""Thinking that checks itself in the report: what practice makes of it where lessons showed it, and where none did.

Drawn from `experiments/second_tries.json` (`eval.second_tries`), whose models are called `primed-<step>` and
`plain-<step>`; a run without that file has no such section.
"""

from markupsafe import Markup

from eval.report.chapters import Story
from eval.report.figures import lines

FILE = "experiments/second_tries.json"
ARMS = {"primed": "lessons with checks", "plain": "lessons without"}
MEASURES = ("accuracy", "tokens", "checks", "second_tries", "success")


class SecondTries:
    """What the template asks for; `arms`: arm -> step -> the figures of `eval.second_tries`."""

    def __init__(self, story: Story):
        self.story = story
        self.arms: dict[str, dict[int, dict]] = {arm: {} for arm in ARMS}
        for name, measured in story.run(FILE).get("models", {}).items():
            arm, _, step = name.rpartition("-")
            if arm in self.arms and step.isdigit():
                self.arms[arm][int(step)] = measured
        self.there = all(self.arms.values())

    def curves(self, title: str, key: str, whole: bool = True) -> Markup:
        """One measure of both arms over the steps of practice."""
        drawn = {}
        for arm, label in ARMS.items():
            steps = sorted(self.arms[arm].items())
            drawn[label] = [(step, measured[key]["value"]) for step, measured in steps if key in measured]
        n = next((m["accuracy"]["n"] for steps in self.arms.values() for m in steps.values()), 0)
        note = f"n = {n} problems a point; {FILE}"
        return self.story.or_absent(lines(title, drawn, "step", note, whole), title, FILE)

    def numbers(self) -> dict:
        """For the summary: each measure of each arm at the first and at the last step."""
        if not self.there:
            return {}
        numbers: dict[str, dict] = {}
        for arm, steps in self.arms.items():
            numbers[arm] = {}
            for when, step in (("before", min(steps)), ("after", max(steps))):
                measured = {key: steps[step][key] for key in MEASURES if key in steps[step]}
                numbers[arm][when] = {"step": step, **measured}
        return numbers

    def examples(self, arm: str) -> list[dict]:
        """The same problems before and after practice."""
        steps = self.arms[arm]
        before, after = (steps[end(steps)]["examples"] for end in (min, max))
        rows = []
        for first, last in zip(before, after):
            replies = [_reply("before", first), _reply("after", last)]
            rows.append({"question": first["question"], "answer": None, "replies": replies})
        return rows


def _reply(label: str, example: dict) -> dict:
    verdict = "right" if example["right"] else "wrong"
    return {"label": label, "text": example["text"], "verdict": verdict, "css": "good" if example["right"] else "bad"}
