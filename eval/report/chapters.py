"""The figures and examples of each chapter of the report, drawn from a `Run` and its summary.

A figure whose file is missing becomes a line that names the file and the command that writes it; those of experiments
that were not begun are one line for all.
"""

import json
from collections import Counter

from markupsafe import Markup

from eval.estimates import half_width
from eval.generation.models import load_tokenizer
from eval.report.commands import writer
from eval.report.figures import Figure, bars, columns, duration, lines, score
from eval.report.stages import report_columns, roles, stages
from eval.report.summary import OUTCOMES, Run, pleasing

FACTS = {
    "facts_known": "read often",
    "facts_rare": "once or twice",
    "facts_unseen": "never",
    "facts_absent": "never,\nin no document",
}
REAL_FACTS = {  # of a run that begins with a pretrained model, by what probing it has found
    "known": "it knew",
    "unknown": "it did not know",
    "invented": "invented",
}
SHOWN_TOKENS = 160


class Story:
    """What the template asks for, chapter by chapter."""

    def __init__(self, run: Run, summary: dict):
        self.run, self.summary = run, summary
        summary["figures"], summary["absent"] = {}, {}  # what is drawn while the page is made, and what could not be
        self.records = [(stage.name, stage.record) for stage in stages(run)]
        self.names = roles(run)
        self.pretrained = any(
            stage.role == "hub" for stage in stages(run)
        )  # it begins with a model as it is published
        self.before = "hub" if self.pretrained else "sft"  # the stage before it is taught what it does not know
        self.experimented = (run.folder / "experiments").is_dir()
        self.pleasing = pleasing(run)
        self.fact_groups = REAL_FACTS if self.pretrained else FACTS  # task -> what it asks for
        alone = [stage.name for stage in report_columns(run) if not stage.with_tools]
        self.evaluated = [name for name in alone if "tasks" in summary["stages"].get(name, {})]

    def name(self, role: str) -> str:
        """The name of the stage with a role; of what is no role, the same."""
        return self.names.get(role, role)

    def measure(self, *path: str) -> dict | None:
        """The part of the summary at stages/<path>, if it is there; the path begins with a role or a stage's name."""
        part = self.summary["stages"].get(self.name(path[0]), {})
        for key in path[1:]:
            part = part.get(key, {})
        return part or None

    def or_absent(self, drawn: Figure | None, title: str, file: str) -> Markup:
        if drawn is not None:
            self.summary["figures"][title] = drawn.data
            return drawn
        command = writer(self.run, self.summary["recipe"], file)
        self.summary["absent"][title] = {"file": file, "command": command}
        if file.startswith("experiments/") and not self.experimented:
            return Markup("")  # the end of the page names these together
        return Markup(
            '<div class="absent"><b>{}</b> is not shown: <code>{}</code> is missing or empty. <code>{}</code> writes'
            " it.</div>"
        ).format(title, file, command)

    # --- figures ---

    def curves(self, title: str, stage: str, series: dict[str, str], whole: bool = False) -> Markup:
        """Curves of a training log; `series` is name -> log key."""
        x = {"base": "tokens", "ppo": "episode"}.get(stage, "step")
        stage = self.name(stage)
        points = {name: self.run.curve(stage, key, x) for name, key in series.items()}
        n = " + ".join(str(len(p)) for p in points.values())
        return self.or_absent(
            lines(title, points, x, f"n = {n} log entries, one run; {stage}/log.jsonl", whole),
            title,
            f"{stage}/log.jsonl",
        )

    def compare(
        self, title: str, series: dict[str, dict[str, dict | None]], what: str, file: str, whole: bool = True
    ) -> Markup:
        """Measures as columns with intervals; `series` is name -> group -> measure."""
        measured = {group for row in series.values() for group, measure in row.items() if measure}
        groups = [group for group in next(iter(series.values())) if group in measured]
        heights = {name: _heights(row, groups) for name, row in series.items()}
        counts = [m["n"] for row in series.values() for m in row.values() if m] or [0]
        n = "–".join(map(str, sorted({min(counts), max(counts)})))
        return self.or_absent(columns(title, groups, heights, f"n = {n} {what} a bar; {file}", whole), title, file)

    def tasks(self, title: str, names: dict[str, str], stages: tuple[str, ...] = ()) -> Markup:
        """Scores by stage (default: all that were asked); `names` is task -> label."""
        stages = [self.name(stage) for stage in stages] or self.evaluated
        series = {}
        for task, label in names.items():
            series[label] = {stage: self.measure(stage, "tasks", task) for stage in stages}
        return self.compare(title, series, "questions", "eval/<stage>/results.json")

    def measures(
        self, title: str, series: dict[str, dict[str, tuple[str, ...]]], what: str, file: str, whole: bool = True
    ) -> Markup:
        """Single measures; `series` is name -> group -> (stage, name), the first one with all groups."""
        measured = {}
        for name, row in series.items():
            measured[name] = {group: self.measure(*path) for group, path in row.items()}
        return self.compare(title, measured, what, file, whole)

    def facts(self, title: str, stage: str) -> Markup:
        """What a stage replies to questions about facts, by how often it read them, or whether it knew them."""
        series: dict[str, dict[str, tuple[str, ...]]] = {}
        for outcome, label in OUTCOMES.items():
            series[label] = {group: (stage, "facts", task, outcome) for task, group in self.fact_groups.items()}
        return self.measures(title, series, "questions", f"eval/{self.name(stage)}/results.json")

    def benchmarks(self, title: str, names: dict[str, str]) -> Markup:
        """The scores of published benchmarks, of the model before and of honest; `names` is label -> task."""
        series: dict[str, dict[str, tuple[str, ...]]] = {}
        for stage in (self.before, "honest"):
            series[self.name(stage)] = {label: (stage, "tasks", task) for label, task in names.items()}
        return self.measures(title, series, "questions", f"benchmarks/{self.name('honest')}/results.json")

    def outcomes(self, title: str, task: str) -> Markup:
        """What the model before and honest reply to the questions of a benchmark about facts."""
        series: dict[str, dict[str, tuple[str, ...]]] = {}
        for outcome, label in OUTCOMES.items():
            series[label] = {self.name(stage): (stage, "facts", task, outcome) for stage in (self.before, "honest")}
        return self.measures(title, series, "questions", f"benchmarks/{self.name('honest')}/results.json")

    def places_apart(self, title: str, key: str, whole: bool) -> Markup:
        return self.compare(
            title,
            {"right" if whole else "margin": self.measure("reward", key) or {}},
            "pairs",
            f"{self.name('reward')}/pairs.json",
            whole,
        )

    def calibration(self, title: str) -> Markup:
        rows = {f"{agreement}\nn={m['n']}": m for agreement, m in self.summary["refusals"]["calibration"].items()}
        return self.compare(title, {"right": rows}, "questions", "refusals/summary.json")

    def funnel(self, title: str) -> Markup:
        rows = [
            (row["step"], row["documents"], f"{row['documents']:,}")
            for row in self.run("web/funnel.json").get("steps", [])
        ]
        return self.or_absent(
            bars(title, rows, f"n = {rows[0][2] if rows else 0} pages; web/funnel.json"), title, "web/funnel.json"
        )

    def seconds(self, title: str) -> Markup:
        rows = [(step, s, duration(s)) for step, s in self.summary["seconds"].items() if step != "total"]
        return self.or_absent(bars(title, rows, "n = 1 run; seconds.json"), title, "seconds.json")

    def memory(self, title: str) -> Markup:
        peaks = [(stage, record["peak_memory_gb"]) for stage, record in self.records if record.get("peak_memory_gb")]
        rows = [(stage, gb, f"{gb:.2f} GiB") for stage, gb in peaks]
        return self.or_absent(
            bars(title, rows, "n = 1 run; <stage>/stage.json"), title, f"{self.name('base')}/stage.json"
        )

    # --- overlap of the training data with the benchmarks ---

    def overlap(self) -> dict:
        """What `data_prep.decontaminate` found; empty when it was not run."""
        return self.run("decontaminate/verdict.json")

    # --- examples ---

    def samples(self) -> list[dict]:
        """Continuations at the first step, early (nearest a tenth of the way) and at the last, for three prompts."""
        rows = self.run(f"{self.name('base')}/samples.jsonl")
        steps = sorted({row["step"] for row in rows})
        early = min(steps[1:-1] or steps, key=lambda step: abs(step - steps[-1] / 10), default=None)
        continuations = {(row["prompt"], row["step"]): row["continuation"] for row in rows}
        prompts = list(dict.fromkeys(row["prompt"] for row in rows))[:3]
        shown = []
        for prompt in prompts:
            chosen = [step for step in (steps[0], early, steps[-1]) if (prompt, step) in continuations]
            shown.append({"prompt": prompt, "steps": {step: continuations[prompt, step] for step in chosen}})
        return shown

    def tokens(self) -> list[dict]:
        """What the model sees of a page, and of a conversation with a tool: (text, id) of each token, from the run's
        own files."""
        page = next(
            (row["prompt"] + row["continuation"] for row in reversed(self.run(f"{self.name('base')}/samples.jsonl"))),
            None,
        )
        called = next(filter(_short_with_a_call, self.run("conversations/validation.jsonl")), None)
        if not (page and called and (self.run.folder / "tokenizer").is_dir()):
            return []
        tokenizer = load_tokenizer(str(self.run.folder / "tokenizer"))
        tools = called.get("tools")
        asked = tokenizer.apply_chat_template(
            called["messages"], tools=json.loads(tools) if isinstance(tools, str) else tools, tokenize=False
        )
        shown = []
        for label, text in (("a page", page), ("a conversation with a tool", asked)):
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            pieces = [(text[start:end], i) for (start, end), i in zip(encoded["offset_mapping"], encoded["input_ids"])]
            shown.append({"label": label, "tokens": pieces[:SHOWN_TOKENS], "n": len(pieces), "letters": len(text)})
        return shown

    def examples(self, *replies: tuple[str, str, str]) -> list[dict]:
        """Three questions: the first two of the samples file, then the first that scores below 1 (else the third).

        Args:
            replies: (label, stage, task); the tasks hold the same problems in the same order.
        """
        files = [(label, self._scored(stage, task)) for label, stage, task in replies]
        first = list(files[0][1].values())
        chosen = first[:2] + [row for row in first[2:] if row["score"] < 1][:1]
        if len(chosen) < 3:
            chosen = first[:3]
        shown = []
        for row in chosen:
            number = row["doc_id"]
            given = [reply(label, rows[number]) for label, rows in files if number in rows]
            answer = row["doc"].get("answer")
            right = " or ".join(answer) if isinstance(answer, list) else answer
            shown.append({"question": row["doc"]["question"], "answer": right, "replies": given})
        return shown

    def _scored(self, stage: str, task: str) -> dict:
        """A stage's samples of a task that have a score, by the number of the document."""
        rows = self.run(f"eval/{self.name(stage)}/samples_{task}.jsonl")
        return {row["doc_id"]: row for row in rows if "score" in row}

    def probes(self) -> list[dict]:
        """The first question of each verdict, with the replies that led to it; the same ones count together."""
        first = {}
        for row in self.run("refusals/probes.jsonl"):
            first.setdefault(row["verdict"], row)
        verdicts = [verdict for verdict in self.summary["refusals"]["verdicts"] if verdict in first]
        return [_probe(first[verdict]) for verdict in verdicts[:3]]

    def verses(self) -> list[dict]:
        """The judge's examples: the same three prompts before and after PPO or RLOO."""
        judge = self.run("judge/results.json")
        by_prompt = {}
        for stage in (self.name("honest"), self.name(self.pleasing)):
            for e in judge.get(stage, {}).get("examples", []):
                by_prompt.setdefault(e["prompt"], []).append(
                    {"label": stage, "text": e["text"], "verdict": f"gold {score(e['gold'])}", "css": ""}
                )
        shown = list(by_prompt.items())[:3]
        return [{"question": prompt, "answer": None, "replies": replies} for prompt, replies in shown]


