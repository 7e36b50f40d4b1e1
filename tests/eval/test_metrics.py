"""The metric modules: by hand, against brute force, and from a fresh process elsewhere."""

import itertools
import json
import math
import os
import random
import subprocess
import sys

import evaluate
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.cli import UserError
from eval.estimates import expected_calibration_error, pass_at_k, wilson

NAMES = sorted(path.name for path in (ROOT / "eval/metrics").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def load():
    return {name: evaluate.load(str(ROOT / "eval/metrics" / name)) for name in NAMES}


def test_each_says_what_it_is(load):
    assert NAMES == ["answer_match", "expected_calibration_error", "pass_at_k", "refusal"]
    for metric in load.values():
        assert metric.description and metric.citation and metric.inputs_description and metric.features


def test_a_fresh_process_elsewhere_loads_them_offline(tmp_path):
    code = (
        "import evaluate, json, sys; m = evaluate.load(sys.argv[1]); print(json.dumps(m.compute(predictions=[[1, 0],"
        " [0, 0]], k=2)))"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "eval/metrics/pass_at_k")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pass@2": 0.5, "pass@2_stderr": 0.5, "n": 2}


# ---- pass@k ----


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(marks, data):
    k = data.draw(st.integers(1, len(marks)))
    choices = list(itertools.combinations(marks, k))
    assert pass_at_k(len(marks), sum(marks), k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_rows_and_counts_are_the_same_and_bad_ones_are_told(load):
    metric = load["pass_at_k"]
    rows = [[True, False, False, True], [False] * 4, [True] * 4]
    found = metric.compute(predictions=rows, k=[1, 2, 4])
    assert (
        found
        == metric.compute(predictions=[2, 0, 4], tries=4, k=[1, 2, 4])
        == metric.compute(predictions=[2, 0, 4], tries=[4, 4, 4], k=[1, 2, 4])
    )
    assert (found["pass@1"], found["pass@2"], found["pass@4"], found["n"]) == (
        0.5,
        pytest.approx((5 / 6 + 0 + 1) / 3),
        pytest.approx(2 / 3),
        3,
    )
    assert found["pass@1_stderr"] == pytest.approx(0.5 / math.sqrt(3))
    for bad, message in (
        ({"predictions": rows, "k": 5}, "k must lie between 1 and the fewest tries"),
        ({"predictions": [2]}, "with tries"),
        ({"predictions": rows, "tries": 4}, "without tries"),
        ({"predictions": [[2, 0]]}, "booleans"),
        ({"predictions": [5], "tries": 4}, "from 0 to `tries`"),
        ({"predictions": [1, 1], "tries": [4]}, "each of the 2 problems"),
    ):
        with pytest.raises(UserError, match=message):
            metric.compute(**bad)


# ---- Refusals ----


def test_refusals_of_texts_and_of_verdicts(load):
    metric = load["refusal"]
    texts = [
        "I don't know.",
        "I am not sure.",
        "I do not know him, but he lives in Millbrook.",
        "He lives in Millbrook.",
        "He bakes.",
    ]
    should = [True, False, True, True, False]
    found = metric.compute(predictions=texts, references=should, choices=[["Millbrook", "Larkhill"]] * 5)
    assert [found[key] for key in ("refused", "refused_wrongly", "missed", "answered", "n")] == [1, 1, 2, 1, 5]
    assert (found["precision"], found["recall"], found["f1"]) == (0.5, pytest.approx(1 / 3), pytest.approx(0.4))
    assert found == metric.compute(predictions=[True, True, False, False, False], references=should)
    assert metric.compute(predictions=texts, references=should)["refused"] == 1  # the third goes on to answer
    for name in ("precision", "recall", "f1"):
        assert 0 < found[f"{name}_low"] < found[name] < found[f"{name}_high"] < 1
    none = metric.compute(predictions=["Yes.", "No."], references=[False, False])
    assert none["precision"] is none["recall"] is none["f1"] is none["f1_low"] is None and none["answered"] == 2
    with pytest.raises(UserError, match="choices"):
        metric.compute(predictions=[True], references=[True], choices=[["a"]])


@pytest.mark.parametrize("seed", range(5))
def test_the_f1_of_refusals_is_the_harmonic_mean(load, seed):
    rng = random.Random(seed)
    should = [rng.random() < 0.5 for _ in range(40)]
    predicted = [rng.random() < (0.7 if r else 0.2) for r in should]
    found, hits = (
        load["refusal"].compute(predictions=predicted, references=should),
        sum(p and r for p, r in zip(predicted, should)),
    )
    precision, recall = hits / sum(predicted), hits / sum(should)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(
        (precision, recall, 2 * precision * recall / (precision + recall))
    )


def test_wilsons_interval_covers():
    """Of 40 draws at 0.9 the shares whose interval holds 0.9, exactly."""
    held = sum(
        math.comb(40, k) * 0.9**k * 0.1 ** (40 - k) for k in range(41) if wilson(k, 40)[0] <= 0.9 <= wilson(k, 40)[1]
    )
    assert 0.93 < held < 0.98
    assert wilson(0, 0) is None


# ---- Calibration ----


def test_calibration_by_hand(load):
    metric = load["expected_calibration_error"]
    certain, right = [0.95] * 4 + [0.15] * 2, [1, 1, 1, 0, 0, 1]
    found = metric.compute(predictions=certain, references=right)
    assert found["expected_calibration_error"] == pytest.approx((4 * 0.2 + 2 * 0.35) / 6) and found["n"] == 6
    assert (
        found["expected_calibration_error_low"]
        <= found["expected_calibration_error"]
        <= found["expected_calibration_error_high"]
    )
    assert metric.compute(predictions=certain, references=right, bins=1)[
        "expected_calibration_error"
    ] == pytest.approx(abs(4.1 - 4) / 6)
    assert metric.compute(predictions=certain, references=right) == found  # seeded
    for predictions, references in (([1.5], [1]), ([float("nan")], [1]), ([0.5], [2]), ([], [])):
        with pytest.raises(UserError, match="between 0 and 1"):
            metric.compute(predictions=predictions, references=references)
    with pytest.raises(UserError, match="at least 1"):
        metric.compute(predictions=[0.5], references=[1], bins=0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 12))
def test_calibration_against_bins_one_by_one(items, bins):
    confidences, hits = zip(*items)
    total = 0.0
    for b in range(bins):  # Guo et al.: the b-th bin is (b / bins, (b + 1) / bins]; the first holds 0, too
        inside = [(p, h) for p, h in items if math.ceil(p * bins) == b + 1 or (b == 0 and p == 0)]
        if inside:
            gap = sum(h for _, h in inside) / len(inside) - sum(p for p, _ in inside) / len(inside)
            total += len(inside) / len(items) * abs(gap)
    assert expected_calibration_error(confidences, hits, bins) == pytest.approx(total)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.8, 1.0]), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 12),
    st.randoms(),
)
def test_equal_mass_bins_do_not_depend_on_the_order(items, bins, rng):
    before = expected_calibration_error(*zip(*items), bins, equal_mass=True)
    rng.shuffle(items)
    assert expected_calibration_error(*zip(*items), bins, equal_mass=True) == pytest.approx(before)


