"""What two models' results differ in, beyond noise: the same items, paired.

    python -m eval.compare runs/tiny/eval/sft runs/tiny/eval/honest
    python -m eval.compare runs/tiny/eval/sft runs/tiny/eval/honest --tasks facts_known apples --output comparison.json
    python -m eval.compare runs/tiny runs/tiny-1

The folders are those of `eval.run` (results.json, samples_<task>.jsonl), or of lm-eval's own command
(results_<date>.json); or two whole runs, whose stages are compared one by one. The difference is the second minus the
first, over items, with the standard error of the differences (Miller 2024, "Adding Error Bars to Evals",
arXiv:2411.00640, section 4); replies to one item are averaged first. `p` is of the exact sign test of the items that
one does better than the other (of right and wrong: McNemar's), and corrected for as many tasks (Holm 1979).

Of two runs a task whose items are not the same is compared unpaired, and said to be: `p` is then Mann and Whitney's.
No error here holds what another seed of training would change.
"""

import json
import math
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, output_folder, parse, read_jsonl, write_json
from eval.estimates import Z, accuracy, finite
from eval.lm_harness.tasks import main_metric, task_names

LEVEL = 0.05  # of the corrected p values
CURE = "give a folder that eval.run or lm-eval has written, with its samples"


@dataclass
class CompareArguments:
    folders: list[str] = field(metadata={"help": "the two folders; may stand first, without --folders"})
    tasks: list[str] = field(default_factory=list, metadata={"help": "only these (default: all that both have)"})
    output: str | None = field(default=None, metadata={"help": ".json file to write"})


@dataclass
class Task:
    """What one model did on one task: `docs`, the hash of each item by doc_id, and `values` of those that
    were judged."""

    metric: str
    higher_is_better: bool
    docs: dict[int, str]
    values: dict[int, float]


def read_results(folder: str | Path) -> tuple[dict, Path]:
    """The results in a folder, and the file they are in: results.json, or the newest of results_<date>.json.

    Raises:
        UserError: there are none.
    """
    folder = existing(folder, "folder of results", CURE)
    path = max(folder.glob("results_*.json"), default=folder / "results.json", key=lambda file: file.name)
    try:
        results = json.loads(existing(path, "file of results", CURE).read_text(encoding="utf-8"))
        results["results"].items(), results["n-samples"].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path} holds no results of lm-eval: {CURE}") from None
    return results, path


def read_task(results: dict, path: Path, name: str) -> Task | str:
    """One task of a folder's results, or why it has no score of each item to compare.

    Raises:
        UserError: the samples are missing, or not of lm-eval.
    """
    key = main_metric(results["results"].get(name, {}))
    if key is None:
        return "no metric that is a number"
    metric, filter_ = key.split(",", 1)
    samples = path.with_name(path.name.replace("results", f"samples_{name}", 1) + "l")
    values, docs = defaultdict(list), {}
    for row in read_jsonl(samples, ("doc_id", "doc_hash"), CURE):
        if row.get("filter", filter_) == filter_:
            docs[row["doc_id"]] = row["doc_hash"]
            if row.get(metric) is not None:
                values[row["doc_id"]].append(row[metric])
    if not values or not all(finite(value) for group in values.values() for value in group):
        return f"{metric} is no number of each item"
    higher = results.get("higher_is_better", {}).get(name, {}).get(metric) is not False
    return Task(key, higher, docs, {doc: math.fsum(group) / len(group) for doc, group in values.items()})


def difference(a: Task, b: Task) -> dict:
    """One task's row: `n`, `a` and `b` ({"value", "stderr", "n"}), `difference` with `stderr`, `low` and `high`, `p`;
    and of the same items `correlation`, `wins`, `losses` and `ties` of the second, and `unpaired_stderr`, what the
    standard error would be without pairing.
    """
    from scipy.stats import binomtest, mannwhitneyu

    x, y = list(a.values.values()), list(b.values.values())
    first, second = accuracy(x), accuracy(y)
    unpaired = math.hypot(first["stderr"], second["stderr"])
    row = {
        "metric": a.metric,
        "higher_is_better": a.higher_is_better,
        "paired": a.docs == b.docs,
        "a": first,
        "b": second,
    }
    row["difference"] = second["value"] - first["value"]
    if row["paired"]:
        gaps = [b.values[doc] - value for doc, value in a.values.items()]
        sign = 1 if a.higher_is_better else -1
        wins, losses = sum(sign * gap > 0 for gap in gaps), sum(sign * gap < 0 for gap in gaps)
        row |= {"n": len(gaps), "stderr": accuracy(gaps)["stderr"], "unpaired_stderr": unpaired}
        row |= {"wins": wins, "losses": losses, "ties": len(gaps) - wins - losses}
        covariance = (unpaired**2 - row["stderr"] ** 2) / 2
        row["correlation"] = (
            covariance / first["stderr"] / second["stderr"] if first["stderr"] and second["stderr"] else None
        )
        row["p"] = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    else:
        row |= {
            "n": [len(x), len(y)],
            "stderr": unpaired,
            "p": float(mannwhitneyu(x, y, method="asymptotic").pvalue) if len({*x, *y}) > 1 else 1.0,
        }
    return row | {"low": row["difference"] - Z * row["stderr"], "high": row["difference"] + Z * row["stderr"]}


