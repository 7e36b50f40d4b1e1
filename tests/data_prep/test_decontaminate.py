"""What of the evaluation sets the training data hold: found where it was planted, and nowhere else."""

import gzip
import importlib
import json
import random
import time

import forks
import pytest
from conftest import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html
from test_report import fake_run

from data_prep.decontaminate import main
from data_prep.shared.ngrams import Index, words

LONG = (  # 21 words
    "Nora buys 2 lemons and 4 apples. Each apple costs 9 dollars. The total is 52 dollars. What does each lemon cost?"
)
MIDDLE = 'How many times does the letter "r" occur in "strawberry"?'  # 10
SHORT = "Which number is larger, 5.83 or 5.6?"  # 7


def write(path, rows_) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows_)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0) if path.suffix == ".gz" else lines.encode())
    return str(path)


def check(tmp_path, train: list, evaluation: list, **options) -> dict:
    """The verdict on rows; those of training as documents unless they are rows already."""
    train = [row if isinstance(row, dict) else {"text": row} for row in train]
    evaluation = [row if isinstance(row, dict) else {"question": row, "answer": "8"} for row in evaluation]
    argv = [
        "--train",
        write(tmp_path / "train.jsonl", train),
        "--eval",
        write(tmp_path / "quiz.jsonl", evaluation),
        "--output",
        str(tmp_path / "v.json"),
    ]
    for key, value in options.items():
        argv += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    main(argv)
    return json.loads((tmp_path / "v.json").read_text())


def test_words():
    assert words("Which is larger: 9.11, or 9.9?") == ["which", "is", "larger", "9.11", "or", "9.9"]
    assert words("It costs $1,250.50 -- no LESS.") == ["it", "costs", "1250.50", "no", "less"]
    assert words("") == words("?! …") == []


