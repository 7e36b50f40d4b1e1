"""The probes in the report (`eval.probes`): what the base model knows by heart, learns from a prompt, dreams; one
prompt through all stages; where it fails."""

import json
import math

from markupsafe import Markup

from eval.estimates import half_width
from eval.report.chapters import Story
from eval.report.figures import cells, columns, dots, lines

FOLDER = "experiments/probes"
SHOWN = (0.25, 0.75, 1.25)  # temperatures whose dreams are shown
PROBED = "sft"  # the stage whose states are probed for what it knows: before it is taught to refuse


class Probed:
    """What the template asks for beside the `Story`."""

    def __init__(self, story: Story):
        self.story, self.run, self.or_absent = story, story.run, story.or_absent

    def models(self, probe: str) -> dict:
        """What a probe measured, by model; a `ValueError` where it holds what is no number."""
        models = self.run(f"{FOLDER}/{probe}.json").get("models", {})
        json.dumps(models, allow_nan=False)
        return models

    def by_prefix(self) -> dict[str, dict]:
        """What the first model of `regurgitation` continues, by the tokens given."""
        return next(iter(self.models("regurgitation").values()), {}).get("prefixes", {})

    def numbers(self) -> dict:
        """For the summary: the rank correlation of repetitions and the share that is extractable, by the
        tokens given."""
        spearman = {}
        for prefix, measured in self.by_prefix().items():
            if "spearman" in measured:
                spearman[prefix] = _parts(measured["spearman"], ("value", "low", "high", "n"))
        return {"spearman": spearman, "known": self.knowing(), "ways": self.ways()}

    def by_heart(self, title: str) -> Markup:
        """The extractable share by how often a passage was read, with the longest prefix."""
        by_prefix, times = self.by_prefix(), {}
        if by_prefix:
            longest = max(by_prefix, key=int)
            times = {"never" if n == "0" else f"{n}×": m for n, m in by_prefix[longest]["extractable"].items()}
            title += f", {longest} tokens given"
        return self.story.compare(title, {"verbatim": times}, "passages", f"{FOLDER}/regurgitation.json")

    def by_heart_prefixes(self, title: str) -> Markup:
        """The same for each prefix."""
        curves, counts = {}, []
        for prefix, measured in self.by_prefix().items():
            read = [(int(times), m) for times, m in measured["extractable"].items() if times != "0"]
            curves[f"{prefix} tokens given"] = [(math.log2(times), m["value"]) for times, m in read]
            counts += [m["n"] for _, m in read]
        n = _from_to(counts)
        note = f"n = {n} passages a point; {FOLDER}/regurgitation.json"
        return self.or_absent(
            lines(title, curves, "log₂ times read", note, whole=True), title, f"{FOLDER}/regurgitation.json"
        )

    def recited(self) -> list[dict]:
        """A passage that the model knew, and one that it did not."""
        examples = next(iter(self.models("regurgitation").values()), {}).get("examples", [])
        marks = {True: ("verbatim", "good"), False: ("not verbatim", "bad")}
        shown = []
        for e in examples:
            verdict, css = marks[e["verbatim"]]
            reply = {"label": f"read {e['repetitions']}×", "text": e["text"], "verdict": verdict, "css": css}
            shown.append({"question": e["prefix"], "answer": e["suffix"], "replies": [reply]})
        return shown

    def in_context(self, title: str, probe: str) -> Markup:
        """Accuracy by how many examples stand in the prompt."""
        shots = {name: measured["shots"] for name, measured in self.models(probe).items()}
        return self.story.compare(title, shots or {"": {}}, "questions", f"{FOLDER}/{probe}.json")

    def diversity(self, title: str) -> Markup:
        """How much dreams differ, and how much each repeats itself, by temperature."""
        by_temperature = next(iter(self.models("dreams").values()), {})
        curves = {}
        for label, key in (("distinct trigrams", "distinct_3"), ("repeated within a text", "repeated")):
            values = [(float(t), m[key]["value"]) for t, m in by_temperature.items()]
            curves[label] = [(t, value) for t, value in values if value is not None]
        n = next((m["distinct_3"]["n"] for m in by_temperature.values()), 0)
        note = f"n = {n} texts a point; {FOLDER}/dreams.json"
        return self.or_absent(lines(title, curves, "temperature", note, whole=True), title, f"{FOLDER}/dreams.json")

    def dreams(self) -> list[tuple[float, list[str]]]:
        """(temperature, texts) for a low, a middle and a high temperature."""
        by_temperature = next(iter(self.models("dreams").values()), {})
        if not by_temperature:
            return []
        near = {min(by_temperature, key=lambda t: abs(float(t) - wanted)) for wanted in SHOWN}
        return [(float(t), by_temperature[t]["examples"][:3]) for t in sorted(near, key=float)]

    def lives(self) -> list[dict]:
        """The prompts with what each moment and stage said."""
        return self.run(f"{FOLDER}/life.json").get("life", [])

    def mistaken(self) -> list[dict]:
        """Of each model the first pair that it got wrong, with the same whole part."""
        shown = []
        for name, parts in self.models("jagged").items():
            wrong = next((m["wrong"] for m in parts["same_whole"].values() if "wrong" in m), None)
            if wrong:
                reply = {"label": name, "text": wrong["text"], "verdict": "not right", "css": "bad"}
                shown.append({"question": wrong["question"], "answer": None, "replies": [reply]})
        return shown

    # --- does it know that it does not know ---

    def layers(self, model: str) -> list[dict]:
        """What `known` measured behind each layer of a model."""
        return self.models("known").get(model, {}).get("layers", [])

    def knowing(self) -> dict:
        """For the summary: the AUC of the probe and of one neuron behind each layer of `sft`, and of words alone."""
        measured = self.models("known").get(PROBED)
        if not measured:
            return {}
        interval = ("value", "low", "high")
        layers = {}
        for row in measured["layers"]:
            areas = {kind: _parts(row[kind], interval) for kind in ("probe", "neuron")}
            layers[str(row["layer"])] = areas
        words = measured["words"]
        return {"n": words["n"], "people": words["people"], "words": _parts(words, interval), "layers": layers}

    def known_or_not(self, title: str) -> Markup:
        """AUC of telling known from unknown people, by layer of `sft`, and by the words of the question."""
        known, file = self.knowing(), f"{FOLDER}/known.json"
        if not known:
            return self.or_absent(None, title, file)

        def bar(area: dict) -> tuple[float, float]:
            return area["value"], (area["high"] - area["low"]) / 2

        words = known["words"]
        layers = known["layers"].values()
        series = {
            "all coordinates": [bar(words), *(bar(row["probe"]) for row in layers)],
            "one": [None, *(bar(row["neuron"]) for row in layers)],
        }
        note = f"n = {known['n']} questions about {known['people']} people, each held out; 0.5 is chance; {file}"
        return self.or_absent(columns(title, ["words", *known["layers"]], series, note), title, file)

    def refusing(self, title: str) -> Markup:
        """How likely a refusal is behind each layer, by model and kind of people."""
        file, curves, counts = f"{FOLDER}/known.json", {}, set()
        kinds = {"never read": "unknown", "known": "known"}
        for model in self.models("known"):
            for label, kind in kinds.items():
                points = [(row["layer"], row["refusal"][kind]) for row in self.layers(model)]
                counts |= {m["n"] for _, m in points}
                if kind == "unknown" or model == "honest":
                    curves[f"{model}, {label}"] = [(layer, m["value"]) for layer, m in points]
        n = "–".join(map(str, sorted(counts)))
        note = f"n = {n} questions a point; {file}"
        return self.or_absent(lines(title, curves, "layer", note, whole=True), title, file)

    def first_choices(self) -> dict:
        """`question`, the `models`, and for each layer (`rows`) its name and of each model what it would say next."""
        shown = self.run(f"{FOLDER}/known.json").get("example")
        if not shown:
            return {}
        rows = []
        for row in zip(*shown["models"].values()):
            rows.append((row[0]["layer"], [(m["text"], m["p"]) for m in row]))
        return {"question": shown["question"], "models": list(shown["models"]), "rows": rows}

    # --- which model when ---

    def ways(self) -> dict[str, dict]:
        """Task -> way -> what `ways` measured: `right`, and `tokens` and `seconds` a question."""
        ways: dict[str, dict] = {}
        for task, row in self.run(f"{FOLDER}/ways.json").get("tasks", {}).items():
            ways[task] = {
                way: {"right": m["right"], "tokens": m["tokens"]["value"], "seconds": m["seconds"]}
                for way, m in row.items()
            }
        return ways

    def against(self, title: str, cost: str, label: str) -> Markup:
        """Accuracy of each task in each way against a cost a question, `tokens` or `seconds`."""
        file, drawn, counts = f"{FOLDER}/ways.json", {}, set()
        for task, row in self.ways().items():
            for way, m in row.items():
                drawn.setdefault(way, []).append((task, m[cost], m["right"]["value"]))
                counts.add(m["right"]["n"])
        n = _from_to(counts)
        batch = self.run(file).get("batch_size", 0)
        note = f"n = {n} questions a dot, {batch} at a time; {file}"
        return self.or_absent(dots(title, drawn, label, note), title, file)

    def maps(self) -> list[Markup]:
        """Where each model tells the larger number, by the digits behind the point of both."""
        titles, drawn = {"same_whole": "the same whole part", "other_whole": "another whole part"}, []
        settings = self.run(f"{FOLDER}/jagged.json")
        for name, parts in self.models("jagged").items():
            for part, words in titles.items():
                title = f"{name}: which is larger, {words}"
                sizes = range(1, settings["digits"] + 1)
                values = []
                for i in sizes:
                    row = [parts[part][f"{i},{j}"] for j in sizes]
                    values.append([(m["value"], half_width(m)) for m in row])
                note = (
                    f"n = {settings['each']} pairs a cell; rows: digits of the larger number, columns: of the smaller;"
                    f" {FOLDER}/jagged.json"
                )
                drawn.append(
                    self.or_absent(
                        cells(title, [str(i) for i in sizes], [str(j) for j in sizes], values, note),
                        title,
                        f"{FOLDER}/jagged.json",
                    )
                )
        return drawn or [self.or_absent(None, "Which number is larger, by digits", f"{FOLDER}/jagged.json")]


def _parts(measure: dict, parts: tuple[str, ...]) -> dict:
    """Parts of a measure; a `TypeError` where one is no number."""
    return {part: measure[part] + 0 for part in parts}


def _from_to(counts) -> str:
    """'40–60', '40' where all are the same, '0' where there are none."""
    return "–".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