def mean_gain(rows: list[dict], tasks: list[tuple[Task, Task]]) -> dict:
    """The mean over tasks of the gain (the difference; where lower is better its negative), clustered: tasks that ask
    about one item err together."""
    errors: dict[str, float] = defaultdict(float)
    signs = [1 if row["higher_is_better"] else -1 for row in rows]
    for row, sign, (a, b) in zip(rows, signs, tasks):
        for task, mean, side in ((a, row["a"], -sign), (b, row["b"], sign)):
            for doc, value in task.values.items():
                errors[task.docs[doc]] += (
                    side * (value - mean["value"]) / math.sqrt(mean["n"] * max(1, mean["n"] - 1)) / len(rows)
                )
    value = math.fsum(sign * row["difference"] for row, sign in zip(rows, signs)) / len(rows)
    stderr = math.sqrt(math.fsum(error**2 for error in errors.values()))
    return {"value": value, "stderr": stderr, "low": value - Z * stderr, "high": value + Z * stderr, "n": len(rows)}


def holm(rows: list[dict]) -> None:
    """Give each row `p_corrected`, for that many rows at once (Holm 1979), and `beyond_noise`."""
    least = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row["p"])):
        least = row["p_corrected"] = max(least, min(1.0, row["p"] * (len(rows) - rank)))
        row["beyond_noise"] = least < LEVEL


def compare_folders(a: Path, b: Path, names: list[str], same_items: bool) -> dict:
    """`compare` of two folders of results, before the correction."""
    (found_a, path_a), (found_b, path_b) = read_results(a), read_results(b)

    def plain(name: str) -> str:
        return name.removesuffix("_base") if name.removesuffix("_base") in task_names() else name

    def tasks_of(results: dict) -> dict[str, str]:
        names = [name for name in results["n-samples"] if name in results["results"] and name != "end_token"]
        return {plain(name): name for name in names}

    theirs, ours = tasks_of(found_a), tasks_of(found_b)
    both = [name for name in theirs if name in ours]
    for name in names if same_items else ():
        if plain(name) not in both:
            raise UserError(
                f"{b if plain(name) in theirs else a} has no results of the task {name}: choose of those that both"
                f" have ({', '.join(both) or 'none'})"
            )
    rows, tasks, skipped = {}, [], {}
    for name in [name for name in both if not names or name in map(plain, names)]:
        one, other = read_task(found_a, path_a, theirs[name]), read_task(found_b, path_b, ours[name])
        why = next((task for task in (one, other) if isinstance(task, str)), None)
        if why or one.metric != other.metric:
            skipped[name] = why or f"{one.metric} in one, {other.metric} in the other"
            continue
        if one.docs == other.docs:
            docs = [doc for doc in one.docs if doc in one.values and doc in other.values]
            one.values = {doc: one.values[doc] for doc in docs}
            other.values = {doc: other.values[doc] for doc in docs}
        elif same_items:
            wrong = min(doc for doc in one.docs.keys() | other.docs.keys() if one.docs.get(doc) != other.docs.get(doc))
            raise UserError(
                f"{a} and {b} have different items in {name} (doc_id {wrong} for one): run both on the same data with"
                " the same --limit"
            )
        if one.values and other.values:
            rows[name] = difference(one, other)
            tasks.append((one, other))
        else:
            skipped[name] = "no item was judged of both"
    return {
        "a": str(a),
        "b": str(b),
        "tasks": rows,
        "mean_gain": mean_gain(list(rows.values()), tasks) if rows else None,
        "skipped": skipped,
    }


def has_results(folder: Path) -> bool:
    return (folder / "results.json").is_file() or any(folder.glob("results_*.json"))


