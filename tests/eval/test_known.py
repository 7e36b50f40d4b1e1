"""The probe of what a model knows: it finds what is there, nothing where nothing is, and never who a person is."""

import json

import numpy as np
import pytest

from eval.cli import UserError
from eval.probes import known as probe


def people(count: int, each: int) -> tuple[np.ndarray, list[str]]:
    """Labels and names of `count` people with `each` questions; every other person is known."""
    return np.repeat(np.arange(count) % 2, each), [f"p{n}" for n in range(count) for _ in range(each)]


def area(features, labels, names, choose=None) -> dict:
    scores, fold = probe.held_out(features, labels, names, 5, 0, choose)
    return probe.auc(scores, labels, names, fold, 200, 0)


def test_what_is_there_is_found_on_people_held_out():
    labels, names = people(60, 3)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(180, 20))
    assert 0.35 < area(features, labels, names)["value"] < 0.65
    features[:, 7] += 3 * labels
    assert probe.best_column(features, labels) == [7]
    for choose in (None, probe.best_column):
        found = area(features, labels, names, choose)
        assert found["value"] > 0.9 and 0.8 < found["low"] <= found["value"] <= found["high"] <= 1
        assert (found["n"], found["people"]) == (180, 60)


def test_who_a_person_is_helps_nobody():
    """Features that name the person fit their own labels and say nothing of others."""
    labels, names = people(40, 4)
    features = np.repeat(np.eye(40), 4, axis=0)
    assert abs(area(features, labels, names)["value"] - 0.5) < 0.2


def test_the_interval_is_over_people_not_questions():
    """Ten copies of each question tell nothing new."""
    labels, names = people(30, 1)
    scores = np.random.default_rng(1).normal(size=30) + labels
    one = np.zeros(300, int)
    once = probe.auc(scores, labels, names, one[:30], 400, 0)
    copies = probe.auc(np.repeat(scores, 10), np.repeat(labels, 10), list(np.repeat(names, 10)), one, 400, 0)
    assert copies["low"] == pytest.approx(once["low"]) and copies["high"] == pytest.approx(once["high"])


def test_the_area_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    labels, names = people(30, 2)
    scores = np.random.default_rng(2).integers(0, 4, size=60) + labels  # with ties
    one = probe.auc(scores, labels, names, np.zeros(60, int), 10, 0)
    assert one["value"] == pytest.approx(roc_auc_score(labels, scores))


def test_scores_of_two_folds_are_not_compared():
    """Within each fold all are ordered right; the second fold's scores are shifted."""
    labels, names = people(8, 1)
    fold = np.repeat([0, 1], 4)
    scores = labels + 100.0 * fold
    scores[fold == 1] -= 200 * labels.mean()
    assert probe.auc(scores, labels, names, fold, 50, 0)["value"] == 1


def test_states_are_those_of_the_last_token_whatever_stands_in_the_batch(chat_model):
    import torch

    from eval.generation.models import load_models
    from eval.probes.lens import Lens

    model, tokenizer = load_models({"m": str(chat_model)})["m"]
    rows = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
    with torch.inference_mode():
        found, logits = probe.states(Lens(model, tokenizer), rows, batch_size=2)
        for number, row in enumerate(rows):
            out = model(input_ids=torch.tensor([row]), output_hidden_states=True)
            for layer, state in enumerate(out.hidden_states):
                assert torch.allclose(found[layer][number], state[0, -1], atol=1e-5)
            assert torch.allclose(logits[number], out.logits[0, -1], atol=1e-4)
    assert len(found) == model.config.num_hidden_layers + 1


@pytest.fixture
def asked(tmp_path):
    """Files of questions about 6 people known and 6 unknown."""
    names = [f"{first} {last}" for first in ("Ann", "Bo", "Cy") for last in ("Ash", "Birch", "Cole", "Dunn")]

    def write(name: str, rows: list[dict]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    known, unknown = ([{"question": f"Who is {name}?"} for name in half * 2] for half in (names[:6], names[6:]))
    return {
        "known": write("known.jsonl", known),
        "unknown": write("unknown.jsonl", [*unknown, {"question": "Who is it?"}]),
        "subjects": write("subjects.jsonl", [{"person": name} for name in names]),
        "output": str(tmp_path / "out.json"),
    }


def argv(asked: dict, *more: str) -> list[str]:
    return [word for key, value in asked.items() for word in (f"--{key}", value)] + list(more)


def test_the_command(asked, chat_model):
    models = ["--models", f"base={chat_model}", f"sft={chat_model}", "--base", "base"]
    probe.main([*argv(asked), *models, "--folds", "3", "--resamples", "50"])
    with open(asked["output"]) as file:
        found = json.load(file)
    assert list(found["models"]) == ["base", "sft"] and found["left_out"] == 1
    for model in found["models"].values():
        assert [row["layer"] for row in model["layers"]] == [0, 1, 2]
        for row in model["layers"]:
            assert row["probe"]["low"] <= row["probe"]["high"] and row["probe"]["people"] == 12
            assert {kind: m["n"] for kind, m in row["refusal"].items()} == {"known": 12, "unknown": 12}
    chat = found["models"]["sft"]["layers"][0]
    assert chat["probe"]["value"] == 0.5  # all prompts end with the same token, whose embedding tells nothing
    assert found["example"]["question"] == "Who is Bo Cole?" and len(found["example"]["models"]["sft"]) == 3


def test_bad_input_is_one_line(asked, chat_model, capsys):
    models = ["--models", f"m={chat_model}"]
    for more, message in [
        (["--folds", "1"], "folds must be at least 2"),
        (["--folds", "7"], "6 people known and 6 unknown"),
        (["--refusals", " "], "refusals names no text"),
        (["--unknown", asked["known"]], "a person must be one of them"),
        (["--subjects", asked["known"]], "has no person"),
        (["--output", asked["known"]], "is no .json file"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            probe.main(argv(asked, *models, *more))
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and message in error and error.count("\n") == 1, error
    with pytest.raises(UserError, match="does not exist"):
        probe.read_questions(probe.KnownArguments(["m=x"], ["/none"], ["/none"], asked["subjects"], "o.json"))
