"""The arena: ratings against closed forms and simulation, judges and their biases, real models, and runs that were
stopped."""

import collections
import json
import math
import random
import types

import numpy as np
import pytest
from conftest import rows, save_model
from test_eval import fails

import eval.arena
import eval.generation.replies
from eval.arena import main
from eval.cli import UserError
from eval.judging.judges import ModelJudge, RewardJudge, VerifierJudge, position_bias, verdict
from eval.judging.ratings import ratings, read_votes

QUESTION = [{"role": "user", "content": "Who are you?"}]


def cast(prompt: int, a: str, b: str, winner: str, **more) -> dict:
    said = [[{"role": "assistant", "content": name}] for name in (a, b)]
    return {
        "prompt": [{"role": "user", "content": str(prompt)}],
        "models": [a, b],
        "responses": said,
        "winner": winner,
        "judge": "person",
        **more,
    }


def simulated(rng, strengths: dict, prompts: int, copies: int = 1) -> list[dict]:
    """Votes of a Bradley–Terry world (strengths in Elo), each cast `copies` times."""
    votes = []
    for prompt in range(prompts):
        for a, b in (("x", "y"), ("z", "x"), ("y", "z")):
            wins = 1 / (1 + 10 ** ((strengths[b] - strengths[a]) / 400))
            votes += [cast(prompt, a, b, "a" if rng.random() < wins else "b")] * copies
    return votes


# ---- Ratings ----


def test_two_models_by_hand():
    votes = [cast(i, "x", "y", winner) for i, winner in enumerate(["a"] * 12 + ["b"] * 4 + ["tie"] * 6)]
    found = ratings(votes, resamples=200)
    x, y = found["models"]["x"], found["models"]["y"]
    assert x["rating"] - y["rating"] == pytest.approx(400 * math.log10((12 + 3 + 0.5) / (4 + 3 + 0.5))) and x[
        "rating"
    ] + y["rating"] == pytest.approx(2000)
    assert (x["n"], x["wins"], x["losses"], x["ties"]) == (22, 12, 4, 6) and (y["wins"], y["losses"]) == (4, 12)
    assert x["low"] < x["rating"] < x["high"] and list(found["models"]) == ["x", "y"]
    assert (
        found["win_rates"]["x"]["y"]["value"] == pytest.approx(15 / 22) == 1 - found["win_rates"]["y"]["x"]["value"]
        and found["win_rates"]["x"]["y"]["n"] == 22
    )
    assert (found["prompts"], found["votes"], found["ties"], found["left"]["value"], found["left"]["n"]) == (
        22,
        22,
        6,
        0.75,
        16,
    )
    assert ratings(votes, resamples=200) == found != ratings(votes, resamples=200, seed=1)
    turned = [cast(i, "y", "x", {"a": "b", "b": "a"}.get(v["winner"], "tie")) for i, v in enumerate(votes)]
    assert (
        ratings(turned, resamples=200)["models"] == found["models"]
        and ratings(turned, resamples=200)["left"]["value"] == 0.25
    )


def test_the_fit_is_the_maximum_of_the_likelihood():
    from scipy.optimize import minimize

    votes = simulated(random.Random(3), {"x": 1150, "y": 1000, "z": 850}, 30)

    def loss(theta):
        s = dict(zip("xyz", theta))
        pairs = [(*(v["models"] if v["winner"] == "a" else v["models"][::-1]), 1.0) for v in votes] + [
            (a, b, 0.5) for a in "xyz" for b in "xyz" if a != b
        ]
        return sum(w * math.log1p(math.exp(s[loser] - s[winner])) for winner, loser, w in pairs)

    best = minimize(loss, [0.0, 0.0, 0.0], tol=1e-10).x
    found = ratings(votes, resamples=100)["models"]
    assert [found[name]["rating"] for name in "xyz"] == pytest.approx(
        list(1000 + 400 / math.log(10) * (best - best.mean())), abs=0.05
    )


def test_strengths_are_recovered_and_intervals_cover():
    """Each vote is cast three times: an interval over votes would be narrower by √3, and hold the truth about three
    times of four."""
    truth, rng, held, errors = {"x": 1120, "y": 1000, "z": 880}, random.Random(0), 0, []
    for _ in range(30):
        found = ratings(simulated(rng, truth, 50, copies=3), resamples=100)["models"]
        held += sum(found[name]["low"] <= strength <= found[name]["high"] for name, strength in truth.items())
        errors += [found[name]["rating"] - strength for name, strength in truth.items()]
    assert 80 <= held <= 90  # of 90; 95 % are 85.5
    assert abs(np.mean(errors[::3])) < 15 and np.std(errors) < 60


