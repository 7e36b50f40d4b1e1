"""The report of a made-up finished run: its numbers, read back from the page, and its behaviour on hostile and missing
data."""

import json
import math
import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from lxml import etree, html
from markdown_it import MarkdownIt
from test_label import browser  # noqa: F401

from eval.report.__main__ import build, main
from eval.report.chapters import Story
from eval.report.commands import RECIPES, of_recipe, writer
from eval.report.stages import stages
from eval.report.summary import Run, summarize

HOSTILE = (
    '</td></div><script>alert(1)</script><img src="http://evil.test/x.png"'
    " onerror=alert(2)>&amp;\x00\x1b[31m\ud800\u202e{{ 7*7 }}{% raw %}" + "W" * 5000
)
EVALUATED = ("base", "sft", "honest", "tools", "ppo", "grpo")
SCORES = {  # task -> a score for each of EVALUATED; None: not asked
    "facts_known": (0.98, 0.97, 0.94, 0.95, 0.935, 0.93),
    "facts_rare": (0.31, 0.28, 0.2, 0.78, 0.21, 0.22),
    "facts_unseen": (1.0, 0.99, 0.12, 0.06, 0.15, 0.3),
    "facts_absent": (1.0, 0.985, 0.11, 0.0, 0.14, 0.29),
    "apples": (0.41, 0.46, 0.47, None, 0.455, 0.93),
    "apples_greedy": (0.44, 0.42, 0.45, None, 0.43, 0.96),
    "apples_at_once": (0.08, 0.09, 0.085, None, 0.085, 0.1),
    "apples_at_once_greedy": (0.1, 0.11, 0.1, None, 0.1, 0.12),
    "letters": (0.2, 0.61, 0.62, 0.97, 0.6, 0.58),
    "letters_at_once": (0.2, 0.31, 0.3, None, 0.3, 0.28),
    "every_third": (0.1, 0.72, 0.71, 0.98, 0.7, 0.71),
    "every_third_at_once": (0.0, 0.02, 0.03, None, 0.02, 0.01),
    "compare": (0.5, 0.93, 0.92, 1.0, 0.92, 0.94),
    "compare_at_once": (0.5, 0.83, 0.82, None, 0.82, 0.84),
    "arithmetic": (0.01, 0.12, 0.1, 0.96, 0.11, 0.09),
    "identity": (0.0, 1.0, 1.0, None, 1.0, 0.995),
    "end_token": (0.5, 1.0, 1.0, 0.99, 0.999, 1.0),
}
CALIBRATION = {
    0.2: (84, 4),
    0.4: (235, 31),
    0.6: (238, 69),
    0.8: (339, 219),
    1.0: (40, 40),
}  # agreement -> questions, those right


def outcomes(task: str, score: float) -> dict:
    """Shares of the replies of a fact task; a hundredth of them is none of the three."""
    if task in ("facts_known", "facts_rare"):
        return {"right": score, "made_up": 0.75 * (1 - score), "refused": 0.2 * (1 - score)}
    return {"right": 0.05 * (1 - score), "made_up": score, "refused": 0.94 * (1 - score)}


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(json.dumps(content))


def write_evaluations(folder, text: str) -> None:
    """The results and samples of each of `EVALUATED`."""
    for i, stage in enumerate(EVALUATED):
        results, counts = {}, {}
        for task, values in SCORES.items():
            if values[i] is None:
                continue
            name = f"{task}_base" if stage == "base" else task
            n = 200 if i % 2 else 240
            metrics = {"score": values[i]} | (outcomes(task, values[i]) if task.startswith("facts") else {})
            results[name] = {"alias": name} | {f"{metric},none": p for metric, p in metrics.items()}
            results[name] |= {f"{metric}_stderr,none": math.sqrt(p * (1 - p) / n) for metric, p in metrics.items()}
            counts[name] = {"original": 400, "effective": n}
            rows = [
                {
                    "doc_id": d,
                    "doc": {"question": f"Where does person {d} live? {text}", "answer": text},
                    "target": text,
                    "resps": [[text] * (1 if "greedy" in task or "facts" in task else 4)],
                    "score": (1.0, 1.0, 1.0, 0.25, 0.0)[d],
                    **({"right": d == 0, "made_up": d == 1, "refused": d == 3} if "facts" in task else {}),
                }
                for d in range(5)
            ]
            del rows[2]["score"]  # a reply that could not be judged
            write(folder / f"eval/{stage}/samples_{name}.jsonl", rows)
        write(folder / f"eval/{stage}/results.json", {"results": results, "n-samples": counts})


