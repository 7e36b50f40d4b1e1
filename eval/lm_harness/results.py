"""The results of an evaluation as lm-eval writes them: read, completed, merged with older ones, written and shown."""

import json
import math
import shutil
from pathlib import Path

from eval.estimates import Z, half_width
from eval.lm_harness.tasks import above_chance, dump, main_metric


def read(folder: Path) -> dict:
    """The results in a folder; {} where there are none that this script wrote."""
    try:
        results = json.loads((folder / "results.json").read_text())
        return results if isinstance(results["config"]["made_from"]["tasks"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def together(old: dict, new: dict, kept: list[str]) -> dict:
    """`new` results and, of the same model's older ones, the rows `kept`."""
    results = dict(new)
    for key, value in old.items():
        if not isinstance(value, dict) or key == "config":
            continue
        part = {row: value[row] for row in kept if row in value}
        if part:
            results[key] = {**part, **new.get(key, {})}
    return results


def add_end_token(results: dict) -> None:
    """The row `end_token`, out of the counts in `ended`."""
    n, ended = sum(n for _, n in results["ended"].values()), sum(ended for ended, _ in results["ended"].values())
    if n:
        share = ended / n
        stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else "N/A"
        results["results"]["end_token"] = {
            "name": "end_token",
            "alias": "end_token",
            "sample_len": n,
            "score,none": share,
            "score_stderr,none": stderr,
        }
        results["n-samples"]["end_token"] = {"original": n, "effective": n}
        results["higher_is_better"]["end_token"] = {"score": True}


def _numbered(args) -> dict:
    return {f"arg_{k}": argument for k, argument in enumerate(args)}


def write(results: dict, folder: Path) -> None:
    """`results.json` and `samples_<task>.jsonl` as lm-eval writes them; the folder appears when all is in it. Samples
    of other tasks stay."""
    from lm_eval.utils import sanitize_list

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for task, samples in results.pop("samples").items():
        with open(part / f"samples_{task}.jsonl", "w", encoding="utf-8") as file:
            for sample in samples:
                arguments = {f"gen_args_{i}": _numbered(args) for i, args in enumerate(sample["arguments"])}
                texts = {
                    "resps": sanitize_list(sample["resps"]),
                    "filtered_resps": sanitize_list(sample["filtered_resps"]),
                    "target": str(sample["target"]),
                }
                file.write(dump({**sample, **texts, "arguments": arguments}) + "\n")
    for task in results["n-samples"]:
        kept = folder / f"samples_{task}.jsonl"
        if kept.exists() and not (part / kept.name).exists():
            shutil.copy2(kept, part)
    (part / "results.json").write_text(dump(results, indent=2), encoding="utf-8")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _cell(value: float | None, half: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ± {half:.3f}" if half is not None else "")


def table(output_dir: Path, names: list[str]) -> str:
    """Score ± half of a 95 % interval of each task and model, of how many items, and their means above chance, from
    the files."""
    results = {name: json.loads((output_dir / name / "results.json").read_text()) for name in names}
    rows: dict[str, dict[str, str]] = {}
    counts: dict[str, str] = {}
    for name, of_model in results.items():
        for task, row in of_model["results"].items():
            key = main_metric(row)
            if key:
                label = task.removesuffix("_base") + (
                    "" if key in ("score,none", "acc,none") else f" ({key.removesuffix(',none')})"
                )
                items = of_model["n-samples"].get(task)
                stderr = row.get(key.replace(",", "_stderr,", 1))  # "N/A" of a single item
                half = half_width({"stderr": stderr, "n": items["effective"] if items else 1})
                rows.setdefault(label, {})[name] = _cell(row[key], half)
                if items:
                    counts.setdefault(label, str(items["effective"]))
        for group, children in [*of_model["group_subtasks"].items(), ("all tasks", of_model["n-samples"])]:
            mean = above_chance(of_model, [child for child in children if child in of_model["n-samples"]])
            if mean:
                half = Z * mean["stderr"] if mean["stderr"] is not None else None
                rows.setdefault(f"{group}: above chance", {})[name] = _cell(mean["value"], half)
    last = [label for label in rows if label.startswith(("end_token", "all tasks:"))]
    width = max(map(len, rows)) + 2
    lines = [f"{'task':<{width}}{'n':>6}" + "".join(f"{name:>18}" for name in names)]
    for label in [label for label in rows if label not in last] + last:
        cells = [rows[label].get(name, "–") for name in names]
        lines.append(f"{label:<{width}}{counts.get(label, ''):>6}" + "".join(f"{cell:>18}" for cell in cells))
    lines.append("± is half of a 95 % interval over items")
    return "\n".join(lines)
