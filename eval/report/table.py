"""The figures of several runs side by side, as the Markdown table of a README.

    python -m eval.report.table --runs runs/tiny runs/tiny-1 runs/tiny-2                  # all figures
    python -m eval.report.table --runs runs/tiny runs/smol --headline true                # the README's ten
    python -m eval.report.table --runs runs/tiny runs/tiny-1 runs/tiny-2 --seconds true   # seconds a step

Reads each run's `report/summary.json`. A row that no run has measured is left out.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, parse
from eval.estimates import half_width

HELD_OUT = "in held-out kinds of wording"
ROWS = (  # label, stage, path in the summary
    ("base · bits per byte", "base", "bits_per_byte"),
    ("base · `facts_known`, completed", "base", "tasks/facts_known"),
    ("sft · `facts_known`", "sft", "tasks/facts_known"),
    ("sft · `facts_rare`", "sft", "tasks/facts_rare"),
    ("sft · `facts_unseen`, made up", "sft", "tasks/facts_unseen"),
    ("sft · `identity`", "sft", "tasks/identity"),
    ("honest · `facts_unseen`, refused", "honest", "facts/facts_unseen/refused"),
    ("honest · `facts_rare`, refused", "honest", "facts/facts_rare/refused"),
    ("honest · `facts_known`", "honest", "tasks/facts_known"),
    ("honest · `facts_known`, refused", "honest", "facts/facts_known/refused"),
    ("with search · `facts_unseen`, right", "tools", "facts/facts_unseen/right"),
    ("with search · `facts_absent`, refused", "tools", "facts/facts_absent/refused"),
    ("with search · `facts_known`, right", "tools", "tasks/facts_known"),
    *(
        (f"{with_} · `{task}`", stage, f"tasks/{task}")
        for task in ("letters", "every_third", "compare", "arithmetic")
        for with_, stage in (("honest", "honest"), ("with Python", "tools"))
    ),
    (f"honest · known facts {HELD_OUT}, right", "honest", "tasks/wordings_known"),
    (f"honest · strangers {HELD_OUT}, refused", "honest", "facts/wordings_unseen/refused"),
    (f"with search · strangers {HELD_OUT}, right", "tools", "facts/wordings_unseen/right"),
    (f"with Python · arithmetic and letters {HELD_OUT}", "tools", "tasks/wordings_python"),
    (f"honest · who it is, greetings, requests beyond it, {HELD_OUT}", "honest", "tasks/wordings_other"),
    ("with search and Python · `everyday` (of a pretrained model: refused)", "tools", "tasks/everyday"),
    ("reward · pairs clearly apart", "reward", "pair_accuracy_clear"),
    ("reward · all pairs", "reward", "pair_accuracy"),
    ("honest · gold taste of its replies", "honest", "gold"),
    ("ppo · gold taste of its replies", "ppo", "gold"),
    ("ppo · KL to honest, nats a reply", "ppo", "kl_to_reference"),
    ("rloo · gold taste of its replies", "rloo", "gold"),
    ("rloo · KL to honest, nats a reply", "rloo", "kl_to_reference"),
    ("ppo · `facts_known`", "ppo", "tasks/facts_known"),
    *(
        (f"{stage} · `apples`, {how}", stage, f"tasks/{task}")
        for stage in ("base", "sft", "honest", "grpo")
        for how, task in (("sampled", "apples"), ("greedy", "apples_greedy"))
    ),
    ("grpo · `apples_at_once`, sampled", "grpo", "tasks/apples_at_once"),
    ("grpo · `facts_unseen`, refused", "grpo", "facts/facts_unseen/refused"),
    # of a run that begins with a pretrained model
    *(
        (f"{stage} · `{task}{system}`, {outcome.replace('_', ' ')}", stage, f"facts/{task}{system}/{outcome}")
        for system in ("", "_brief")
        for task, outcomes in (
            ("known", ("right", "refused")),
            ("unknown", ("right", "refused", "made_up")),
            ("invented", ("made_up", "refused")),
        )
        for outcome in outcomes
        for stage in ("hub", "honest", "grpo")
    ),
    *(
        (f"{stage} · `everyday`, refused", stage, "facts/everyday/refused")
        for stage in ("hub", "honest", "tools", "grpo")
    ),
    *(
        (f"hub · `{task}`", "hub", f"tasks/{task}")
        for task in ("letters", "every_third", "compare", "arithmetic", "identity", "override")
    ),
    ("honest · `identity`", "honest", "tasks/identity"),
    ("honest · `override`", "honest", "tasks/override"),
    ("hub · `search`, closed book", "hub", "tasks/search"),
    ("honest · `search`, closed book", "honest", "tasks/search"),
    ("with search · `search`", "tools", "tasks/search"),
    ("hub · `search_pasted`", "hub", "tasks/search_pasted"),
    ("honest · `search_pasted`", "honest", "tasks/search_pasted"),
    ("with search · `invented`, refused", "tools", "facts/invented/refused"),
    *(
        (f"{stage} · `{task}`", stage, f"tasks/{task}")
        for task in ("sums", "sums_greedy", "plain_text")
        for stage in ("hub", "honest", "grpo")
    ),
    ("reward_hh · people's pairs (hh-rlhf)", "reward_hh", "pair_accuracy_labels"),
    *(
        (f"{stage} · `{task}`, right", stage, f"tasks/{task}")
        for task in ("gsm8k_chat", "humaneval_chat", "nq_open_chat", "web_questions_chat")
        for stage in ("hub", "honest")
    ),
    *(
        (f"{stage} · `{task}`, refused", stage, f"facts/{task}/refused")
        for task in ("nq_open_chat", "web_questions_chat")
        for stage in ("hub", "honest")
    ),
)
# label, and where a run of the invented world and one of a pretrained model have the figure: stage, path
HEADLINES = (
    ("People it read about often, completed by the base model", ("base", "tasks/facts_known")),
    (
        "What it knows, before honesty training: right",
        ("sft", "tasks/facts_known"),
        ("hub", "facts/known/right"),
    ),
    (
        "Strangers and inventions, before it: an answer made up",
        ("sft", "tasks/facts_unseen"),
        ("hub", "facts/invented/made_up"),
    ),
    (
        "The same after it: “I don't know”",
        ("honest", "facts/facts_unseen/refused"),
        ("honest", "facts/invented/refused"),
    ),
    ("What it knows, after it: right", ("honest", "tasks/facts_known"), ("honest", "facts/known/right")),
    (
        "What it never read, with the search tool: right",
        ("tools", "facts/facts_unseen/right"),
        ("tools", "tasks/search"),
    ),
    ("Counting letters without a tool: right", ("hub", "tasks/letters"), ("honest", "tasks/letters")),
    ("Counting letters with Python: right", ("tools", "tasks/letters")),
    ("Word problems before practice (GRPO): right", ("honest", "tasks/apples"), ("honest", "tasks/sums")),
    ("Word problems after it: right", ("grpo", "tasks/apples"), ("grpo", "tasks/sums")),
)


@dataclass
class TableArguments:
    runs: list[str] = field(metadata={"help": "folders of runs that have a report"})
    headline: bool = field(default=False, metadata={"help": "only the ten figures of the README, in plain words"})
    seconds: bool = field(default=False, metadata={"help": "seconds a step instead of the scores"})


def part_of(summary: dict, stage: str, path: str) -> dict | float | None:
    """The part of a summary at stages/<stage>/<path>; None where it is not there."""
    part = summary["stages"].get(stage, {})
    for key in path.split("/"):
        part = part.get(key) if isinstance(part, dict) else None
    return part


def cell(measure: dict | float | None) -> str:
    """A figure and half its 95 % interval, as the report shows it."""
    if measure is None:
        return "–"
    if not isinstance(measure, dict):
        return f"{measure:.3f}"
    half = half_width(measure)
    return f"{measure['value']:.3f}" + (f" ± {half:.3f}" if half is not None else "")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def first_part(summary: dict, places: tuple[tuple[str, str], ...]) -> dict | float | None:
    """The part of a summary at the first of these places, (stage, path), where it has one."""
    parts = (part_of(summary, stage, path) for stage, path in places)
    return next((part for part in parts if part is not None), None)


def scores(summaries: list[dict], figures: list[tuple]) -> list[list[str]]:
    """A row a figure: its label, how many items it is of, and its value and interval in each run.

    Args:
        figures: (label, place, …) of each, the places as `first_part` takes them.
    """
    rows = []
    for label, *places in figures:
        measures = [first_part(summary, tuple(places)) for summary in summaries]
        counts = {str(m["n"]): None for m in measures if isinstance(m, dict)}  # a set that keeps its order
        if any(m is not None for m in measures):
            rows.append([label, " / ".join(counts), *map(cell, measures)])
    return rows


def heads(summaries: list[dict]) -> list[str]:
    """The head of each run's column: its seed, and its recipe where they are not all of one."""
    recipes = {summary.get("recipe") for summary in summaries}
    if len(recipes) == 1:
        return [f"seed {summary['seed']}" for summary in summaries]
    return [f"{summary['recipe']}, seed {summary['seed']}" for summary in summaries]


