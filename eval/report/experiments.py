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

    def looks(self, name: str) -> list[dict]:
        """What the monitor of a run in `experiments/` saw."""
        return self.run(f"experiments/{name}/monitor.jsonl")

    def past_the_peak(self, title: str, name: str) -> Markup:
        """The reward that is trained on and the judge's against the way from the start, and the law that fits the
        judge's."""
        looks, file = self.looks(name), f"experiments/{name}/monitor.jsonl"
        away = [math.sqrt(max(0.0, look["kl"]["value"])) for look in looks]
        told = {
            key: [(d, look[key]["value"]) for d, look in zip(away, looks) if look.get(key)]
            for key in ("reward", "judge")
        }
        note = f"n = {looks[0]['reward']['n'] if looks else 0} prompts a point; {file}"
        start = told["judge"][0][1] if told["judge"] else 0.0
        fit = overoptimization([(d, value - start) for d, value in told["judge"]])
        if fit:
            alpha, beta = fit
            told["fitted"] = [
                (d, start + d * (alpha - beta * math.log(d))) for d in (max(away) * i / 40 for i in range(1, 41))
            ]
            note += (
                f"; fitted: {start:.2f} + d ({alpha:.2f} − {beta:.2f} ln d), peak at d ="
                f" {math.exp(alpha / beta - 1):.2f}"
            )
        return self.or_absent(
            lines(title, {key: sorted(points) for key, points in told.items()}, "√KL from the start", note),
            title,
            file,
        )

    def over_steps(self, title: str, name: str, series: dict[str, str], what: str, whole: bool) -> Markup:
        """What the monitor of a run saw, look by look; `series` is label -> key, and a point is a mean over `what`."""
        looks, file = self.looks(name), f"experiments/{name}/monitor.jsonl"
        told = {
            label: [(look["step"], look[key]["value"]) for look in looks if look.get(key)]
            for label, key in series.items()
        }
        return self.or_absent(
            lines(title, told, "step", f"n = {looks[0]['reward']['n'] if looks else 0} {what} a point; {file}", whole),
            title,
            file,
        )

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
        found = {what: self.run(f"{folder}/ratings.json") for what, folder in ARENAS.items()}
        return {
            what: {key: rated[key] for key in ("judge", "prompts", "votes", "models")}
            for what, rated in found.items()
            if rated
        }

    def rated(self, what: str) -> Markup:
        """Ratings of an arena, from their mean."""
        title, file, found = f"Arena: {what}", f"{ARENAS[what]}/ratings.json", self.arenas().get(what)
        if not found:
            return self.or_absent(None, title, file)
        if any(m["low"] is None for m in found["models"].values()):
            return Markup("")  # nothing bounds them; the table below says so
        bars = {name: (m["rating"] - 1000, (m["high"] - m["low"]) / 2) for name, m in found["models"].items()}
        note = f"n = {found['prompts']} prompts, {found['votes']} votes; {file}; 0 is the mean"
        return self.or_absent(
            columns(title, list(bars), {"rating": list(bars.values())}, note, whole=False), title, file
        )

    def numbers(self) -> dict:
        """For the summary: where the judge's score was best and what was lost after it, the stop rule's decision,
        replies that check themselves."""
        falls = {name: fall for name in ("ppo_long", "ppo_again") if (fall := self.fall(name))}
        checks = {
            name: model["checks_itself"]
            for name, model in self.run("experiments/guess_check.json").get("models", {}).items()
        }
        told = {"falls": falls, "decision": self.decision("ppo_stop"), "checks": checks, "arena": self.arenas()}
        return told | {"methods": self.methods(), "methods_decision": self.decision("rloo_long")}

    def decision(self, name: str) -> str | None:
        """What the stop rule said of a run in `experiments/`."""
        return next((look["decision"] for look in self.looks(name) if look.get("decision")), None)

    # --- PPO and what came after it ---

    def methods(self) -> dict[str, dict]:
        """{gold, kl, seconds} of the start ("honest", gold alone) and of each method, on other prompts."""
        judged, found = self.run("experiments/judge_methods.json"), {}
        for name, numbers in judged.items():
            found[name] = {"gold": _measure(numbers["gold"])}
            folder = self.story.name("ppo") if name == "ppo" else f"experiments/{name}"
            if name == "ppo" or name in METHODS:
                seconds = self.run(f"{folder}/stage.json").get("seconds")
                found[name]["kl"] = _measure(numbers["kl_to_reference"])
                found[name] |= {"seconds": round(seconds, 1)} if seconds is not None else {}
        return found

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
        told = looks[-1]["winners"][:3] if looks else []
        return [
            {
                "question": w["prompt"],
                "answer": None,
                "replies": [
                    {
                        "label": f"step {looks[-1]['step']}",
                        "text": w["text"],
                        "verdict": (
                            f"reward {score(w['reward'])}"
                            + (f", judge {score(w['judge'])}" if w["judge"] is not None else "")
                        ),
                        "css": "bad",
                    }
                ],
            }
            for w in told
        ]

    def long_run(self, title: str) -> Markup:
        """What counts over a long run, as a share of the greatest gain: the judge's score under PPO, answers that are
        right under GRPO."""
        told = {}
        for label, name, key in (
            ("PPO: the judge", "ppo_long", "judge"),
            ("GRPO: right answers", "grpo_hard", "reward"),
        ):
            points = [(look["step"], look[key]["value"]) for look in self.looks(name) if look.get(key)]
            gain = max((value for _, value in points), default=0.0) - points[0][1] if points else 0.0
            if gain > 0:
                told[label] = [(step / points[-1][0], (value - points[0][1]) / gain) for step, value in points]
        n = ", ".join(
            str(looks[0]["reward"]["n"]) for name in ("ppo_long", "grpo_hard") if (looks := self.looks(name))
        )
        note = f"n = {n} prompts a point; experiments/ppo_long/monitor.jsonl, experiments/grpo_hard/monitor.jsonl"
        return self.or_absent(
            lines(title, told if len(told) == 2 else {}, "share of the run", note, whole=True),
            title,
            "experiments/grpo_hard/monitor.jsonl",
        )

    # --- practice ---

    def imitation(self, title: str, task: str) -> Markup:
        """Accuracy against the tokens that imitation and practice trained on, from the same start, and the expert's
        own."""
        told, n = {}, 0
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
            told[name] = points if len(points) > 1 else []
        solutions = self.run("experiments/expert/train.jsonl")
        if all(told.values()) and solutions:
            expert = sum(row["correct"] for row in solutions) / len(solutions)
            told["the expert"] = [(0, expert), (max(x for points in told.values() for x, _ in points), expert)]
        drawn = (
            lines(title, told, "tokens", f"n = {n} problems a point; experiments/eval", whole=True)
            if all(told.values())
            else None
        )
        return self.or_absent(drawn, title, "experiments/eval/start/results.json")

    def distilled(self, title: str, task: str) -> Markup:
        """Accuracy of the student against the tokens that it trained on: by the teacher's solutions, by the teacher's
        distribution, and the mean reward of its own practice, which made the teacher."""
        if not self.run.log("experiments/distill_sft") and not self.run.log("experiments/distill"):
            return Markup("")  # a run of before there was distillation lacks nothing
        told, n = {}, 0
        for label, name in (("the teacher's solutions", "distill_sft"), ("its distribution", "distill")):
            points = [(0, score) for score in (self._score("eval/honest", task),) if score is not None]
            for row in self.run.log(f"experiments/{name}"):
                results = self.run(f"experiments/eval/{name}-{row['step']}/results.json").get("results", {})
                if task in results and row.get("num_tokens"):
                    points.append((row["num_tokens"], results[task]["score,none"]))
                    n = results[task]["sample_len"]
            told[label] = points if len(points) > 1 else []
        if all(told.values()):
            practice = [r for r in self.run.log("grpo") if r.get("num_tokens") and r.get("reward") is not None]
            told["its own practice (reward)"] = [(row["num_tokens"], row["reward"]) for row in practice]
            teacher = self._score("eval/grpo", task)
            if practice and teacher is not None:
                told["the teacher"] = [(0, teacher), (practice[-1]["num_tokens"], teacher)]
        drawn = lines(title, told, "tokens", f"n = {n} problems a point; experiments/eval", whole=True)
        return self.or_absent(drawn if all(told.values()) else None, title, "experiments/distill/log.jsonl")

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
        found = self.run(f"experiments/{name}.json")
        models = found.get("models", {})
        told = {
            f"{what} of n, {model}": [
                (math.log2(int(size)), m["value"]) for size, m in models[model][f"{what}_of"].items()
            ]
            for what in ("best", "majority")
            for model in names
            if model in models
        }
        n = next((m["n"] for model in models.values() for m in model["best_of"].values()), 0)
        return self.or_absent(
            lines(title, told, "log₂ n", f"n = {n} problems; experiments/{name}.json", whole=True),
            title,
            f"experiments/{name}.json",
        )


def _measure(numbers: dict) -> dict:
    return {key: numbers[key] for key in ("value", "stderr", "n")}
