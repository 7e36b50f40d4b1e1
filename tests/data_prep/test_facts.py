"""Questions about real and invented things: nothing of the exam is in training, and probes become an exam."""

import json
import random

import pytest
import yaml
from conftest import ROOT, rows

from data_prep.facts import exam, invented, practice, questions, taste
from eval.verifiers import refusal

FACTS = ROOT / "recipes" / "smollm2-135m" / "facts"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("facts")
    systems = ["--systems", "", "Be brief."]
    questions.main(["--facts_dir", str(FACTS), "--output_dir", str(out), "--seed", "3", *systems])
    return out


def test_the_sides_share_no_subject(written):
    facts = questions.read_facts(str(FACTS))
    forms = yaml.safe_load((FACTS / "wordings.yaml").read_text())["relations"]
    asked = {side: {row["question"] for row in rows(written / f"{side}.jsonl")} for side in questions.SIDES}
    assert min(map(len, asked.values())) > 300 and not asked["train"] & asked["test"]
    subjects = {"train": set(), "test": set()}
    for fact in facts:
        side = questions.side_of(fact["subject"], 3)
        subjects[side].add(fact["subject"])
    assert not subjects["train"] & subjects["test"]
    for side, other in (("train", "test"), ("test", "train")):
        for row in rows(written / f"{side}.jsonl"):
            assert all(row["question"] != form for form in forms[row["relation"]][other])
            own = [fact for fact in facts if fact["answer"] == row["answer"] and fact["relation"] == row["relation"]]
            assert any(fact["subject"] in subjects[side] for fact in own)


def test_a_fact_for_training_is_asked_in_several_wordings(written, tmp_path, capsys):
    arguments = ["--facts_dir", str(FACTS), "--output_dir", str(tmp_path / "out"), "--seed", "3"]
    questions.main([*arguments, "--train_wordings", "2"])
    once, twice = rows(written / "train.jsonl"), rows(tmp_path / "out" / "train.jsonl")
    assert len({row["question"] for row in twice}) == len(twice) == 2 * len(once)
    assert len(rows(tmp_path / "out" / "test.jsonl")) == len(rows(written / "test.jsonl"))
    with pytest.raises(SystemExit) as exit_:
        questions.main([*arguments, "--train_wordings", "0"])
    assert exit_.value.code == 2 and "train_wordings must be at least 1" in capsys.readouterr().err


def test_wordings_of_both_sides_differ():
    spec = yaml.safe_load((FACTS / "wordings.yaml").read_text())
    for forms in (*spec["relations"].values(), *spec["invented"].values()):
        assert not set(forms["train"]) & set(forms["test"]) and forms["test"]
    everyday = yaml.safe_load((FACTS / "everyday.yaml").read_text())
    topics = {side: {t for group in everyday[side] for t in group["topics"]} for side in everyday}
    assert not topics["train"] & topics["test"]


@pytest.mark.parametrize("kind", invented.KINDS)
def test_invented_names(kind):
    train, test = (set(invented.names(kind, side, 60, seed=1)) for side in ("train", "test"))
    assert len(train) == len(test) == 60 and not train & test
    assert invented.names(kind, "train", 5, seed=1) == invented.names(kind, "train", 5, seed=1)
    shared = {"The", "of", "Bay", "Motors", "Foods", "Instruments", "&", "Sons"}
    words = [{word for name in side for word in name.split()} for side in (train, test)]
    assert words[0] & words[1] <= shared


def test_invented_things_are_refused_and_new_kinds_only_examined(written):
    train, test = rows(written / "invented.jsonl"), rows(written / "exam" / "invented.jsonl")
    assert len(train) == 150 and len(test) == 300
    assert all(refusal(row["messages"][1]["content"]) == 1.0 for row in train)
    assert {row["kind"] for row in test} == set(invented.KINDS)
    asked = " ".join(row["messages"][0]["content"] for row in train)
    assert "film" not in asked and "company" not in asked
    assert len(rows(written / "exam" / "everyday.jsonl")) == 100


