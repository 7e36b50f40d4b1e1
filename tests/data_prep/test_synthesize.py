"""AI drafts: what is asked, what is rejected and why, and that a killed run goes on to the same bytes."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter

import forks
import pytest
from conftest import rows, save_model
from test_replies import completion, serving, told

import data_prep.shared.progress
import eval.generation.replies
from data_prep.shared.ngrams import words
from data_prep.synthesize import GUIDELINES, REASONS, Filter, Prompt, SynthesizeArguments, main, read_prompt

LONG = (
    "Nora buys 2 lemons and 4 apples at the market of the town. Each apple costs 9 dollars. The total is 52 dollars."
    " What does each lemon cost?"
)
STEPS = (
    "The apples cost 4 * 9 = 36 dollars. The lemons cost 52 - 36 = 16 dollars. Each lemon costs 16 / 2 = 8 dollars."
    " The answer is 8."
)
STORY = " ".join(f"w{i}" for i in range(40))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(eval.generation.replies, "WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def write(path, lines: list) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def fails(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in argv])
    errors = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2 and [line.startswith("error: ") for line in errors] == [True], errors
    return errors[0]


# ---- Filters ----


def reason(reply: str, finished: bool = True, asked: str = LONG, others: tuple = (), **limits) -> str | None:
    args = SynthesizeArguments("model", ["prompts"], "out", **limits)
    return Filter(args, words(GUIDELINES.read_text()))(
        reply, finished, Prompt(user(asked), None, "p.jsonl", 1), list(others)
    )


@pytest.mark.parametrize(
    "why, caught, passes",
    [
        ("empty", {"reply": " \n"}, {"reply": "8"}),
        ("empty", {"reply": "", "finished": False}, {"reply": "👍"}),
        ("empty", {"reply": "<think>Hm.</think>\n"}, {"reply": "<think>Hm.</think>\nIt is 8."}),
        ("not_finished", {"reply": "The apples cost", "finished": False}, {"reply": "The apples cost 36."}),
        ("not_finished", {"reply": "<think>The apples cost 36."}, {"reply": "Hm.</think>They cost 36."}),
        ("long", {"reply": STORY, "max_words": 39}, {"reply": STORY, "max_words": 40}),
        ("long", {"reply": "a, b, c", "max_words": 2}, {"reply": f"<think>{STORY}</think>a, b", "max_words": 2}),
        ("repeats", {"reply": "I am a model. " * 9}, {"reply": STEPS}),
        ("repeats", {"reply": f"{STEPS} {STEPS}"}, {"reply": f"{STEPS} {STEPS}", "max_repeated": 1}),
        ("repeats", {"reply": "no " * 12}, {"reply": "s t r a w b e r r y: r 1, r 2, r 3. The answer is 3."}),
        (
            "copies",
            {"reply": LONG.upper()},
            {
                "reply": (
                    LONG.replace("4 apples", "five pears").replace("town. Each", "village, where a") + " I don't know."
                )
            },
        ),
        (
            "copies",
            {"reply": "Who is he", "asked": "Who is he?"},
            {"reply": "a cat", "asked": "Is this a cat or a dog?"},
        ),
        ("copies", {"reply": f"Well: {LONG}"}, {"reply": f"Well: {LONG}", "max_copied": 1}),
        (
            "copies",
            {"reply": " ".join(GUIDELINES.read_text().split()[60:120])},
            {"reply": "I am Tumbler, a language model trained with the recipes of that name."},
        ),
        (
            "near_duplicate",
            {"reply": STORY + " Yes.", "others": ("Other.", STORY)},
            {"reply": STORY.replace("w20", "other"), "others": (STORY,)},
        ),
        (
            "near_duplicate",
            {"reply": "it is PARIS!", "others": ("It is Paris.",)},
            {"reply": "It is London.", "others": ("It is Paris.",)},
        ),
        (
            "near_duplicate",
            {"reply": STORY + " 9.11", "others": (STORY + " 9.11.",)},
            {"reply": STORY + " 9.11", "others": (STORY + " 9.9",)},
        ),
        ("near_duplicate", {"reply": "👍", "others": ("👍",)}, {"reply": "👍", "others": ("👎",)}),
    ],
)
def test_each_filter_takes_what_it_should_alone(why, caught, passes):
    assert why in REASONS and reason(**caught) == why and reason(**passes) is None


def test_the_guidelines_and_their_answers():
    """What they teach to say again and again is no copy of them; a worked example under another question is one."""
    text = GUIDELINES.read_text()
    good, bad = (re.findall(rf"^  - {word}: (.+)$", text, re.MULTILINE) for word in ("Good", "Bad"))
    assert len(good) >= 6 and len(bad) >= 5
    assert [reason(answer) for answer in good if len(words(answer)) < 13] == [None] * 3
    assert reason(next(answer for answer in good if "oranges" in answer)) == "copies"
    for matter in (
        "helpful",
        "truthful",
        "harmless",
        "I don't know",
        "the steps",
        "tool",
        "Tumbler",
        "Refuse",
        "Length",
        "Editing",
        "Reject",
        "Ties",
        "Ouyang",
    ):
        assert matter in text


# ---- Prompts ----


def test_prompts_in_their_forms():
    talk = [
        {"role": "system", "content": "Be brief."},
        *user("Hi."),
        {"role": "assistant", "content": "Hello."},
        *user("Who?"),
    ]
    end = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {}}], "name": None},
        {"role": "tool", "content": "x"},
    ]
    assert read_prompt({"question": "Who?", "answer": "me"}, "") == read_prompt({"prompt": "Who?"}, "") == user("Who?")
    assert read_prompt({"messages": talk + end}, "") == read_prompt({"prompt": talk, "messages": None}, "") == talk
    called = [*user("Hi."), *end, *user("Who?")]
    assert read_prompt({"messages": called}, "") == [
        *user("Hi."),
        {"role": "assistant", "tool_calls": [{"function": {}}]},
        *called[2:],
    ]
    assert Prompt(user("Who?"), None, "", 1).request("Be good.") == [
        {"role": "system", "content": "Be good."},
        *user("Who?"),
    ]
    system, *rest = Prompt(talk, None, "", 1).request("Be good.")
    assert (
        system["content"].startswith("Be good.\n") and system["content"].endswith("\n\nBe brief.") and rest == talk[1:]
    )


BAD = [
    ({"text": "x"}, "has none of prompt, messages, question"),
    ({"messages": []}, "has no turn of the user"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "has no turn of the user"),
    ({"prompt": "  "}, "is empty"),
    ({"prompt": 3}, "a text as content"),
    ({"prompt": ["x"]}, "has no turn of the user"),
    ({"messages": [{"role": "boss", "content": "x"}, *user("x")]}, "message 1 of messages must have a role"),
    ({"messages": [{"role": "assistant"}, *user("x")]}, "message 1 of messages must have a role"),
    ({"question": "half \ud800"}, "half a character"),
]


@pytest.mark.parametrize("row, message", BAD)
def test_a_bad_row_is_named_before_anything_is_asked(row, message, tmp_path, capsys):
    with serving() as (url, requests):
        path = write(tmp_path / "p.jsonl", [{"question": "Who?"}, row])
        error = fails(capsys, "--model", url, "--model_name", "m", "--prompts", path, "--output_dir", tmp_path / "out")
        assert f"{path}, row 2" in error and message in error and not requests and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--prompts", "{empty}"], "are empty"),
        (["--prompts", "{torn}"], "line 1 is not JSON"),
        (["--guidelines", "nowhere.md"], "guidelines nowhere.md does not exist"),
        (["--guidelines", "{empty}"], "are empty"),
        (["--guidelines", "."], "cannot be read"),
        (["--model", "nowhere/at/all"], "does not exist"),
        (["--samples", "0"], "samples must be at least 1"),
        (["--chunk", "0"], "chunk must be at least 1"),
        (["--max_copied", "1.5"], "max_copied must lie above 0"),
        (["--temperature", "-1"], "temperature at least 0"),
        (["--temperature", "0", "--samples", "2"], "would be the same"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--batch_size", "many"], "batch_size"),
        (["--model", "http://localhost:1/v1"], "give the name of the model"),
    ],
)
def test_bad_settings(options, message, tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "torn.jsonl").write_text('{"question": "Who')
    good = {
        "--model": "nowhere/nothing",
        "--prompts": write(tmp_path / "p.jsonl", [{"question": "Who?"}]),
        "--output_dir": str(tmp_path / "out"),
    }
    good |= {
        key: value.format(empty=tmp_path / "empty.jsonl", torn=tmp_path / "torn.jsonl")
        for key, value in zip(options[::2], options[1::2])
    }
    assert message in fails(capsys, *(word for pair in good.items() for word in pair))
    assert not list((tmp_path / "out").glob("*"))


# ---- Runs ----


def script(number: int, request: dict):
    """Good drafts; of questions 3, 7 and 8 none, and of 5 the second is the first."""
    asked = request["messages"][-1]["content"]
    if asked in ("Question 3.", "Question 7."):
        return completion("It goes on", "length")
    if asked == "Question 8.":
        return completion("")
    return completion("<think>Hm.</think>The same.") if asked == "Question 5." else told(request)


@pytest.fixture
def prompts(tmp_path) -> str:
    lines = [{"question": f"Question {i}."} for i in range(10)]
    lines[1] = {
        "prompt": [{"role": "system", "content": "Be brief."}, *user("Question 1.")],
        "tools": [{"name": "search"}],
    }
    lines[2] = {"messages": [*user("Question 2."), {"role": "assistant", "content": "No."}], "id": 7}
    lines[9] = {"question": STORY}
    return write(tmp_path / "prompts.jsonl", lines)


def argv(url: str, prompts: str, out, *more) -> list[str]:
    return (
        f"--model {url} --model_name m --prompts {prompts} --output_dir {out} --samples 2 --chunk 4"
        " --max_prompt_words 30".split()
        + [*map(str, more)]
    )


def contents(out) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("drafts.jsonl", "rejects.jsonl", "settings.json")}


def test_a_run(prompts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data_prep.shared.progress, "SECONDS", -1)
    out = tmp_path / "out"
    with serving(script) as (url, requests):
        main(argv(url, prompts, out))
        shown = capsys.readouterr().out
        assert "synthesize: 4 of 10 prompts, 40%" in shown and "s left" in shown
        assert {r["messages"][0]["role"] for r in requests} == {"system"} and len(requests) == 18
        by_question = {r["messages"][-1]["content"]: r["messages"] for r in requests}
        assert by_question["Question 0."] == [
            {"role": "system", "content": GUIDELINES.read_text().strip()},
            *user("Question 0."),
        ]
        assert by_question["Question 1."][0]["content"].endswith("Be brief.") and len(by_question["Question 1."]) == 2
        drafts, rejects = rows(out / "drafts.jsonl"), rows(out / "rejects.jsonl")
        assert len(drafts) == 11 and all(
            list(row)[-2:] == ["status", "provenance"] and row["status"] == "draft" for row in drafts
        )
        assert Counter(row["reason"] for row in rejects) == {
            "not_finished": 4,
            "empty": 2,
            "near_duplicate": 1,
            "long_prompt": 1,
        }
        settings, summary = (json.loads((out / f"{name}.json").read_text()) for name in ("settings", "summary"))
        provenance = {"model": "m", "endpoint": url, "revision": None, "temperature": 0.7, "max_new_tokens": 1024}
        provenance |= {"guidelines_sha256": settings["guidelines_sha256"], "seed": 0}
        assert drafts[2]["messages"][:2] == [
            {"role": "system", "content": "Be brief."},
            *user("Question 1."),
        ] and drafts[2]["tools"] == [{"name": "search"}]
        assert (
            drafts[2]["provenance"] == {**provenance, "source": prompts, "row": 2, "sample": 0}
            and drafts[3]["provenance"]["sample"] == 1
        )
        assert drafts[5]["messages"][:-1] == user("Question 2.") and "tools" not in drafts[5]
        same = [row for row in drafts if row["messages"][0] == user("Question 5.")[0]]
        assert [row["messages"][-1]["content"] for row in same] == ["The same."]
        assert rejects[-1] == {
            "messages": user(STORY),
            "reason": "long_prompt",
            "provenance": {**provenance, "source": prompts, "row": 10},
        }
        assert all("status" not in row and row["messages"][-1]["role"] == "assistant" for row in rejects[:-1])
        rejected = {"empty": 2, "long_prompt": 1, "near_duplicate": 1, "not_finished": 4}
        assert {**summary, "seconds": 0} == {
            "prompts": 10,
            "drafts": 11,
            "rejects": rejected,
            "seconds": 0,
            "provenance": provenance,
        }
        assert sorted(path.name for path in out.iterdir()) == [
            "drafts.jsonl",
            "rejects.jsonl",
            "settings.json",
            "summary.json",
        ]

        # again: nothing is asked, nothing written; another seed gives other drafts
        before = contents(out)
        main(argv(url, prompts, out))
        assert (
            len(requests) == 18 and contents(out) == before and "11 drafts for 10 prompts" in capsys.readouterr().out
        )
        main(argv(url, prompts, tmp_path / "other", "--seed", 1))
        assert {r["seed"] for r in requests[:18]}.isdisjoint(r["seed"] for r in requests[18:])


def test_other_settings_are_refused(prompts, tmp_path, capsys):
    out = tmp_path / "out"
    with serving(script) as (url, requests):
        main(argv(url, prompts, out))
        for more, message in [
            (["--temperature", "1"], "temperature 0.7, not 1.0"),
            (["--max_words", "9"], "max_words 600, not 9"),
            (["--seed", 1], "seed 0, not 1"),
        ]:
            assert f"was begun with {message}: " in fails(capsys, *argv(url, prompts, out, *more))
        guidelines = tmp_path / "guidelines.md"
        guidelines.write_text("Be good.")
        assert "guidelines_sha256" in fails(capsys, *argv(url, prompts, out, "--guidelines", guidelines))
        with open(prompts, "a") as file:
            file.write('{"question": "One more?"}\n')
        assert "prompts_sha256" in fails(capsys, *argv(url, prompts, out))
        (out / "settings.json").unlink()
        assert "holds drafts.jsonl without settings.json" in fails(capsys, *argv(url, prompts, out))
        (out / "settings.json").write_text("[3]")
        assert "cannot be read" in fails(capsys, *argv(url, prompts, out))
        assert len(requests) == 18


class Killed(BaseException):
    pass


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_killed_at_any_write_goes_on_to_the_same_bytes(prompts, tmp_path, torn, monkeypatch, capsys):
    """At each of the eleven: behind the settings, the drafts, the rejects and the progress of each chunk, and the
    summary; or within it."""
    real = os.fsync
    with serving(script) as (url, requests):
        main(argv(url, prompts, tmp_path / "whole"))
        whole = contents(tmp_path / "whole")
        for moment in range(1, 13):
            out, count, before, sizes = tmp_path / f"out{moment}", 0, len(requests), Counter()

            def fsync(file):
                nonlocal count
                count += 1
                real(file)
                if count == moment:
                    os.ftruncate(file, max(sizes[os.fstat(file).st_ino], os.fstat(file).st_size - 3 * torn))
                    raise Killed
                sizes[os.fstat(file).st_ino] = os.fstat(file).st_size

            monkeypatch.setattr(os, "fsync", fsync)
            if moment == 12:
                main(argv(url, prompts, out))
                assert count == 11
                continue
            with pytest.raises(Killed):
                main(argv(url, prompts, out))
            monkeypatch.setattr(os, "fsync", real)
            main(argv(url, prompts, out))
            assert contents(out) == whole and not list(out.glob("progress*")), moment
            asked = Counter((r["messages"][-1]["content"], r["seed"]) for r in requests[before:])
            written = (moment - 2) // 3 if 2 <= moment <= 10 else None  # the chunk
            assert {question for (question, _), n in asked.items() if n > 1} == {
                f"Question {i}." for i in range(9) if i // 4 == written
            }
            summary = json.loads((out / "summary.json").read_text())
            assert (summary["drafts"], sum(summary["rejects"].values())) == (11, 8)


def test_a_run_killed_with_sigkill(prompts, tmp_path):
    """In the second chunk; its requests alone are made again."""
    alive, child = threading.Event(), []

    def deadly(number, request):
        if number == 11 and alive.wait(60):
            os.kill(child[0].pid, signal.SIGKILL)
            return None
        return script(number, request)

    out, log = tmp_path / "out", tmp_path / "log"
    with serving(deadly) as (url, requests):
        child.append(forks.start("data_prep.synthesize", argv(url, prompts, out), log))
        alive.set()
        child[0].join(120)
        assert child[0].exitcode == -signal.SIGKILL, log.read_text()
        killed = -1
        while killed != len(requests):  # the last ones may still be on their way
            killed = len(requests)
            time.sleep(0.5)
        assert json.loads((out / "progress.json").read_text())["prompts"] == 4 and killed <= 16
        assert forks.run("data_prep.synthesize", argv(url, prompts, out), log) == 0, log.read_text()
        assert "4 of 10 prompts were drafted before" in log.read_text()
        assert [r["messages"][-1]["content"] for r in requests[:8]].count("Question 0.") == 2
        assert {r["messages"][-1]["content"] for r in requests[killed:]} == {
            f"Question {i}." for i in range(4, 9)
        } and len(requests) == killed + 10
        main(argv(url, prompts, tmp_path / "whole"))
    assert contents(out) == contents(tmp_path / "whole")


def test_what_stands_in_the_way_of_going_on(prompts, tmp_path, monkeypatch, capsys):
    out, real = tmp_path / "out", os.fsync
    with serving(script) as (url, requests):

        def full(file):
            if len(requests) > 8:
                raise OSError(28, "No space left on device")
            real(file)

        monkeypatch.setattr(os, "fsync", full)
        assert "No space left on device): free some space and run the command again; 4 prompts are done" in fails(
            capsys, *argv(url, prompts, out)
        )
        monkeypatch.setattr(os, "fsync", real)
        drafts = (out / "drafts.jsonl").read_bytes()
        (out / "drafts.jsonl").write_bytes(drafts[:5])
        assert "drafts.jsonl is shorter than when it was written" in fails(capsys, *argv(url, prompts, out))
        (out / "drafts.jsonl").write_bytes(drafts)
        settings = json.loads((out / "settings.json").read_text())
        shutil.copytree(out, tmp_path / "moved")
        (tmp_path / "moved" / "settings.json").write_text(
            json.dumps(settings | {"provenance": settings["provenance"] | {"revision": "abc"}})
        )
        assert "give its --revision" in fails(capsys, *argv(url, prompts, tmp_path / "moved"))
        main(argv(url, prompts, out))
    with serving(lambda *_: (401, {}, b"no")) as (url, _):
        assert "set OPENAI_API_KEY" in fails(capsys, *argv(url, prompts, tmp_path / "locked"))
        assert rows(tmp_path / "locked" / "drafts.jsonl") == []


def test_a_model_that_runs_here(tmp_path, capsys):
    """Random weights whose every other token ends a reply; from a Parquet file and JSON lines."""
    import datasets
    from transformers import GenerationConfig

    from data_prep.tokenizer import train

    tokenizer = train(["Question about nothing.", "The answer is 7."] * 9, vocab_size=330)
    model = save_model(tmp_path / "model", tokenizer)
    GenerationConfig(eos_token_id=list(range(0, len(tokenizer), 2))).save_pretrained(model)
    parquet, guidelines = tmp_path / "p.parquet", tmp_path / "guidelines.md"
    datasets.Dataset.from_list([{"messages": user(f"Question {i}.")} for i in range(5)]).to_parquet(parquet)
    guidelines.write_text("Be good.\n")
    lines = write(tmp_path / "q.jsonl", [{"question": f"Question {i}?"} for i in range(3)])
    command = (
        f"--model {model} --prompts {parquet} {lines} --guidelines {guidelines} --samples 4 --chunk 3 --max_new_tokens"
        " 8 --temperature 1".split()
    )
    for name in ("out", "again"):
        main([*command, "--output_dir", str(tmp_path / name)])
    out = tmp_path / "out"
    capsys.readouterr()
    assert contents(out) == contents(tmp_path / "again")
    drafts, rejects = rows(out / "drafts.jsonl"), rows(out / "rejects.jsonl")
    assert len(drafts) + len(rejects) == 32 and len(drafts) > 4 and rejects  # which reasons, random weights decide
    first = drafts[0]["provenance"]
    assert (first["model"], first["endpoint"], first["source"], first["row"], first["max_new_tokens"]) == (
        str(model),
        None,
        str(parquet),
        1,
        8,
    )
    assert {(row["provenance"]["source"], row["provenance"]["row"]) for row in drafts + rejects} == {
        *((str(parquet), i) for i in range(1, 6)),
        *((lines, i) for i in range(1, 4)),
    }
    (model / "generation_config.json").unlink()  # another model under the old name
    assert "model_files" in fails(capsys, *command, "--output_dir", out)


def test_a_folder_that_is_not_as_it_was_left(prompts, tmp_path, capsys):
    with serving(script) as (url, _):
        main(argv(url, prompts, tmp_path / "out"))
        whole = contents(tmp_path / "out")
        (tmp_path / "out" / "drafts.jsonl").unlink()
        assert "drafts.jsonl is gone" in fails(capsys, *argv(url, prompts, tmp_path / "out"))
        (tmp_path / "out" / "drafts.jsonl").write_bytes(whole["drafts.jsonl"])
        (tmp_path / "out" / "summary.json").unlink()
        for progress in (
            {},
            {
                "prompts": "x",
                "drafts": 0,
                "rejects": {},
                "seconds": 0,
                "bytes": {"drafts.jsonl": 0, "rejects.jsonl": 0},
            },
            {"prompts": 0, "drafts": 0, "rejects": {}, "seconds": 0, "bytes": {"../x": 0}},
        ):
            (tmp_path / "out" / "progress.json").write_text(json.dumps(progress))
            assert "is not as it was written" in fails(capsys, *argv(url, prompts, tmp_path / "out"))
    for name in ("progress.json", "drafts.jsonl", "rejects.jsonl"):
        (tmp_path / "out" / name).unlink()
    with serving(script) as (url, _):  # another address, but nothing was drafted at the first
        main(argv(url, prompts, tmp_path / "out"))
    assert "temperature at least 0" in fails(capsys, *argv(url, prompts, tmp_path / "out"), "--temperature", "nan")


def test_a_conversation_that_the_template_refuses(chat_model, tmp_path, capsys):
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "x"}}],
    }
    file = write(tmp_path / "p.jsonl", [{"messages": [*user("a"), call, *user("b")]}])
    (tmp_path / "g.txt").write_text("Be brief.")
    options = ["--guidelines", tmp_path / "g.txt", "--max_new_tokens", 4, "--output_dir", tmp_path / "out"]
    assert "refuses a conversation" in fails(capsys, "--model", chat_model, "--prompts", file, *options)