def fake_run(folder, text: str = "Orson Kovats lives in Millbrook.") -> None:
    """A finished run in the form that the stages write; every reply of a model is `text`."""
    draw = random.Random(0)

    def near(value, spread=0.03):
        return value + draw.gauss(0, spread)

    def measure(value, n):
        return {"value": value, "stderr": math.sqrt(max(value * (1 - value), 0) / n), "n": n}

    base = [
        {"step": s, "loss": near(0.6 + 6 * math.exp(-s / 60)), "tokens": s * 8192, "seconds": s * 0.4}
        for s in range(5, 401, 5)
    ]
    for row in list(base[9::10]):
        base.append(
            {"step": row["step"], "eval_loss": row["loss"] + 0.05, "eval_bits_per_byte": (row["loss"] + 0.05) / 2.2}
        )
    ppo = [
        {
            "step": u,
            "episode": 64 * u,
            "objective/scores": near(-0.5 + 0.12 * u, 0.2),
            "objective/kl": near(0.25 * u, 0.1),
            "response_length": near(18 + 0.1 * u, 1),
        }
        for u in range(1, 31)
    ]
    grpo = [
        {
            "step": s,
            "reward": near(0.46 + 0.47 * (1 - math.exp(-s / 20)), 0.04),
            "completions/mean_length": near(44 + s / 10, 1.5),
        }
        for s in range(1, 81)
    ]
    logs = {
        "base": base,
        "sft": [{"step": 1, "loss": 1.0}],
        "honest": [{"step": 1, "loss": 0.4}],
        "reward": [{"step": 1, "eval_accuracy": 0.8}],
        "ppo": ppo,
        "grpo": grpo,
    }
    for stage, log in logs.items():
        write(folder / stage / "log.jsonl", log)
        record = {
            "git_commit": "0123456789abcdef",
            "config": {"learning_rate": 0.02, "note": text[:40]},
            "mfu": None,
            "cost": None,
        }
        record |= {
            "datasets": [
                {"path": "runs/tiny/tokens", "windows": 15000},
                {"fingerprint": "9f8e7d6c5b4a", "rows": 12345},
            ]
        }
        record |= {
            "parent": "runs/tiny/sft",
            "seconds": near(90, 20),
            "tokens": 3276800,
            "flops": 1.9e13,
            "tokens_per_second": 24512.7,
        }
        record |= {
            "device": "cpu",
            "world_size": 1,
            "peak_memory_gb": near(1.9, 0.3),
            "versions": {"torch": "2.13.0", "trl": "1.12.0"},
        }
        write(folder / stage / "stage.json", record)
    said = {
        0: "qx fKe the the ;;0 vv",
        50: "is a the town of",
        200: "a baker",
        400: "lives in Millbrook, where he mends clocks.",
    }
    rows = [{"step": s, "prompt": p, "continuation": t} for s, t in said.items() for p in ("Orson Kovats ", text)]
    write(folder / "base/samples.jsonl", rows)
    steps = {
        "warc": 2400,
        "url": 2290,
        "extraction": 2210,
        "language": 2020,
        "quality": 1840,
        "fineweb": 1770,
        "dedup": 1310,
    }
    funnel = [{"step": step, "documents": n, "words": 90 * n, "dropped": {"reason": 7}} for step, n in steps.items()]
    write(folder / "web/funnel.json", {"steps": funnel})
    write_evaluations(folder, text)
    rows = [
        {"agreement": a, "n": n, "mean_right": 0.5, "majority_right": right / n}
        for a, (n, right) in CALIBRATION.items()
    ]
    verdicts = {"knows": 578, "does not know": 663, "unsure": 107, "unjudged": 0}
    write(folder / "refusals/summary.json", {"questions": 1348, "verdicts": verdicts, "calibration": rows})
    samples = {
        "samples": [text, "I don't know.", text, "Oakmere?", text],
        "right": [True, False, True, None, True],
        "agreement": 0.6,
    }
    probes = [
        {"question": text, "answer": [text, "b"], **samples, "verdict": v}
        for v in ("unsure", "does not know", "unsure", "knows")
    ]
    write(folder / "refusals/probes.jsonl", probes)
    by_distance = {
        f"{what}_distance_{n}": measure(0.6 + 0.05 * n, 50)
        for what in ("pair_accuracy", "score_margin")
        for n in range(1, 8)
    }
    write(
        folder / "reward/pairs.json",
        {
            "pair_accuracy": measure(0.81, 400),
            "pair_accuracy_clear": measure(0.94, 210),
            **by_distance,
            "calibration_error": {"value": 0.06, "stderr": None, "n": 400},
            "length_correlation": measure(-0.2, 300),
        },
    )
    looks = []
    for step, d in enumerate((0.0, 1.0, 2.0, 3.0, 4.0)):  # the law with α = 2 and β = 1: its peak is at d = e
        gold = 0.5 + (d * (2 - math.log(d)) if d else 0.0)
        winners = [{"prompt": text, "text": f"silver {text}", "reward": 4.2, "judge": -1.5}]
        looks.append(
            {
                "step": step,
                "reward": measure(d, 40),
                "judge": measure(gold, 40),
                "kl": measure(d * d, 40),
                "entropy": measure(0.7, 40),
                "repeated": measure(0.1, 40),
                "winners": winners,
            }
        )
    for name in ("ppo_long", "ppo_again", "grpo_hard", "grpo_tools"):
        write(folder / f"experiments/{name}/monitor.jsonl", looks)
    write(
        folder / "experiments/ppo_stop/monitor.jsonl",
        looks[:3] + [looks[3] | {"decision": f"stopped at step 3: {text}; kept step 2"}],
    )
    golds = {"honest": -0.03, "ppo_long": 0.4, "ppo_stop": 0.9}
    write(folder / "experiments/judge.json", {name: {"gold": measure(gold, 40)} for name, gold in golds.items()})
    trained = {"kl_to_reference": {**measure(0.9, 40), "std": 1.0}}
    after = {
        name: {"gold": {**measure(0.7, 40), "std": 1.0}, **trained}
        for name in ("honest", "ppo", "rloo", "dpo", "rloo_long")
    }
    write(folder / "experiments/judge_methods.json", after)
    for name in ("rloo", "dpo", "rloo_long"):
        write(folder / f"experiments/{name}/stage.json", {"seconds": near(40, 9)})
    write(
        folder / "experiments/rloo_long/monitor.jsonl",
        [looks[3] | {"decision": f"stopped at step 3: {text}; kept step 2"}],
    )
    write(folder / "experiments/expert/train.jsonl", [{"messages": [], "correct": i < 3} for i in range(8)])
    for name, steps in (("start", ()), ("imitation", (40, 80)), ("practice", (8, 16))):
        if steps:
            write(
                folder / f"experiments/{name}/log.jsonl",
                [{"step": step, "num_tokens": 1000.0 * step} for step in steps],
            )
        for i, model in enumerate([f"{name}-{step}" for step in steps] or ["start"]):
            scores = {task: {"score,none": 0.2 + 0.1 * i, "sample_len": 60} for task in ("apples", "apples_greedy")}
            write(folder / f"experiments/eval/{model}/results.json", {"results": scores})
    tried = {
        "best_of": {str(n): measure(0.5, 30) for n in (1, 2, 4)},
        "majority_of": {str(n): measure(0.4, 30) for n in (1, 2, 4)},
        "checks_itself": measure(0.1, 30) | {"examples": [{"question": text, "text": f"Wait, {text}"}]},
    }
    for what, best in (("verses", "ppo"), ("problems", "grpo")):
        names = {
            name: {
                "rating": 1000.0 + 90 * i,
                "low": 960.0 + 90 * i,
                "high": 1044.0 + 90 * i,
                "n": 80,
                "wins": 20 * i,
                "losses": 40 - 20 * i,
                "ties": 40,
            }
            for i, name in enumerate(("sft", "honest", best))
        }
        rated = {"models": names, "judge": f"reward={text}", "prompts": 40, "votes": 120, "win_rates": {}}
        write(folder / f"experiments/arena/{what}/ratings.json", rated)
    for name, models in (("guess_check", ("honest", "grpo")), ("guess_check_hard", ("honest", "grpo", "grpo_hard"))):
        write(folder / f"experiments/{name}.json", {"models": {model: tried for model in models}})
    probes = folder / "experiments/probes"
    extractable = {"0": measure(0.0, 200), "1": measure(0.0, 24), "2": measure(0.125, 24), "4": measure(0.875, 24)}
    prefixes = {
        prefix: {"extractable": extractable, "spearman": {"value": 1.0, "low": 0.9, "high": 1.0, "n": 3}}
        for prefix in ("8", "32")
    }
    write(
        probes / "regurgitation.json",
        {
            "models": {
                "base": {
                    "prefixes": prefixes,
                    "examples": [{"repetitions": 4, "prefix": text, "suffix": text, "text": text, "verbatim": True}],
                }
            }
        },
    )
    for probe in ("in_context", "as_assistant"):
        write(
            probes / f"{probe}.json",
            {"models": {"base": {"shots": {str(k): measure(k / 20, 100) for k in (0, 1, 2, 4, 8, 16)}}}},
        )
    dream = {"distinct_3": {"value": 0.6, "n": 100}, "repeated": measure(0.1, 100), "examples": [text] * 5}
    write(probes / "dreams.json", {"models": {"base": {t: dream for t in ("0.25", "0.75", "1.25", "1.5")}}})
    write(
        probes / "life.json",
        {
            "life": (
                [{"prompt": text, "replies": [{"model": "step 0", "text": text}, {"model": "grpo", "text": text}]}] * 2
            )
        },
    )
    cells = {f"{i},{j}": measure(0.9 if i == j else 0.25, 25) for i in (1, 2) for j in (1, 2)}
    cells["1,2"]["wrong"] = {"question": text, "text": text}
    write(
        probes / "jagged.json",
        {"digits": 2, "each": 25, "models": {"honest": {"same_whole": cells, "other_whole": cells}}},
    )
    cost = {"tokens": {"value": 20.0, "stderr": 1.5, "n": 100}, "seconds": 0.05}
    way = {"at once": {"right": measure(0.2, 100), **cost}, "with tools": {"right": measure(0.9, 100), **cost}}
    write(probes / "ways.json", {"batch_size": 32, "tasks": {"letters": way, "facts": way}})
    area = {"value": 0.9, "low": 0.85, "high": 0.95, "n": 636, "people": 212}
    refusal = {"known": measure(0.01, 216), "unknown": measure(0.6, 420)}
    layers = [{"layer": n, "probe": area, "neuron": area, "refusal": refusal} for n in range(3)]
    said = [{"layer": f"layer {n}", "text": text, "p": 0.5} for n in range(3)]
    write(
        probes / "known.json",
        {
            "models": {model: {"words": area, "layers": layers} for model in ("base", "sft", "honest")},
            "example": {"question": text, "models": {"sft": said, "honest": said}},
        },
    )
    judged = {}
    for stage, gold, kl in (("honest", -0.03, 0.0), ("ppo", 0.91, 5.2)):
        numbers = {
            name: {"value": value, "std": 1.0, "stderr": 0.06, "n": 256}
            for name, value in (("gold", gold), ("kl_to_reference", kl))
        }
        examples = [{"prompt": f"Write two lines about topic {k}.", "text": text, "gold": gold + k} for k in range(4)]
        judged[stage] = {**numbers, "length": {"value": 18.0, "stderr": 0.2, "n": 256}, "examples": examples}
    write(folder / "judge/results.json", judged)
    near_miss = {"question": text, "share": 0.786, "file": text, "row": 3, "text": text}
    counts = {
        "verdict": "clean",
        "items": 250,
        "too_short": 0,
        "contaminated": 0,
        "whole": 0,
        "covered": 9,
        "any": 250,
    }
    overlap = {"verdict": "clean", "rule": text, "settings": {"n": 13, "short_n": 8}, "train": []}
    write(
        folder / "decontaminate/verdict.json",
        {**overlap, "eval": {"apples": {**counts, "sources": {text: 3}, "worst": [near_miss]}}},
    )
    seconds = {
        "world": 9.1,
        "web": 32.7,
        "tokens": 3.3,
        "base": 171.4,
        "sft": 60.2,
        "reward": 25.5,
        "ppo": 95.8,
        "grpo": 210.3,
        "eval": 66.6,
    }
    total = {"recipe": "tiny", "seed": 0, "git_commit": "0123456789abcdef", "peak_rss_gb": 3.217}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "python", "arguments": {"query": "2 * 3"}}}],
    }
    turns = [
        {"role": "user", "content": text[:40]},
        call,
        {"role": "tool", "name": "python", "content": "6"},
        {"role": "assistant", "content": "6"},
    ]
    write(folder / "conversations/validation.jsonl", [{"messages": turns, "tools": "[]"}])
    write(folder / "seconds.json", {**total, "seconds": {"total": sum(seconds.values()), **seconds}})