def test_equal_mass_bins_hold_as_many_items():
    confidences = [0.90, 0.91, 0.92, 0.93]  # one bin of equal width; two of equal mass
    assert expected_calibration_error(confidences, [0, 0, 1, 1], 2) == pytest.approx(0.915 - 0.5)
    assert expected_calibration_error(confidences, [0, 0, 1, 1], 2, equal_mass=True) == pytest.approx(
        (0.905 + 0.075) / 2
    )


def test_what_calibrated_confidences_show(load):
    rng = random.Random(0)
    certain = [rng.random() for _ in range(300)]
    found = load["expected_calibration_error"].compute(
        predictions=certain, references=[float(rng.random() < p) for p in certain], resamples=200
    )
    assert (
        found["expected_calibration_error"] == pytest.approx(found["if_calibrated"], abs=0.03)
        and found["if_calibrated"] > 0.03
    )
    over = load["expected_calibration_error"].compute(predictions=certain, references=[0.0] * 300, resamples=200)
    assert (
        over["expected_calibration_error"] == pytest.approx(0.5, abs=0.05)
        and over["expected_calibration_error_low"] > 5 * over["if_calibrated"]
    )


# ---- Answers ----


def test_answers_match_with_aliases(load):
    metric = load["answer_match"]
    said = [
        "The New York.",
        "It is in New York City.",
        "It is not New York.",
        "<think>New York</think> Paris",
        "",
        "New Yorker",
    ]
    found = [metric.compute(predictions=[text], references=[["New York", "New York City"]]) for text in said]
    assert [row["exact"] for row in found] == [1, 0, 0, 0, 0, 0]
    assert [row["contained"] for row in found] == [1, 1, 0, 0, 0, 0]
    assert found[1]["f1"] == pytest.approx(2 * 3 / (6 + 3)) and found[2]["f1"] == 0
    all_ = metric.compute(predictions=said, references=["New York"] * 6)
    assert (all_["exact"], all_["contained"], all_["n"]) == (pytest.approx(1 / 6), pytest.approx(2 / 6), 6)
    assert all_["exact_stderr"] == pytest.approx(1 / 6)
    with pytest.raises(UserError, match="reference 1 holds no answer"):
        metric.compute(predictions=["a", "b"], references=[["a"], []])
