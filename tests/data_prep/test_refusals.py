"""What a model knows is found out by asking it: verdicts, training rows, what a killed run leaves, and what is
refused."""

import hashlib
import itertools
import json
import threading
import tracemalloc
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import forks
import pytest
from conftest import rows

from data_prep.probing import models
from data_prep.refusals import PHRASINGS, main, passage_row, question_row, verdict, written_row
from data_prep.shared.agreement import same_answer as groups
from eval.cli import UserError
from eval.generation.replies import Reply
from eval.verifiers import refusal

TOWNS = ["Millbrook", "Ashford", "New Millbrook"]


class Fake:
    """In the place of `Replier`: `says(question, place of the sample, seed)`, and what was asked of it."""

    asked: Counter
    systems: Counter
    says: staticmethod

    def __init__(self, model, max_new_tokens, temperature=1.0, name=None, revision=None, batch_size=256, backend=""):
        self.model, self.provenance = (
            model,
            {"model": name or model, "temperature": temperature, "max_new_tokens": max_new_tokens},
        )

    def __call__(self, conversations, samples=1, seed=0):
        out = []
        for *before, turn in conversations:
            self.systems.update(message["content"] for message in before)
            self.asked[self.model, turn["content"]] += samples
            texts = [type(self).says(turn["content"], k, seed) for k in range(samples)]
            out.append([t if isinstance(t, Reply) else Reply(t, True) for t in texts])
        return out


@pytest.fixture
def fake(monkeypatch):
    def use(says):
        Fake.says, Fake.asked, Fake.systems = staticmethod(says), Counter(), Counter()
        monkeypatch.setattr(models, "Replier", Fake)
        monkeypatch.setattr(models, "load_tokenizer", lambda *_, **__: None)
        monkeypatch.setattr(models, "require_chat_template", lambda *_: None)

    return use


def write(path, rows_) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    return str(path)


def quiz(known: int, unknown: int, unsure: int = 0) -> list[dict]:
    """Questions, in turn; `memory` answers them."""
    kinds = (
        [("known", i) for i in range(known)]
        + [("unknown", i) for i in range(unknown)]
        + [("unsure", i) for i in range(unsure)]
    )
    return [
        {"question": f"Where is {kind} {i}?", "answer": "Millbrook"}
        for kind, i in sorted(kinds, key=lambda k: (k[1], k[0]))
    ]


def memory(question: str, k: int, seed: int) -> str:
    where = {"known": "Millbrook", "unknown": f"Ashford {k}", "unsure": ("Millbrook", "Ashford")[k % 2]}
    return f" It is in {where[question.split()[2]]}. "


def run(tmp_path, questions, *options, out="out"):
    main(
        [
            "--model",
            "m",
            "--questions",
            write(tmp_path / "questions.jsonl", questions),
            "--output_dir",
            str(tmp_path / out),
            *map(str, options),
        ]
    )
    return tmp_path / out


def fails(capsys, *argv) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in argv])
    stderr = capsys.readouterr().err
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]  # a model that loads draws a bar
    assert (
        exit_.value.code == 2 and len(errors) == 1 and stderr.endswith(errors[0] + "\n") and "Traceback" not in stderr
    ), stderr
    return errors[0]


# ---- Verdicts ----


def test_verdict():
    T, F = True, False
    for right, expected in (
        ([T, T, T, T, F], "knows"),
        ([T, T, T, F, F], "unsure"),
        ([T, T, F, F, F], "unsure"),
        ([T, F, F, F, F], "does not know"),
        ([F] * 5, "does not know"),
        ([T, T, T, None, None], "knows"),
        ([T, T, None, None], "unjudged"),
        ([None], "unjudged"),
    ):
        assert verdict(right, 0.8, 0.2) == expected, right
    assert verdict([T, T, T, F, F], 0.6, 0.2) == "knows" and verdict([T, T, F, F, F], 0.8, 0.4) == "does not know"


@pytest.mark.parametrize(
    "samples, sizes",
    [
        (["Millbrook.", "millbrook", "*Millbrook*", "Ashford"], [3, 1]),
        (["In Millbrook.", "Millbrook", "Not Ashford, but Millbrook", "Not Millbrook, but Ashford"], [3, 1]),
        (["<think>Ashford</think>Millbrook", "Millbrook"], [2]),
        (["", " ", "."], [3]),
    ],
)
def test_the_same_words_agree(samples, sizes):
    assert [len(g) for g in groups({"answer": ["x"]}, samples)] == sizes


def test_the_same_choices_agree():
    row = {"answer": ["Millbrook", "Old Millbrook"], "choices": TOWNS}
    assert groups(
        row,
        [
            "He lives in Millbrook.",
            "Ashford",
            "It is Old Millbrook, I think!",
            "New Millbrook",
            "Not Ashford, but Millbrook.",
        ],
    ) == [[0, 2, 4], [1], [3]]
    assert groups(row, ["Ashford or Millbrook", "Atlantis", "atlantis", "Rome", "Millbrook or Ashford"]) == [
        [0, 4],
        [1, 2],
        [3],
    ]


