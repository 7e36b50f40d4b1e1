"""The long experiments in the report: PPO past its peak and stopped, strange winners unlearned, imitation against
practice, guess and check.

Each figure is drawn from what `recipes/<recipe>/experiments.yaml` leaves in `experiments/`; what is not there is named
with that command.
"""

import math

from markupsafe import Markup

from eval.generation.divergence import overoptimization
from eval.report.chapters import Story
from eval.report.figures import columns, lines, score

# methods that came after PPO, which the experiments try
METHODS = ("rloo", "dpo", "rloo_long")
ARENAS = {
    "verses": "experiments/arena/verses",
    "problems": "experiments/arena/problems",
    "people's votes": "arena_people",
}


class Experiments:
    """What the template asks for beside the `Story`."""

    def __init__(self, story: Story):
        self.story, self.run, self.or_absent = story, story.run, story.or_absent

    # --- a reward that is overdone ---

    def watched(self, name: str) -> str:
        """The file of the monitor of a stage, or of a run in `experiments/`."""
        folder = name if any(name == stage for stage, _ in self.story.records) else f"experiments/{name}"
        return f"{folder}/monitor.jsonl"

    def looks(self, name: str) -> list[dict]:
        """The measurements of that monitor."""
        return self.run(self.watched(name))

    def past_the_peak(self, title: str, name: str) -> Markup:
        """The reward that is trained on and the judge's against the way from the start, and the law that fits the
        judge's."""
        looks, file = self.looks(name), self.watched(name)
        away = [math.sqrt(max(0.0, look["kl"]["value"])) for look in looks]
        curves = {}
        for key in ("reward", "judge"):
            curves[key] = [(d, look[key]["value"]) for d, look in zip(away, looks) if look.get(key)]
        note = f"n = {looks[0]['reward']['n'] if looks else 0} prompts a point; {file}"
        start = curves["judge"][0][1] if curves["judge"] else 0.0
        fit = overoptimization([(d, value - start) for d, value in curves["judge"]])
        if fit:
            alpha, beta = fit
            grid = [max(away) * i / 40 for i in range(1, 41)]
            curves["fitted"] = [(d, start + d * (alpha - beta * math.log(d))) for d in grid]
            note += (
                f"; fitted: {start:.2f} + d ({alpha:.2f} − {beta:.2f} ln d), peak at d ="
                f" {math.exp(alpha / beta - 1):.2f}"
            )
        drawn = {key: sorted(points) for key, points in curves.items()}
        return self.or_absent(lines(title, drawn, "√KL from the start", note), title, file)

    def over_steps(self, title: str, name: str, series: dict[str, str], what: str, whole: bool) -> Markup:
        """The monitor's measurements over the steps of a run; `series` is label -> key, and a point is a mean over
        `what`."""
        looks, file = self.looks(name), self.watched(name)
        curves = {label: _by_step(looks, key) for label, key in series.items()}
        note = f"n = {looks[0]['reward']['n'] if looks else 0} {what} a point; {file}"
        return self.or_absent(lines(title, curves, "step", note, whole), title, file)

    def fall(self, name: str) -> dict | None:
        """What the judge said at the start, at its best look and at the last, and the share of the gain that
        was lost."""
        looks = [look for look in self.looks(name) if look.get("judge")]
        best = max(looks, key=lambda look: look["judge"]["value"], default=None)
        if len(looks) < 2 or best is looks[0]:
            return None
        start, top, last = (look["judge"] for look in (looks[0], best, looks[-1]))
        return {
            "start": start,
            "best": top,
            "last": last,
            "step": best["step"],
            "lost": (top["value"] - last["value"]) / (top["value"] - start["value"]),
        }

    # --- stages against each other ---

    def arenas(self) -> dict[str, dict]:
        """Ratings by arena: what each is about -> of `eval.arena`'s ratings.json the models, judge and counts."""
        arenas = {}
        for what, folder in ARENAS.items():
            rated = self.run(f"{folder}/ratings.json")
            if rated:
                arenas[what] = {key: rated[key] for key in ("judge", "prompts", "votes", "models")}
        return arenas

    def rated(self, what: str) -> Markup:
        """Ratings of an arena, from their mean."""
        title, file = f"Arena: {what}", f"{ARENAS[what]}/ratings.json"
        arena = self.arenas().get(what)
        if not arena:
            return self.or_absent(None, title, file)
        if any(m["low"] is None for m in arena["models"].values()):
            return Markup("")  # nothing bounds them; the table below says so
        bars = {name: (m["rating"] - 1000, (m["high"] - m["low"]) / 2) for name, m in arena["models"].items()}
        note = f"n = {arena['prompts']} prompts, {arena['votes']} votes; {file}; 0 is the mean"
        return self.or_absent(
            columns(title, list(bars), {"rating": list(bars.values())}, note, whole=False), title, file
        )

    def numbers(self) -> dict:
        """For the summary: where the judge's score was best and what was lost after it, the stop rule's decision,
        replies that check themselves."""
        falls = {name: self.fall(name) for name in ("ppo_long", "ppo_again")}
        falls = {name: fall for name, fall in falls.items() if fall}
        checks = {
            name: model["checks_itself"]
            for name, model in self.run("experiments/guess_check.json").get("models", {}).items()
        }
        return {
            "falls": falls,
            "decision": self.decision("ppo_stop"),
            "checks": checks,
            "arena": self.arenas(),
            "methods": self.methods(),
            "methods_decision": self.decision("rloo_long"),
        }

    def decision(self, name: str) -> str | None:
        """What the stop rule said of a run."""
        return next((look["decision"] for look in self.looks(name) if look.get("decision")), None)

    # --- PPO and what came after it ---

    def methods(self) -> dict[str, dict]:
        """{gold, kl, seconds} of the start ("honest", gold alone) and of each method, on other prompts."""
        methods: dict[str, dict] = {}
        for name, numbers in self.run("experiments/judge_methods.json").items():
            methods[name] = {"gold": _measure(numbers["gold"])}
            folder = self.story.name("ppo") if name == "ppo" else f"experiments/{name}"
            if name == "ppo" or name in METHODS:
                seconds = self.run(f"{folder}/stage.json").get("seconds")
                methods[name]["kl"] = _measure(numbers["kl_to_reference"])
                methods[name] |= {"seconds": round(seconds, 1)} if seconds is not None else {}
        return methods

    def kept(self, title: str) -> Markup:
        """The judge's score of the start, of the run past its peak and of the one that the rule stopped, on other
        prompts."""
        judged = self.run("experiments/judge.json")
        names = {"honest": "start", "ppo_long": "past the peak", "ppo_stop": "stopped"}
        series = {"gold": {label: judged[name]["gold"] for name, label in names.items() if name in judged}}
        return self.story.compare(title, series, "replies", "experiments/judge.json", whole=False)

    def winners(self, name: str) -> list[dict]:
        """Of the replies that the reward model liked most at the last look, those that the judge liked least."""
        looks = self.looks(name)
        shown = []
        for winner in looks[-1]["winners"][:3] if looks else []:
            verdict = f"reward {score(winner['reward'])}"
            if winner["judge"] is not None:
                verdict += f", judge {score(winner['judge'])}"
            reply = {"label": f"step {looks[-1]['step']}", "text": winner["text"], "verdict": verdict, "css": "bad"}
            shown.append({"question": winner["prompt"], "answer": None, "replies": [reply]})
        return shown

    def long_run(self, title: str) -> Markup:
        """What counts over a long run, as a share of the greatest gain: the judge's score under PPO, answers that are
        right under GRPO."""
        curves = {}
        for label, name, key in (
            ("PPO: the judge", "ppo_long", "judge"),
            ("GRPO: right answers", "grpo_hard", "reward"),
        ):
            points = _by_step(self.looks(name), key)
            gain = max((value for _, value in points), default=0.0) - points[0][1] if points else 0.0
            if gain > 0:
                curves[label] = [(step / points[-1][0], (value - points[0][1]) / gain) for step, value in points]
        first = [looks[0] for looks in map(self.looks, ("ppo_long", "grpo_hard")) if looks]
        n = ", ".join(str(look["reward"]["n"]) for look in first)
        note = f"n = {n} prompts a point; experiments/ppo_long/monitor.jsonl, experiments/grpo_hard/monitor.jsonl"
        return self.or_absent(
            lines(title, curves if len(curves) == 2 else {}, "share of the run", note, whole=True),
            title,
            "experiments/grpo_hard/monitor.jsonl",
        )

    # --- practice ---

    def imitation(self, title: str, task: str) -> Markup:
        """Accuracy against the tokens that imitation and practice trained on, from the same start, and the expert's
        own."""
        curves, n = {}, 0
        for name in ("imitation", "practice"):
            tokens = {
                row["step"]: row["num_tokens"] for row in self.run.log(f"experiments/{name}") if row.get("num_tokens")
            }
            points = []
            for step, model in ((0, "start"), *((step, f"{name}-{step}") for step in sorted(tokens))):
                results = self.run(f"experiments/eval/{model}/results.json").get("results", {})
                if task in results:
                    points.append((tokens.get(step, 0), results[task]["score,none"]))
                    n = results[task]["sample_len"]
            curves[name] = points if len(points) > 1 else []
        solutions = self.run("experiments/expert/train.jsonl")
        if all(curves.values()) and solutions:
            expert = sum(row["correct"] for row in solutions) / len(solutions)
            curves["the expert"] = [(0, expert), (max(x for points in curves.values() for x, _ in points), expert)]
        drawn = None
        if all(curves.values()):
            drawn = lines(title, curves, "tokens", f"n = {n} problems a point; experiments/eval", whole=True)
        return self.or_absent(drawn, title, "experiments/eval/start/results.json")

    def distilled(self, title: str, task: str) -> Markup:
        """Accuracy of the student against the tokens that it trained on: by the teacher's solutions, by the teacher's
        distribution, and by its own practice, as it made the teacher."""
        if not self.run.log("experiments/distill_sft") and not self.run.log("experiments/distill"):
            return Markup("")  # a run of before there was distillation lacks nothing
        ways = {
            "the teacher's solutions": "distill_sft",
            "its distribution": "distill",
            "own practice": "own_practice",
        }
        curves, n = {}, 0
        for label, name in ways.items():
            points = [(0, score) for score in (self._score("eval/honest", task),) if score is not None]
            for row in self.run.log(f"experiments/{name}"):
                results = self.run(f"experiments/eval/{name}-{row['step']}/results.json").get("results", {})
                if task in results and row.get("num_tokens"):
                    points.append((row["num_tokens"], results[task]["score,none"]))
                    n = results[task]["sample_len"]
            curves[label] = points if len(points) > 1 else []
        teacher = self._score("eval/grpo", task)
        if all(curves.values()) and teacher is not None:
            curves["the teacher"] = [(0, teacher), (max(points[-1][0] for points in curves.values()), teacher)]
        drawn = lines(title, curves, "tokens", f"n = {n} problems a point; experiments/eval", whole=True)
        return self.or_absent(drawn if all(curves.values()) else None, title, "experiments/distill/log.jsonl")

    def _score(self, folder: str, task: str) -> float | None:
        """A task's score from the results in a folder of the run."""
        return self.run(f"{folder}/results.json").get("results", {}).get(task, {}).get("score,none")

    def checking(self, name: str) -> list[dict]:
        """Replies of a model that check themselves."""
        model = self.run("experiments/guess_check.json").get("models", {}).get(name, {})
        shown = model.get("checks_itself", {}).get("examples", [])
        return [
            {
                "question": e["question"],
                "answer": None,
                "replies": [{"label": name, "text": e["text"], "verdict": "", "css": ""}],
            }
            for e in shown
        ]

    def guesses(self, title: str, name: str, *names: str) -> Markup:
        """The best and the majority of n tries of the models."""
        models = self.run(f"experiments/{name}.json").get("models", {})
        curves = {}
        for what in ("best", "majority"):
            for model in [model for model in names if model in models]:
                measures = models[model][f"{what}_of"]
                curves[f"{what} of n, {model}"] = [(math.log2(int(size)), m["value"]) for size, m in measures.items()]
        n = next((m["n"] for model in models.values() for m in model["best_of"].values()), 0)
        return self.or_absent(
            lines(title, curves, "log₂ n", f"n = {n} problems; experiments/{name}.json", whole=True),
            title,
            f"experiments/{name}.json",
        )


def _by_step(looks: list[dict], key: str) -> list[tuple[int, float]]:
    """(step, value) of the looks that have the measure."""
    return [(look["step"], look[key]["value"]) for look in looks if look.get(key)]


def _measure(numbers: dict) -> dict:
    return {key: numbers[key] for key in ("value", "stderr", "n")}
