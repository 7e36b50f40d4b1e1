"""A run folder in numbers: `Run` reads what the stages wrote, `summarize` makes `report/summary.json` out of it."""

import json
import math
from pathlib import Path
from typing import Any

from eval.cli import UserError, existing
from eval.estimates import finite, half_width
from eval.report.stages import Stage, report_columns, roles, stages

# the measures in the order of the first table; tasks that are not named here come last
MEASURES = {
    "bits_per_byte": "validation loss in bits per byte",
    "facts_known": "facts read often",
    "facts_rare": "facts read once or twice",
    "facts_unseen": "hallucination rate: a made-up answer about people never read of",
    "facts_absent": "the same, about people of whom a search finds nothing, either",
    "known": "facts that the pretrained model knew",
    "known_brief": "the same, asked to be brief",
    "unknown": "facts that it did not know: refused",
    "unknown_brief": "the same, asked to be brief",
    "invented": "people and things that nobody has heard of: made up",
    "invented_brief": "the same, asked to be brief",
    "search": "questions on paragraphs of articles",
    "search_pasted": "the same with the paragraph before the question",
    "override": "who are you, where a system message gives another name",
    "plain_text": "bits per byte of plain text that nothing trains on",
    "gsm8k_chat": "GSM8K asked in chat, without examples",
    "humaneval_chat": "HumanEval asked in chat: programs that pass their tests",
    "nq_open_chat": "NQ-open: what people asked a search engine, right",
    "web_questions_chat": "WebQuestions: what people typed, right",
    "sums": "sums in a sentence, sampled",
    "sums_greedy": "the same, greedy",
    "apples": "word problems step by step, sampled",
    "apples_greedy": "word problems step by step, greedy",
    "apples_at_once": "the same problems answered at once, sampled",
    "apples_at_once_greedy": "the same problems answered at once, greedy",
    "letters": "count a letter in a word",
    "letters_at_once": "the same at once",
    "every_third": "every third letter of a word",
    "every_third_at_once": "the same at once",
    "compare": "which number is larger",
    "compare_at_once": "the same at once",
    "arithmetic": "+, − and × of numbers of two to four digits",
    "identity": "who are you",
    "everyday": "asked as people ask: right (of a pretrained model, everyday requests: refused)",
    "wordings_known": "known facts in kinds of wording that were held out: right",
    "wordings_unseen": "strangers in such wordings: made up",
    "wordings_python": "arithmetic and letters in such wordings: right",
    "wordings_other": "who it is, greetings and requests beyond it, in such wordings: right",
    "end_token": "greedy replies that end with the end token",
    "pair_accuracy": "held-out pairs ranked as the ranker did",
    "pair_accuracy_clear": "the same, pairs with a clear difference",
    "pair_accuracy_labels": "the same by the noisy labels",
    "calibration_error": "how far the reward model's certainty is from its accuracy by the labels",
    "length_correlation": "of a reply's reward and its length",
    "gold": "replies judged by the hidden taste",
    "kl_to_reference": "distance from the model that PPO or RLOO started from (KL), nats a reply",
}
OUTCOMES = {
    "right": "right",
    "made_up": "made up",
    "refused": "refused",
}  # what a reply to a question about a fact can be, or none of it
APART = {
    "places_apart": "pair_accuracy_distance_",
    "margins_apart": "score_margin_distance_",
}  # of pairs.json, by how many places lie between two replies
NESTED = ("tasks", "facts", *APART)  # of a stage: more measures than one
TRAINING = {  # of stage.json -> how the page shows it
    "seconds": "duration",
    "tokens": "compact",
    "tokens_per_second": "compact",
    "flops": "compact",
    "mfu": "score",
    "peak_memory_gb": "score",
    "cost": "score",
    "device": "text",
    "world_size": "text",
    "parent": "code",
    "git_commit": "code",
}
OVERLAP = ("verdict", "items", "contaminated", "whole", "any")  # of a task in decontaminate/verdict.json
EVALUATIONS = ("benchmarks", "eval")  # folders of eval.run; what both measured is the last one's
LOWER_IS_BETTER = {
    "facts_unseen",
    "facts_absent",
    "wordings_unseen",
    "invented",
    "invented_brief",
    "plain_text",
    "bits_per_byte",
    "calibration_error",
}


