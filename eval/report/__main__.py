"""Write the report of a run: `report/index.html`, one file to look at, send or print, `report/report.md` and
`report/summary.json`.

    python -m eval.report --run_dir runs/tiny

Reads only what the stages and the evaluations left in the run folder; loads no model. What is missing is named with
the command that makes it, so the report can be built at any time. Every number on the page is one of summary.json and
stands there as `<data data-key="path/in/the/json" value="...">`; what each figure draws is in `figures`. The Markdown
is written from summary.json alone.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.cli import UserError, command, output_folder, parse

LONGEST_TEXT = 600  # letters of a model's reply that are shown


@dataclass
class ReportArguments:
    run_dir: str = field(metadata={"help": "run folder, e.g. runs/tiny"})
    output_dir: str | None = field(default=None, metadata={"help": "where to write; default <run_dir>/report"})


def clean(text) -> str:
    """A model's text for the page: control characters and lone surrogates made visible, cut when very long. Jinja
    escapes it."""
    text = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(text))
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def table(summary: dict) -> dict[str, dict[str, dict]]:
    """The first table: measure -> stage -> {key in the summary, value, and where there are any stderr, n, std}."""
    from eval.report.summary import NESTED

    rows = {}
    for stage, numbers in summary["stages"].items():
        flat = {name: (f"stages/{stage}/{name}", m) for name, m in numbers.items() if name not in NESTED}
        flat |= {name: (f"stages/{stage}/tasks/{name}", m) for name, m in numbers.get("tasks", {}).items()}
        for name, (key, m) in flat.items():
            rows.setdefault(name, {})[stage] = {"key": key, **(m if isinstance(m, dict) else {"value": m})}
    return rows


def few(points: list, most: int = 8) -> list:
    """At most `most` of the points, evenly, the first and the last among them."""
    return points if len(points) <= most else [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def joined(text) -> str:
    """A text for a cell of a Markdown table: one line, nothing in it that Markdown or HTML would take for its own."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(clean(text).split()))


def build(run_dir: str | Path, output_dir: str | Path | None = None) -> Path:
    """Write the three files and return the path of the page.

    Raises:
        UserError: no such run folder, nothing in it, or a file that cannot be read.
    """
    from jinja2 import TemplateError

    from eval.report.summary import Run

    run = Run(run_dir)
    try:
        return _build(run, output_dir)
    except (ArithmeticError, AttributeError, LookupError, TemplateError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.folder / run.last} is not as its step writes it ({type(error).__name__}: {error}); run the step"
            " again"
        ) from None


def _environment(autoescape: bool) -> Any:
    """Jinja with the report's filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from eval.estimates import half_width
    from eval.report.figures import compact, duration, score

    environment = Environment(
        autoescape=autoescape,
        loader=PackageLoader("eval.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "clean": clean,
            "compact": compact,
            "duration": duration,
            "score": score,
            "half_width": half_width,
            "few": few,
            "joined": joined,
        }
    )
    return environment


def _chapters(run, summary: dict) -> dict[str, Any]:
    """What the template of the page asks for beside the numbers; the summary gets those of the chapters."""
    from eval.report.chapters import Story
    from eval.report.experiments import Experiments
    from eval.report.sections.at_test_time import AtTestTime
    from eval.report.sections.jobs import Jobs
    from eval.report.sections.probes import Probed
    from eval.report.sections.second_tries import SecondTries
    from eval.report.sections.senses import Senses
    from eval.report.sections.trade_off import TradeOff

    story = Story(run, summary)
    experiments = Experiments(story)
    probed = Probed(story)
    sections: dict[str, Any] = {
        "second_tries": SecondTries(story),
        "jobs": Jobs(story),
        "at_test_time": AtTestTime(story),
        "senses": Senses(story),
        "trade_off": TradeOff(story),
    }
    summary["experiments"] = experiments.numbers()
    summary["probes"] = probed.numbers()
    for name, section in sections.items():
        if section.there:
            summary[name] = section.numbers()
    tokens = story.tokens()
    summary["tokens"] = {shown["label"]: {"n": shown["n"], "letters": shown["letters"]} for shown in tokens}
    return {"story": story, "experiments": experiments, "probed": probed, **sections, "tokens": tokens}


def _build(run, output_dir: str | Path | None) -> Path:
    from eval.report.summary import LOWER_IS_BETTER, MEASURES, OUTCOMES, TRAINING, in_order, summarize

    summary = summarize(run)
    chapters = _chapters(run, summary)
    if not summary["stages"] and not chapters["story"].records:
        raise UserError(
            f"{run.folder} holds no stage and no evaluation: run `make tiny` first, or name another with --run_dir"
        )
    numbers = {
        "summary": summary,
        "rows": in_order(table(summary)),
        "labels": MEASURES,
        "lower": LOWER_IS_BETTER,
        "training": TRAINING,
        "outcomes": OUTCOMES,
    }
    html = _environment(autoescape=True).get_template("template.html").render(**chapters, **numbers)
    markdown = _environment(autoescape=False).get_template("template.md").render(numbers)
    folder = output_folder(output_dir or run.folder / "report")
    written = {"summary.json": json.dumps(summary, indent=1) + "\n", "report.md": markdown, "index.html": html}
    # all of them before any is replaced; a folder's name need not be UTF-8
    encoded = {name: text.encode("utf-8", "backslashreplace") for name, text in written.items()}
    for name, content in encoded.items():
        (folder / name).write_bytes(content)
    return folder / "index.html"


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ReportArguments,), argv)
    print(f"report: {build(args.run_dir, args.output_dir)}")


if __name__ == "__main__":
    main()
