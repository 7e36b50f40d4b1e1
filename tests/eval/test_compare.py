"""Paired comparison of results: against formulas and simulation, and real results of eval.run and of
lm-eval's form."""

import json
import math
import random

import pytest
from test_eval import fails

from eval.compare import compare, holm, main
from eval.estimates import Z


def results(folder, tasks: dict, metric="score,none", lower=(), dated=False, docs=None):
    """A folder as eval.run writes it: `tasks` maps a name to the values of its items; a list is of an item's replies,
    None was not judged."""
    folder.mkdir(parents=True, exist_ok=True)
    date = "_2026-01-02T03-04-05.678901" if dated else ""
    name, filter_ = metric.split(",")
    found = {
        "results": {task: {metric: 0.0, "alias": task} for task in tasks} | {"end_token": {metric: 1.0}},
        "n-samples": {task: {} for task in [*tasks, "end_token"]},
        "higher_is_better": {task: {name: task not in lower} for task in tasks},
    }
    (folder / f"results{date}.json").write_text(json.dumps(found))
    for task, values in tasks.items():
        rows = []
        for doc, value in enumerate(values):
            for v in value if isinstance(value, list) else [value]:
                row = {"doc_id": doc, "doc_hash": f"{(docs or {}).get(task, task)}-{doc}", "filter": filter_}
                rows += [row | ({} if v is None else {name: v}), row | {"filter": "other", name: 7.0}]
        (folder / f"samples_{task}{date}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    return folder


def test_by_hand(tmp_path):
    a, b = results(tmp_path / "a", {"t": [1, 0, 0, 1, 0]}), results(tmp_path / "b", {"t": [1, 1, 1, 0, 1]})
    row = compare(a, b)["tasks"]["t"]
    assert (row["n"], row["a"]["value"], row["b"]["value"], row["difference"]) == (5, 0.4, 0.8, pytest.approx(0.4))
    assert (row["wins"], row["losses"], row["ties"], row["paired"]) == (3, 1, 1, True)
    assert row["p"] == pytest.approx(2 * (1 + 4) / 16)  # of 4 coins at most one on its rarer side
    assert row["stderr"] == pytest.approx(math.sqrt(sum((d - 0.4) ** 2 for d in (0, 1, 1, -1, 1)) / 4 / 5))
    assert row["unpaired_stderr"] == pytest.approx(math.sqrt(0.3 / 5 + 0.2 / 5))
    assert row["correlation"] == pytest.approx((0.2 - 0.4 * 0.8) / math.sqrt(0.24 * 0.16))
    assert (row["low"], row["high"]) == pytest.approx((0.4 - Z * row["stderr"], 0.4 + Z * row["stderr"]))
    back = compare(b, a)["tasks"]["t"]
    assert (back["difference"], back["wins"], back["losses"], back["p"]) == (pytest.approx(-0.4), 1, 3, row["p"])


def test_the_errors_are_those_of_numpy(tmp_path):
    import numpy as np

    rng = random.Random(0)
    x = [rng.random() for _ in range(50)]
    y = [0.7 * v + 0.3 * rng.random() for v in x]
    row = compare(results(tmp_path / "a", {"t": x}), results(tmp_path / "b", {"t": y}))["tasks"]["t"]
    assert row["correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert (
        row["stderr"] == pytest.approx(np.std(np.subtract(y, x), ddof=1) / math.sqrt(50))
        and row["stderr"] < row["unpaired_stderr"] / 2
    )


def test_replies_to_one_item_count_once_and_unjudged_items_not_at_all(tmp_path):
    a = results(tmp_path / "a", {"t": [[1, 0, 0, 0], [1, 1], 0, None]})
    b = results(tmp_path / "b", {"t": [[1, 1, 0, 0], [1, 1], 1, 1]})
    row = compare(a, b)["tasks"]["t"]
    assert (
        row["n"] == 3
        and row["difference"] == pytest.approx((0.25 + 0 + 1) / 3)
        and (row["wins"], row["ties"]) == (2, 1)
    )
    assert row["stderr"] == pytest.approx(math.sqrt(sum((d - 1.25 / 3) ** 2 for d in (0.25, 0, 1)) / 2 / 3))


def test_lower_is_better_and_twins(tmp_path):
    docs = {f"{name}{twin}": name for name in ("facts_unseen", "letters") for twin in ("", "_base")}
    a = results(
        tmp_path / "a",
        {"facts_unseen_base": [1] * 8, "letters_base": [0] * 8, "x_base": [0, 1]},
        lower=("facts_unseen_base",),
        docs=docs,
    )
    b = results(
        tmp_path / "b", {"facts_unseen": [0] * 8, "letters": [0] * 8, "x": [0, 1]}, lower=("facts_unseen",), docs=docs
    )
    found = compare(a, b)
    assert found["tasks"].keys() == {"facts_unseen", "letters"}  # x_base is no twin of ours
    row = found["tasks"]["facts_unseen"]
    assert (row["difference"], row["wins"], row["losses"]) == (-1, 8, 0) and row["beyond_noise"]
    assert found["mean_gain"]["value"] == 0.5 and found["tasks"]["letters"]["p"] == 1
    assert compare(a, b, ["letters_base"])["tasks"].keys() == {"letters"}


def test_tasks_that_ask_about_one_item_err_together(tmp_path):
    rng = random.Random(1)
    x, y = ([float(rng.random() < p) for _ in range(80)] for p in (0.4, 0.6))
    alone = compare(results(tmp_path / "a", {"t": x}), results(tmp_path / "b", {"t": y}))
    assert alone["mean_gain"]["stderr"] == pytest.approx(alone["tasks"]["t"]["stderr"])
    for docs, share in (({"t": "d", "u": "d"}, 1.0), ({}, 0.5**0.5)):
        both = compare(
            results(tmp_path / "a", {"t": x, "u": x}, docs=docs), results(tmp_path / "b", {"t": y, "u": y}, docs=docs)
        )
        assert both["mean_gain"]["stderr"] == pytest.approx(share * alone["mean_gain"]["stderr"])


def test_holm():
    rows = [{"p": p} for p in (0.01, 0.04, 0.03, 0.005)]  # the example of R's p.adjust
    holm(rows)
    assert [row["p_corrected"] for row in rows] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [row["beyond_noise"] for row in rows] == [True, False, False, True]


def test_equal_models_rarely_move_and_better_ones_do(tmp_path):
    """Of 40 pairs of equal models, each on 5 tasks: the share in which any task moves is at most the level; and the
    intervals cover."""
    rng, moved, held = random.Random(0), 0, 0
    for _ in range(40):
        x, y = (
            {f"t{k}": [float(rng.random() < 0.2 + 0.6 * (i % 2)) for i in range(60)] for k in range(5)}
            for _ in range(2)
        )
        rows = compare(results(tmp_path / "a", x), results(tmp_path / "b", y))["tasks"].values()
        moved += any(row["beyond_noise"] for row in rows)
        held += sum(row["low"] <= 0 <= row["high"] for row in rows)
    assert moved <= 4 and 182 <= held <= 198
    better = {task: [max(v, float(rng.random() < 0.4)) for v in values] for task, values in x.items()}
    assert all(
        row["beyond_noise"]
        for row in compare(results(tmp_path / "a", x), results(tmp_path / "b", better))["tasks"].values()
    )


def test_lm_evals_own_folder(tmp_path):
    a = results(tmp_path / "a", {"gsm8k": [1, 0, 1]}, "exact_match,strict-match", dated=True)
    b = results(tmp_path / "b", {"gsm8k": [1, 1, 1]}, "exact_match,strict-match")
    row = compare(a, b)["tasks"]["gsm8k"]
    assert row["metric"] == "exact_match,strict-match" and (row["n"], row["wins"]) == (
        3,
        1,
    )  # of two filters the main one
    results(tmp_path / "c", {"gsm8k": [1, 1, 1], "words": [[0.1, 2], [0.2, 2], [0.3, 2]]}, "acc,none")
    with pytest.raises(Exception, match="gsm8k: exact_match,strict-match in one, acc,none in the other"):
        compare(a, tmp_path / "c")


def test_whole_runs(tmp_path, capsys):
    for run, seed in (("one", 0), ("two", 1), ("three", 0)):
        rng = random.Random(run)
        for stage, p in (("sft", 0.2), ("grpo", 0.9 if run == "two" else 0.2)):
            values = {name: [float(rng.random() < p) for _ in range(60)] for name in ("t", "same")}
            results(tmp_path / run / "eval" / stage, values, docs={"t": f"t{seed}"})
    (tmp_path / "one/eval/notes").mkdir()
    found = compare(tmp_path / "one", tmp_path / "two")
    assert found["stages"].keys() == {"sft", "grpo"}
    row, same = found["stages"]["grpo"]["tasks"]["t"], found["stages"]["grpo"]["tasks"]["same"]
    assert not row["paired"] and row["n"] == [60, 60] and "wins" not in row and same["paired"] and same["n"] == 60
    assert row["beyond_noise"] and not found["stages"]["sft"]["tasks"]["t"]["beyond_noise"]
    assert row["p_corrected"] >= 3 * row["p"]  # for the tasks of all stages
    assert compare(tmp_path / "one", tmp_path / "three")["stages"]["sft"]["tasks"]["t"]["paired"]
    main([str(tmp_path / "one"), str(tmp_path / "two"), "--output", str(tmp_path / "new/out.json")])
    printed = capsys.readouterr().out
    assert json.loads((tmp_path / "new/out.json").read_text()) == json.loads(json.dumps(found))
    assert (
        printed.index("moved beyond noise")
        < printed.index("grpo t ")
        < printed.index("no clear difference")
        < printed.index("sft t ")
    )
    assert "other items" in printed and "60, 60" in printed and "another seed of training" in printed


def test_what_is_wrong_is_told(tmp_path, capsys):
    a = results(tmp_path / "a", {"t": [1, 0], "u": [1, 0]})
    results(tmp_path / "other", {"t": [1, 0]}, docs={"t": "else"})
    results(tmp_path / "fewer", {"t": [1]})
    results(tmp_path / "none", {"v": [1]})
    results(tmp_path / "unjudged", {"t": [None, None]})
    results(tmp_path / "run/eval/sft", {"t": [1]})
    results(tmp_path / "gone", {"t": [1, 0]})
    (tmp_path / "gone/samples_t.jsonl").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/results.json").write_text('{"results": 3}')

    def error(*argv):
        return fails(main, [str(word) for word in argv], capsys)

    assert "different items in t (doc_id 0 for one)" in error(a, tmp_path / "other")
    assert "different items in t (doc_id 1 for one)" in error(a, tmp_path / "fewer")
    assert "no task in common" in error(a, tmp_path / "none")
    assert "score is no number of each item" in error(a, tmp_path / "unjudged")
    assert "is a whole run, the other folder is not" in error(a, tmp_path / "run")
    assert "samples_t.jsonl does not exist" in error(a, tmp_path / "gone", "--tasks", "t")
    assert "does not exist" in error(a, tmp_path / "nowhere")
    assert "results.json does not exist" in error(a, tmp_path / "empty")
    assert "holds no results of lm-eval" in error(a, tmp_path / "bad")
    assert "has no results of the task v: choose of those that both have (t)" in error(
        a, tmp_path / "other", "--tasks", "v"
    )
    assert "give two folders of results, but got 1" in error(a)
    assert "is a folder" in error(a, a, "--output", tmp_path)


def test_results_of_eval_run(world, chat_model, tmp_path):
    from eval.run import main as run

    models = [
        "--models",
        f"a={chat_model}",
        f"b={chat_model}",
        "--base",
        "a",
        "--data_dir",
        str(world / "eval"),
        "--output_dir",
        str(tmp_path),
    ]
    run([*models, "--tasks", "facts_known", "apples", "--limit", "6"])
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found["tasks"].keys() == {"facts_known", "apples"} and all(
        row["n"] == 6 and row["paired"] for row in found["tasks"].values()
    )
    same = compare(tmp_path / "b", tmp_path / "b")
    assert same["mean_gain"]["value"] == 0 and not any(row["beyond_noise"] for row in same["tasks"].values())