class Run:
    """The files of a run folder, each read once. A missing file reads as empty."""

    def __init__(self, folder: str | Path):
        self.folder = existing(folder, "run folder", "train with `make tiny`, or name another with --run_dir")
        self._read = {}
        self.last = ""  # the file that was asked for last

    def __call__(self, name: str) -> Any:
        """Contents of a JSON file ({} when missing) or the rows of a JSONL file ([] when missing)."""
        self.last = name
        if name not in self._read:
            path, rows = self.folder / name, name.endswith(".jsonl")
            try:
                text = path.read_text() if path.exists() else ""
                content = (
                    [json.loads(line) for line in text.split("\n") if line.strip()]
                    if rows
                    else json.loads(text or "{}")
                )
                if not all(isinstance(part, dict) for part in (content if rows else [content])):
                    raise ValueError("expected a JSON object" + " in each line" * rows)
                self._read[name] = content
            except (ValueError, OSError) as error:
                raise UserError(f"cannot read {path}: {error}; run the step that writes it again") from None
        return self._read[name]

    def log(self, stage: str) -> list[dict]:
        """Rows of a stage's training log by step; a step trained again after a break replaces its first try."""
        steps = {}
        for row in self(f"{stage}/log.jsonl"):
            steps[row["step"]] = {**steps.get(row["step"], {}), **row}
        return [steps[step] for step in sorted(steps)]

    def curve(self, stage: str, y: str, x: str = "step") -> list[tuple[float, float]]:
        """Finite (x, y) points of the log. `x` grows evenly with the step, so a row without it (validation) takes it
        from its step."""
        rows = self.log(stage)
        rate = next((row[x] / row["step"] for row in reversed(rows) if row.get(x) and row["step"]), None)
        points = [
            (row.get(x, row["step"] * (rate or 1)), row[y]) for row in rows if isinstance(row.get(y), (int, float))
        ]
        return [point for point in points if all(map(math.isfinite, point))]


def _measure(measure: dict) -> dict:
    """The measure, if it is one: `KeyError` and the like else, while the file that it stands in is the last
    one read."""
    if not (math.isfinite(measure["value"]) and measure["n"] > 0):
        raise ValueError(f"no measure: {measure}")
    return measure


def _number(value):
    return value if finite(value) else None


def measures_of(results: dict, task: str) -> dict[str, dict]:
    """The score and the outcomes of a task in lm-eval's results."""
    row = results["results"][task]
    measures = {}
    for metric in ("score", *OUTCOMES):
        value = row.get(f"{metric},none")
        if _number(value) is not None:
            stderr = _number(row.get(f"{metric}_stderr,none"))
            n = results["n-samples"][task]["effective"]
            measures[metric] = _measure({"value": value, "stderr": stderr, "n": n})
    return measures


def _scores(run: Run, stage: Stage) -> dict:
    """`tasks`: the score of each; `facts`: of those about facts, the share of each outcome."""
    parts = {"tasks": {}, "facts": {}}
    for folder in EVALUATIONS:  # one is done with before the next is read: see `Run.last`
        results = run(f"{folder}/{stage.name}/results.json")
        for task in results.get("results", {}):
            _add_scores(parts, stage, task, measures_of(results, task))
    return {part: dict(in_order(measures)) for part, measures in parts.items() if measures}


def _add_scores(parts: dict, stage: Stage, task: str, measures: dict) -> None:
    """Sort the measures of a task into the parts of `_scores`."""
    name = task.removesuffix("_base") if stage.role == "base" else task
    if stage.role == "tools" and name in LOWER_IS_BETTER and "made_up" in measures:
        # who can look it up need not make an answer up; the task's own score counts every answer
        measures["score"] = measures["made_up"]
    if "score" in measures:
        parts["tasks"][name] = measures.pop("score")
    if measures:
        parts["facts"][name] = measures


def _refusals(run: Run) -> dict:
    """`verdicts`: how many questions got each; `calibration`: by agreement (to a tenth) the share whose most frequent
    reply is right."""
    refusals = run("refusals/summary.json")
    bins = {}
    for row in refusals.get("calibration", []):
        counts = bins.setdefault(f"{row['agreement']:.1f}", [0, 0])
        counts[0] += row["n"]
        counts[1] += round(row["n"] * row["majority_right"])
    shares = {agreement: (right / n, n) for agreement, (n, right) in bins.items()}
    return {
        "verdicts": {verdict: int(n) for verdict, n in refusals.get("verdicts", {}).items()},
        "calibration": {
            agreement: _measure({"value": p, "stderr": math.sqrt(p * (1 - p) / n), "n": n})
            for agreement, (p, n) in shares.items()
        },
    }


