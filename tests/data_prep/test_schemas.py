"""Every published data set goes through the door as it is, and into two steps of its stage: see docs/data.md.

`data/published.json` has their columns and types as their cards and files have them, with rows of our own: `first` is
what the first row becomes, `left_out` counts what teaches nothing, `passes` and `fails` are replies.
"""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT, rows

from data_prep.schemas import convert, features, recognise
from data_prep.shared.sources import load_source, load_sources
from eval.cli import UserError
from eval.verifiers import get_verifier

SETS = json.loads((ROOT / "tests/data/published.json").read_text(encoding="utf-8"))
NAMES = [published["set"] for published in SETS]
WAYS = [(published, goal) for published in SETS for goal in (published["goal"], *published.get("also", ()))]


def parquet(path, published: dict) -> str:
    """The file of a set, in the Hub's own format."""
    from datasets import Dataset

    file = path / f"{re.sub('[^A-Za-z0-9.-]+', '-', published['set'])}.parquet"
    Dataset.from_list(published["rows"]).to_parquet(file)
    return str(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("published")
    return {published["set"]: parquet(folder, published) for published in SETS}


def without_nulls(row: dict) -> dict:
    return {key: value for key, value in row.items() if value is not None}


@pytest.mark.parametrize("published, goal", WAYS, ids=[f"{p['set']} {goal}" for p, goal in WAYS])
def test_a_published_set_becomes_what_its_stage_reads(files, published, goal):
    data = load_source({"path": files[published["set"]]})
    made, schema, left_out = convert(data, goal, published["set"])
    if goal != published["goal"]:
        assert len(made) and schema
        return
    assert left_out.total() == published.get("left_out", 0) and all(
        re.search("[a-z]{3}", reason) for reason in left_out
    )
    first = without_nulls(made[0])
    if "first" in published:
        assert {key: first[key] for key in features(goal) if key in first} == published["first"]
    if "passes" in published:
        assert judged(first, published["passes"]) == 1.0 and judged(first, published["fails"]) == 0.0


def judged(row: dict, reply: str) -> float:
    """The verdict on a reply of ours, or on a program of ours, which needs no sandbox."""
    if row["verifier"] != "code":
        return get_verifier(row["verifier"])(reply, **row)
    return float(
        subprocess.run(
            [sys.executable, "-c", f"{reply}\n{row['tests']}"], capture_output=True, stdin=subprocess.DEVNULL
        ).returncode
        == 0
    )


def test_at_least_35_sets_have_a_row_in_the_docs():
    told = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert len(SETS) >= 35 and len(set(NAMES)) == len(NAMES)
    assert [name for name in NAMES if f"| {name} |" not in told] == []


# ---- Two steps of each stage, on all of its sets mixed ----


def train(stage: str, tmp_path, model, sources: list, **settings) -> dict:
    """The record of two steps."""
    import importlib

    settings = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
    } | settings
    config = settings | {"model_name_or_path": str(model), "datasets": sources, "output_dir": str(tmp_path / stage)}
    (tmp_path / f"{stage}.yaml").write_text(json.dumps(config))
    importlib.import_module(f"recipes.{stage}").main(["--config", str(tmp_path / f"{stage}.yaml")])
    record = json.loads((tmp_path / stage / "stage.json").read_text())
    assert record["steps"] == 2
    return record["datasets"][0]


def of(goal: str) -> list[dict]:
    return [published for published in SETS if goal in (published["goal"], *published.get("also", ()))]


def check_record(record: dict, published: list[dict], capsys) -> None:
    """Rows in, left out by reason, and trained on; what was left out is said once."""
    assert [source["rows_in"] for source in record["sources"]] == [len(p["rows"]) for p in published]
    assert record["rows_in"] == sum(len(p["rows"]) for p in published) and sum(record["left_out"].values()) > 0
    said = capsys.readouterr().out
    for source in record["sources"]:
        assert said.count(f"{source['path']}: ") == bool(source["left_out"])


def test_sft_on_all_conversations(files, chat_model, tmp_path, capsys):
    published = of("messages")
    record = train("sft", tmp_path, chat_model, [{"path": files[p["set"]]} for p in published], max_length=512)
    check_record(record, published, capsys)
    merged = 2  # the four messages on the ways of two trees are two conversations
    assert record["rows"] + sum(record["left_out"].values()) + merged == record["rows_in"]