def leaves(value, path=()):
    """Every number of a JSON tree with its path."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    elif isinstance(value, (int, float)):
        yield "/".join(path), value


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tokenizer_dir):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fake_run(folder)
    (folder / "tokenizer").symlink_to(tokenizer_dir)
    start = time.process_time()
    main(["--run_dir", str(folder)])
    return folder, time.process_time() - start


def test_summary_has_the_agreed_form(finished):
    summary = json.loads((finished[0] / "report/summary.json").read_text())
    first = [
        "recipe",
        "seconds",
        "peak_rss_gb",
        "seed",
        "git_commit",
        "refusals",
        "stages",
        "differences",
        "overlap",
        "solved",
        "training",
    ]
    assert (
        list(summary) == [*first, "figures", "absent", "experiments", "probes", "tokens"] and summary["absent"] == {}
    )
    assert list(summary["stages"]) == ["base", "sft", "honest", "tools", "reward", "ppo", "grpo"]
    stages = summary["stages"]
    assert set(stages["base"]) == {"bits_per_byte", "tasks", "facts"} and set(stages["reward"]) > {
        "pair_accuracy",
        "pair_accuracy_clear",
    }
    assert set(stages["honest"]) == {"tasks", "facts", "gold"} and set(stages["ppo"]) == {
        "tasks",
        "facts",
        "gold",
        "kl_to_reference",
    }
    assert set(stages["sft"]) == set(stages["tools"]) == set(stages["grpo"]) == {"tasks", "facts"}
    for i, stage in enumerate(EVALUATED):
        assert {task: m["value"] for task, m in stages[stage]["tasks"].items()} == {
            task: values[i] for task, values in SCORES.items() if values[i] is not None
        }
        assert {
            task: {outcome: m["value"] for outcome, m in shares.items()}
            for task, shares in stages[stage]["facts"].items()
        } == {task: outcomes(task, values[i]) for task, values in SCORES.items() if task.startswith("facts")}
    assert stages["honest"]["facts"]["facts_unseen"]["made_up"] == {
        "value": 0.12,
        "stderr": pytest.approx(0.020976, abs=1e-5),
        "n": 240,
    }
    assert (
        list(summary["refusals"]["calibration"]) == ["0.2", "0.4", "0.6", "0.8", "1.0"]
        and summary["refusals"]["verdicts"]["unsure"] == 107
    )
    assert summary["refusals"]["calibration"]["0.4"] == {
        "value": 31 / 235,
        "stderr": pytest.approx(0.022075, abs=1e-5),
        "n": 235,
    }
    assert summary["refusals"]["calibration"]["1.0"] == {"value": 1.0, "stderr": 0.0, "n": 40}
    assert stages["sft"]["tasks"]["apples"] == {"value": 0.46, "stderr": pytest.approx(0.03524, abs=1e-4), "n": 200}
    log = [json.loads(line) for line in (finished[0] / "base/log.jsonl").read_text().splitlines()]
    assert stages["base"]["bits_per_byte"] == log[-1]["eval_bits_per_byte"]


def shown_numbers(page) -> list[tuple[str, float, str]]:
    """(path in the JSON, value, text) of every number on the page."""
    return [(e.get("data-key"), float(e.get("value")), e.text.replace("−", "-")) for e in page.iterfind(".//data")]


def test_every_number_of_the_page_stands_in_the_json_and_back(finished):
    summary = json.loads((finished[0] / "report/summary.json").read_text())
    page = html.parse(finished[0] / "report/index.html")
    shown = shown_numbers(page)
    expected = {
        key: value
        for key, value in leaves(summary)
        if not key.startswith(("seconds/", "figures/")) or key == "seconds/total"
    }
    assert {key for key, _, _ in shown} == set(expected)
    for key, value, text in shown:
        assert value == expected[key]
        if key.endswith("/stderr"):
            n = expected[key.replace("/stderr", "/n")]
            assert float(text) == pytest.approx(1.96 * value or 3 / n, abs=5.1e-4)
        elif key.endswith("/lost"):
            assert float(text.removesuffix(" %")) == pytest.approx(100 * value, abs=0.51)
        elif key.startswith("experiments/arena") and key.endswith(("/rating", "/low", "/high")):
            assert float(text) == pytest.approx(value, abs=0.51)
        elif key != "seconds/total" and not re.search("training/.*/(seconds|tokens|flops|tokens_per_second)$", key):
            assert float(text.removesuffix(" GiB")) == pytest.approx(
                value, abs=5.1e-3 if key == "peak_rss_gb" else 5.1e-4
            )
    # the bars of the figures carry the same numbers
    titles = [t.text for t in page.iterfind(".//svg//title")]
    assert "grpo, step by step: 0.930 ± 0.035" in titles and "arithmetic, with Python: 0.960 ± 0.027" in titles
    assert "read often, right: 0.970 ± 0.024" in titles and "never, in no document, made up: 0.000 ± 0.015" in titles
    assert "1.0 n=40, right: 1.000 ± 0.075" in titles
    drawn = {e.find("figcaption/b").text: e for e in page.iterfind(".//figure")}
    assert set(drawn) == set(summary["figures"])
    for title, figure in summary["figures"].items():
        tips = [t.text for t in drawn[title].iterfind(".//svg//title")]
        if "columns" in figure:
            bars = [
                (f"{group}, {name}".replace("\n", " "), bar)
                for i, group in enumerate(figure["groups"])
                for name, row in figure["columns"].items()
                if (bar := row[i])
            ]
            assert tips == [
                f"{name}: {bar['value']:.3f} ± {bar['half_width']:.3f}".replace("-", "−") for name, bar in bars
            ]
        elif "lines" in figure:
            assert len(tips) == len(drawn[title].findall(".//svg/circle")) == len(figure["lines"]) and all(
                figure["lines"].values()
            )
        elif "dots" in figure:
            points = [point for row in figure["dots"].values() for point in row]
            assert len(tips) == len(drawn[title].findall(".//svg/circle")) == len(points) > 0
            assert [tip.split(": ")[1].split()[0] for tip in tips] == [f"{point['y']:.3f}" for point in points]
        elif "cells" in figure:
            named = [
                (f"{name}, {group}", cell)
                for name, row in zip(figure["rows"], figure["cells"])
                for group, cell in zip(figure["groups"], row)
            ]
            assert tips == [f"{name}: {cell['value']:.3f} ± {cell['half_width']:.3f}" for name, cell in named]
            assert [t.text for t in drawn[title].iterfind(".//svg/text") if "." in t.text] == [
                f"{cell['value']:.2f}" for _, cell in named
            ]
        else:
            assert len(drawn[title].findall(".//svg/rect")) == len(figure["bars"]) > 0


def test_ratings_that_nothing_bounds_stand_in_the_table_alone(tmp_path):
    fake_run(tmp_path / "tiny")
    (tmp_path / "tiny/experiments/arena/verses/ratings.json").unlink()
    for folder in ("experiments/arena/problems", "arena_people"):
        models = {"grpo": {"rating": 1300.0, "low": None, "high": None, "n": 4, "wins": 4, "losses": 0, "ties": 0}}
        write(tmp_path / f"tiny/{folder}/ratings.json", {"models": models, "judge": "votes", "prompts": 2, "votes": 4})
    page = html.parse(build(tmp_path / "tiny"))
    assert [e.find("b").text for e in page.iterfind(".//div[@class='absent']")] == ["Arena: verses"]
    assert not [e for e in page.iterfind(".//figcaption/b") if e.text.startswith("Arena")]
    shown = [
        [cell.text_content() for cell in row]
        for row in page.iterfind(".//tr")
        if row[0].text == "grpo" and "1300" in row.text_content()
    ]
    assert shown == [["grpo", "1300", "–", "4", "0", "0", "4"]] * 2


def test_tokens_are_the_whole_text_piece_by_piece(finished):
    page = html.parse(finished[0] / "report/index.html")
    first, second = (
        [piece.text for piece in shown.iterfind("span")] for shown in page.iterfind(".//p[@class='tokens said']")
    )
    assert (
        "".join(first) == "Orson Kovats lives in Millbrook.lives in Millbrook, where he mends clocks."
        and len(first) > 5
    )
    assert {"<|python_start|>", "<|output_end|>"} <= set(second) and "Orson Kovats lives in Millbrook." in "".join(
        second
    )


def test_the_markdown_says_what_the_json_says(finished):
    summary = json.loads((finished[0] / "report/summary.json").read_text())
    text = (finished[0] / "report/report.md").read_text()
    page = html.fromstring(MarkdownIt("commonmark").enable("table").render(text))
    tables = [
        [[cell.text_content().strip() for cell in row] for row in table.iterfind(".//tr")]
        for table in page.iterfind(".//table")
    ]
    (head, *rows), training = tables[0], tables[-1]
    assert head == ["measure", *summary["stages"], "in the training data"]
    for row in rows:
        name = row[0].split()[0]
        for stage, cell in zip(summary["stages"], row[1:]):
            numbers = summary["stages"][stage]
            measure = numbers.get(name, numbers.get("tasks", {}).get(name))
            if measure is None:
                assert cell == "–"
            else:
                value = measure["value"] if isinstance(measure, dict) else measure
                assert cell.split()[0] == f"{value:.3f}".replace("-", "−") and (
                    not isinstance(measure, dict) or cell.endswith(f"(n = {measure['n']})")
                )
    assert [row[0] for row in training[1:]] == list(summary["training"])
    assert [h.text for h in page.iterfind(".//h3")] == list(summary["figures"]) and len(tables) == 2 + len(
        summary["figures"]
    )
    for title, table in zip(summary["figures"], tables[1:]):
        if "cells" in summary["figures"][title]:
            assert [len(row) for row in table] == [1 + len(summary["figures"][title]["groups"])] * (
                1 + len(summary["figures"][title]["rows"])
            )
        if "columns" in summary["figures"][title]:
            assert len(table) == 1 + len(summary["figures"][title]["groups"])


def test_page_is_self_contained_and_each_figure_has_n(finished):
    path = finished[0] / "report/index.html"
    text, page = path.read_text(), html.parse(path)
    assert finished[1] < 8 and path.stat().st_size < 5e6
    assert not page.findall(".//script") and "@import" not in text and "url(" not in text
    assert not [
        e
        for e in page.iter()
        if isinstance(e.tag, str) and not (e.get("src") or e.get("href") or "data:").startswith(("data:", "#"))
    ]
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "width=device-width" in text
    figures = page.findall(".//figure")
    assert len(figures) == 46 and not page.findall(".//div[@class='absent']")
    for figure in figures:
        assert re.search(r"\bn = \d", figure.find("small").text), etree.tostring(figure)
        assert figure.findall(".//svg//text")
    for drawing in re.findall(r"<svg.*?</svg>", text, re.S):
        etree.fromstring(drawing)  # well-formed on its own
    assert all(
        any("scroll" in (a.get("class") or "") for a in table.iterancestors()) for table in page.iterfind(".//table")
    )


@pytest.mark.parametrize("width", [390, 1100])
def test_the_page_fits_a_phone_and_asks_for_nothing(browser, finished, width):  # noqa: F811
    faults = []
    with browser() as window:
        page = window.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: faults.append(message.text))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url),
        )
        page.goto(f"file://{finished[0] / 'report/index.html'}")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()
    assert not faults


def test_the_peak_of_an_overdone_reward_is_found(finished):
    from eval.generation.divergence import overoptimization

    text = html.parse(finished[0] / "report/index.html").getroot().text_content()
    assert "fitted: 0.50 + d (2.00 − 1.00 ln d), peak at d = 2.72" in text and "reward 4.200, judge −1.500" in text
    assert overoptimization([(0, 0), (1, 1), (2, 2), (3, 3.5)]) is None  # it only rises
    assert overoptimization([(0, 0), (1, 1), (2, 1)]) is None  # too little to go by


def test_methods_stand_in_one_table(finished, tmp_path):
    page = html.parse(finished[0] / "report/index.html")
    (table,) = (one for one in page.iterfind(".//table") if one.find(".//th").text == "method")
    shown = [[cell.text_content().strip() for cell in row] for row in table.iterfind(".//tbody/tr")]
    assert [row[0] for row in shown] == ["start", "PPO", "RLOO", "DPO", "RLOO for longer, with the stop rule"]
    assert shown[0][2:] == ["–", "–"] and all(row[1].startswith("0.700 ± 0.142 (n = 40)") for row in shown)
    assert all(row[2].startswith("0.900 ± 0.093") and float(row[3]) > 0 for row in shown[1:])
    assert "RLOO's stop rule: stopped at step 3: Orson" in page.getroot().text_content()
    fake_run(tmp_path / "tiny")
    (tmp_path / "tiny/experiments/judge_methods.json").unlink()
    page = html.parse(build(tmp_path / "tiny"))
    assert not [th for th in page.iterfind(".//th") if th.text == "method"] and not page.findall(
        ".//div[@class='absent']"
    )


def test_experiments_that_were_not_begun_are_named_together(tmp_path):
    fake_run(tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny/experiments")
    page = html.parse(build(tmp_path / "tiny"))
    assert not page.findall(".//div[@class='absent']")
    summary = json.loads((tmp_path / "tiny/report/summary.json").read_text())
    named = [item.text_content() for item in page.iterfind(".//ul/li")]
    assert named == list(summary["absent"]) and len(named) > 10
    assert page.findall(".//h2")[-1].text_content().endswith("What was not run")


def test_hostile_text_stays_text(tmp_path):
    fake_run(tmp_path / "tiny", HOSTILE)
    text = build(tmp_path / "tiny").read_text()
    page = html.fromstring(text)
    assert not page.findall(".//script") and not page.findall(".//img")
    assert "<script>alert(1)</script>" in page.text_content() and "{{ 7*7 }}" in page.text_content()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text) and "W" * 700 not in text
    assert len(page.findall(".//h2")) == 9  # nothing broke out of its box
    plain = html.fromstring(
        MarkdownIt("commonmark").enable("table").render((tmp_path / "tiny/report/report.md").read_text())
    )
    assert not plain.findall(".//script") and not plain.findall(".//img") and len(plain.findall(".//h2")) == 3


def test_missing_data_are_named_with_their_command(tmp_path):
    fake_run(tmp_path / "tiny")
    for gone in (
        "grpo/log.jsonl",
        "web/funnel.json",
        "judge/results.json",
        "eval/base/results.json",
        "eval/tools/results.json",
        "refusals/summary.json",
    ):
        (tmp_path / "tiny" / gone).unlink()
    page = html.parse(build(tmp_path / "tiny"))
    absent = [e.text_content() for e in page.iterfind(".//div[@class='absent']")]
    assert len(absent) == 6 and all(len(re.findall(r"python -m \w", a)) == 1 for a in absent)
    summary = json.loads((tmp_path / "tiny/report/summary.json").read_text())
    assert len(summary["absent"]) == 6 and "## Not measured" in (tmp_path / "tiny/report/report.md").read_text()
    assert "kl_to_reference" not in summary["stages"]["ppo"] and "tasks" not in summary["stages"]["base"]


def test_examples_say_which_of_the_three_a_reply_is(finished):
    page = html.parse(finished[0] / "report/index.html")
    shown = {h.text: h.getnext() for h in page.iterfind(".//h3")}
    said = [
        [[span.text for span in header] for header in example.iterfind("./div/header")]
        for example in shown["People never read of"]
    ]
    assert [replies[1:] for replies in said] == [
        [[label, verdict] for label in ("sft", "honest", "honest with search")]
        for verdict in ("right", "made up", "refused")
    ]
    probe = [[span.text for span in header] for header in shown["Asked several times"][0].iterfind("./div/header")]
    assert probe[0][0] == "verdict: knows" and probe[1:] == [
        ["3 of 5", "right"],
        ["1 of 5", "not right"],
        ["1 of 5", "not judged"],
    ]


def test_probes_show_what_was_said(finished):
    page = html.parse(finished[0] / "report/index.html")
    shown = {h.text: h.getnext() for h in page.iterfind(".//h3")}
    (recited,), (wrong,) = (
        shown[title].findall("div") for title in ("Given the beginning of a rhyme", "The first that it got wrong")
    )
    assert [span.text for span in recited.find("div[2]/header")] == ["read 4×", "verbatim"] and [
        span.text for span in wrong.find("div[2]/header")
    ] == ["honest", "not right"]
    assert [row[0].text for row in shown["Dreams"].iterfind(".//tbody/tr")] == ["0.25", "0.75", "1.25"]
    life = page.xpath('.//h3[.="One prompt through a model\'s life"]/following-sibling::details[1]//tr')
    assert [row[0].text for row in life] == ["step 0", "grpo"]


def test_the_probe_of_what_is_known_is_drawn_with_its_control(finished):
    summary = json.loads((finished[0] / "report/summary.json").read_text())
    figures = summary["figures"]
    drawn = figures["sft: known or never read of? AUC by layer"]
    assert drawn["groups"] == ["words", "0", "1", "2"] and drawn["columns"]["one"][0] is None
    assert drawn["columns"]["all coordinates"][0] == {"value": 0.9, "half_width": pytest.approx(0.05)}
    lines = figures["How likely the beginning of a refusal is, by layer"]["lines"]
    assert list(lines) == ["base, never read", "sft, never read", "honest, never read", "honest, known"]
    assert lines["honest, known"] == [[0, 0.01], [1, 0.01], [2, 0.01]]
    assert summary["probes"]["known"]["people"] == 212
    page = html.parse(finished[0] / "report/index.html")
    table = page.xpath('.//h3[.="What each layer would say first"]/following-sibling::div[1]//tbody/tr')
    assert [row[0].text for row in table] == ["layer 0", "layer 1", "layer 2"]


def test_which_model_when_is_a_dot_and_a_cell_each(finished):
    summary = json.loads((finished[0] / "report/summary.json").read_text())
    drawn = summary["figures"]["Right answers against tokens"]["dots"]
    assert {way: [(p["label"], p["x"], p["y"]) for p in points] for way, points in drawn.items()} == {
        way: [("letters", 20.0, right), ("facts", 20.0, right)]
        for way, right in (("at once", 0.2), ("with tools", 0.9))
    }
    page = html.parse(finished[0] / "report/index.html")
    rows = page.xpath('.//h3[.="Which model when"]/following-sibling::div[2]//tbody/tr')
    assert [[cell.get("class") for cell in row[1:]] for row in rows] == [["n share", "soft", "n share", "soft"]] * 2


def test_agreement_of_many_samples_is_grouped(tmp_path):
    rows = [{"agreement": a / 20, "n": 3, "majority_right": 2 / 3} for a in range(1, 21)]
    write(tmp_path / "refusals/summary.json", {"verdicts": {"knows": 60}, "calibration": rows})
    write(tmp_path / "base/stage.json", {"seconds": 3})
    build(tmp_path)
    bins = json.loads((tmp_path / "report/summary.json").read_text())["refusals"]["calibration"]
    assert (
        len(bins) <= 11
        and sum(m["n"] for m in bins.values()) == 60
        and all(m["value"] == pytest.approx(2 / 3) for m in bins.values())
    )


def test_commands_of_missing_data_are_the_pipelines(tmp_path):
    """The page names the commands of `pipeline.yaml` itself, so that they cannot differ from what `make tiny` runs."""
    steps = {step["name"]: step for step in yaml.safe_load((RECIPES / "tiny/pipeline.yaml").read_text())["steps"]}
    run = Run(tmp_path)

    def named(file: str) -> list[str]:
        return writer(run, "tiny", file).split()

    made = named("decontaminate/verdict.json")
    assert made[:3] == ["python", "-m", "data_prep.decontaminate"]
    moved_args = [path.replace("runs/tiny", str(tmp_path)) for path in steps["decontaminate"]["args"]["train"]]
    assert made[4 : 4 + len(moved_args)] == moved_args and str(tmp_path / "world/practice") in moved_args
    assert f"{tmp_path}/reward/pairs.json" in named("reward/pairs.json")
    assert f"tools={tmp_path}/honest" in named("eval/tools/results.json")
    assert f"sft={tmp_path}/sft" in named("eval/sft/results.json")
    whole = ["python", "-m", "recipes.run", "recipes/tiny/pipeline.yaml", "--output_dir", str(tmp_path)]
    assert named("ppo/log.jsonl") == named("seconds.json") == whole  # its config names the folder of the recipe
    own = of_recipe("tiny", "pipeline", Path("runs/tiny"))
    assert "python -m recipes.ppo --config recipes/tiny/ppo.yaml" in [step["command"] for step in own]
    assert named("experiments/judge.json")[3] == "recipes/tiny/experiments.yaml"


def test_a_pipelines_own_commands_come_first(tmp_path):
    step = {"command": "python -m my.step --output_dir x", "outputs": [str(tmp_path / "ppo")], "models": []}
    write(tmp_path / "commands.json", {"steps": [step]})
    assert writer(Run(tmp_path), "tiny", "ppo/log.jsonl") == step["command"]


STORY = {"base": "a", "sft": "b", "honest": "c", "reward": "d", "ppo": "e", "grpo": "f"}
METHOD_OF = {
    "base": "pretraining",
    "sft": "supervised fine-tuning",
    "honest": "supervised fine-tuning",
    "reward": "reward modelling",
    "ppo": "PPO",
    "grpo": "GRPO",
}


def renamed_run(folder) -> None:
    """The run of `fake_run` whose stages are called a to f, and a seventh, g, that practises on after f."""
    fake_run(folder)
    for role, name in STORY.items():
        shutil.move(folder / role, folder / name)
        if (folder / "eval" / role).exists():
            shutil.move(folder / "eval" / role, folder / "eval" / name)
        record = json.loads((folder / name / "stage.json").read_text())
        write(folder / name / "stage.json", record | {"method": METHOD_OF[role], "role": role})
    shutil.copytree(folder / "f", folder / "g")
    shutil.copytree(folder / "eval/f", folder / "eval/g")
    shutil.move(folder / "eval/tools", folder / "eval/c_helped")
    results = json.loads((folder / "eval/c_helped/results.json").read_text())
    made_from = {"model": str(folder / "c"), "tools": ["python"]}
    write(folder / "eval/c_helped/results.json", results | {"config": {"made_from": made_from}})
    judged = json.loads((folder / "judge/results.json").read_text())
    write(folder / "judge/results.json", {STORY[role]: numbers for role, numbers in judged.items()})
    total = json.loads((folder / "seconds.json").read_text())
    write(folder / "seconds.json", total | {"seconds": total["seconds"] | {name: 3.0 for name in "abcdefg"}})


def test_stages_with_other_names_and_one_more_are_reported_as_well(tmp_path):
    fake_run(tmp_path / "tiny")
    build(tmp_path / "tiny")
    renamed_run(tmp_path / "letters")
    page = html.parse(build(tmp_path / "letters"))
    usual = json.loads((tmp_path / "tiny/report/summary.json").read_text())
    summary = json.loads((tmp_path / "letters/report/summary.json").read_text())
    names = STORY | {"tools": "c_helped"}
    assert set(summary["stages"]) == {*names.values(), "g"}
    for role, name in names.items():
        assert summary["stages"][name] == usual["stages"][role], role
    assert summary["stages"]["g"] == usual["stages"]["grpo"] and set(summary["training"]) == {*STORY.values(), "g"}
    assert [stage.name for stage in stages(Run(tmp_path / "letters"))] == [*STORY.values(), "g"]
    assert summary["absent"] == usual["absent"] == {}
    assert len(summary["figures"]) == len(usual["figures"])
    assert len(page.findall(".//figure")) == len(html.parse(tmp_path / "tiny/report/index.html").findall(".//figure"))
    assert summary["differences"]["gold"] == usual["differences"]["gold"]
    assert set(Story(Run(tmp_path / "letters"), summarize(Run(tmp_path / "letters"))).evaluated) == {*"abcefg"}
    for key, value, _ in shown_numbers(page):
        assert dict(leaves(summary))[key] == value


def test_report_of_a_single_stage(tmp_path):
    write(
        tmp_path / "base/log.jsonl",
        [
            {"step": 1, "loss": 7.0},
            {"step": 2, "loss": float("nan")},
            {"step": 1, "loss": 6.0, "eval_bits_per_byte": 3.0},
        ],
    )
    write(tmp_path / "base/stage.json", {"seconds": 3})
    page = html.parse(build(tmp_path))
    assert len(page.findall(".//figure")) == 2
    assert page.find(".//data[@data-key='stages/base/bits_per_byte']").get("value") == "3.0"


@pytest.mark.parametrize(
    "content", [None, {}, {"a.txt": ""}, {"eval/sft/results.json": "{"}, {"base/log.jsonl": '{"step": 1'}]
)
def test_bad_folder_is_one_line_and_exit_code_2(tmp_path, content, capsys):
    folder = tmp_path / "run"
    for name, text in (content or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["--run_dir", str(folder)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
    assert not (folder / "report").exists()


def test_a_line_ends_at_its_newline_alone(tmp_path):
    """What a model says may hold every other character at which Python splits lines."""
    row = {"text": "a\u2028b\x85c\x1cd"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n" + json.dumps(row) + "\n")
    assert Run(tmp_path)("rows.jsonl") == [row, row]


def test_headlines_of_two_recipes_stand_side_by_side():
    from eval.report.table import table

    def summary(recipe, stage, part):
        return {"recipe": recipe, "seed": 0, "stages": {stage: part}}

    invented = summary("tiny", "sft", {"tasks": {"facts_known": {"value": 1.0, "n": 10, "stderr": 0.1}}})
    real = summary("smol", "hub", {"facts": {"known": {"right": {"value": 0.5, "n": 20, "stderr": 0.1}}}})
    head, _, row = table([invented, real], headline=True).splitlines()
    assert head == "| what | n | tiny, seed 0 | smol, seed 0 |"
    cells = row.strip("| ").split(" | ")
    assert cells[1] == "10 / 20" and cells[2].startswith("1.000") and cells[3].startswith("0.500")
    assert "| seed 0 | seed 0 |" in table([invented, invented], headline=True)


def pretrained_run(folder) -> None:
    """The stages of a run that begins with a pretrained model, without what they measured."""
    write(folder / "hub/stage.json", {"method": "published weights", "role": "hub", "parent": "a/b"})
    write(folder / "honest/stage.json", {"method": "supervised fine-tuning", "role": "honest", "seconds": 3})


def test_what_a_pretrained_run_was_given_no_data_for_has_no_section(tmp_path):
    pretrained_run(tmp_path)
    text = html.parse(build(tmp_path)).getroot().text_content()
    assert "Taste" not in text and "Published benchmarks" not in text


def test_taste_and_benchmarks_of_a_pretrained_run(tmp_path):
    pretrained_run(tmp_path)
    measure = {"value": 0.75, "stderr": 0.02, "n": 400}
    for name, measured in (
        ("reward", ("pair_accuracy", "pair_accuracy_labels")),
        ("reward_hh", ("pair_accuracy_labels",)),
    ):
        write(tmp_path / name / "stage.json", {"method": "reward modelling", "role": name})
        write(tmp_path / name / "pairs.json", dict.fromkeys(measured, measure))
    write(tmp_path / "rloo/stage.json", {"method": "RLOO", "role": "rloo"})
    winner = {"prompt": "Hello!", "text": "Hello hello hello.", "reward": 3.0, "judge": -1.0}
    look = {name: measure for name in ("reward", "judge", "kl", "length")}
    looks = [look | {"step": step, "winners": [winner]} for step in (0, 6)]
    looks[-1]["decision"] = "ended at step 6, past its best; kept step 0"
    (tmp_path / "rloo/monitor.jsonl").write_text("".join(json.dumps(row) + "\n" for row in looks))
    judged = {"gold": measure | {"std": 1.0}, "kl_to_reference": measure, "examples": []}
    write(tmp_path / "judge/results.json", {"honest": judged, "rloo": judged})
    for stage in ("hub", "honest"):
        row = {"score,none": 0.25, "score_stderr,none": 0.05, "refused,none": 0.5, "refused_stderr,none": 0.05}
        results = {"results": {}, "n-samples": {}}
        for task in ("gsm8k_chat", "nq_open_chat"):
            results["results"][task], results["n-samples"][task] = row, {"original": 9, "effective": 9}
        write(tmp_path / f"benchmarks/{stage}/results.json", results)
    text = html.parse(build(tmp_path)).getroot().text_content()
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert "Hello hello hello." in text and "past its best" in text and "RLOO changed the gold score" in text
    drawn = summary["figures"]["Reward models: held-out pairs ranked right"]
    assert drawn["groups"] == ["by the taste", "people's pairs"]
    assert summary["stages"]["reward_hh"]["pair_accuracy_labels"]["n"] == 400
    assert summary["stages"]["rloo"]["kl_to_reference"] == measure and "ppo" not in summary["stages"]
    assert summary["figures"]["Published benchmarks: right"]["groups"] == ["GSM8K", "NQ-open"]
    assert {"NQ-open", "RLOO: KL to the model it started from, nats a reply"} <= set(summary["figures"])


def test_a_run_that_begins_with_a_pretrained_model_tells_its_own_story(tmp_path):
    pretrained_run(tmp_path)
    for stage, right in (("hub", 0.9), ("honest", 0.4)):
        metrics = {"score": right, "right": right, "made_up": 0.1, "refused": 0.9 - right}
        result = {f"{name},none": value for name, value in metrics.items()}
        result |= {f"{name}_stderr,none": 0.05 for name in metrics}
        results = {"results": {"known": result}, "n-samples": {"known": {"original": 50, "effective": 50}}}
        write(tmp_path / f"eval/{stage}/results.json", results)
        doc = {"question": "Capital of Peru?", "answer": ["Lima", "City of Kings"]}
        row = {"doc_id": 0, "doc": doc, "target": "", "resps": [["Lima."]], "score": 1.0, "right": 1.0}
        write(tmp_path / f"eval/{stage}/samples_known.jsonl", [row | {"made_up": 0.0, "refused": 0.0}])
    page = html.parse(build(tmp_path))
    text = page.getroot().text_content()
    headings = [heading.text_content() for heading in page.findall(".//h2")]
    assert "From a pretrained model" in text and "Lima or City of Kings" in text
    assert headings[1].startswith("1. What it knows") and not any("crawl" in heading for heading in headings)
    assert {"Before: hub", "After: honest"} <= set(
        json.loads((tmp_path / "report/summary.json").read_text())["figures"]
    )


def test_what_honesty_costs_stands_where_experiments_tried_it(tmp_path):
    pretrained_run(tmp_path)
    assert "What honesty costs" not in build(tmp_path).read_text()

    def evaluated(folder: str, refused: dict[str, float]) -> None:
        results = {"results": {}, "n-samples": {}}
        for task, share in refused.items():
            row = {"refused,none": share, "made_up,none": 0.875 - share}
            results["results"][task] = row | {f"{name}_stderr,none": 0.05 for name in ("refused", "made_up")}
            results["n-samples"][task] = {"original": 50, "effective": 50}
        write(tmp_path / folder / "results.json", results)

    evaluated("eval/hub", {"known": 0.0, "invented": 0.0})
    evaluated("eval/honest", {"known": 0.25, "unknown": 0.5, "invented": 0.75})
    evaluated("experiments/eval/practice_80", {"known": 0.5, "unknown": 0.75, "invented": 0.875, "everyday": 0.125})
    evaluated("experiments/eval/honest", {"known": 0.625})
    layer = {"auc": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 40, "people": 40}}
    layer["refused"] = dict.fromkeys(("known", "unknown", "invented"), {"value": 0.5, "stderr": 0.05, "n": 20})
    worse = layer | {"layer": 1, "auc": layer["auc"] | {"value": 0.6}}
    write(tmp_path / "experiments/edge.json", {"cost": 0.1, "layers": [worse, layer | {"layer": 2}]})
    page = html.parse(build(tmp_path)).getroot()
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert summary["trade_off"]["edge"]["layer"] == 2 and "number 2 tells known questions" in page.text_content()
    drawn = summary["figures"]["Refused though it knew, and made up"]
    assert drawn["groups"] == ["hub", "honest", "experiments/eval/honest", "practice_80"]
    costs = summary["trade_off"]["models"]
    assert [facts["known"]["refused"]["value"] for facts in costs.values()] == [0.0, 0.25, 0.625, 0.5]
    assert costs["practice_80"]["unknown"] == {
        outcome: {"value": value, "stderr": 0.05, "n": 50}
        for outcome, value in (("refused", 0.75), ("made_up", 0.125))
    }
    (table,) = [t for t in page.iter("table") if "everyday requests: refused" in t.text_content()]
    rows = {
        row[0].text_content(): [cell.text_content()[:5] for cell in row[1:]] for row in table.findall(".//tbody/tr")
    }
    assert rows["practice_80"] == ["–", "0.500", "0.750", "0.125", "0.000", "0.125"]
    assert rows["hub"] == ["–", "0.000", "–", "–", "0.875", "–"]


def test_a_name_that_is_no_text_leaves_a_whole_report(tmp_path):
    pretrained_run(tmp_path)
    folder = os.fsencode(tmp_path / "experiments/eval") + b"/\xffname"
    os.makedirs(folder)
    row = {"refused,none": 0.5, "refused_stderr,none": 0.05}
    results = {"results": {"known": row}, "n-samples": {"known": {"original": 9, "effective": 9}}}
    with open(folder + b"/results.json", "w") as file:
        json.dump(results, file)
    assert "name" in build(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "report/report.md").read_text(encoding="utf-8")