def test_each_phrasing_is_a_refusal():
    assert len(set(PHRASINGS)) == len(PHRASINGS) >= 12
    assert [p for p in PHRASINGS if refusal(p, choices=TOWNS) != 1.0] == []
    assert sum("look" in p for p in PHRASINGS) >= 3


def test_probes(tmp_path, fake):
    fake(
        lambda q, k, seed: [
            "I don't know, perhaps Millbrook.",
            "Millbrook?",
            "",
            "In Old Millbrook.",
            Reply("Millbrook", False),
        ][k]
    )
    plain, aliases = (
        {"question": "Where?", "answer": "Millbrook", "group": 3},
        {"question": "And? ", "answer": ["Rome", "Old Millbrook"]},
    )
    closed = {"question": "Which?", "answer": "millbrook", "choices": TOWNS}
    with pytest.raises(SystemExit):  # none is known
        run(tmp_path, [plain, aliases, closed])
    first, second, third = rows(tmp_path / "out/probes.jsonl")
    assert list(first) == ["question", "answer", "samples", "finished", "right", "agreement", "verdict"]
    assert (
        first["right"] == [False, False, False, True, True]
        and first["verdict"] == "unsure"
        and first["agreement"] == 0.4
    )
    assert first["finished"] == [True, True, True, True, False]
    assert (
        second["question"] == "And?"
        and second["right"] == [False, False, False, True, False]
        and second["verdict"] == "does not know"
    )
    assert third["choices"] == TOWNS and third["right"] == [False, False, False, True, True]
    assert not (tmp_path / "out/train.jsonl").exists()


def test_both_kinds_balanced_with_their_probes(tmp_path, fake, capsys):
    fake(memory)
    out = run(tmp_path, quiz(known=9, unknown=4, unsure=3), "--chunk", 5)
    train, probes = rows(out / "train.jsonl"), rows(out / "probes.jsonl")
    assert [p["question"] for p in probes] == [q["question"] for q in quiz(9, 4, 3)]
    assert Counter(p["verdict"] for p in probes) == {"knows": 9, "does not know": 4, "unsure": 3}
    assert Counter(r["kind"] for r in train) == {"refusal": 4, "known": 4}
    by_question = {p["question"]: p for p in probes}
    for row in train:
        (user, assistant), probe = row["messages"], row["probe"]
        assert user == {"role": "user", "content": probe["question"]} and assistant["role"] == "assistant"
        assert probe == {
            k: by_question[probe["question"]][k] for k in ("question", "samples", "right", "agreement", "verdict")
        }
        if row["kind"] == "refusal":
            assert probe["verdict"] == "does not know" and assistant["content"] in PHRASINGS
        else:
            assert probe["verdict"] == "knows" and assistant["content"] == "It is in Millbrook."
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdicts"] == {"knows": 9, "does not know": 4, "unsure": 3, "unjudged": 0} and summary["rows"] == {
        "refusal": 4,
        "known": 4,
    }
    assert summary["calibration"] == [
        {"agreement": 0.2, "n": 4, "mean_right": 0.0, "majority_right": 0.0},
        {"agreement": 0.6, "n": 3, "mean_right": pytest.approx(0.6), "majority_right": 1.0},
        {"agreement": 1.0, "n": 9, "mean_right": 1.0, "majority_right": 1.0},
    ]
    assert summary["provenance"]["model"]["model"] == "m" and summary["replies"] == {
        "n": 80,
        "refused": 0,
        "cut": 0,
        "unjudged": 0,
    }
    said = capsys.readouterr().out
    assert (
        "16 questions: 9 knows, 4 does not know, 3 unsure" in said
        and said.count("does not know: 'Where is unknown") == 2
    )


def test_a_lucky_guess_is_not_knowledge(tmp_path, fake, capsys):
    """Of few values some guesses are right; the other questions about the same subject tell."""
    fake(memory)
    about = [
        {**row, "subject": name} for row, name in zip(quiz(3, 4), ("a", "b", "c", "b", "b", "b", None))
    ]  # known: a, c, b; unknown: b, b, b, none
    about = [{k: v for k, v in row.items() if v} for row in about]
    out = run(tmp_path, about)
    probes, train = rows(out / "probes.jsonl"), rows(out / "train.jsonl")
    known = {p["question"]: p.get("subject") for p in probes if p["verdict"] == "knows"}
    guessed = {question for question, subject in known.items() if subject == "b"}
    assert len(known) == 3 and guessed
    assert {row["probe"]["question"] for row in train if row["kind"] == "known"} <= known.keys() - guessed
    assert json.loads((out / "summary.json").read_text())["guessed"] == len(guessed)
    assert f"{len(guessed)} of those known are left out" in capsys.readouterr().out