def compare(folder_a: str | Path, folder_b: str | Path, tasks: list[str] | None = None) -> dict:
    """The comparison of two folders of results: `tasks` (name: see `difference`; and `p_corrected`, `beyond_noise`),
    `mean_gain`, `skipped` (name: why). Of two whole runs `stages`, each such a comparison; the correction is for all
    of their tasks.

    Args:
        tasks: only these, by their names without `_base`.

    Raises:
        UserError: folders without results, without a common task, or with different items.
    """
    a, b = (existing(folder, "folder of results", CURE) for folder in (folder_a, folder_b))
    whole_runs = [(folder / "eval").is_dir() and not has_results(folder) for folder in (a, b)]
    if any(whole_runs) and not all(whole_runs):
        raise UserError(
            f"{a if whole_runs[0] else b} is a whole run, the other folder is not: give two runs, or two folders in"
            " eval/"
        )
    if all(whole_runs):
        stages = [
            folder.name
            for folder in sorted((a / "eval").iterdir())
            if has_results(folder) and has_results(b / "eval" / folder.name)
        ]
        parts = {
            name: compare_folders(a / "eval" / name, b / "eval" / name, tasks or [], same_items=False)
            for name in stages
        }
        comparison = {
            "a": str(a),
            "b": str(b),
            "stages": {name: part for name, part in parts.items() if part["tasks"]},
        }
    else:
        comparison = compare_folders(a, b, tasks or [], same_items=True)
    rows = [row for part in comparison.get("stages", {"": comparison}).values() for row in part["tasks"].values()]
    if not rows:
        why = "; ".join(f"{name}: {reason}" for name, reason in comparison.get("skipped", {}).items())
        raise UserError(
            f"{a} and {b} have no task in common that can be compared" + (f" ({why})" if why else "") + f": {CURE}"
        )
    holm(rows)
    return comparison


def table(comparison: dict) -> str:
    """What moved beyond noise, then the rest, then the means."""
    parts = comparison.get("stages") or {"": comparison}
    rows = {
        " ".join(filter(None, (stage, name))): row
        for stage, part in parts.items()
        for name, row in part["tasks"].items()
    }
    width = max(map(len, rows)) + 8
    head = f"{'task':<{width}}{'n':>11}{'first':>8}{'second':>8}{'difference':>18}{'better/worse/equal':>20}{'p':>9}"
    lines = [f"first: {comparison['a']}", f"second: {comparison['b']}"]
    for title, moved in (
        (f"moved beyond noise (p < {LEVEL}, corrected for {len(rows)} tasks)", True),
        ("no clear difference", False),
    ):
        lines += (
            ["", title, head] if any(row["beyond_noise"] == moved for row in rows.values()) else ["", f"{title}: none"]
        )
        for name, row in rows.items():
            if row["beyond_noise"] == moved:
                label = name if row["higher_is_better"] else f"{name} (lower)"
                n = str(row["n"]) if row["paired"] else "{}, {}".format(*row["n"])
                counts = f"{row['wins']}/{row['losses']}/{row['ties']}" if row["paired"] else "other items"
                change = f"{row['difference']:+.3f} ± {Z * row['stderr']:.3f}"
                lines.append(
                    f"{label:<{width}}{n:>11}{row['a']['value']:>8.3f}{row['b']['value']:>8.3f}"
                    f"{change:>18}{counts:>20}{row['p_corrected']:>9.2g}"
                )
    lines.append("")
    for stage, part in parts.items():
        mean = part["mean_gain"]
        left_out = "".join(f"; {name} left out: {why}" for name, why in part["skipped"].items())
        lines.append(
            f"{stage or 'all'}: mean gain over {mean['n']} tasks {mean['value']:+.3f} ±"
            f" {Z * mean['stderr']:.3f}{left_out}"
        )
    return "\n".join([*lines, "± is half of a 95 % interval over items; another seed of training is not in it"])


@command
def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    (args,) = parse((CompareArguments,), ["--folders", *argv] if argv and not argv[0].startswith("-") else argv)
    if len(args.folders) != 2:
        raise UserError(f"give two folders of results, but got {len(args.folders)}: {' '.join(args.folders)}")
    if args.output and Path(args.output).is_dir():
        raise UserError(f"output {args.output} is a folder: give a .json file")
    comparison = compare(*args.folders, args.tasks)
    if args.output:
        output_folder(Path(args.output).parent)
        write_json(args.output, comparison)
    print(table(comparison))


if __name__ == "__main__":
    main()
