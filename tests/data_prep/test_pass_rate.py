"""Filtering by pass rate: what is kept, bad input, and a run that is killed."""

import json

import pytest
from conftest import rows

from data_prep import pass_rate
from data_prep.pass_rate import main
from data_prep.shared.chunks import hold
from eval.generation.replies import Reply


def problems(path, count=20):
    made = [{"prompt": [{"role": "user", "content": f"{i} + 0?"}], "answer": str(i)} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture
def fake(monkeypatch):
    """A model that gets problem i right in i % 5 of 4 samples; it counts what it is asked, and can be told to die."""
    asked, state = [], {"dies_at": None}

    class Fake:
        def __init__(self, *_, **__):
            pass

        def __call__(self, conversations, samples, seed):
            if state["dies_at"] is not None and len(asked) >= state["dies_at"]:
                raise KeyboardInterrupt
            asked.extend(c[0]["content"] for c in conversations)
            numbers = [int(c[0]["content"].split()[0]) for c in conversations]
            return [
                [Reply(f"The answer is {n if s < n % 5 else n + 1}.", True) for s in range(samples)] for n in numbers
            ]

    monkeypatch.setattr(pass_rate, "replier_of", Fake)
    return asked, state


def argv(tmp_path, *more, out="out"):
    return [
        "--model",
        "m",
        "--problems",
        str(tmp_path / "p.jsonl"),
        "--output_dir",
        str(tmp_path / out),
        "--samples",
        "4",
        "--chunk",
        "3",
        *map(str, more),
    ]


def test_what_is_always_or_never_solved_goes(tmp_path, fake, capsys):
    problems(tmp_path / "p.jsonl")
    main(argv(tmp_path))
    assert [row["pass_rate"] for row in rows(tmp_path / "out/probes.jsonl")] == [0, 0.25, 0.5, 0.75, 1] * 4
    assert [int(row["answer"]) % 5 for row in rows(tmp_path / "out/train.jsonl")] == [1, 2, 3] * 4
    assert "12 of 20 problems (pass rates 0: 4, below 0.5: 4, from 0.5: 8, 1: 4)" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/summary.json").read_text())["kept"] == 12
    asked = len(fake[0])
    main(argv(tmp_path, "--least", 0.5, "--most", 0.5))  # other thresholds ask nothing again
    assert len(fake[0]) == asked and len(rows(tmp_path / "out/train.jsonl")) == 4


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_bytes(tmp_path, fake):
    problems(tmp_path / "p.jsonl")
    main(argv(tmp_path, out="whole"))
    asked, state = fake
    asked.clear()
    state["dies_at"] = 9
    with pytest.raises(SystemExit, match="130"):
        main(argv(tmp_path))
    state["dies_at"] = None
    with (tmp_path / "out/probes.jsonl").open("a") as file:
        file.write('{"prompt": "half')
    main(argv(tmp_path))
    assert len(asked) == len(set(asked)) == 20
    for name in ("probes.jsonl", "train.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_runs_in_one_folder_do_not_mix(tmp_path, fake, capsys):
    problems(tmp_path / "p.jsonl")
    main(argv(tmp_path))
    with (tmp_path / "out/probes.jsonl").open("ab") as other:
        hold(other)
        with pytest.raises(SystemExit):
            main(argv(tmp_path))
    assert "another run is at work on" in capsys.readouterr().err


def test_a_real_model(chat_model, world, tmp_path):
    args = [
        "--model",
        str(chat_model),
        "--problems",
        str(world / "problems/train.jsonl"),
        "--limit",
        "5",
        "--samples",
        "2",
        "--max_new_tokens",
        "8",
    ]
    main([*args, "--least", "0", "--output_dir", str(tmp_path)])  # random weights solve nothing
    assert {row["pass_rate"] for row in rows(tmp_path / "train.jsonl")} == {0.0} and len(
        rows(tmp_path / "train.jsonl")
    ) == 5


def test_right_replies_keep_their_calls(tmp_path, monkeypatch):
    """As `recipes.sft` reads them: turns, results, and what describes the tools."""
    call = {"type": "function", "function": {"name": "python", "arguments": {"code": "3 + 0"}}}
    calls = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "3"}]
    given = {}

    def replier_of(args, **options):
        given.update(options)

        def reply(conversations, samples, seed):
            turns = [*calls, {"role": "assistant", "content": "The answer is 3."}]
            return [
                [Reply("The answer is 3.", True, turns), Reply("The answer is 3.", True, turns)] for _ in conversations
            ]

        return reply

    monkeypatch.setattr(pass_rate, "replier_of", replier_of)
    problems(tmp_path / "p.jsonl", 5)
    more = ("--tools", "python", "--solutions", 2, "--max_result_tokens", 20, "--least", 0, "--most", 1)
    main(argv(tmp_path, *more))
    assert given["max_result_tokens"] == 20 and [tool.__name__ for tool in given["tools"]] == ["python"]
    (solved,) = rows(tmp_path / "out/solutions.jsonl")  # of "3 + 0?" alone, and once
    assert [turn["role"] for turn in solved["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert solved["messages"][1:3] == calls and json.loads(solved["tools"])[0]["function"]["name"] == "python"


def test_bad_input_is_one_line(tmp_path, fake, capsys):
    problems(tmp_path / "p.jsonl")
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "bare.jsonl").write_text('{"answer": "1"}\n')
    (tmp_path / "column.jsonl").write_text('{"prompt": [{"role": "user", "content": "?"}]}\n')
    main(argv(tmp_path))
    for more, message in [
        (["--problems", tmp_path / "none.jsonl"], "are empty"),
        (["--problems", tmp_path / "absent.jsonl"], "does not exist"),
        (["--problems", tmp_path / "bare.jsonl"], "row 1: prompt must be messages"),
        (["--problems", tmp_path / "column.jsonl"], "lacks a column"),
        (["--rewards", "nonsense"], "nonsense"),
        (["--least", 0.9, "--most", 0.1], "least not above most"),
        (["--temperature", 0], "would be the same"),
        (["--max_tool_calls", 0], "must be at least 1"),
        (["--max_result_tokens", 8], "name them with --tools"),
        (["--least", 0.3, "--most", 0.4], "no problem of 20"),
        (["--seed", 1], "was made with other settings (seed: 0, now 1)"),
    ]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(argv(tmp_path, *more))
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count("\n") == 1, error
    assert (
        len(rows(tmp_path / "out/probes.jsonl")) == 20 and not (tmp_path / "out/train.jsonl").exists()
    )  # it was of other thresholds
