"""`eval.run` beside lm-eval's own command: our tasks and standard ones, whose rows lie here instead of on the Hub."""

import gzip
import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path

import forks
import pytest
from conftest import rows
from test_eval import fails

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
OURS = ["facts_known", "compare", "letters"]
SCHEMAS = {
    "arc_easy": "arc/arc_easy.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml",
}
N = 12
REAL = {  # published sets, of which the first rows are asked: the files of their tasks
    "gsm8k_chat": "gsm8k/test.jsonl",
    "nq_open_chat": "nq-open/dev.jsonl",
    "web_questions_chat": "webquestions/test.jsonl",
    "humaneval_chat": "humaneval/HumanEval.jsonl.gz",
}


@pytest.fixture(scope="module")
def standard(world, tmp_path_factory) -> Path:
    """YAML files that are lm-eval's own but for where the rows are: `local_<task>`, and a group of them."""
    import lm_eval.tasks

    folder, theirs = tmp_path_factory.mktemp("standard"), Path(lm_eval.tasks.__file__).parent
    rng, facts = random.Random(0), rows(world / "eval/facts_known.jsonl")
    data = {
        "arc_easy": [
            {
                "id": str(i),
                "question": row["question"],
                "choices": {"text": row["choices"][: 3 + i % 2], "label": list("ABCD"[: 3 + i % 2])},
                "answerKey": "ABCD"[rng.randrange(3)],
            }
            for i, row in enumerate(facts[: 2 * N])
        ],
        "gsm8k": [
            {"question": row["question"], "answer": f"So it is {row['answer']}. #### {row['answer']}"}
            for row in rows(world / "eval/apples.jsonl")[: 2 * N]
        ],
        "lambada_openai": [{"text": f"{row['base_prompt']} {row['answer']}"} for row in facts[:N]],
    }
    for task, path in SCHEMAS.items():
        splits = (
            {"train": data[task][N:], "validation": data[task][N:], "test": data[task][:N]}
            if task != "lambada_openai"
            else {"test": data[task]}
        )
        for split, part in splits.items():
            (folder / f"{task}_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        files = {split: str(folder / f"{task}_{split}.jsonl") for split in splits}
        more = (
            "generation_kwargs: {until: ['Question:'], do_sample: false, temperature: 0.0, max_gen_toks:"
            " 24}\nnum_fewshot: 2\n"
            if task == "gsm8k"
            else ""
        )
        text = (
            f"include: {theirs / path}\ntask: local_{task}\ntag: null\ndataset_path: json\ndataset_name:"
            f" null\ndataset_kwargs: {json.dumps({'data_files': files})}\n{more}"
        )
        (folder / f"local_{task}.yaml").write_text(text)
    (folder / "local.yaml").write_text(
        "group: local_both\ntask: [local_arc_easy, local_lambada_openai]\naggregate_metric_list: [{metric: acc,"
        " aggregation: mean, weight_by_size: true}]\nmetadata: {version: 1}\n"
    )
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path | None:
    """A folder with the first rows of the published sets; None where they are not here."""
    source = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not source.is_dir():
        return None
    folder = tmp_path_factory.mktemp("published")
    for file in REAL.values():
        opened = gzip.open if file.endswith(".gz") else open
        (folder / file).parent.mkdir()
        with opened(source / file, "rt") as lines, opened(folder / file, "wt") as first:
            first.writelines(itertools.islice(lines, 3))
    return folder


def run(*argv) -> None:
    from eval.run import main

    main([str(word) for word in argv])


def samples(path: Path) -> list[dict]:
    return sorted(rows(path), key=lambda sample: sample["doc_id"])


@pytest.mark.parametrize("chat", [True, False])
def test_scores_and_answers_are_those_of_lm_evals_own_command(world, standard, published, chat_model, tmp_path, chat):
    ours, theirs = OURS if chat else [f"{task}_base" for task in OURS], [f"local_{task}" for task in SCHEMAS]
    (tmp_path / "runs/tiny").mkdir(parents=True)
    (tmp_path / "runs/tiny/world").symlink_to(world)  # where our YAML files look
    both = tmp_path / "tasks"
    both.mkdir()
    for file in [*(ROOT / "eval/tasks").iterdir(), *standard.glob("*.yaml")]:
        if file.is_file():
            (both / file.name).symlink_to(file)
    real = [*REAL] if chat and published else []
    shutil.copytree(ROOT / "eval/tasks/real", both / "real")
    (tmp_path / "data").symlink_to(published or tmp_path)
    command = [
        tmp_path,
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={chat_model}",
        "--tasks",
        ",".join([*ours, *theirs, *real]),
        "--include_path",
        str(both),
    ]
    command += ["--batch_size", "8", "--device", "cpu", "--log_samples", "--output_path", str(tmp_path / "theirs")] + [
        "--apply_chat_template"
    ] * chat
    command += ["--limit", "40"]
    log = tmp_path / "log"
    assert forks.run("lm_eval_command", command, log) == 0, log.read_text()[-5000:]
    run(
        "--models",
        f"m={chat_model}",
        *(() if chat else ("--base", "m")),
        "--tasks",
        *OURS,
        *theirs,
        "--include_path",
        standard,
        "--data_dir",
        world / "eval",
        "--output_dir",
        tmp_path / "ours",
        "--batch_size",
        "8",
        "--limit",
        "40",
    )
    if real:
        paths = [ROOT / "eval/tasks/real" / f"{task}.yaml" for task in real]
        out = ("--output_dir", tmp_path / "ours_real", "--batch_size", "8")
        run("--models", f"m={chat_model}", "--tasks", *paths, "--data_dir", published, *out)
    (path,) = (tmp_path / "theirs").rglob("results_*.json")
    expected, found = json.loads(path.read_text()), json.loads((tmp_path / "ours/m/results.json").read_text())
    if real:
        of_real = json.loads((tmp_path / "ours_real/m/results.json").read_text())
        found = {key: found[key] | of_real[key] for key in ("results", "n-samples", "versions", "n-shot", "chance")}
    for task in [*ours, *theirs, *real]:
        assert found["results"][task] == expected["results"][task]
        assert (
            found["n-samples"][task] == expected["n-samples"][task]
            and found["versions"][task] == expected["versions"][task]
            and found["n-shot"][task] == expected["n-shot"][task]
        )
        (file,) = path.parent.glob(f"samples_{task}_2*.jsonl")
        mine_in = tmp_path / ("ours_real" if task in real else "ours")
        for mine, its in zip(samples(mine_in / f"m/samples_{task}.jsonl"), samples(file), strict=True):
            for key in mine.keys() - {"doc_hash", "prompt_hash", "target_hash"}:
                assert mine[key] == its[key], (task, key)
    assert {"acc,none", "perplexity,none"} <= found["results"]["local_lambada_openai"].keys()
    assert found["chance"]["local_arc_easy"] == pytest.approx((1 / 3 + 1 / 4) / 2) and found["chance"][ours[0]] == 0


def test_a_group_and_the_mean_above_chance(world, standard, chat_model, tmp_path, capsys):
    run(
        "--models",
        f"m={chat_model}",
        "--base",
        "m",
        "--tasks",
        "local_both",
        "identity",
        "--include_path",
        standard,
        "--data_dir",
        world / "eval",
        "--output_dir",
        tmp_path,
    )
    found = json.loads((tmp_path / "m/results.json").read_text())
    arc, lambada, identity = (
        found["results"][name] for name in ("local_arc_easy", "local_lambada_openai", "identity_base")
    )
    assert found["groups"]["local_both"]["acc,none"] == pytest.approx(
        (arc["acc,none"] + lambada["acc,none"]) / 2
    ) and found["group_subtasks"] == {"local_both": ["local_arc_easy", "local_lambada_openai"]}
    guess = found["chance"]["local_arc_easy"]
    mean = ((arc["acc_norm,none"] - guess) / (1 - guess) + lambada["acc,none"] + identity["score,none"]) / 3
    text = capsys.readouterr().out
    line = next(line for line in text.split("\n") if line.startswith("all tasks: above chance"))
    assert line.split()[4] == f"{mean:.3f}"
    assert [line.split()[0] for line in text.split("\n") if line.startswith("local_both")] == [
        "local_both",
        "local_both:",
    ]


def test_task_by_task_what_is_there_stands(world, standard, chat_model, tmp_path, capsys):
    argv = [
        "--models",
        f"m={chat_model}",
        "--include_path",
        standard,
        "--data_dir",
        world / "eval",
        "--output_dir",
        tmp_path,
        "--tasks",
    ]
    run(*argv, "compare", "local_arc_easy")
    first = rows(tmp_path / "m/samples_compare.jsonl")
    (tmp_path / "m/samples_compare.jsonl").write_text("kept\n")
    capsys.readouterr()
    run(*argv, "local_arc_easy", "local_lambada_openai")
    assert "results are there" not in capsys.readouterr().out
    assert (tmp_path / "m/samples_compare.jsonl").read_text() == "kept\n"  # neither run again nor lost
    results = json.loads((tmp_path / "m/results.json").read_text())
    assert {"compare", "local_arc_easy", "local_lambada_openai", "end_token"} == results["results"].keys()
    assert results["results"]["end_token"]["sample_len"] == len(first)
    run(*argv, "compare", "local_arc_easy")
    assert "results are there" in capsys.readouterr().out
    with (standard / "arc_easy_test.jsonl").open("a") as file:
        file.write(json.dumps(rows(standard / "arc_easy_test.jsonl")[0] | {"id": "more"}) + "\n")
    run(*argv, "compare", "local_arc_easy")
    assert (
        len(rows(tmp_path / "m/samples_local_arc_easy.jsonl")) == N + 1
        and (tmp_path / "m/samples_compare.jsonl").read_text() == "kept\n"
    )


def test_what_is_wrong_is_said(world, standard, chat_model, tmp_path, capsys):
    from eval.run import main

    def error(*more):
        return fails(
            main,
            [
                str(word)
                for word in (
                    "--models",
                    f"m={chat_model}",
                    "--data_dir",
                    world / "eval",
                    "--output_dir",
                    tmp_path / "out",
                    *more,
                )
            ],
            capsys,
        )

    assert "--include_path" in error("--include_path", standard) and "does not exist" in error(
        "--include_path", tmp_path / "none", "--tasks", "local_arc_easy"
    )
    assert "named twice" in error("--include_path", standard, "--tasks", "local_both", "local_arc_easy")
    assert "vllm" in error("--backend", "vlm") and "one, and run the others" in error(
        "--backend", "vllm", "--models", f"a={chat_model}", f"b={chat_model}"
    )
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "broken.yaml").write_text(
        "task: broken\ndataset_path: json\ndataset_kwargs: {data_files: {test: nowhere.jsonl}}\ntest_split:"
        " test\noutput_type: generate_until\ndoc_to_text: a\ndoc_to_target: b\n"
    )
    assert "task broken cannot be loaded" in error("--include_path", broken, "--tasks", "broken")
    assert not (tmp_path / "out/m").exists()


def test_the_benchmark_times_both_and_compares_their_scores(world, chat_model, capsys):
    from eval.benchmark import main

    main(
        [
            "--models",
            f"a={chat_model}",
            f"b={chat_model}",
            "--base",
            "b",
            "--tasks",
            "compare",
            "identity",
            "--data_dir",
            str(world / "eval"),
            "--limit",
            "3",
        ]
    )
    text = capsys.readouterr().out
    numbers = [float(line.split()[2]) for line in text.splitlines()[:2]]
    total, together, ratio = (
        float(x) for x in re.findall(r"([\d.]+) s|: ([\d.]+) of it", text.splitlines()[2]) for x in x if x
    )
    assert total == pytest.approx(sum(numbers), abs=0.2) and ratio == pytest.approx(together / total, abs=0.01)
    assert "scores of greedy tasks: 4 of 4 equal" in text