@given(
    text=st.lists(st.sampled_from("abcd"), min_size=2, max_size=40),
    at=st.integers(0, 30),
    before=st.lists(st.sampled_from("abcdef"), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_a_copy_is_found_wherever_it_stands(text, at, before):
    index = Index(5, 3)
    piece = index.add(text)
    assert index.shares(index.find(before[:at] + text + before[at:]))[piece] == 1
    n = 5 if len(text) >= 5 else 3 if len(text) >= 3 else len(text)
    grams = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
    held = [tuple(before[i : i + n]) in grams for i in range(len(before) - n + 1)]
    assert bool(index.find(before)) == any(held)


# ---- Rules ----


@pytest.mark.parametrize("question", [LONG, MIDDLE, SHORT])
@pytest.mark.parametrize(
    "row",
    [
        lambda q: {"text": f"Chapter 1. {q.upper()} \ud800\u2028 Who knows."},
        lambda q: {
            "messages": [{"role": "user", "content": q + " Answer at once."}, {"role": "assistant", "content": "8"}]
        },
        lambda q: {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": q}]}],
            "answer": "8",
            "verifier": "final_number",
        },
        lambda q: {
            "prompt": "Say it.",
            "chosen": [{"role": "assistant", "content": q}],
            "rejected": [{"role": "assistant", "content": "No."}],
        },
        lambda q: {"question": "Again:", "solution": q.replace(" ", "\n"), "answer": 8},
    ],
)
def test_a_copied_question_is_found_in_every_form_of_training_data(tmp_path, question, row):
    other = [{"text": f"Something else \ud800\u202e\x00, number {i}."} for i in range(3)]
    verdict = check(
        tmp_path,
        [*other, row(question)],
        [question, "What is asked of nobody else in all the world, and why is it so long?"],
    )
    quiz = verdict["eval"]["quiz"]
    assert verdict["verdict"] == quiz["verdict"] == "contaminated"
    assert (quiz["items"], quiz["contaminated"], quiz["whole"], quiz["any"]) == (2, 1, 1, 1)
    (worst,) = quiz["worst"]
    assert (worst["question"], worst["share"], worst["file"], worst["row"]) == (
        question,
        1,
        str(tmp_path / "train.jsonl"),
        4,
    )
    assert words(worst["text"])[:5] == words(question)[:5]


@pytest.mark.parametrize(
    "question, other",
    [
        (LONG, LONG.replace("52", "61").replace(" 4", " 5")),
        (MIDDLE, MIDDLE.replace("strawberry", "banana")),
        (SHORT, SHORT.replace("5.6", "5.7")),
    ],
)
def test_the_same_template_with_other_numbers_is_clean(tmp_path, question, other):
    quiz = check(tmp_path, [other] * 5, [question])["eval"]["quiz"]
    assert (
        quiz["verdict"] == "clean"
        and quiz["contaminated"] == quiz["whole"] == 0
        and quiz["worst"][0:1] == quiz["worst"]
    )
    assert quiz["any"] == (question == MIDDLE)  # GPT-3's rule knows no templates
    assert check(tmp_path, [other], [question], rule="any")["eval"]["quiz"]["verdict"] == (
        "contaminated" if question == MIDDLE else "clean"
    )


def test_coverage_asks_for_one_row(tmp_path):
    """14 n-grams of 26 words, all in the training data, in two rows: only the count `covered` knows."""
    text = " ".join(f"w{i}" for i in range(26))
    halves = [" ".join(text.split()[:20]), " ".join(text.split()[8:])]
    quiz = check(tmp_path, halves, [text])["eval"]["quiz"]
    assert (quiz["verdict"], quiz["contaminated"], quiz["covered"], quiz["any"]) == ("clean", 0, 1, 1)
    assert quiz["worst"][0]["share"] == round(8 / 14, 3)
    clean = {"threshold": 8 / 14, "remove_to": tmp_path / "clean"}
    assert check(tmp_path, halves, [text], **clean)["eval"]["quiz"]["verdict"] == "contaminated"
    assert [row["text"] for row in rows(tmp_path / "clean" / "train.jsonl")] == halves[1:]  # it holds 6 of 14
    check(tmp_path, halves, [text], expected=["quiz"], **clean)
    assert len(rows(tmp_path / "clean" / "train.jsonl")) == 2


def test_a_long_answer_counts_as_well(tmp_path):
    solution = "The apples cost 4 * 9 = 36. The lemons cost 52 - 36 = 16. Each lemon costs 16 / 2 = 8."
    items = [
        {"question": LONG, "answer": solution},
        {"messages": [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": solution}]},
    ]
    assert check(tmp_path, [f"Thus: {solution}"], items)["eval"]["quiz"]["whole"] == 2
    assert check(tmp_path, ["The answer is 8."], [LONG])["eval"]["quiz"]["any"] == 0  # a short one is everywhere


def test_tolerance_and_expected_sets(tmp_path):
    others = [f"Question {i}: " + " ".join(f"w{i * 20 + j}" for j in range(20)) for i in range(19)]
    assert check(tmp_path, [LONG], [LONG, *others], tolerance=0.05)["verdict"] == "clean"
    assert check(tmp_path, [LONG], [LONG, *others], tolerance=0.049)["verdict"] == "contaminated"
    verdict = check(tmp_path, [LONG], [LONG, *others], expected=["quiz"])
    assert (
        verdict["verdict"] == "clean"
        and verdict["eval"]["quiz"]["verdict"] == "expected"
        and verdict["eval"]["quiz"]["contaminated"] == 1
    )
    quiz = check(tmp_path, [LONG], [LONG, "Hm?"])["eval"]["quiz"]
    assert quiz["items"] == quiz["too_short"] == 1


# ---- Files ----


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six files, plain and compressed, and a quiz whose questions stand in known rows of them."""
    folder, draw = tmp_path_factory.mktemp("corpus"), random.Random(0)
    questions = [" ".join(draw.choices([f"w{i}" for i in range(300)], k=draw.choice((6, 10, 30)))) for _ in range(40)]
    planted = {}
    for number in range(6):
        texts = [" ".join(draw.choices([f"w{i}" for i in range(300)], k=60)) for _ in range(300)]
        for q in range(number * 3, number * 3 + 3):
            row = draw.randrange(300)
            texts[row] += " " + questions[q]
            planted[questions[q]] = (number, row + 1)
        path = folder / "train" / ("web" if number % 2 else "books") / (f"{number}.jsonl" + ".gz" * (number % 2))
        write(path, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    write(folder / "quiz.jsonl", [{"question": q, "answer": "1"} for q in questions])
    return folder, planted


def test_the_rows_that_contaminate_are_left_out(corpus, tmp_path, capsys):
    folder, planted = corpus
    argv = [
        "--train",
        str(folder / "train" / "web"),
        str(folder / "train" / "books" / "*.jsonl"),
        "--eval",
        str(folder / "quiz.jsonl"),
    ]
    main([*argv, "--output", str(tmp_path / "v.json"), "--remove_to", str(tmp_path / "clean")])
    verdict = json.loads((tmp_path / "v.json").read_text())
    bad = set(planted.values())
    assert verdict["eval"]["quiz"]["contaminated"] == verdict["eval"]["quiz"]["whole"] == 18
    assert verdict["eval"]["quiz"]["sources"] == {
        str(folder / "train" / "web"): 9,
        str(folder / "train" / "books" / "*.jsonl"): 9,
    }
    assert f"{len(bad)} of 1,800 training rows left out" in capsys.readouterr().out
    for file in verdict["train"]:
        path = folder / "train" / file["path"].split("/train/")[1]
        read = gzip.open if path.suffix == ".gz" else open
        number = int(path.name[0])
        left = [line for i, line in enumerate(read(path, "rb"), 1) if (number, i) not in bad]
        assert list(read(tmp_path / "clean" / path.relative_to(folder / "train"), "rb")) == left  # byte for byte
        assert (file["rows"], file["contaminating"]) == (300, 300 - len(left))
    main(
        [
            "--train",
            str(tmp_path / "clean"),
            "--eval",
            str(folder / "quiz.jsonl"),
            "--output",
            str(tmp_path / "w.json"),
        ]
    )
    assert json.loads((tmp_path / "w.json").read_text())["eval"]["quiz"]["any"] == 0


def test_workers_and_a_killed_run_give_the_same_verdict(corpus, tmp_path, monkeypatch):
    folder, _ = corpus
    argv = ["--train", str(folder / "train"), "--eval", str(folder / "quiz.jsonl"), "--output"]
    main([*argv, str(tmp_path / "whole.json")])
    main([*argv, str(tmp_path / "two.json"), "--workers", "2"])
    assert (tmp_path / "whole.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    process, work = (
        forks.start("data_prep.decontaminate", [*argv, tmp_path / "out.json"], tmp_path / "log"),
        tmp_path / "out.json.work",
    )
    deadline = time.time() + 60
    while not (work / "0.json").exists():
        assert process.is_alive() and time.time() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.0005)
    process.kill()
    process.join()
    done = len(list(work.glob("*.json")))
    assert 1 <= done < 6 and not (tmp_path / "out.json").exists()
    assert forks.run("data_prep.decontaminate", [*argv, tmp_path / "out.json"], tmp_path / "log") == 0
    assert f"{done} of 6 files were read before" in (tmp_path / "log").read_text()
    assert (tmp_path / "whole.json").read_bytes() == (tmp_path / "out.json").read_bytes() and not work.exists()


def test_data_sets_of_other_forms(tmp_path):
    """Parquet, `save_to_disk`, a source with renamed columns: through `data_prep.shared.sources`."""
    from datasets import Dataset

    data = Dataset.from_dict({"body": ["nothing", "nothing at all", LONG]})
    data.rename_column("body", "text").to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(tmp_path / "saved")
    write(tmp_path / "quiz.jsonl", [{"problem": LONG}])
    for train in (
        str(tmp_path / "a.parquet"),
        json.dumps({"path": str(tmp_path / "saved"), "rename": {"body": "text"}}),
    ):
        main(
            [
                "--train",
                train,
                "--eval",
                str(tmp_path / "quiz.jsonl"),
                "--output",
                str(tmp_path / "v.json"),
                "--remove_to",
                str(tmp_path / "clean"),
            ]
        )
        quiz = json.loads((tmp_path / "v.json").read_text())["eval"]["quiz"]
        assert quiz["whole"] == 1 and quiz["worst"][0]["row"] == 3
    assert [row["text"] for row in rows(tmp_path / "clean" / "a.parquet" / "000000000.jsonl")] == [
        "nothing",
        "nothing at all",
    ]


def test_the_tiny_world(world, documents, tmp_path):
    """No benchmark's problem is in the training data, though many share n-grams with it; facts are, where they
    are meant to be."""
    train = [
        documents,
        *(
            world / part
            for part in (
                *("textbooks", "conversations/train.jsonl", "practice"),
                *("problems/train.jsonl", "verses/train.jsonl"),
            )
        ),
    ]
    argv = [
        "--train",
        *train,
        "--eval",
        world / "eval",
        world / "verses/test.jsonl",
        "--expected",
        "facts_known",
        "--output",
        tmp_path / "v.json",
    ]
    main(list(map(str, argv)))
    sets = json.loads((tmp_path / "v.json").read_text())["eval"]
    assert len(sets) == 20
    for name in sets.keys() - {"facts_known"}:
        assert sets[name]["verdict"] == "clean" and sets[name]["contaminated"] == sets[name]["too_short"] == 0, name
    assert sets["facts_known"]["verdict"] == "expected"
    assert sets["letters"]["any"] > 0.3 * sets["letters"]["items"]
    row = json.loads((world / "eval" / "apples.jsonl").read_text().splitlines()[7])
    leak = write(
        tmp_path / "leak.jsonl",
        [{"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": "…"}]}],
    )
    main([str(a) for a in ["--train", *train, leak, *argv[argv.index("--eval") :]]])
    apples = json.loads((tmp_path / "v.json").read_text())["eval"]["apples"]
    assert apples["verdict"] == "contaminated" and apples["contaminated"] == 1 and apples["worst"][0]["file"] == leak


# ---- The report ----


def test_the_report_prints_the_verdicts(tmp_path):
    from eval.report.__main__ import build

    fake_run(tmp_path / "tiny")
    row = {
        "verdict": "clean",
        "items": 250,
        "too_short": 0,
        "contaminated": 0,
        "whole": 0,
        "covered": 3,
        "any": 250,
        "sources": {},
        "worst": [],
    }
    leak = {
        "question": "<b>Who?</b>",
        "share": 1.0,
        "file": "train.jsonl",
        "row": 7,
        "text": "<script>alert(1)</script>",
    }
    sets = {
        "apples": row,
        "identity": (
            row | {"verdict": "contaminated", "contaminated": 88, "sources": {"train.jsonl": 88}, "worst": [leak]}
        ),
    }
    record = {
        "verdict": "contaminated",
        "rule": "a rule",
        "settings": {"n": 13, "short_n": 8},
        "eval": sets,
        "train": [],
    }
    (tmp_path / "tiny" / "decontaminate" / "verdict.json").write_text(json.dumps(record))
    page = html.parse(build(tmp_path / "tiny")).getroot()
    cells = {
        tr.find("th").text_content(): tr.findall("td")[-1].text_content()
        for tr in page.find_class("measures")[0].iter("tr")
        if tr.find("td") is not None
    }
    shown = {
        name: next(text for row, text in cells.items() if row.startswith(name))
        for name in ("apples", "apples_greedy", "identity", "gold")
    }
    assert "contaminated" in shown["identity"] and "88 of 250" in shown["identity"] and shown["gold"] == "–"
    assert all("clean" in shown[name] and "0 of 250" in shown[name] for name in ("apples", "apples_greedy"))
    assert (
        "a rule" in page.text_content()
        and "train.jsonl, row 7" in page.text_content()
        and not page.findall(".//script")
    )
    (tmp_path / "tiny" / "decontaminate" / "verdict.json").unlink()
    page = html.parse(build(tmp_path / "tiny")).getroot()
    assert "python -m data_prep.decontaminate" in page.find_class("absent")[0].text_content()


# ---- Errors ----

GOOD = '{"text": "a b c"}\n'


@pytest.mark.parametrize(
    "train, quiz, options, message",
    [
        (GOOD, GOOD, ["--n", "0"], "n and short_n must be at least 2"),
        (GOOD, GOOD, ["--n", "6"], "short_n at most n"),
        (GOOD, GOOD, ["--rule", "most"], "rule must be one of coverage, any"),
        (GOOD, GOOD, ["--threshold", "0"], "threshold must lie"),
        (GOOD, GOOD, ["--tolerance", "1"], "tolerance from 0"),
        (GOOD, GOOD, ["--workers", "0"], "workers must be at least 1"),
        (GOOD, GOOD, ["--expected", "nobody"], "expected names no evaluation set: nobody; the sets are quiz"),
        (GOOD, GOOD, ["--train", "FOLDER/nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (GOOD, GOOD, ["--train", "FOLDER/nowhere"], "nowhere does not exist"),
        (GOOD, GOOD, ["--train", "FOLDER/empty"], "empty holds no *.jsonl"),
        (GOOD, GOOD, ["--train", "nobody/no-such-data"], "nobody/no-such-data"),
        (GOOD, GOOD, ["--train", '{"path"'], "is not JSON"),
        (GOOD, GOOD, ["--train", '{"pat": 3}'], "a mapping with `path`"),
        (GOOD, GOOD, ["--eval", "FOLDER/quiz.jsonl", "FOLDER/quiz.jsonl"], "two evaluation sets have one name"),
        (GOOD, GOOD, ["--output", "FOLDER"], "is a folder"),
        (GOOD, GOOD, ["--output", "/proc/nowhere/v.json"], "cannot write the output folder"),
        (GOOD, GOOD, ["--remove_to", "FOLDER"], "choose another folder"),
        (GOOD + "{", GOOD, [], "train.jsonl, line 2 is not JSON"),
        (GOOD + "[1]\n", GOOD, [], "train.jsonl, line 2 is no JSON object"),
        (GOOD + '{"body": "a"}\n', GOOD, [], "train.jsonl, row 2 has none of question, "),
        ("\xff", GOOD, [], "is not JSON"),
        ("", GOOD, [], "are empty: expected at least one row"),
        (GOOD, "", [], "quiz.jsonl is empty"),
        (GOOD, "{\n", [], "quiz.jsonl, line 1 is not JSON"),
        (GOOD, '{"answer": "8"}\n', [], "quiz.jsonl, row 1 has none of question, "),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, train, quiz, options, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "train.jsonl").write_text(train, encoding="latin-1")
    (tmp_path / "quiz.jsonl").write_text(quiz)
    argv = [
        "--train",
        f"{tmp_path}/train.jsonl",
        "--eval",
        f"{tmp_path}/quiz.jsonl",
        "--output",
        f"{tmp_path}/out/v.json",
    ]
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("data_prep.decontaminate").main(
            [*argv, *(option.replace("FOLDER", str(tmp_path)) for option in options)]
        )
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error, error
    assert not (tmp_path / "out" / "v.json").exists()
