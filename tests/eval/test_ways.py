"""Which model when: each task is asked in each way that it has, and costs are counted."""

import json

import pytest

from eval.probes import ways


@pytest.fixture
def data(tmp_path):
    """Two tasks, of which one can also be asked at once."""

    def write(name: str, ask: str) -> None:
        rows = [{"question": f"{ask} {n}?", "answer": str(n), "choices": []} for n in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("sums", "What is")
    write("sums_at_once", "At once: what is")
    write("facts", "Who is")
    return tmp_path


def argv(data, model, *more) -> list[str]:
    found = ["--assistant", model, "--reasoner", model, "--data_dir", data, "--output", data.parent / "out" / "o.json"]
    return [*map(str, found), "--tasks", "sums=final_number", "facts=final_number", *more]


def test_a_task_is_asked_in_each_way_that_it_has(data, chat_model):
    (args,) = ways.parse((ways.WaysArguments,), argv(data, chat_model, "--limit", "3"))
    found = {(job.task, job.way): job.rows for job in ways.jobs(args)}
    assert [way for task, way in found if task == "sums"] == list(ways.WAYS)
    assert [way for task, way in found if task == "facts"] == ["at once", "with tools", "reasoner"]
    assert all(len(rows) == 3 for rows in found.values())
    assert found["sums", "at once"][0]["question"] == "At once: what is 0?"
    assert found["sums", "reasoner"] == found["sums", "in steps"]


def test_the_command_counts(data, chat_model):
    ways.main(argv(data, chat_model, "--max_new_tokens", "12"))
    found = json.loads((data.parent / "out" / "o.json").read_text())
    for row in found["tasks"].values():
        for told in row.values():
            assert told["right"]["n"] == told["tokens"]["n"] == 4 and told["seconds"] > 0
            assert 1 <= told["tokens"]["value"] <= 12 and set(told["example"]) == {"question", "text"}


def test_bad_input_is_one_line(data, tmp_path, capsys):
    for more, message in [
        (["--tasks", "sums"], "task=verifier"),
        (["--tasks", "sums=none"], "unknown verifier"),
        (["--tasks", "other=final_number"], "the task other"),
        (["--limit", "0"], "must be at least 1"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            ways.main(argv(data, tmp_path / "none", *more))
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and message in error and error.count("\n") == 1, error
