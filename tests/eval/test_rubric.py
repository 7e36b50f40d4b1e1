"""A judge by written criteria: what it is asked, how it is read, if it agrees with itself, and where it may pay."""

from types import SimpleNamespace

import pytest

from eval.cli import UserError
from eval.generation.replies import Reply
from eval.judging.rubric import Rubric, agreement, load_rubric, main, read_score

CRITERIA = """criteria:
  - {name: short, text: The reply is short.}
  - {name: kind, text: It is polite., weight: 3}
"""
ASKED = [{"role": "user", "content": "How are you?"}]


@pytest.fixture
def path(tmp_path) -> str:
    (tmp_path / "rubric.yaml").write_text(CRITERIA)
    return str(tmp_path / "rubric.yaml")


def judge(*scores):
    """A model that answers with these scores, in turn; it keeps what it is asked."""
    asked, given = [], iter(scores)

    def ask(conversations, samples, seed):
        asked.extend(c[0]["content"] for c in conversations)
        return [[Reply(f"Because. [[{next(given)}]]", True)] for _ in conversations]

    return ask, asked


def test_the_score_is_the_weighted_mean_of_what_could_be_read(path):
    ask, asked = judge(5, 1, "?", 3, "?", "?")
    scores = Rubric(path, ask)([{"prompt": ASKED}] * 3, ["Fine.", "Well.", "Hm."])
    assert scores == [0.25, 0.5, None]
    assert "The reply is short." in asked[0] and "It is polite." in asked[1] and "user: How are you?" in asked[0]
    assert "Fine." in asked[1] and "Well." in asked[2]


@pytest.mark.parametrize(
    "text, score",
    [("[[4]]", 4), ("so [[ 2 ]]", 2), ("[[2]] or [[3]]", None), ("4", None), ("[[7]]", None), ("", None)],
)
def test_a_score_is_read_where_there_is_one(text, score):
    assert read_score(text) == score


def test_a_reward_has_trls_form(path):
    ask, _ = judge(3, 3)
    turns = [[{"role": "assistant", "content": "Fine."}]]
    assert Rubric(path, ask).by_rubric(prompts=[ASKED], completions=turns, answer=["x"]) == [0.5]


def test_agreement_is_the_share_of_scores_that_come_again(path):
    ask, _ = judge(5, 4, 1, 2, 5, 3, 1, 2, 5, 4, 2, "?")
    found = agreement(Rubric(path, ask), [ASKED] * 2, ["a", "b"], repeats=2)
    assert found["agrees"]["value"] == pytest.approx((3 / 4 + 2 / 3) / 2) and found["agrees"]["n"] == 2
    assert found["unread"] == pytest.approx(1 / 12)


@pytest.mark.parametrize(
    "text, message",
    [
        ("criteria: []", "a name of its own"),
        ("criteria: [{name: a, text: b}, {name: a, text: c}]", "a name of its own"),
        ("criteria: [{name: a, text: b, weight: 0}]", "a weight above 0"),
        ("criteria: [{name: a, question: b}]", "is no rubric"),
        ("- a", "is no rubric"),
    ],
)
def test_what_is_no_rubric_is_refused(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_rubric(str(tmp_path / "r.yaml"))


def test_it_may_not_judge_its_own_training_alone(path):
    from recipes.rewards.rubric_reward import check_rubric

    args = SimpleNamespace(rubric=path, rubric_model="m", judge=None)
    with pytest.raises(UserError, match="the only judge of its own training"):
        check_rubric(args, [])
    check_rubric(args, ["final_number"])
    args.judge = "data_prep.world.taste:score"
    check_rubric(args, [])
    args.rubric_model = None
    with pytest.raises(UserError, match="belong together"):
        check_rubric(args, ["final_number"])


def test_the_command_says_how_often_it_agrees(path, chat_model, tmp_path, capsys):
    import json

    row = {"prompt": ASKED, "reply": "Fine."}
    (tmp_path / "replies.jsonl").write_text(json.dumps(row) + "\n")
    options = ["--rubric", path, "--model", str(chat_model), "--replies", str(tmp_path / "replies.jsonl")]
    main([*options, "--repeats", "1", "--max_new_tokens", "4"])
    assert "answers without a score: 1.000" in capsys.readouterr().out  # random weights write none
    with pytest.raises(SystemExit) as stopped:
        main([*options, "--temperature", "0"])
    assert stopped.value.code == 2
