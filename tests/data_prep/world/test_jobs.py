"""Jobs of several calls, their lessons, and success by the number of calls."""

import json

import pytest
from conftest import rows

from data_prep.world import jobs
from eval import long_jobs
from eval.cli import UserError
from eval.generation.generate import Generation
from eval.verifiers import by_row


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    from eval.tools.search import main as build

    out = tmp_path_factory.mktemp("jobs")
    build(
        f"--documents {world}/library --output_dir {out}/index --passage_words 60 --count 1 --max_tokens 70"
        " --match all".split()
    )
    jobs.main(f"--index {out}/index --output_dir {out}/jobs --lessons 30 --jobs 40 --test_jobs 3".split())
    return out


def test_lessons_are_worked_by_calls_that_were_run(folder):
    for row in rows(folder / "jobs" / "lessons.jsonl"):
        asked, *turns, last = row["messages"]
        calls = [m["tool_calls"][0]["function"]["arguments"]["query"] for m in turns if m["role"] == "assistant"]
        results = [m["content"] for m in turns if m["role"] == "tool"]
        towns = last["content"].removeprefix("The answer is ").removesuffix(".").split(", ")
        assert 1 <= len(calls) == len(results) == len(towns) <= 2
        for query, result, town in zip(calls, results, towns):
            person = query.removeprefix("who is ")
            assert person in asked["content"] and f"{person} lives in {town}." in result
        assert [tool["function"]["name"] for tool in json.loads(row["tools"])] == ["search"]


def test_a_job_is_won_by_all_towns_in_order_alone(folder):
    row = next(row for row in rows(folder / "jobs" / "test.jsonl") if row["calls"] == 3)
    towns = row["answer"].split(", ")
    columns = {key: row[key] for key in ("answer", "verifier")}
    assert len(towns) == 3 and by_row(f"The answer is {row['answer']}.", **columns) == 1
    assert by_row(f"The answer is {', '.join(towns[:2])}.", **columns) == 0
    assert by_row(f"The answer is {', '.join([*towns[1:], 'Nowhere'])}.", **columns) == 0


def test_no_person_of_the_test_is_taught_or_practised(folder):
    homes = jobs.towns(str(folder / "index"))

    def people(name):
        text = (folder / "jobs" / f"{name}.jsonl").read_text()
        return {person for person in homes if person in text}

    assert people("test") and not people("test") & (people("train") | people("lessons"))
    counts = [row["calls"] for row in rows(folder / "jobs" / "test.jsonl")]
    assert counts == [calls for calls in range(1, 9) for _ in range(3)]


def test_success_is_counted_by_calls(folder):
    found = long_jobs.read_jobs(str(folder / "jobs" / "test.jsonl"))
    assert list(found) == list(range(1, 9))
    call = {"role": "assistant", "content": "", "tool_calls": [{}]}
    replies = [Generation(f"The answer is {row['answer']}.", [1] * 9, True, [call] * 5) for row in found[5]]
    replies[0] = Generation("I don't know.", [1] * 9, True, [])
    measured = long_jobs.measure(found[5], replies)
    assert measured["success"]["value"] == pytest.approx(2 / 3) and measured["success"]["n"] == 3
    assert measured["calls"]["value"] == pytest.approx(10 / 3)
    whole = long_jobs.pooled({2: {"success": {"value": 1.0, "n": 3}}, 5: measured})
    assert whole["value"] == pytest.approx(2 / 3) and whole["n"] == 3
    assert long_jobs.pooled({2: measured}) is None


def test_bad_input_is_named(folder, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        jobs.main(f"--index {tmp_path} --output_dir {tmp_path}/out".split())
    assert stopped.value.code == 2 and not (tmp_path / "out").exists()
    broken = tmp_path / "broken.jsonl"
    prompt = [{"role": "user", "content": "?"}]
    broken.write_text(json.dumps({"prompt": prompt, "calls": 0, "verifier": "final_text", "answer": "x"}))
    with pytest.raises(UserError, match="line 1: calls"):
        long_jobs.read_jobs(str(broken))