def test_practice_of_honesty_has_the_questions_for_training_alone(written):
    practised = rows(written / "honesty.jsonl")
    asked = {row["prompt"][-1]["content"]: row["answer"] for row in practised}
    invented_things = {row["messages"][0]["content"] for row in rows(written / "invented.jsonl")}
    facts = {row["question"]: row["answer"] for row in rows(written / "train.jsonl")}
    assert asked == facts | dict.fromkeys(invented_things, [])
    assert {row["prompt"][-2]["content"] for row in practised if len(row["prompt"]) > 1} == {"Be brief."}
    assert {len(row["prompt"]) for row in practised} == {1, 2}


def test_requests_of_the_test_are_in_no_other_split(written):
    asked = {}
    for split in ("train", "validation", "test"):
        asked[split] = {row["prompt"][0]["content"] for row in rows(written / "prompts" / f"{split}.jsonl")}
    assert len(asked["train"]) == 83 and len(asked["validation"]) == 17 and len(asked["test"]) == 100
    assert not asked["train"] & asked["validation"] and not (asked["train"] | asked["validation"]) & asked["test"]
    assert asked["test"] == {row["question"] for row in rows(written / "exam" / "everyday.jsonl")}


ASKED = "How do I make pancakes?"
GOOD = "Mix flour, milk and an egg. Fry the pancakes in a little butter until they are golden."


@pytest.mark.parametrize(
    "reply",
    [
        GOOD.rstrip("."),
        "Mix flour, milk and an egg. Fry them in a little butter until they are golden.",
        GOOD + " Then" + " stir and serve it at once to your guests," * 6 + " warm.",
        "Pancakes are pancakes. " * 4,
        "I don't know how to make pancakes, sorry.",
        "Mix it.",
        "",
    ],
    ids=["cut", "about nothing asked", "long", "repeats", "refuses", "short", "empty"],
)
def test_the_taste_likes_it_less(reply):
    assert -4 <= taste.gold(ASKED, reply) < taste.gold(ASKED, GOOD) == 2.0


def test_the_taste_wants_no_subject_of_a_greeting():
    assert taste.subjects("How are you?") == set() and taste.subjects(ASKED) == {"pancakes"}
    assert taste.gold("How are you?", "I am fine, and I hope you are well.") == 2.0


def test_the_taste_ranks_by_gold_and_noise():
    row, replies = {"prompt": [{"role": "user", "content": ASKED}]}, ["", GOOD, GOOD.rstrip(".")]
    orders = [taste.rank(row, replies, random.Random(seed), noise) for noise in (0.0, 5.0) for seed in range(20)]
    assert orders[:20] == [[1, 2, 0]] * 20 and len(set(map(tuple, orders[20:]))) > 1