def test_copies_of_a_vote_do_not_make_it_surer():
    once, thrice = (
        ratings(simulated(random.Random(1), {"x": 1100, "y": 1000, "z": 900}, 40, copies), resamples=400)["models"][
            "x"
        ]
        for copies in (1, 3)
    )
    assert (thrice["high"] - thrice["low"]) == pytest.approx(once["high"] - once["low"], rel=0.1)


def test_what_cannot_be_rated():
    with pytest.raises(UserError, match="u, v never met x, y|x, y never met u, v"):
        ratings([cast(i, *pair, "tie") for i in range(3) for pair in (("x", "y"), ("u", "v"))])
    with pytest.raises(UserError, match="at least 2 prompts"):
        ratings([cast(0, "x", "y", "a"), cast(0, "y", "x", "a")])
    always = ratings(
        [cast(i, "x", "y", "a") for i in range(9)] + [cast(i, "y", "z", winner) for i, winner in enumerate("abab")]
    )
    assert always["note"].startswith("no intervals: x won every vote") and all(
        row["low"] is row["high"] is None for row in always["models"].values()
    )
    assert list(always["models"])[0] == "x"
    assert (
        ratings([cast(i, "x", "y", "a" if i else "tie") for i in range(9)], resamples=100)["note"] is None
    )  # a tie bounds