def test_reward_on_all_preferences(files, chat_model, tmp_path, capsys):
    published = of("pair")
    record = train("reward", tmp_path, chat_model, [{"path": files[p["set"]]} for p in published], max_length=256)
    check_record(record, published, capsys)


def test_grpo_on_all_problems(files, chat_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "eval.checking.math_code.passes", lambda completion, tests: 0.0 if tests else None
    )  # random weights write no program
    published = of("problem")
    sources = [{"path": files[p["set"]]} for p in published]
    record = train(
        "grpo", tmp_path, chat_model, sources, rewards=["by_row"], num_generations=2, max_completion_length=4
    )
    check_record(record, published, capsys)
    assert record["rows"] + sum(record["left_out"].values()) == record["rows_in"]


def test_ppo_on_prompts_of_every_kind(files, chat_model, reward_model, tmp_path):
    sources = [{"path": files[p["set"]]} for p in SETS]
    settings = {
        "reward_model_path": str(reward_model),
        "total_episodes": 8,
        "response_length": 4,
        "max_prompt_length": 400,
        "eval_strategy": "no",
        "max_steps": -1,
    }
    record = train("ppo", tmp_path, chat_model, sources, **settings)
    assert record["rows"] > len(SETS) * 0.8


def test_questions_of_all_sets(files):
    from data_prep.refusals import RefusalsArguments, read_inputs

    published, left_out = of("question"), Counter()
    args = RefusalsArguments(model="m", output_dir="o", questions=[files[p["set"]] for p in published])
    found = list(read_inputs(args, left_out))
    assert len(found) == sum(len(p["rows"]) for p in published) - left_out.total() and left_out == {
        "it has no reference answer": 1
    }
    assert all(row["question"] and row["answer"] for row in found)


def test_commands_of_the_data_read_them_too(files, tmp_path, capsys):
    from data_prep.conversations import main as mix
    from data_prep.preferences import main as pairs
    from data_prep.problems import main as problems

    for main, name in ((pairs, "nvidia/HelpSteer3"), (problems, "AI-MO/NuminaMath-1.5")):
        out = tmp_path / main.__module__
        main(["--dataset", files[name], "--output_dir", str(out)])
        assert len(rows(out / "train.jsonl")) == 1 and "1 of 2 rows left out: " in capsys.readouterr().out
        (record,) = json.loads((out / "left_out.json").read_text())
        assert record["rows_in"] == 2 and list(record["left_out"].values()) == [1]
    sources = [{"path": files[p["set"]]} for p in of("messages")]
    (tmp_path / "mix.yaml").write_text(
        json.dumps(
            {
                "parts": [{"name": "talk", "share": 1.0, "datasets": sources}],
                "rows": 20,
                "output_dir": str(tmp_path / "mix"),
            }
        )
    )
    mix(["--config", str(tmp_path / "mix.yaml")])
    assert len(rows(tmp_path / "mix/train.jsonl")) == 20 and "left out: " in capsys.readouterr().out
    assert (
        sum(sum(source["left_out"].values()) for source in json.loads((tmp_path / "mix/left_out.json").read_text()))
        == 4
    )


# ---- Real files ----


def test_real_files(shared_data):
    def door(file: str, goal: str) -> tuple[int, int]:
        data = load_source({"path": str(shared_data / file)})
        made, _, left_out = convert(data, goal, file)
        return len(made), left_out.total()

    assert door("gsm8k/test.jsonl", "problem") == (1319, 0)
    assert door("humaneval/HumanEval.jsonl.gz", "problem") == (164, 0)
    assert door("hh-rlhf/harmless-base.jsonl.gz", "pair") == (1154, 2)
    assert door("nq-open/dev.jsonl", "question") == (3610, 0)
    assert door("webquestions/validation.jsonl", "question") == (754, 0)
    assert door("xquad/xquad.en.json", "question") == (1190, 0)


# ---- Whatever the file ----