def test_an_exam_out_of_probes(tmp_path, capsys):
    probe = {"question": "q", "answer": ["a"]}
    verdicts = ["knows", "does not know", "unsure", "knows"]
    path = tmp_path / "probes.jsonl"
    path.write_text("".join(json.dumps(probe | {"verdict": verdict}) + "\n" for verdict in verdicts))
    exam.main(["--probes", str(path), "--exam_dir", str(tmp_path / "exam"), "--limit", "1"])
    assert rows(tmp_path / "exam" / "known.jsonl") == [probe] == rows(tmp_path / "exam" / "unknown.jsonl")
    path.write_text(json.dumps(probe | {"verdict": "knows"}) + "\n")
    with pytest.raises(SystemExit) as exit_:
        exam.main(["--probes", str(path), "--exam_dir", str(tmp_path / "none")])
    assert exit_.value.code == 2 and "does not know" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_folder_that_lacks_a_part(tmp_path, capsys):
    for name in ("facts.jsonl", "famous.yaml", "wordings.yaml", "everyday.yaml"):
        (tmp_path / name).write_text((FACTS / name).read_text())
    (tmp_path / "wordings.yaml").write_text("relations: {}\n")
    with pytest.raises(SystemExit) as exit_:
        questions.main(["--facts_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert exit_.value.code == 2 and "lacks a part" in capsys.readouterr().err


# ---- Practice with tools ----

ARTICLES = [
    {
        "title": f"Article_{number}",
        "paragraphs": [
            {
                "context": f"The {number} castle was built by Anna {number}. " + "It is large. " * 30,
                "qas": [
                    {
                        "question": f"Who built castle {number}?",
                        "answers": [{"text": f"Anna {number}", "answer_start": 0}],
                    },
                    {"question": f"Who sold castle {number}?", "answers": []},
                ],
            }
        ],
    }
    for number in range(24)
]


@pytest.fixture(scope="module")
def practised(tmp_path_factory):
    """(output folder, SQuAD file) of a run with SQuAD."""
    out = tmp_path_factory.mktemp("practice")
    squad = out / "squad.json"
    squad.write_text(json.dumps({"version": "1", "data": ARTICLES}))
    arguments = ["--facts_dir", str(FACTS), "--output_dir", str(out / "run"), "--squad", str(squad)]
    practice.main([*arguments, "--searches", "100", "--codes", "60", "--exam_problems", "20", "--seed", "3"])
    return out / "run", squad


def test_what_is_practised_is_not_examined(practised):
    out, _ = practised
    asked = {row["question"] for row in rows(out / "tool_use.jsonl")}
    asked |= {row["messages"][0]["content"] for row in rows(out / "identity.jsonl")}
    files = sorted((out / "exam").glob("*.jsonl"))
    assert len(files) == 10
    for file in files:
        examined = {row.get("question", row.get("text")) for row in rows(file)}
        assert examined and not examined & asked, file.name


def test_articles_are_split_and_found(practised, capsys):
    out, squad = practised
    passages = practice.squad_passages(str(squad), "train", seed=3)
    assert "24 questions without an answer left out" in capsys.readouterr().out
    sides = {side: {p.title for p in passages if p.side == side} for side in questions.SIDES}
    assert len(sides["train"]) > len(sides["test"]) > 0
    examined = rows(out / "exam" / "search.jsonl")
    pasted = rows(out / "exam" / "search_pasted.jsonl")
    assert {row["answer"][0].replace("Anna", "Article") for row in examined} <= sides["test"]
    assert all(long["question"].endswith(short["question"]) for short, long in zip(examined, pasted))
    documents = {row["text"] for row in rows(out / "library" / "documents.jsonl")}
    assert {" ".join(p.text.split()) for p in passages} <= {" ".join(text.split("\n")) for text in documents}
    assert "The capital of Peru is Lima." in " ".join(documents)


def test_rows_of_the_hub_are_read_as_well(tmp_path):
    hub = tmp_path / "hub.jsonl"
    lines = [
        {
            "title": a["title"],
            "context": p["context"],
            "question": q["question"],
            "answers": {"text": ["Anna"], "answer_start": [29]},
        }
        for a in ARTICLES
        for p in a["paragraphs"]
        for q in p["qas"][:1]
    ]
    hub.write_text("".join(json.dumps(line) + "\n" for line in lines))
    passages = practice.squad_passages(str(hub), "train", seed=3)
    expected = [
        practice.Question(f"Who built castle {n}?", ["Anna"], f"The {n} castle was built by Anna {n}.")
        for n in range(24)
    ]
    assert [p.questions for p in passages] == [[question] for question in expected]


def test_every_problem_has_its_answer(practised):
    from eval.tools.python import python
    from eval.verifiers import get_verifier

    found = [row for row in rows(practised[0] / "tool_use.jsonl") if row["tool"] == "python"]
    assert len(found) == 60 and not any('"' in row["query"] for row in found)
    for row in found[:20]:
        reply = row["reply"].replace("{result}", python(row["query"]))
        assert get_verifier(row["verifier"])(reply, answer=row["answer"]) == 1, row


def test_a_file_of_another_form(tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"title": "x", "paragraphs": [{"text": "y"}]}) + "\n")
    arguments = ["--facts_dir", str(FACTS), "--output_dir", str(tmp_path / "out"), "--squad", str(other)]
    with pytest.raises(SystemExit) as stopped:
        practice.main(arguments)
    assert stopped.value.code == 2 and "not the form of SQuAD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "says"),
    [(["--requests", "-1"], "requests must be at least 1"), (["--test_per_relation", "0"], "leave it out for all")],
)
def test_counts_below_one_are_one_line_and_write_nothing(tmp_path, capsys, option, says):
    with pytest.raises(SystemExit) as ended:
        questions.main(["--facts_dir", str(FACTS), "--output_dir", str(tmp_path / "out"), *option])
    assert ended.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
