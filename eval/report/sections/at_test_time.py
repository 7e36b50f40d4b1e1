"""Learning at test time in the report: a document in the context or in a few steps of LoRA, what each costs and loses.

Drawn from `experiments/probes/at_test_time.json` (`eval.probes.at_test_time`), of its first model; a run without that
file has no such section.
"""

import math

from markupsafe import Markup

from eval.report.chapters import Story
from eval.report.figures import lines

FILE = "experiments/probes/at_test_time.json"
SHARED = tuple(2**power for power in range(11))  # questions about a document
LABELS = {
    "nothing": "nothing read",
    "context": "in the context",
    "text": "LoRA on its text",
    "questions": "LoRA on own questions, too",
    "both": "LoRA on its text, and in the context",
}
DRAWN = ("nothing", "context", "text", "questions")  # as many as a figure has colours


class AtTestTime:
    """What the template asks for; `sizes`: pages of a document -> `documents`, and the figures of each way."""

    def __init__(self, story: Story):
        self.story = story
        self.settings = story.run(FILE)
        self.name, self.model = next(iter(self.settings.get("models", {}).items()), ("", {}))
        self.sizes: dict[str, dict] = self.model.get("sizes", {})
        self.there = bool(self.sizes)

    def label(self, way: str) -> str:
        """`text-8` -> "LoRA on its text, 8 steps"."""
        kind, _, steps = way.partition("-")
        return LABELS[kind] + (f", {steps} steps" if steps else "")

    def drawn(self, ways: dict[str, dict]) -> list[str]:
        """The ways of `DRAWN`, those of LoRA after the most steps."""
        steps = max(self.settings["steps"])
        names = [kind if kind in ways else f"{kind}-{steps}" for kind in DRAWN]
        return [name for name in names if name in ways]

    def by_size(self, title: str) -> Markup:
        """Right answers by how many pages the document has."""
        curves: dict[str, list] = {}
        counts = set()
        for size, part in self.sizes.items():
            for way in self.drawn(part["ways"]):
                right = part["ways"][way]["right"]
                curves.setdefault(self.label(way), []).append((math.log2(int(size)), right["value"]))
                counts.add(right["n"])
        note = f"n = {'–'.join(map(str, sorted(counts)))} questions a point; {FILE}"
        return self.story.or_absent(lines(title, curves, "log₂ pages of the document", note, whole=True), title, FILE)

    def shared(self, title: str, cost: str) -> Markup:
        """What a question costs, `tokens` or `seconds`, where so many share the longest document."""
        size = max(self.sizes, key=int)
        ways = self.sizes[size]["ways"]
        curves = {}
        for way in self.drawn(ways):
            once, each = ways[way]["once"][cost], ways[way]["each"][cost]
            curves[self.label(way)] = [(math.log2(n), math.log2(once / n + each)) for n in SHARED]
        note = f"n = {self.sizes[size]['documents']} documents of {size} pages; {FILE}"
        return self.story.or_absent(lines(title, curves, "log₂ questions about the document", note), title, FILE)

    def numbers(self) -> dict:
        """For the summary: the figures, and from how many questions on an adapter costs less than the context."""
        sizes: dict[str, dict] = {}
        for size, part in self.sizes.items():
            ways = {}
            for way, found in part["ways"].items():
                ways[way] = found | {"pays_from": pays_from(found, part["ways"]["context"])}
            sizes[size] = {"documents": part["documents"], "ways": ways}
        return {key: self.model[key] for key in ("old", "own_questions")} | {"sizes": sizes}

    def examples(self) -> list[dict]:
        """Questions about one document with the answer in each way."""
        rows = []
        for example in self.model["examples"]:
            replies = []
            for reply in example["replies"]:
                verdict, css = ("right", "good") if reply["right"] else ("wrong", "bad")
                replies.append(
                    {"label": self.label(reply["way"]), "text": reply["text"], "verdict": verdict, "css": css}
                )
            rows.append({"question": example["question"], "answer": example["answer"], "replies": replies})
        return rows


def pays_from(way: dict, context: dict) -> dict[str, int | None]:
    """From how many questions about a document on a way costs less than its context, in tokens and in seconds; None:
    never."""
    found: dict[str, int | None] = {}
    for cost in ("tokens", "seconds"):
        saved = context["each"][cost] - way["each"][cost]
        found[cost] = math.floor(way["once"][cost] / saved) + 1 if saved > 0 else None
    return found