def test_files_of_every_kind(tmp_path):
    """One form, many files: each gives the same rows."""
    from datasets import Dataset

    lines = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(3)]
    data = Dataset.from_list(lines)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "a.json").write_text(json.dumps(lines))
    data.to_parquet(tmp_path / "a.parquet")
    data.to_csv(tmp_path / "a.csv")
    data.to_csv(tmp_path / "a.tsv", sep="\t")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    data.save_to_disk(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    data.to_parquet(tmp_path / "folder/train.parquet")
    sources = [
        {"path": str(tmp_path / name)}
        for name in ("a.jsonl", "a.json", "a.parquet", "a.csv", "a.tsv", "a.csv.gz", "saved", "folder", "*.parquet")
    ]
    sources += [
        {"path": str(tmp_path), "data_files": "a.csv"},
        {"path": "json", "data_files": str(tmp_path / "a.jsonl")},
        {"path": f"file://{tmp_path}/a.jsonl"},
    ]
    sources += [{"path": str(tmp_path / "a.jsonl"), "streaming": True}]
    for source in sources:
        made, _, _ = convert(load_source(source), "problem", str(source))
        assert [row["answer"] for row in made] == ["1", "2", "3"], source
    for more in ({}, {"streaming": True}):
        assert len(load_source({"path": str(tmp_path / "a.jsonl"), "rows": 2} | more)) == 2
    assert load_source({"path": str(tmp_path / "a.jsonl"), "where": {"answer": ["#### 2"]}})["question"][:] == [
        "What is 1 + 1?"
    ]


@pytest.mark.parametrize("name, form", [("a.jsonl", "{}"), ("a.json", "[{}]"), ("a.jsonl.gz", "{}")])
def test_texts_that_look_like_dates_stay_texts(tmp_path, name, form):
    row = {"question": "When?", "answer": "2021-03-04", "meta": {"day": "2020-01-01T10:00:00"}}
    text = form.replace("{}", json.dumps(row)).encode() + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert load_source({"path": str(tmp_path / name)})[0] == row


def test_calls_and_tools_have_their_own_keys_only(tmp_path):
    """Parquet gives each mapping the keys of all rows, at any depth."""
    from datasets import Dataset

    def row(name: str, arguments: dict) -> dict:
        schema = {
            "type": "function",
            "function": {
                "name": name,
                "parameters": {"type": "object", "properties": {key: {"type": "string"} for key in arguments}},
            },
        }
        call = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
        }
        return {"messages": [{"role": "user", "content": "Go.", "tool_calls": None}, call], "tools": [schema]}

    Dataset.from_list([row("weather", {"city": "Rome"}), row("book", {"filter": {"day": "Monday"}})]).to_parquet(
        tmp_path / "a.parquet"
    )
    made, _ = load_sources([{"path": str(tmp_path / "a.parquet")}], "messages")
    assert [r["messages"][1]["tool_calls"][0]["function"]["arguments"] for r in made] == [
        {"city": "Rome"},
        {"filter": {"day": "Monday"}},
    ]
    assert [list(json.loads(r["tools"])[0]["function"]["parameters"]["properties"]) for r in made] == [
        ["city"],
        ["filter"],
    ]


@pytest.mark.parametrize(
    "given, calls",
    [
        ('{"city": "Rome"}', {"city": "Rome"}),
        ({"city": "Rome"}, {"city": "Rome"}),
        ("", {}),
        (None, {}),
        ("{}", {}),
        ("[1]", None),
        ("{city}", None),
        (7, None),
    ],
)
def test_arguments_in_every_form(given, calls):
    from eval.shared.messages import Malformed, conversation

    talk = [
        {"role": "user", "content": "?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": given}}],
        },
    ]
    if calls is None:
        with pytest.raises(Malformed, match="arguments of a call"):
            conversation(talk)
    else:
        assert conversation(talk)[1]["tool_calls"] == [
            {"type": "function", "id": "c", "function": {"name": "f", "arguments": calls}}
        ]


@pytest.mark.parametrize("goal", ["messages", "pair", "prompt", "problem", "question"])
def test_an_unknown_form_is_one_line_with_its_columns(goal):
    with pytest.raises(UserError, match="it has body, stars.*expected one of these: .*rename"):
        recognise(["body", "stars"], {"body": "x", "stars": 3}, goal, "reviews")


def test_rows_unlike_the_others_are_counted():
    from datasets import Dataset

    good = {"prompt": "Which?", "verification_info": json.dumps({"ground_truth": "7"})}
    odd = [good | {"verification_info": told} for told in ('{"test_cases": "["}', "[", '{"test_cases": [1]}')]
    made, _, left_out = convert(Dataset.from_list([good, *odd]), "problem", "odd")
    assert made["answer"][:] == ["7"] and left_out.total() == 3 and "it has no tests in Python" in left_out


