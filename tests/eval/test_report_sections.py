"""Thinking that checks itself, and longer jobs, in the report: drawn where their data are, and not even named where
they are not."""

import json

from eval.report.__main__ import build


def measured(value: float) -> dict:
    return {"value": value, "stderr": 0.01, "n": 250}


def model(value: float, success: bool) -> dict:
    keys = ("accuracy", "tokens", "checks", "second_tries", *(["success"] if success else []))
    example = {"question": "Which two?", "text": "<think>1 + 2 = 3.</think><b>", "right": value > 0.5}
    return {**{key: measured(value) for key in keys}, "examples": [example]}


def run_folder(tmp_path, models: dict | None, file: str = "second_tries"):
    folder = tmp_path / "run"
    (folder / "experiments").mkdir(parents=True)
    (folder / "base").mkdir()
    (folder / "base" / "stage.json").write_text(json.dumps({"stage": "pretrain", "parent": None, "config": {}}))
    if models:
        (folder / "experiments" / f"{file}.json").write_text(json.dumps({"models": models}))
    return folder


def test_the_figures_stand_where_their_data_are(tmp_path):
    models = {
        "primed-0": model(0.2, True), "primed-10": model(0.9, True),
        "plain-0": model(0.1, False), "plain-10": model(0.2, False),
    }  # fmt: skip
    page = build(run_folder(tmp_path, models))
    text, summary = page.read_text(), json.loads((page.parent / "summary.json").read_text())
    assert "<b>Replies with a second try</b>" in text and "&lt;b&gt;" in text and "</think><b>" not in text
    assert summary["second_tries"]["primed"]["after"]["accuracy"]["value"] == 0.9
    assert summary["second_tries"]["plain"]["before"]["step"] == 0
    assert "success" not in summary["second_tries"]["plain"]["after"]
    drawn = summary["figures"]["Replies with a check"]["lines"]
    assert drawn == {"lessons with checks": [[0, 0.2], [10, 0.9]], "lessons without": [[0, 0.1], [10, 0.2]]}


def test_a_run_without_them_has_no_such_section(tmp_path):
    page = build(run_folder(tmp_path, None))
    assert "Thinking that checks itself" not in page.read_text()
    assert "Longer jobs" not in page.read_text()
    assert not {"second_tries", "jobs"} & json.loads((page.parent / "summary.json").read_text()).keys()


def test_jobs_stand_by_their_number_of_calls(tmp_path):
    models = {
        name: {
            "by_calls": {calls: {"success": measured(value), "calls": measured(2.0)} for calls in ("1", "4")},
            "success_from_4": measured(value),
        }
        for name, value in (("lessons", 0.25), ("<practice>", 0.75))
    }
    page = build(run_folder(tmp_path, models, "jobs"))
    text, summary = page.read_text(), json.loads((page.parent / "summary.json").read_text())
    assert "<b>Jobs done</b>" in text and "<practice>" not in text
    assert summary["jobs"]["<practice>"]["success_from_4"]["value"] == 0.75
    assert summary["figures"]["Jobs done"]["lines"]["lessons"] == [[1, 0.25], [4, 0.25]]
    assert summary["jobs"]["lessons"]["by_calls"]["4"]["value"] == 0.25