def test_draws(tmp_path, fake):
    fake(memory)
    questions = quiz(known=3, unknown=40)
    first = (run(tmp_path, questions) / "train.jsonl").read_bytes()
    for options, refusals_, known in (
        (["--known_per_unknown", 0.5], 6, 3),
        (["--known_per_unknown", 2], 1, 2),
        (["--known_per_unknown", 0.01], 40, 1),
    ):
        counts = Counter(r["kind"] for r in rows(run(tmp_path, questions, *options) / "train.jsonl"))
        assert (counts["refusal"], counts["known"]) == (refusals_, known)
    assert (run(tmp_path, questions) / "train.jsonl").read_bytes() == first
    assert Fake.asked.total() == 43 * 5  # the draws ask nothing
    other = run(tmp_path, questions, "--seed", 1, out="other")
    assert {r["messages"][0]["content"] for r in rows(other / "train.jsonl")} != {
        r["messages"][0]["content"] for r in rows(tmp_path / "out/train.jsonl")
    }
    refused = [
        r["messages"][1]["content"]
        for r in rows(run(tmp_path, questions, "--known_per_unknown", 0.01) / "train.jsonl")
    ]
    assert len(set(refused)) > 8


def test_own_words_are_the_most_frequent_right_and_whole_sample(tmp_path, fake):
    says = [
        "Millbrook, of course.",
        "It is Millbrook.",
        Reply("Millbrook and", False),
        Reply("Millbrook and", False),
        "it is millbrook",
    ]
    fake(lambda q, k, seed: says[k] if "unknown" not in q else "Ashford")
    (known,) = [r for r in rows(run(tmp_path, quiz(1, 1)) / "train.jsonl") if r["kind"] == "known"]
    assert known["messages"][1]["content"] == "It is Millbrook."
    fake(lambda q, k, seed: Reply("Millbrook and", False) if "unknown" not in q else "Ashford")
    with pytest.raises(SystemExit):
        run(tmp_path, quiz(1, 1), out="cut")


def test_a_system_message_and_first_sentences(tmp_path, fake, capsys):
    """What is cut behind the first sentence is no loss, and what stands there neither judges nor teaches."""
    ends = {"known": "Millbrook. It lies on the", "unknown": "Ashford. Near it is Millbrook and"}
    fake(lambda q, k, seed: Reply(f"It is in {ends[q.split()[2]]}", False))
    out = run(tmp_path, quiz(2, 2), "--system", "Be brief.", "--one_sentence", "true")
    assert Fake.systems == {"Be brief.": 4}
    train = rows(out / "train.jsonl")
    assert {row["messages"][1]["content"] for row in train if row["kind"] == "known"} == {"It is in Millbrook."}
    assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in train)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["replies"]["cut"] == 0 and summary["verdicts"]["knows"] == summary["verdicts"]["does not know"] == 2
    fake(lambda q, k, seed: Reply(f"It is in {ends[q.split()[2]]}", False))
    with pytest.raises(SystemExit):  # whole replies: both name Millbrook, and none of them is whole
        run(tmp_path, quiz(2, 2), out="whole")


def test_agreement_tells_known_from_unknown(tmp_path, fake, capsys):
    fake(memory)
    summary = json.loads((run(tmp_path, quiz(5, 6, 2)) / "summary.json").read_text())
    assert summary["auc"]["value"] == 1.0 and (summary["auc"]["known"], summary["auc"]["unknown"]) == (5, 6)
    assert "AUC 1.000" in capsys.readouterr().out


def test_own_phrasings(tmp_path, fake, capsys):
    fake(memory)
    (tmp_path / "p.txt").write_text("Das weiß ich nicht.\n\n")
    out = run(tmp_path, quiz(1, 1), "--phrasings", tmp_path / "p.txt")
    assert [r["messages"][1]["content"] for r in rows(out / "train.jsonl") if r["kind"] == "refusal"] == [
        "Das weiß ich nicht."
    ]
    (tmp_path / "p.txt").write_text("\n")
    assert "is empty" in fails(
        capsys, "--model", "m", "--questions", "q", "--output_dir", tmp_path / "x", "--phrasings", tmp_path / "p.txt"
    )


def test_one_kind_only(tmp_path, fake, capsys):
    fake(memory)
    for questions, counts in (
        (quiz(3, 0), "knows 3 (knows_at 0.8) and does not know 0 (unknown_at 0.2)"),
        (quiz(0, 3), "knows 0"),
    ):
        file = write(tmp_path / "q.jsonl", questions)
        message = fails(capsys, "--model", "m", "--questions", file, "--output_dir", tmp_path / counts[:7])
        assert counts in message and "both kinds" in message


# ---- Judges ----


@pytest.mark.parametrize(
    "judge, answer, good, bad",
    [
        ("final_number", "7", "3 + 4 = 7. The answer is 7.", "The answer is 8. It is not 7."),
        ("final_number", 7, "The answer is 7.0.", "7"),
        ("final_text", ["iqtu", "uqti"], "The answer is uqti.", "The answer is iqtu or uqti."),
        ("token_f1", "the town of Millbrook", "It is town of Millbrook.", "Millbrook"),
        ("mentions", ["Rome", "Millbrook"], "It is Millbrook.", "It is not Millbrook."),
    ],
)
def test_verifiers_judge(tmp_path, fake, judge, answer, good, bad):
    fake(lambda q, k, seed: good if q == "a" else bad)
    out = run(tmp_path, [{"question": q, "answer": answer} for q in "ab"], "--judge", judge, "--samples", 1)
    assert [p["right"] for p in rows(out / "probes.jsonl")] == [[True], [False]]


