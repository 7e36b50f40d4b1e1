"""Starter questions: for each stage what it is to show, filled in from the run's own world."""

import json

import pytest
from conftest import ROOT, rows

from eval.cli import UserError
from recipes.chat_ui import starters as module
from recipes.chat_ui.starters import STAGES, Starter, fitting, stage_of, starters


@pytest.fixture
def run(world, tmp_path):
    """The folder of a run of the recipe tiny, with its world."""
    (tmp_path / "world").symlink_to(world)
    (tmp_path / "seconds.json").write_text('{"recipe": "tiny"}')
    return tmp_path


def test_people_of_the_world_are_asked_about_with_the_right_answer(run, world):
    facts = {}
    for row in rows(world / "facts.jsonl"):
        facts.setdefault(row["group"], {"name": row["person"]})
        if facts[row["group"]]["name"] == row["person"]:
            facts[row["group"]][row["attribute"]] = row["value"]
    found = {s.text: s for s in fitting(starters(run), "assistant", ["python", "search"])}
    assert found[f"Can you tell me where {facts['known']['name']} lives?"].right == facts["known"]["town"]
    assert found[f"Can you tell me where {facts['rare']['name']} lives?"].right == facts["rare"]["town"]
    assert found[f"Can you tell me what {facts['unseen']['name']} plays?"].right == facts["unseen"]["instrument"]
    assert f"Can you tell me where {facts['absent']['name']} lives?" in found
    assert not any("{" in text for text in found)
    base = [s.text for s in fitting(starters(run), "base", [])]
    assert f"{facts['known']['name']} lives in" in base and not set(base[:2]) & found.keys()


def test_what_needs_a_tool_is_asked_where_it_is(run):
    given = starters(run)
    without, every = (fitting(given, "assistant", tools) for tools in ([], ["python", "search", "other"]))
    assert {s.tools for s in every} - {s.tools for s in without} == {("python",), ("search",)}
    assert {s.tools for s in fitting(given, "reasoner", ["search"])} == {(), ("search",)}


def test_every_stage_has_some_in_each_file(run):
    for given in (starters(run), starters(run / "none")):
        for stage in STAGES:
            asks = fitting(given, stage, [])
            assert len(asks) > 2 and len({s.text for s in asks}) == len(asks) and all(s.shows for s in asks)


def test_the_wordings_are_those_that_the_stages_were_taught(world):
    """Of the questions about people: an assistant of this size understands no other."""
    from data_prep.world.facts import World

    asked = {q.replace(f.person, "{p}") for f in World(0, known=8).facts("known") for q in f.questions(held_out=False)}
    text = (ROOT / "recipes/tiny/starters.yaml").read_text()
    about = [s.text for s in _templates(text) if "{" in s.text and "base" not in s.stages]
    assert len(about) == 4 and {t.replace(t[t.index("{") : t.index("}") + 1], "{p}") for t in about} <= asked


def _templates(text: str) -> list[Starter]:
    import yaml

    return [Starter(entry["text"], entry["shows"], tuple(entry["stages"])) for entry in yaml.safe_load(text)]


def test_right_answers_are_right():
    import yaml

    right = {"345 * 678": 345 * 678, "3 + 4": 7, "4 * 7": 28, "9.11": 9.9, "Emily": (13 - 2 * 2) // 3}
    right["strawberry"] = "strawberry".count("r")
    for path in (ROOT / "recipes").rglob("starters.yaml"):
        for entry in yaml.safe_load(path.read_text()):
            for kind, value in right.items():
                if kind in entry["text"]:
                    assert entry["right"] == str(value)


def test_a_run_without_a_world_or_of_another_recipe_gets_general_ones(run, tmp_path):
    (run / "world").unlink()
    texts = [s.text for s in starters(run)]
    assert "Write a verse about the moon." in texts and not any("{" in text or "lives" in text for text in texts)
    general = starters(tmp_path / "Qwen")
    assert "Who are you?" in [s.text for s in general] and general != starters(run)
    for record in ('{"recipe": "gpt2-124m"}', '{"recipe": "../tiny/../none"}', '{"recipe": 3}', "[]", "{"):
        (run / "seconds.json").write_text(record)
        assert starters(run) == general


def test_what_a_stage_is_hangs_on_what_it_practised(tmp_path):
    assert stage_of(str(tmp_path), base=True) == "base" and stage_of("some/hub-model", base=False) == "assistant"
    kinds = (({"rewards": ["final_number"]}, "reasoner"), ({"datasets": []}, "assistant"), (None, "assistant"))
    for config, stage in kinds:
        (tmp_path / "stage.json").write_text(json.dumps({"parent": "x", "config": config}))
        assert stage_of(str(tmp_path), base=False) == stage


BAD = [
    ("{a: 1}", "must be a list of starters"),
    ("[a", "cannot be read"),
    ("- {text: a, shows: b}", "entry 1: it must hold"),
    ("- {text: a, shows: b, stages: [other]}", "entry 1: it must hold"),
    ("- {text: a, shows: b, stages: base}", "entry 1: it must hold"),
    ("- {text: a, shows: b, stages: [base], right: 3}", "entry 1: it must hold"),
    ("- {text: a, shows: b, stages: [base], more: c}", "entry 1: it must hold"),
    ("- {text: '{', shows: b, stages: [base]}", "entry 1: its text or right cannot be filled in"),
    ("- {text: '{known.nothing}', shows: b, stages: [base]}", "entry 1: its text or right cannot be filled in"),
]


@pytest.mark.parametrize("text, message", BAD)
def test_a_bad_file_is_one_line(run, tmp_path, monkeypatch, text, message):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/starters.yaml").write_text(text)
    monkeypatch.setattr(module, "RECIPES", tmp_path)
    with pytest.raises(UserError, match=message):
        starters(run)
