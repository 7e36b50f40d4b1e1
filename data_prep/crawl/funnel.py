"""What `data_prep.web` left and why: `funnel.json`, `funnel.svg` and the data card, from datatrove's counts."""

import json
import re
from collections import Counter
from pathlib import Path

from data_prep.crawl.filters import Count
from eval.cli import UserError
from eval.report.figures import bars, compact

STAGES = ("filtering", "documents")
CARD = Path(__file__).with_name("data_card.jinja")
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # the Hub's size categories


def stage_totals(output: Path, stage: str) -> list[tuple[str, Counter]]:
    """(name, counters) of each pipeline step of a stage, over all its tasks."""
    tasks = [json.loads(path.read_text()) for path in sorted((output / "logs" / stage / "stats").glob("*.json"))]
    totals = []
    for same_step in zip(*tasks):
        counts = Counter()
        for step in same_step:
            for key, value in step["stats"].items():
                counts[key] += int(value["total"] if isinstance(value, dict) else value)
        totals.append((same_step[0]["name"], counts))
    return totals


def stage_stats(output: Path, stage: str) -> list[dict]:
    """Rows of the funnel: {"step", "documents", "words", "tokens" (null where they were not counted), "dropped":
    {reason: documents}}."""
    rows, took = [], Counter()  # the counters of the last step that can drop
    for name, counts in stage_totals(output, stage):
        if not name.startswith(Count.type):
            took = counts if "TOKENIZER" not in name else took
            continue
        dropped = {key.removeprefix("dropped_"): took[key] for key in sorted(took) if key.startswith("dropped_")}
        if not dropped and took["dropped"]:
            dropped = {"duplicate": took["dropped"]}
        row = {"step": name.removeprefix(f"{Count.type}: "), "documents": counts["documents"]}
        rows.append(row | {unit: counts.get(unit) for unit in ("words", "tokens")} | {"dropped": dropped})
    return rows


def write_funnel(output: Path) -> list[dict]:
    """Write and print funnel.json ({"steps": rows}) and funnel.svg of the stages that are done."""
    steps = [row for stage in STAGES for row in stage_stats(output, stage)]
    (output / "funnel.json").write_text(json.dumps({"steps": steps}, indent=1) + "\n")
    rows = []
    for step in steps:
        unit = "tokens" if step["tokens"] is not None else "words"
        size = f"{compact(step[unit])} {unit}" if step[unit] is not None else ""
        why = ", ".join(
            f"{reason} {count:,}" for reason, count in sorted(step["dropped"].items(), key=lambda pair: -pair[1])
        )
        rows.append(
            (
                step["step"],
                step["documents"],
                " · ".join(filter(None, (f"{step['documents']:,}", size))),
                f"dropped: {why}" if why else "",
            )
        )
        print(
            f"[web] {step['step']:<11}{step['documents']:>9,} documents {size:<14} {rows[-1][3]}".rstrip(), flush=True
        )
    style = (Path(bars.__code__.co_filename).with_name("style.css")).read_text()
    drawing = re.search("<svg.*</svg>", bars("Documents left after each step", rows, ""), re.DOTALL)[0]
    (output / "funnel.svg").write_text(
        drawing.replace(">", f' xmlns="http://www.w3.org/2000/svg"><style>{style}</style>', 1)
    )
    return steps


def write_report(*_, output: Path, settings: dict) -> None:
    """The funnel and `README.md`, the data card that the Hub and `load_dataset` read.

    Raises:
        UserError: the filters left nothing.
    """
    import yaml
    from huggingface_hub import DatasetCardData
    from jinja2 import Template

    steps = write_funnel(output)
    if not steps or not steps[-1]["documents"]:
        raise UserError(f"no page is left: see {output}/funnel.json and {output}/removed for what took them")
    counts = sum((counts for _, counts in stage_totals(output, "documents")), Counter())
    power = max(0, min(len(SIZES), len(str(steps[-1]["documents"])) - 3))  # 0: below a thousand
    size = "n<1K" if not power else f"{SIZES[power - 1]}<n<{SIZES[power]}" if power < len(SIZES) else "n>1T"
    data = DatasetCardData(
        language=settings["languages"] if "language" in settings["steps"] else None,
        task_categories=["text-generation"],
        size_categories=[size],
        tags=["web", "pretraining", "datatrove"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "parquet/*.parquet"}]}],
    )
    text = Template(CARD.read_text(), trim_blocks=True).render(
        title=output.name,
        documents=f"{steps[-1]['documents']:,}",
        pages=f"{steps[0]['documents'] + sum(steps[0]['dropped'].values()):,}",
        steps=steps,
        tokens=settings["count_tokenizer"],
        replaced={
            key.removeprefix("replaced_"): n for key, n in sorted(counts.items()) if key.startswith("replaced_")
        },
        settings=yaml.safe_dump(
            {k: v for k, v in settings.items() if k != "files"},
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
        ),
        files=settings["files"],
    )
    (output / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n\n{text}")