def test_f1_at(tmp_path, fake):
    fake(lambda q, k, seed: "Millbrook it is" if q == "a" else "Ashford")  # 0.5
    questions = [{"question": q, "answer": "Millbrook"} for q in "ab"]
    assert (
        rows(run(tmp_path, questions, "--judge", "token_f1", "--f1_at", 0.5) / "probes.jsonl")[0]["verdict"] == "knows"
    )
    with pytest.raises(SystemExit):
        run(tmp_path, questions, "--judge", "token_f1", out="stricter")


def test_a_model_judges(tmp_path, fake, capsys):
    def says(prompt, k, seed):
        if "Reference answer:" not in prompt:
            return {"a": "M.", "b": "A.", "c": "X.", "d": "I don't know."}[prompt]
        assert "Reference answer: Millbrook or Rome" in prompt
        return {"M.": "**Yes**, it does.", "A.": "<think>yes</think> No.", "X.": "Yes or no? Hard to say."}[
            prompt.split("\n")[4]
        ]

    fake(says)
    out = run(
        tmp_path,
        [{"question": q, "answer": ["Millbrook", "Rome"]} for q in "abcd"],
        "--judge",
        "model",
        "--judge_model",
        "j",
    )
    assert [(p["right"][0], p["verdict"]) for p in rows(out / "probes.jsonl")] == [
        (True, "knows"),
        (False, "does not know"),
        (None, "unjudged"),
        (False, "does not know"),
    ]
    assert sum(n for (model, _), n in Fake.asked.items() if model == "j") == 3  # once for a text, not for a refusal
    summary = json.loads((out / "summary.json").read_text())
    assert (
        summary["verdicts"]["unjudged"] == 1
        and summary["provenance"]["judge"]["model"] == "j"
        and sum(b["n"] for b in summary["calibration"]) == 3
    )
    assert "1 unjudged" in capsys.readouterr().out


def test_what_no_verifier_can_judge_is_counted(tmp_path, fake):
    fake(lambda q, k, seed: "The answer is 7." if q == "a" else "The answer is 8.")
    out = run(
        tmp_path,
        [{"question": "a", "answer": 7}, {"question": "b", "answer": 7}, {"question": "c", "answer": "seven"}],
        "--judge",
        "final_number",
    )
    assert [p["verdict"] for p in rows(out / "probes.jsonl")] == ["knows", "does not know", "unjudged"]
    assert rows(out / "probes.jsonl")[2]["right"] == [None] * 5


# ---- Runs that were killed, repeated, changed ----


def drawn(question: str, k: int, seed: int) -> str:
    """Depends on all that it may: so equal bytes are no accident."""
    at = int(hashlib.sha256(f"{question} {k} {seed}".encode()).hexdigest(), 16)
    return (
        f"{TOWNS[:2][at % 2] if 'unsure' in question else 'Millbrook' if ' known' in question else 'Ashford'}"
        f" ({at % 97})."
    )