def test_rows_that_teach_nothing_are_counted(tmp_path):
    u, a = (lambda t: {"role": "user", "content": t}), (lambda t: {"role": "assistant", "content": t})
    talks = [
        [u("?"), a("!")],
        [u("?")],
        [u("?"), a(" ")],
        [],
        [u("?"), {"role": "assistant"}],
        [{"role": "narrator", "content": "x"}, a("!")],
    ]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    _, (counts,) = load_sources([{"path": str(tmp_path / "talks.jsonl")}], "messages")
    assert counts["rows_in"] == 6 and sum(counts["left_out"].values()) == 5 and len(counts["left_out"]) == 5
    pairs = [([a("x")], [a("y")]), ([a("x")], [a("x")]), ([a("x")], [a("")])]
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"prompt": [u("?")], "chosen": c, "rejected": r}) + "\n" for c, r in pairs)
    )
    _, (counts,) = load_sources([{"path": str(tmp_path / "pairs.jsonl")}], "pair")
    assert counts["left_out"] == {"both replies are the same": 1, "one of the replies is empty": 1}


def test_the_same_text_with_two_scores_is_one_reply():
    from data_prep.schemas.preferences import ranked

    found = list(
        ranked([{"role": "user", "content": "?"}], [("Hello.", 8.0), ("Hello.", 5.0), ("Go away.", 1.0)], "all")
    )
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in found] == [("Hello.", "Go away.")]


ASKED, SAID = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
OTHER = {"role": "assistant", "content": "No"}
OTHERWISE_NAMED = [  # one conversation in forms that people publish
    {"Instruction": "Hi", "Response": "Yo"},
    {"Question": "Hi", "Complex_CoT": "hm", "Response": "Yo"},
    {"Human": "Hi", "Assistant": "Yo"},
    {"inputs": "Hi", "targets": "Yo"},
    {"dialog": [ASKED, SAID]},
    {"dialogue": ["Hi", "Yo"]},
    {"conversations": [{"speaker": "human", "text": "Hi"}, {"speaker": "gpt", "text": "Yo"}]},
    {"conversations": json.dumps([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}])},
    {"messages": str([ASKED, SAID])},
    {"text": "### Human: Hi### Assistant: Yo"},
    {"messages": [ASKED | {"content": ["Hi"]}, SAID | {"content": ["Yo"]}]},
    {"text": "### Instruction:\nHi\n\n### Response:\nYo"},
]


def read_from(folder, row: dict, goal: str) -> dict:
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    made, _, left_out = convert(load_source({"path": str(folder / "a.jsonl")}), goal, "a")
    assert len(made) == 1 and not left_out
    return made[0]


@pytest.mark.parametrize("row", OTHERWISE_NAMED, ids=[", ".join(row) for row in OTHERWISE_NAMED])
def test_columns_and_turns_by_other_names(tmp_path, row):
    assert read_from(tmp_path, row, "messages")["messages"] == [ASKED, SAID]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": SAID, "rejected": OTHER},
        {"question": "Hi", "response_j": "Yo", "response_k": "No"},
        {"query": "Hi", "chosen": "Yo", "rejected": "No"},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Yo"},
            "rejected": {"from": "gpt", "value": "No"},
        },
    ],
)
def test_pairs_by_other_names(tmp_path, row):
    pair = read_from(tmp_path, row, "pair")
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ([ASKED], [SAID], [OTHER])


def test_problems_and_questions_by_other_names(tmp_path):
    assert read_from(tmp_path, {"ID": "1", "Problem": "x?", "Answer": 204}, "problem")["answer"] == "204"
    assert read_from(tmp_path, {"question": "x?", "final_answer": ["204"]}, "problem")["answer"] == "204"
    made = read_from(tmp_path, {"Body": "Ann has 3.", "Question": "How many?", "Answer": "3"}, "problem")
    assert made["answer"] == "3" and "Ann has 3. How many?" in made["prompt"][0]["content"]
    for columns in ({"Question": "Q?", "Correct Answer": "b"}, {"question": "Q?", "correct_answer": "b"}):
        assert read_from(tmp_path, columns, "question")["answer"] == ["b"]
    row = {"question": "Q?", "options": ["a", "b"], "answer": "B", "answer_index": 1}
    assert read_from(tmp_path, row, "question")["answer"] == ["b"]


def test_what_a_tool_gave_may_be_structured(tmp_path):
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    turns = [ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}]
    row = {"messages": [*turns, {"role": "tool", "content": {"heat": 3}}, SAID]}
    assert read_from(tmp_path, row, "messages")["messages"][2]["content"] == '{"heat": 3}'