def table(summaries: list[dict], headline: bool) -> str:
    """The Markdown table of the headline figures, or of all with time and memory."""
    head = ["what", "n", *heads(summaries)]
    if headline:
        return markdown(head, scores(summaries, list(HEADLINES)))
    rows = scores(summaries, [(label, (stage, path)) for label, stage, path in ROWS])
    rows.append(["seconds", "", *(f"{summary['seconds']['total']:.0f}" for summary in summaries)])
    rows.append(["peak memory, GiB", "", *(f"{summary['peak_rss_gb']:.1f}" for summary in summaries)])
    return markdown(head, rows)


def seconds(summaries: list[dict]) -> str:
    steps = summaries[0]["seconds"]
    rows = []
    for step in steps:
        rows.append([step, *(f"{summary['seconds'].get(step, 0):.0f}" for summary in summaries)])
    return markdown(["step", *heads(summaries)], rows)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((TableArguments,), argv)
    summaries = []
    for run in args.runs:
        path = existing(
            Path(run) / "report" / "summary.json",
            "summary",
            "make the run's report first: python -m eval.report --run_dir RUN",
        )
        try:
            summaries.append(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(f"{path} is not a report's summary: {error}") from None
    if args.seconds and args.headline:
        raise UserError("headline and seconds: expected one of them, got both. Give one")
    print(seconds(summaries) if args.seconds else table(summaries, args.headline))


if __name__ == "__main__":
    main()