def test_votes_are_read_or_refused(tmp_path):
    path, good = tmp_path / "votes.jsonl", json.dumps(cast(0, "x", "y", "a", labeller="ann", time=1.0))
    path.write_text(good + "\n")
    assert read_votes(path)[0]["winner"] == "a"
    for bad, message in (
        (good[: len(good) // 2], "line 2 is not JSON.*cut short"),
        (json.dumps(cast(0, "x", "y", "left")), "line 2: winner must be one of a, b, tie, but is 'left'"),
        (json.dumps(cast(0, "x", "x", "a")), "line 2: models must be two different names"),
        (json.dumps(cast(0, "x", "y", "a") | {"responses": ["one", "two"]}), "line 2: responses"),
        (json.dumps(cast(0, "x", "y", "a") | {"prompt": "Hi"}), "line 2: prompt must be messages"),
        (json.dumps({"models": ["x", "y"]}), "line 2 has no prompt"),
    ):
        path.write_text(good + "\n" + bad)
        with pytest.raises(UserError, match=message):
            read_votes(path)


# ---- Judges ----


class Fake:
    """A Replier whose replies come from a function of the question."""

    def __init__(self, says):
        self.says, self.asked = says, 0

    def __call__(self, conversations):
        self.asked += len(conversations)
        return [
            [
                types.SimpleNamespace(
                    text=self.says(*c[-1]["content"].split("The answer of A:\n")[1].split("\n\nThe answer of B:\n"))
                )
            ]
            for c in conversations
        ]


@pytest.fixture
def model_judge(monkeypatch):
    def made(says):
        monkeypatch.setattr(eval.generation.replies, "Replier", lambda *_, **__: Fake(says))
        return ModelJudge("a/model", None, 64)

    return made


def longer(a, b):
    b = b.split("\n\nSay briefly")[0]
    return "So [[tie]]" if len(a) == len(b) else f"It is longer. [[{'A' if len(a) > len(b) else 'B'}]]"


SAID = {
    "Good. [[A]]": "a",
    "[[b]]": "b",
    "[[tie]]": "tie",
    "A": None,
    "[[A]] or [[B]]": None,
    "<think>[[A]]</think>[[B]]": "b",
    "": None,
}


@pytest.mark.parametrize("text, said", SAID.items())
def test_verdicts(text, said):
    assert verdict(text) == said


def test_a_judge_model_is_asked_both_ways_round(model_judge):
    row, pairs = (
        {"prompt": QUESTION},
        [["long one", "short"], ["short", "long one"], ["same!", "other"], ["equal", "equal"]],
    )
    judge = model_judge(longer)
    found = judge([(row, pair) for pair in pairs])
    assert [said["winner"] for said in found] == ["a", "b", "tie", "tie"] and found[0]["verdicts"] == ["a", "a"]
    assert judge.ask.asked == 6 and "verdicts" not in found[3]  # equal answers need no judge
    fair = position_bias([{"prompt": QUESTION, **said} for said in found])
    assert fair["first"]["value"] == 0.5 and fair["flipped"]["value"] == 0


def test_a_judge_that_goes_by_place_makes_ties_and_is_found_out(model_judge):
    pairs = [({"prompt": [{"role": "user", "content": str(i)}]}, ["x", "yy"]) for i in range(4)]
    found = model_judge(lambda a, b: "[[A]]")(pairs)
    assert all(said == {"winner": "tie", "verdicts": ["a", "b"]} for said in found)
    bias = position_bias([row | said for (row, _), said in zip(pairs, found)])
    assert bias["first"] == {"value": 1.0, "stderr": 0.0, "n": 4} and bias["flipped"]["value"] == 1
    assert (
        model_judge(lambda a, b: "[[tie]]" if a == "x" else "[[A]]")(pairs[:1])[0]["winner"] == "tie"
    )  # sure only one way round
    assert model_judge(lambda a, b: "Hm.")(pairs[:1]) == [{"winner": None}]
    assert position_bias([cast(0, "x", "y", "a")]) is None


def test_a_verifier_judges():
    asked = [{"prompt": QUESTION, "answer": "3"}, {"prompt": QUESTION, "answer": "no number"}]
    three, four = "The answer is 3.", "The answer is 4."
    pairs = [(asked[0], [three, four]), (asked[0], ["4", three]), (asked[0], ["1", "2"]), (asked[1], ["1", "2"])]
    assert [said["winner"] for said in VerifierJudge("final_number", asked)(pairs)] == ["a", "b", "tie", None]
    with pytest.raises(UserError, match="no column answer"):
        VerifierJudge("final_number", [{"prompt": QUESTION}])
    with pytest.raises(UserError, match="unknown verifier"):
        VerifierJudge("none", asked)


def test_a_reward_model_judges_by_its_score(reward_model):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from eval.pairs import score

    texts = [["one", "another answer"], ["a third", "one"], ["one", "one"]]
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(reward_model),
        AutoTokenizer.from_pretrained(reward_model),
    )
    scores = [
        score(model, tokenizer, [[*QUESTION, {"role": "assistant", "content": text}] for text in pair])
        for pair in texts
    ]
    found = [
        said["winner"] for said in RewardJudge(str(reward_model))([({"prompt": QUESTION}, pair) for pair in texts])
    ]
    assert found[:2] == ["a" if a > b else "b" for a, b in scores[:2]]
    assert found[2] == "tie"  # though two places of one batch may differ in the last digit


# ---- The command ----


@pytest.fixture(scope="module")
def models(world, tokenizer, chat_model):
    return [
        f"llama={chat_model}",
        *(
            f"{family[:4]}={save_model(world.parent / f'{family}_chat', tokenizer, family)}"
            for family in ("gpt2", "qwen3")
        ),
    ]


@pytest.fixture
def arena(models, world, reward_model, tmp_path):
    def argv(folder="arena", *more):
        prompts = [
            "--prompts",
            str(world / "verses/test.jsonl"),
            "--limit",
            "6",
            "--max_new_tokens",
            "6",
            "--resamples",
            "100",
        ]
        return [
            "--models",
            *models,
            *prompts,
            "--judge",
            f"reward={reward_model}",
            "--output_dir",
            str(tmp_path / folder),
            *more,
        ]

    return argv


def test_models_meet_on_every_prompt(arena, tmp_path, capsys):
    main(arena("arena", "--samples", "2"))
    found, votes = (
        json.loads((tmp_path / "arena/ratings.json").read_text()),
        read_votes(tmp_path / "arena/votes.jsonl"),
    )
    answers = rows(tmp_path / "arena/answers.jsonl")
    assert (
        found["models"].keys() == {"llama", "gpt2", "qwen"}
        and found["votes"] == len(votes) == 6 * 2 * 3
        and found["prompts"] == 6
        and found["unjudged"] == 0
    )
    assert len(answers) == 18 and all(len(row["responses"]) == 2 for row in answers)
    said = {(row["model"], json.dumps(row["prompt"])): row["responses"] for row in answers}
    for vote in votes:
        assert all(
            messages[0]["content"] in said[name, json.dumps(vote["prompt"])]
            for name, messages in zip(vote["models"], vote["responses"])
        )
        assert vote["judge"] == "reward"
    assert 3 < sum(vote["models"] == sorted(vote["models"]) for vote in votes) < 33  # sides by lot
    assert (
        found["settings"]["samples"] == 2
        and found["models"]["llama"]["model"].endswith("chat_model")
        and found["position"] is None
    )
    assert "36 votes about 6 prompts" in capsys.readouterr().out
    main(
        [
            "--judge",
            f"votes={tmp_path}/arena/votes.jsonl",
            "--output_dir",
            str(tmp_path / "again"),
            "--resamples",
            "100",
        ]
    )
    again = json.loads((tmp_path / "again/ratings.json").read_text())
    assert again["win_rates"] == found["win_rates"] and {n: m["rating"] for n, m in again["models"].items()} == {
        n: m["rating"] for n, m in found["models"].items()
    }


def test_a_run_that_was_stopped_goes_on(arena, tmp_path, monkeypatch):
    monkeypatch.setattr(eval.arena, "CHUNK", 2)
    main(arena("whole"))
    calls, real, stop = collections.Counter(), eval.generation.replies.Replier.__call__, {"replies": 4, "votes": 2}

    def reply(self, *args):
        calls["replies"] += 1
        if calls["replies"] == stop["replies"]:
            raise KeyboardInterrupt
        return real(self, *args)

    judged = RewardJudge.__call__

    def judge(self, pairs):
        trial = len(pairs) == 1  # when it is loaded
        calls["votes"] += not trial
        if calls["votes"] == stop["votes"] and not trial:
            raise KeyboardInterrupt
        return judged(self, pairs)

    monkeypatch.setattr(eval.generation.replies.Replier, "__call__", reply)
    monkeypatch.setattr(RewardJudge, "__call__", judge)
    for there in ((6, None), (18, 2)):  # answers and votes on disk
        with pytest.raises(SystemExit, match="130"):
            main(arena("stopped"))
        votes = tmp_path / "stopped/votes.jsonl"
        assert (
            len(rows(tmp_path / "stopped/answers.jsonl")) == there[0]
            and (len(rows(votes)) if votes.exists() else None) == there[1]
        )
    main(arena("stopped"))
    assert calls == {"replies": 10, "votes": 10}  # 9 chunks of each, and the one that was stopped
    for name in ("answers.jsonl", "votes.jsonl", "ratings.json"):
        assert (tmp_path / "stopped" / name).read_text() == (tmp_path / "whole" / name).read_text()
    main(arena("stopped", "--resamples", "200"))
    assert calls == {"replies": 10, "votes": 10}
    main(arena("stopped", "--seed", "1"))
    assert calls == {"replies": 19, "votes": 19}
    assert len(rows(tmp_path / "stopped/answers.jsonl")) == 18 and len(rows(tmp_path / "stopped/votes.jsonl")) == 18


def test_a_judge_without_verdicts_keeps_the_answers(arena, models, tmp_path):
    with pytest.raises(UserError, match="has no verdict on any of 6 pairs"):
        main.__wrapped__(
            arena("arena", "--judge", f"model={models[0].partition('=')[2]}", "--judge_tokens", "4", "--limit", "2")
        )
    assert len(rows(tmp_path / "arena/answers.jsonl")) == 6 and not (tmp_path / "arena/ratings.json").exists()


def test_what_is_wrong_is_told_and_peoples_votes_are_kept(arena, world, tmp_path, capsys):
    def error(*more, argv=None):
        return fails(main, argv or arena("bad", *more), capsys)

    assert "votes=<file.jsonl>, but got best" in error("--judge", "best")
    assert "name=folder" in error("--models", "x=a")
    assert "does not exist" in error("--prompts", str(tmp_path / "none.jsonl"))
    assert "limit 2" in error("--limit", "1")
    assert "does not exist" in error("--judge", f"reward={tmp_path}/none")
    assert "no column answer" in error("--judge", "verifier=final_number")
    assert "--judge_tokens does nothing" in error("--judge_tokens", "9")
    assert "--models does nothing" in error("--judge", "votes=some.jsonl")
    assert "file some.jsonl does not exist" in error(
        argv=["--judge", "votes=some.jsonl", "--output_dir", str(tmp_path / "bad")]
    )
    assert not (tmp_path / "bad").exists()
    (tmp_path / "people").mkdir()
    (tmp_path / "people/votes.jsonl").write_text(json.dumps(cast(0, "x", "y", "a", labeller="ann", time=1.0)) + "\n")
    before = (tmp_path / "people/votes.jsonl").read_text()
    assert "not of eval.arena" in error(argv=arena("people"))
    assert (tmp_path / "people/votes.jsonl").read_text() == before