@pytest.mark.parametrize(
    "left", [b"", b'{"question": "half', b"\n", b'{"question": "a row of an unfinished chunk"}\n', b"\0\0\0"]
)
def test_what_a_killed_run_left(tmp_path, fake, left):
    fake(drawn)
    questions = quiz(6, 6, 6)
    whole = (run(tmp_path, questions, "--chunk", 4) / "probes.jsonl").read_bytes()
    out = run(tmp_path, questions, "--chunk", 4, out="killed")
    for name in ("train.jsonl", "summary.json"):
        (out / name).unlink()
    (out / "probes.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:8]) + left)
    Fake.asked.clear()
    run(tmp_path, questions, "--chunk", 4, out="killed")
    assert (out / "probes.jsonl").read_bytes() == whole
    assert (out / "train.jsonl").read_bytes() == (tmp_path / "out/train.jsonl").read_bytes()
    assert Fake.asked == {("m", q["question"]): 5 for q in questions[8:]}


def test_a_finished_run_is_not_repeated(tmp_path, fake, capsys):
    fake(memory)
    out = run(tmp_path, quiz(2, 2))
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    Fake.asked.clear()
    capsys.readouterr()
    run(tmp_path, quiz(2, 2), "--batch_size", 3)
    assert "is finished" in capsys.readouterr().out and not Fake.asked
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_other_settings_are_refused(tmp_path, fake, capsys):
    fake(memory)
    out = run(tmp_path, quiz(2, 2))
    argv = ["--questions", tmp_path / "questions.jsonl", "--output_dir", out]
    for option, value in (
        ("samples", 4),
        ("temperature", 0.5),
        ("max_new_tokens", 9),
        ("judge", "token_f1"),
        ("chunk", 2),
        ("seed", 1),
        ("limit", 3),
    ):
        message = fails(capsys, "--model", "m", *argv, f"--{option}", value)
        assert (
            "other settings" in message
            and "delete it" in message
            and (option if option != "limit" else "questions") in message
        )
    assert "model: m, now n" in fails(capsys, "--model", "n", *argv)
    write(tmp_path / "questions.jsonl", quiz(3, 2))
    assert "other settings (questions" in fails(capsys, "--model", "m", *argv)
    assert (
        (out / "train.jsonl").exists()
        and len(rows(out / "questions.jsonl")) == 4
        and not [f for f in out.iterdir() if f.name.startswith(".")]
    )
    (out / "settings.json").write_text("{")
    assert "cannot be read" in fails(capsys, "--model", "m", *argv)


def test_other_weights_are_other_settings(tmp_path, fake, capsys):
    fake(memory)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_text("1")
    argv = [
        "--model",
        folder,
        "--questions",
        write(tmp_path / "q.jsonl", quiz(1, 1)),
        "--output_dir",
        tmp_path / "out",
    ]
    main(list(map(str, argv)))
    (folder / "model.safetensors").write_text("12")
    assert f"files of {folder}" in fails(capsys, *argv)


def test_other_thresholds_ask_nothing_again(tmp_path, fake):
    fake(memory)
    questions = quiz(4, 4, 4)
    out = run(tmp_path, questions, "--chunk", 4)
    first = {name: (out / name).read_bytes() for name in ("probes.jsonl", "train.jsonl")}
    Fake.asked.clear()
    run(tmp_path, questions, "--chunk", 4, "--knows_at", 0.6)
    assert (
        Counter(p["verdict"] for p in rows(out / "probes.jsonl")) == {"knows": 8, "does not know": 4}
        and not Fake.asked
    )
    run(tmp_path, questions, "--chunk", 4)
    assert {name: (out / name).read_bytes() for name in first} == first and not Fake.asked
    # Killed in between, with a third pair of thresholds: none of the other verdicts stays.
    (out / "probes.jsonl").write_bytes(b"".join(first["probes.jsonl"].splitlines(keepends=True)[:4]))
    fake(lambda q, k, seed: (_ for _ in ()).throw(UserError("the endpoint is gone")))
    with pytest.raises(SystemExit):
        run(tmp_path, questions, "--chunk", 4, "--knows_at", 0.6)
    assert not (out / "train.jsonl").exists()
    fake(memory)
    run(tmp_path, questions, "--chunk", 4)
    assert {name: (out / name).read_bytes() for name in first} == first


class Endpoint:
    """A server that answers as `drawn` does, notes what it was asked, and stops at a question to be killed at."""

    def __init__(self):
        self.asked, self.stop_at, self.stopped, self.gone, self.fail = (
            Counter(),
            None,
            threading.Event(),
            threading.Event(),
            [],
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][-1]["content"]
                if outer.stop_at and outer.stop_at in question:
                    outer.stopped.set()
                    outer.gone.wait(60)
                    return
                outer.asked[question] += 1
                status, text = outer.fail.pop() if outer.fail else (200, drawn(question, 0, body["seed"]))
                choice = {
                    "message": {"content": text},
                    "finish_reason": "length" if body["max_tokens"] == 1 else "stop",
                }
                answer = json.dumps({"choices": [choice]} if status == 200 else {"error": text}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # whom it answers may have been killed
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.server.shutdown()


def test_killed_and_run_again(tmp_path, endpoint):
    questions = quiz(8, 8, 8)
    argv = [
        "--model",
        endpoint.url,
        "--model_name",
        "m",
        "--questions",
        write(tmp_path / "q.jsonl", questions),
        "--chunk",
        "4",
        "--samples",
        "3",
    ]
    main([*argv, "--output_dir", str(tmp_path / "whole")])
    endpoint.asked.clear()
    endpoint.stop_at = questions[9]["question"]
    process = forks.start("data_prep.refusals", [*argv, "--output_dir", tmp_path / "killed"], tmp_path / "log")
    assert endpoint.stopped.wait(120), (tmp_path / "log").read_text()
    process.kill()
    process.join()
    assert len(rows(tmp_path / "killed/probes.jsonl")) == 8
    assert [endpoint.asked[q["question"]] for q in questions[:8]] == [3] * 8
    endpoint.gone.set()
    endpoint.stop_at = None
    main([*argv, "--output_dir", str(tmp_path / "killed")])
    asked = [endpoint.asked[q["question"]] for q in questions]
    assert (
        asked[:8] == [3] * 8 and all(3 <= n <= 6 for n in asked[8:12]) and asked[12:] == [3] * 12
    )  # in between: the chunk that was lost
    for name in ("probes.jsonl", "train.jsonl", "questions.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_endpoint_that_refuses_names_the_questions(tmp_path, endpoint, capsys):
    endpoint.fail = [(400, "too long")] * 9
    argv = [
        "--model",
        endpoint.url,
        "--questions",
        write(tmp_path / "q.jsonl", quiz(2, 2)),
        "--output_dir",
        tmp_path / "out",
    ]
    assert "give the name" in fails(capsys, *argv)
    assert not list((tmp_path / "out").iterdir())
    message = fails(capsys, *argv, "--model_name", "m", "--samples", 1, "--chunk", 2)
    assert "questions.jsonl, rows 1 to 2" in message and "too long" in message


# ---- Bad input ----


@pytest.mark.parametrize(
    "row, says",
    [
        ({"answer": "x"}, "no question"),
        ({"question": " ", "answer": "x"}, "no question"),
        ({"question": ["q"], "answer": "x"}, "no question"),
        ({"question": "q"}, "no answer"),
        ({"question": "q", "answer": ""}, "no answer"),
        ({"question": "q", "answer": []}, "no answer"),
        ({"question": "q", "answer": ["x", " "]}, "no answer"),
        ({"question": "q", "answer": True}, "no answer"),
        ({"question": "q", "answer": {"aliases": []}}, "no answer"),
        ({"question": "q", "answer": "x", "choices": "x"}, "choices"),
        ({"question": "q", "answer": "x", "choices": [""]}, "choices"),
        ({"question": "q", "answer": "x", "subject": ["x"]}, "subject"),
    ],
)
def test_bad_rows(tmp_path, fake, capsys, row, says):
    fake(memory)
    file = write(tmp_path / "q.jsonl", [*quiz(1, 1), row])
    message = fails(capsys, "--model", "m", "--questions", file, "--output_dir", tmp_path / "out")
    assert f"{file}, row 3" in message and says in message and not Fake.asked
    assert not list((tmp_path / "out").iterdir())


def test_good_rows():
    assert question_row(
        {"question": "q", "answer": {"value": "B", "aliases": ["B", " C"]}, "choices": [], "subject": None}, ""
    ) == {"question": "q", "answer": ["B", "C"]}
    assert question_row({"question": "q", "answer": {"text": ["B"]}, "choices": None}, "")["answer"] == ["B"]
    assert question_row({"question": "q", "answer": 7}, "")["answer"] == ["7"]


def test_bad_files_and_settings(tmp_path, fake, capsys):
    fake(memory)
    file, out = write(tmp_path / "q.jsonl", quiz(1, 1)), tmp_path / "out"
    good = ["--model", "m", "--output_dir", out]
    (tmp_path / "broken.jsonl").write_text('{"question": "q", "answer": "x"}\nno json\n')
    (tmp_path / "empty.jsonl").write_text("")
    for argv, says in (
        (["--questions", tmp_path / "none.jsonl"], "does not exist"),
        (["--questions", tmp_path / "broken.jsonl"], "line 2 is not JSON"),
        (["--questions", tmp_path / "empty.jsonl"], "no row"),
        ([], "either questions"),
        (["--questions", file, "--documents", file], "either questions"),
        (["--documents", file], "none of text"),
        (["--questions", file, "--samples", 0], "samples must be at least 1"),
        (["--questions", file, "--temperature", 0], "above 0 for more than one sample"),
        (["--questions", file, "--knows_at", 0.2], "unknown_at must be below"),
        (["--questions", file, "--known_per_unknown", 0], "above 0"),
        (["--questions", file, "--judge", "made_up"], "judge must be one of final_number"),
        (["--questions", file, "--judge", "model"], "judge_model"),
        (["--questions", file, "--judge_model", "j"], "judge_model"),
        (["--questions", file, "--f1_at", 0.5], "token_f1"),
        (["--questions", file, "--writer", "w"], "goes with documents"),
        (["--documents", file, "--writer_name", "w"], "goes with documents"),
        (["--questions", file, "--phrasings", tmp_path / "none.txt"], "does not exist"),
    ):
        assert says in fails(capsys, *good, *argv), argv
        assert not out.exists() or not list(out.iterdir())


def test_yaml_with_a_mapping(tmp_path, fake):
    fake(memory)
    write(tmp_path / "q.jsonl", [{"ask": q["question"], "is": q["answer"]} for q in quiz(2, 2)])
    config = {
        "model": "m",
        "questions": [{"path": str(tmp_path / "q.jsonl"), "rename": {"ask": "question", "is": "answer"}}],
        "output_dir": str(tmp_path / "out"),
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    main(["--config", str(tmp_path / "c.yaml")])
    assert len(rows(tmp_path / "out/train.jsonl")) == 4
    from datasets import load_dataset

    for name in ("train", "probes", "questions"):
        assert len(load_dataset("json", data_files=str(tmp_path / f"out/{name}.jsonl"), split="train")) == 4


def test_a_model_that_is_not_there_leaves_nothing(tmp_path, capsys):
    file = write(tmp_path / "q.jsonl", quiz(1, 1))
    for option in (
        ["--questions", file],
        [
            "--documents",
            write(tmp_path / "d.jsonl", [{"text": "t"}]),
            "--writer",
            "http://127.0.0.1:1/v1",
            "--writer_name",
            "w",
        ],
    ):
        assert "does not exist" in fails(
            capsys, "--model", tmp_path / "none", *option, "--output_dir", tmp_path / "out"
        )
        assert not list((tmp_path / "out").iterdir())


# ---- Questions out of documents ----

PASSAGE = "Orson Kovats, a baker, lives in the old town of Millbrook. He plays the flute."


@pytest.mark.parametrize(
    "text, question, answer, dropped",
    [
        (
            "Question: Where does Orson Kovats live?\nAnswer: Millbrook",
            "Where does Orson Kovats live?",
            "Millbrook",
            None,
        ),
        (
            "Sure!\n\n**Question:** What does Orson Kovats play?\n\n**Answer:** The flute.",
            "What does Orson Kovats play?",
            "The flute",
            None,
        ),
        (
            "<think>Question: x</think>question: Who lives in Millbrook?\nanswer: 'orson kovats'",
            "Who lives in Millbrook?",
            "orson kovats",
            None,
        ),
        (
            "Question: Where does Orson Kovats live?\nAnswer: Ashford",
            "Where does Orson Kovats live?",
            "Ashford",
            "answer does not stand",
        ),
        (
            "Question: Where does Orson Kovats live?\nAnswer: Mill",
            "Where does Orson Kovats live?",
            "Mill",
            "answer does not stand",
        ),
        (
            "Question: Does Orson Kovats live in Millbrook?\nAnswer: Millbrook",
            "Does Orson Kovats live in Millbrook?",
            "Millbrook",
            "contains the answer",
        ),
        (
            "Question: Where does the man in this passage live?\nAnswer: Millbrook",
            "Where does the man in this passage live?",
            "Millbrook",
            "speaks of",
        ),
        ("Where does he live? Millbrook", None, None, "no question and answer"),
        ("Question: Where?\nAnswer:", None, None, "no question and answer"),
        ("Question:\nAnswer: Millbrook", None, None, "no question and answer"),
        ("Answer: Millbrook\nQuestion: Where?", None, None, "no question and answer"),
        (
            "Question: Where?\nAnswer: Millbrook\nQuestion: What?\nAnswer: The flute",
            None,
            None,
            "no question and answer",
        ),
        ("", None, None, "no question and answer"),
    ],
)
def test_written_questions(text, question, answer, dropped):
    row = written_row(PASSAGE, text, True)
    assert (row["question"], row["answer"]) == (question, answer)
    assert row["dropped"] is None if dropped is None else dropped in row["dropped"]
    assert written_row(PASSAGE, text, False)["dropped"] == "the reply was cut"


def test_passages():
    assert passage_row({"text": "one two three"}, "", 7) == {"text": "one two"}
    assert passage_row({"text": "one two three"}, "", 9) == {"text": "one two"}
    assert passage_row({"text": "onetwothree"}, "", 3) == {"text": "one"}
    assert passage_row({"text": "one"}, "", 3) == {"text": "one"}
    assert passage_row({"text": "      "}, "", 3) == {"text": ""}


def writes(prompt: str, k: int, seed: int):
    """A writer that errs on some documents; else `drawn`."""
    if not prompt.startswith("Passage:"):
        return drawn(prompt, k, seed)
    kind, i = prompt.split("\n")[1].split()[1:3]
    if i == "3":
        return "No idea."
    return f"Question: Where is {kind} {'0' if i == '1' else i}?\nAnswer: {'Rome' if i == '2' else 'Millbrook'}"


def test_documents(tmp_path, fake, capsys):
    fake(writes)
    documents = [
        {"text": f"The {kind} {i} is in Millbrook.", "id": i} for i in range(8) for kind in ("known", "unknown")
    ]
    argv = ["--model", "m", "--writer", "w", "--documents", write(tmp_path / "d.jsonl", documents), "--chunk", "3"]
    main([*argv, "--output_dir", str(tmp_path / "out")])
    assert "questions.jsonl: 10 written about 16 documents; 2 dropped" in capsys.readouterr().out
    questions = [q["question"] for q in rows(tmp_path / "out/questions.jsonl")]
    assert questions == [f"Where is {kind} {i}?" for i in (0, 4, 5, 6, 7) for kind in ("known", "unknown")]
    why = (
        "the same question stands before",
        "the answer does not stand in the passage",
        "no question and answer in the reply",
    )
    assert json.loads((tmp_path / "out/summary.json").read_text())["written"] == {"kept": 10, **dict.fromkeys(why, 2)}
    assert {(model, q[:5]) for model, q in Fake.asked} == {("w", "Passa"), ("m", "Where")}
    assert Counter(r["kind"] for r in rows(tmp_path / "out/train.jsonl")) == {"known": 5, "refusal": 5}
    # Killed while it wrote: eight rows are whole, six of them in whole chunks.
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed/settings.json").write_bytes((tmp_path / "out/settings.json").read_bytes())
    lines = (tmp_path / "out/written.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "killed/written.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:20])
    Fake.asked.clear()
    main([*argv, "--output_dir", str(tmp_path / "killed")])
    assert sum(q.startswith("Passage") for _, q in Fake.asked) == 10
    for name in ("passages.jsonl", "written.jsonl", "questions.jsonl", "probes.jsonl", "train.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_writer_that_cannot(tmp_path, fake, capsys):
    fake(lambda *_: "Question?")
    message = fails(
        capsys,
        "--model",
        "m",
        "--documents",
        write(tmp_path / "d.jsonl", [{"text": PASSAGE}]),
        "--output_dir",
        tmp_path / "out",
    )
    assert "no usable question" in message and "written.jsonl" in message


# ---- A real model; a large set ----


def test_a_real_model(tmp_path, world, chat_model, capsys):
    """Random weights know nothing: each question is asked, the probes stand, and the error says that one kind is
    missing."""
    questions = [
        {k: row[k] for k in ("question", "answer", "choices")} for row in rows(world / "eval/facts_known.jsonl")[:5]
    ]
    argv = [
        "--model",
        chat_model,
        "--questions",
        write(tmp_path / "q.jsonl", questions),
        "--max_new_tokens",
        8,
        "--samples",
        3,
        "--chunk",
        2,
    ]
    assert "knows 0" in fails(capsys, *argv, "--output_dir", tmp_path / "a")
    probes = rows(tmp_path / "a/probes.jsonl")
    assert [p["question"] for p in probes] == [q["question"] for q in questions] and all(
        p["verdict"] == "does not know" and len(p["samples"]) == 3 for p in probes
    )
    lines = (tmp_path / "a/probes.jsonl").read_bytes()
    (tmp_path / "a/probes.jsonl").write_bytes(lines[: len(lines) * 2 // 3])
    fails(capsys, *argv, "--output_dir", tmp_path / "a")
    assert (tmp_path / "a/probes.jsonl").read_bytes() == lines


def test_memory_does_not_grow_with_the_questions(tmp_path, fake):
    fake(memory)
    Fake.asked = type("Forgetful", (), {"__getitem__": lambda *_: 0, "__setitem__": lambda *_: None})()
    peaks = []
    for count in (250, 2_500):
        questions = tmp_path / f"{count}.jsonl"
        kinds = itertools.islice(itertools.cycle(("known", "unknown", "unsure")), count)
        questions.write_text(
            "".join(
                json.dumps({"question": f"Where is {kind} {i}?", "answer": "Millbrook"}) + "\n"
                for i, kind in enumerate(kinds)
            )
        )
        tracemalloc.start()
        main(["--model", "m", "--questions", str(questions), "--output_dir", str(tmp_path / f"out{count}")])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (
        len(rows(tmp_path / "out2500/train.jsonl")) == 1666
        and (tmp_path / "out2500/probes.jsonl").stat().st_size > 0.62e6
    )
    assert peaks[1] < peaks[0] + 0.75e6, peaks  # the samples alone would take 1 MB, the rows 3.5


def test_settings_that_would_do_nothing(tmp_path, fake, capsys):
    argv = ["--model", "m", "--questions", write(tmp_path / "q.jsonl", quiz(1, 1)), "--output_dir", tmp_path / "out"]
    for option, value, says in (
        ("judge_max_new_tokens", 5, "judge_model"),
        ("writer_max_new_tokens", 5, "documents"),
        ("passage_characters", 5, "documents"),
        ("known_per_unknown", "inf", "above 0"),
    ):
        assert says in fails(capsys, *argv, f"--{option}", value)


def test_probes_that_are_none(tmp_path, fake, capsys):
    fake(memory)
    run(tmp_path, quiz(4, 4), "--chunk", "2")
    out = tmp_path / "out"
    probes, train = (out / "probes.jsonl").read_bytes(), (out / "train.jsonl").read_bytes()
    for broken in (b"1\n" * 8, b"{}\n" * 8, probes + probes):
        (out / "summary.json").write_text("[]")
        (out / "probes.jsonl").write_bytes(broken)
        run(tmp_path, quiz(4, 4), "--chunk", "2")
        assert (out / "train.jsonl").read_bytes() == train and (out / "probes.jsonl").read_bytes()[
            : len(probes)
        ] == probes
    (out / "settings.json").write_text('{"settings": [1], "provenance": {}, "thresholds": null}')
    argv = ["--model", "m", "--questions", tmp_path / "q.jsonl", "--output_dir", out]
    write(tmp_path / "q.jsonl", quiz(4, 4))
    assert "cannot be read" in fails(capsys, *argv)
    (out / "settings.json").unlink()
    assert "probes.jsonl without settings.json" in fails(capsys, *argv)
    (out / "probes.jsonl").write_bytes(b"")
    (out / "settings.json").write_text(
        '{"settings": {"seed": 5}, "provenance": {}, "thresholds": null}'
    )  # of a run that got no reply
    main([str(a) for a in argv])