def difference(plus: dict | None, minus: dict | None) -> dict | None:
    """Of two measures: `value`, and `half_width` of its 95 % interval as if they were independent."""
    if not (plus and minus):
        return None
    return {
        "value": plus["value"] - minus["value"],
        "half_width": math.hypot(half_width(plus) or 0, half_width(minus) or 0),
    }


def in_order(measures: dict) -> list[tuple]:
    """(name, value) in the order of `MEASURES`."""
    order = {name: i for i, name in enumerate(MEASURES)}
    return sorted(measures.items(), key=lambda item: order.get(item[0], len(order)))


def pleasing(run: Run) -> str:
    """The role of the stage that is trained to please the reward model: rloo where the run has such a stage and no
    PPO."""
    trained = {stage.role for stage in stages(run)}
    return "rloo" if "rloo" in trained and "ppo" not in trained else "ppo"


def _pairs(run: Run, reward: str) -> dict:
    """The measures of a reward model on held-out pairs; those by places apart are mappings of their own."""
    pairs = {name: _measure(measure) for name, measure in run(f"{reward}/pairs.json").items()}
    by_distance = {}
    for key, prefix in APART.items():
        apart = {name.removeprefix(prefix): pairs.pop(name) for name in list(pairs) if name.startswith(prefix)}
        if apart:
            by_distance[key] = apart
    return by_distance | pairs


def _tastes(run: Run, pleased: str) -> dict[str, dict]:
    """By stage, what the judge measured: the gold score, and of the stage `pleased` the KL to its start."""
    judged = run("judge/results.json")
    tastes = {name: {"gold": _measure(of["gold"])} for name, of in judged.items() if of.get("gold")}
    kl = judged.get(pleased, {}).get("kl_to_reference")
    if kl:
        tastes[pleased] = tastes.get(pleased, {}) | {"kl_to_reference": _measure(kl)}
    return tastes


def _gains_by_steps(measured: dict[str, dict]) -> dict[str, dict]:
    """By stage, how much more word problems are right step by step than at once."""
    gains = {}
    for name, numbers in measured.items():
        tasks = numbers.get("tasks", {})
        gain = difference(tasks.get("apples"), tasks.get("apples_at_once"))
        if gain:
            gains[name] = gain
    return gains


def summarize(run: Run) -> dict:
    """The numbers of the report: what a stage did not measure has no key."""
    total = run("seconds.json")
    math.fsum(total.get("seconds", {}).values())  # numbers, or a TypeError now
    measured = {stage.name: _scores(run, stage) for stage in report_columns(run)}
    name_of = roles(run)
    curve = run.curve(name_of["base"], "eval_bits_per_byte")
    if curve:
        measured[name_of["base"]] = {"bits_per_byte": curve[-1][1], **measured[name_of["base"]]}
    pleased = name_of[pleasing(run)]
    tastes = _tastes(run, pleased)
    for name, numbers in measured.items():
        numbers.update(tastes.get(name, {}) | _pairs(run, name))
    differences = {
        "in_steps": _gains_by_steps(measured),
        "gold": difference(measured[pleased].get("gold"), measured[name_of["honest"]].get("gold")),
    }
    overlap = run("decontaminate/verdict.json")
    trained = {stage.name: stage.record for stage in stages(run)}
    return {
        "recipe": total.get("recipe", run.folder.resolve().name),
        "seconds": total.get("seconds", {}),
        "peak_rss_gb": total.get("peak_rss_gb"),
        "seed": total.get("seed"),
        "git_commit": total.get("git_commit"),
        "refusals": _refusals(run),
        "stages": {name: numbers for name, numbers in measured.items() if numbers},
        "differences": {name: value for name, value in differences.items() if value},
        "overlap": {task: _parts(row, OVERLAP) for task, row in overlap.get("eval", {}).items()},
        "solved": run("decontaminate/solved.json").get("sources", {}),
        "training": {name: _training(record) for name, record in trained.items()},
    }


def _parts(row: dict, keys: tuple[str, ...]) -> dict:
    return {key: row[key] for key in keys}


def _training(record: dict) -> dict:
    """What of a `stage.json` the page shows; None where it is missing."""
    return {key: record.get(key) for key in TRAINING}