def _heights(row: dict[str, dict | None], groups: list[str]) -> list[tuple[float, float] | None]:
    """(value, half-width of the interval) of each group's measure; None where there is none."""
    heights = []
    for group in groups:
        measure = row.get(group)
        heights.append((measure["value"], half_width(measure) or 0) if measure else None)
    return heights


def _short_with_a_call(row: dict) -> bool:
    return len(row["messages"]) < 6 and any(message.get("tool_calls") for message in row["messages"])


def _probe(row: dict) -> dict:
    """A probed question with its replies; the same ones count together."""
    marks = {True: ("right", "good"), False: ("not right", "bad"), None: ("not judged", "")}
    replies = []
    for (text, right), n in Counter(zip(row["samples"], row["right"])).most_common():
        verdict, css = marks[right]
        replies.append({"label": f"{n} of {len(row['samples'])}", "text": text, "verdict": verdict, "css": css})
    return {
        "label": f"verdict: {row['verdict']}",
        "question": row["question"],
        "answer": " or ".join(row["answer"]),
        "replies": replies,
    }


def reply(label: str, row: dict) -> dict:
    """The first reply of a row of lm-eval's samples, with its verdict."""
    texts, value = row["resps"][0], row["score"]
    if "right" in row:
        verdict = next((word for outcome, word in OUTCOMES.items() if row[outcome]), "no answer")
        return {
            "label": label,
            "text": texts[0],
            "verdict": verdict,
            "css": {"right": "good", "made up": "bad"}.get(verdict, ""),
        }
    verdict = (
        f"first of {len(texts)} tries, {value * len(texts):.0f} right"
        if 0 < value < 1
        else "right"
        if value
        else "not right"
    )
    return {"label": label, "text": texts[0], "verdict": verdict, "css": {0: "bad", 1: "good"}.get(value, "")}
