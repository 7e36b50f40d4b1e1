"""One shortened run of recipes/tiny/pipeline.yaml, from the crawl to the report, as `make tiny` starts it."""

import json
import os
import re
import runpy
import string
import subprocess
import sys
import time
from pathlib import Path

import forks
import pytest
import yaml
from conftest import ROOT, rows

pytestmark = [pytest.mark.slow, pytest.mark.ppo]
TASKS = (
    "facts_known",
    "facts_rare",
    "facts_unseen",
    "apples",
    "apples_at_once",
    "letters",
    "every_third",
    "compare",
    "identity",
)
EXAMINED = ("base", "sft", "honest", "ppo", "grpo")
MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
SHORT = [  # a small world, a small model, a few steps of each stage
    *(
        "world.known=8",
        "world.pages_per_person=4",
        "world.textbooks=150",
        "world.conversations=600",
        "world.problems=100",
        "world.searches=60",
        "world.codes=60",
        "world.talks=60",
        "tokenizer.vocab_size=512",
    ),
    *(
        f"base.model_config={json.dumps(MODEL | {'tie_word_embeddings': True})}",
        'base.lr_scheduler_kwargs={"num_decay_steps": 10}',
    ),
    "base.compile_layers=false",
    *("base.warmup_steps=2", "base.max_steps=20", "base.eval_steps=10", "base.sample_steps=10", "base.save_steps=10"),
    *(
        "sft.max_steps=12",
        "sft.warmup_steps=2",
        "sft.eval_steps=6",
        "sft.save_steps=4",
        "sft.per_device_train_batch_size=16",
        *(
            "refusals.samples=4",
            "refusals.judge=mentions",
            "refusals.known_per_unknown=0.05",
            "refusals.knows_at=0.25",
            "refusals.unknown_at=0.0",
            "conversations.rows=200",
            "conversations.validation_rows=20",
        ),
        *(
            "honest.max_steps=6",
            "honest.warmup_steps=2",
            "honest.eval_steps=3",
            "honest.save_steps=2",
            "honest.per_device_train_batch_size=16",
        ),
        "preferences.candidates=3",
        "preferences.max_new_tokens=24",
    ),
    *(
        "reward.max_steps=8",
        "reward.save_steps=3",
        "reward.per_device_train_batch_size=8",
        "judge.samples=2",
        "judge.max_new_tokens=24",
    ),
    *("ppo.total_episodes=32", "ppo.per_device_train_batch_size=16", "ppo.response_length=16", "ppo.save_steps=1"),
    *(
        "grpo.max_steps=3",
        "grpo.save_steps=1",
        "grpo.per_device_train_batch_size=32",
        "grpo.max_completion_length=16",
        "eval.limit=4",
        "eval_honest.limit=4",
        "tools.limit=4",
    ),
]


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> list[str]:
    """The settings; a model that has hardly learned a thing is asked what it always knows, and what nobody does."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    says = [*string.ascii_lowercase, *string.digits, "the", "is", "in", "of", "and"]
    path.write_text(
        "".join(
            json.dumps({"question": f"What of {i}?", "answer": says if i % 2 else "xyzzy"}) + "\n" for i in range(64)
        )
    )
    return [*SHORT, f"refusals.questions={json.dumps([str(path)])}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, short):
    """The folder of the run, what it printed, and what a second call printed."""
    out = tmp_path_factory.mktemp("pipeline") / "run"
    command = [
        sys.executable,
        "-m",
        "recipes.run",
        "recipes/tiny/pipeline.yaml",
        "--output_dir",
        str(out),
        "--seed",
        "5",
        "--set",
        *short,
    ]
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}  # the pipeline says so itself
    printed = []
    for _ in range(2):
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-5000:]
        printed.append(run.stdout)
    return out, *printed


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return [step["name"] for step in yaml.safe_load((ROOT / "recipes/tiny/pipeline.yaml").read_text())["steps"]]


def measured(number: dict) -> bool:
    return number["n"] > 0 and 0 <= number["value"] <= 1 and (number["stderr"] is None or 0 <= number["stderr"] <= 1)


def test_the_summary_has_its_promised_form(finished, steps):
    summary = json.loads((finished[0] / "report" / "summary.json").read_text())
    assert summary["recipe"] == "tiny" and summary["seed"] == 5 and 0.2 < summary["peak_rss_gb"] < 6
    assert summary["seconds"]["total"] > 0 and set(summary["seconds"]) >= {"total", *steps} - {"report"}
    assert set(summary["stages"]) == {"base", "sft", "honest", "tools", "reward", "ppo", "grpo"}
    assert summary["stages"]["base"]["bits_per_byte"] > 0
    for stage in EXAMINED:
        tasks = summary["stages"][stage]["tasks"]
        assert set(tasks) >= set(TASKS), stage
        assert all(measured(tasks[task]) and tasks[task]["n"] == 4 for task in TASKS), stage
    assert measured(summary["stages"]["reward"]["pair_accuracy"])
    assert (
        summary["stages"]["ppo"]["kl_to_reference"]["n"]
        == summary["stages"]["honest"]["gold"]["n"]
        == summary["stages"]["ppo"]["gold"]["n"]
        > 0
    )


def test_the_report_stands_alone(finished):
    page = (finished[0] / "report" / "index.html").read_text()
    assert len(page) > 20_000 and "<svg" in page
    assert (
        not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
        and "@import" not in page
        and "<script src" not in page
    )


def test_every_artifact_lies_where_the_next_step_reads_it(finished, steps):
    out = finished[0]
    assert {p.stem for p in (out / "steps").glob("*.json")} == set(steps)
    parents = {
        stage: json.loads((out / stage / "stage.json").read_text())["parent"]
        for stage in ("base", "sft", "honest", "reward", "ppo", "grpo")
    }
    assert parents == {
        "base": None,
        "sft": f"{out}/base",
        "honest": f"{out}/sft",
        "reward": f"{out}/honest",
        "ppo": f"{out}/honest",
        "grpo": f"{out}/honest",
    }
    assert all("runs/tiny" not in path.read_text() for path in (out / "configs").glob("*.yaml"))
    assert json.loads((out / "base" / "stage.json").read_text())["config"]["seed"] == 5
    worlds = {stage: json.loads((out / stage / "stage.json").read_text())["world_size"] for stage in parents}
    assert worlds == {"base": 2, "sft": 2, "honest": 2, "reward": 2, "ppo": 1, "grpo": 2}
    assert {row["step"] for row in rows(out / "base" / "samples.jsonl")} == {0, 10, 20}
    for stage in EXAMINED:
        for task in TASKS:
            assert len(rows(out / "eval" / stage / f"samples_{task}{'_base' if stage == 'base' else ''}.jsonl")) == 4
    assert list((out / "web" / "documents").glob("*.jsonl.gz")) and json.loads(
        (out / "web" / "funnel.json").read_text()
    )
    assert rows(out / "preferences" / "rankings.jsonl")


def test_progress_and_time_left_are_visible(finished, steps):
    lines = [line for line in finished[1].splitlines() if line.startswith("━━ [")]
    assert [
        re.match(r"━━ \[(\d+)/(\d+)\] (\w+) · \d+ s so far · about \d+ s left", line).groups() for line in lines
    ] == [(str(i), str(len(steps)), name) for i, name in enumerate(steps, 1)]
    assert "first row, loss between" in finished[1]


@pytest.mark.parametrize("notebook", sorted(path.name for path in (ROOT / "docs" / "walk").glob("[0-9]*.py")))
def test_the_walk_runs_on_what_the_run_left(finished, monkeypatch, capsys, notebook):
    monkeypatch.setenv("RUN", str(finished[0]))
    monkeypatch.delitem(sys.modules, "walk", raising=False)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "walk"))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "docs" / "walk" / notebook))
    picture = finished[0] / "walk" / f"{Path(notebook).stem}.html"
    assert "<svg" in picture.read_text() or 'class="tokens"' in picture.read_text()
    assert f"picture: {picture}" in capsys.readouterr().out


def test_a_second_call_does_nothing(finished):
    assert "━━ [" not in finished[2] and "index.html" in finished[2]


def test_a_run_that_is_killed_again_and_again_ends_as_the_unbroken_one(finished, steps, short, tmp_path):
    """Killed with SIGKILL in the middle of eight steps; no finished step is done again, and the weights are the same,
    bit for bit."""
    out, log = tmp_path / "run", tmp_path / "log"
    argv = [
        "recipes/tiny/pipeline.yaml",
        "--output_dir",
        out,
        "--seed",
        "5",
        "--set",
        *short,
        "eval.tasks=[facts_known]",
        "eval_honest.tasks=[facts_known]",
        "tools.tasks=[facts_known]",
    ]
    signs = {
        "web": "web/logs",
        "base": "base/checkpoint-10/trainer_state.json",
        "sft": "sft/checkpoint-4",
        "honest": "honest/checkpoint-2",
        "reward": "reward/checkpoint-3",
    }
    signs |= {"ppo": "ppo/checkpoint-1", "grpo": "grpo/checkpoint-1", "eval": "eval/base/results.json"}
    done: dict[str, int] = {}
    for sign in [*signs.values(), None]:
        process = forks.start("recipes.run", argv, log)
        deadline = time.time() + 300
        while process.is_alive() and not (sign and (out / sign).exists()):
            assert time.time() < deadline, log.read_text()[-3000:]
            time.sleep(0.002)
        assert process.is_alive() if sign else process.exitcode == 0, f"{sign}: {log.read_text()[-3000:]}"
        process.kill()
        process.join()
        begun = re.findall(r"━━ \[\d+/\d+\] (\w+)", log.read_text())
        assert begun and not set(begun) & done.keys(), "a finished step was done again"
        markers = {path.stem: path.stat().st_mtime_ns for path in (out / "steps").glob("*.json")}
        assert done.items() <= markers.items()
        done = markers
    assert done.keys() == set(steps)
    whole = finished[0]
    for stage in ("base", "sft", "honest", "reward", "grpo"):
        assert (out / stage / "model.safetensors").read_bytes() == (
            whole / stage / "model.safetensors"
        ).read_bytes(), stage
        trained = [
            [row["step"] for row in rows(folder / stage / "log.jsonl") if "loss" in row] for folder in (out, whole)
        ]
        assert trained[0] == trained[1]
    assert rows(out / "base" / "samples.jsonl") == rows(whole / "base" / "samples.jsonl")
    assert [row["step"] for row in rows(out / "ppo" / "log.jsonl")] == [
        row["step"] for row in rows(whole / "ppo" / "log.jsonl")
    ]
    summaries = [json.loads((folder / "report" / "summary.json").read_text()) for folder in (out, whole)]
    for stage in ("base", "sft"):
        assert summaries[0]["stages"][stage].get("bits_per_byte") == summaries[1]["stages"][stage].get("bits_per_byte")
        assert (
            summaries[0]["stages"][stage]["tasks"]["facts_known"]
            == summaries[1]["stages"][stage]["tasks"]["facts_known"]
        )


def test_processes_of_a_step(tmp_path):
    """They know each other, the first alone prints, and when one fails no other waits for it."""
    (tmp_path / "pair.py").write_text(
        "import os, time\n"
        "def main(argv):\n"
        "    rank = int(os.environ['RANK'])\n"
        "    print('rank', rank, 'of', os.environ['WORLD_SIZE'], argv[0], flush=True)\n"
        "    if argv[0] == 'fail' and rank == 1:\n"
        "        raise SystemExit(2)\n"
        "    time.sleep(60 if argv[0] == 'fail' else 0)\n"
    )
    code = (
        "import pathlib, sys; from recipes.run import run_step; word, log = sys.argv[1:]; sys.exit(run_step('pair',"
        " [word], open(log + '.lock', 'w'), 2, pathlib.Path(log))[0])"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    good, bad = (
        subprocess.run(
            [sys.executable, "-c", code, word, str(tmp_path / "log")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=40,
        )
        for word in ("good", "fail")
    )
    assert (good.returncode, good.stdout) == (0, "rank 0 of 2 good\n")
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, "rank 0 of 2 fail\n", "rank 1 of 2 fail\n")


PPO_SHORT = (
    "total_episodes=32",
    "per_device_train_batch_size=16",
    "local_rollout_forward_batch_size=16",
    "response_length=12",
    "monitor_samples=2",
    "monitor_steps=1",
    "save_steps=1",
)
RLOO_SHORT = (
    "max_steps=2",
    "num_iterations=1",
    "per_device_train_batch_size=16",
    "max_completion_length=12",
    "save_steps=1",
)
EXPERIMENTS_SHORT = [
    *(f"{name}.{key}" for name in ("ppo_long", "ppo_stop", "ppo_again") for key in PPO_SHORT),
    *(f"{name}.{key}" for name in ("rloo", "rloo_long") for key in RLOO_SHORT),
    *("rloo_long.monitor_samples=2", "rloo_long.monitor_steps=1"),
    *("dpo.max_steps=2", "dpo.eval_steps=2", "dpo.save_steps=1", "dpo.per_device_train_batch_size=8"),
    *("judge_methods.samples=2", "judge_methods.max_new_tokens=12"),
    *("judge.samples=2", "judge.max_new_tokens=12", "preferences.candidates=3", "preferences.max_new_tokens=24"),
    *(
        "reward.max_steps=2",
        "reward.eval_steps=2",
        "reward.per_device_train_batch_size=8",
        "hard_train.count=64",
        "hard_test.count=8",
        "easy_test.count=8",
    ),
    *(
        "grpo_hard.max_steps=2",
        "grpo_hard.monitor_steps=1",
        "grpo_hard.per_device_train_batch_size=16",
        "grpo_hard.max_completion_length=8",
        "grpo_hard.monitor_samples=2",
    ),
    *(
        "words_train.count=64",
        "words_test.count=8",
        "grpo_tools.max_steps=2",
        "grpo_tools.monitor_steps=1",
        "grpo_tools.per_device_train_batch_size=16",
    ),
    *("grpo_tools.max_completion_length=16", "grpo_tools.monitor_samples=2", "grpo_tools.save_steps=1"),
    *(
        "start.max_steps=2",
        "start.per_device_train_batch_size=8",
        "expert.count=128",
        "imitation.max_steps=2",
        "imitation.save_steps=1",
        "imitation.logging_steps=1",
        "imitation.per_device_train_batch_size=8",
    ),
    *(
        "practice.max_steps=2",
        "practice.save_steps=1",
        "practice.per_device_train_batch_size=16",
        "practice.max_completion_length=8",
        "eval.limit=4",
    ),
    *(
        f"{name}.{key}"
        for name in ("guess_check", "guess_check_hard")
        for key in ("samples=4", "max_new_tokens=8", "limit=4")
    ),
    *(f"{name}.{key}" for name in ("arena_verses", "arena_problems") for key in ("limit=4", "max_new_tokens=8")),
    *(
        "tokens_rhymes.validation_fraction=0.1",
        'base_rhymes.lr_scheduler_kwargs={"num_decay_steps": 2}',
        "base_rhymes.compile_layers=false",
        "base_rhymes.warmup_steps=2",
        "base_rhymes.max_steps=4",
        "base_rhymes.eval_steps=4",
        "base_rhymes.save_steps=4",
        "base_rhymes.sample_steps=4",
    ),
    *(
        "base_rhymes.max_eval_windows=8",
        "base_rhymes.per_device_train_batch_size=2",
        "regurgitation.per_group=4",
        "in_context.limit=8",
        "as_assistant.limit=4",
        "dreams.samples=8",
        "dreams.max_new_tokens=16",
    ),
    *("jagged.each=2", "jagged.max_new_tokens=8", "life.max_new_tokens=8"),
    *("at_test_time.subjects=4", "at_test_time.sizes=[1, 2]", "at_test_time.steps=[1]", "at_test_time.known_limit=2"),
    *("second_tries.lessons=64", "second_tries.problems=64", "second_tries.test_problems=8"),
    *(f"{arm}.{key}" for arm in ("primed", "plain") for key in ("max_steps=2", "per_device_train_batch_size=8")),
    *(
        f"{arm}_grpo.{key}"
        for arm in ("primed", "plain")
        for key in (
            "max_steps=2",
            "save_steps=1",
            "logging_steps=1",
            "per_device_train_batch_size=16",
            "max_completion_length=8",
        )
    ),
    *("senses_data.pictures=90", "senses_data.sounds=36", "senses_data.test_each=1"),
    *("senses_data.picture_codes=20", "senses_data.sound_codes=20", "senses_data.validation_fraction=0.1"),
    *("senses.max_steps=2", "senses.warmup_steps=1", "senses.eval_steps=2", "senses.save_steps=2"),
    *('senses.lr_scheduler_kwargs={"num_decay_steps": 1}', "senses.per_device_train_batch_size=2"),
    "senses_test.drawings=1",
    *("tries_over_steps.samples=2", "tries_over_steps.max_new_tokens=8"),
    *("jobs.lessons=64", "jobs.jobs=16", "jobs.test_jobs=2"),
    *("jobs_start.max_steps=2", "jobs_start.save_steps=2", "jobs_start.per_device_train_batch_size=8"),
    # nothing is right after so few lessons, so that practice reads these again
    *(f"{tries}.{key}" for tries in ("jobs_tries", "jobs_tries_again") for key in ("limit=4", "max_new_tokens=64")),
    *(f"{arm}.{key}" for arm in ("jobs_practice", "jobs_practice_again") for key in ("max_steps=2", "save_steps=2")),
    *(f"{arm}.per_device_train_batch_size=8" for arm in ("jobs_practice", "jobs_practice_again")),
    *(
        f'{arm}.datasets=[{{"path": "runs/tiny/experiments/jobs/lessons.jsonl"}}]'
        for arm in ("jobs_practice", "jobs_practice_again")
    ),
    *("jobs_tries.model=runs/tiny/experiments/jobs_start", "long_jobs.max_new_tokens=64"),
    "jobs_practice.model_name_or_path=runs/tiny/experiments/jobs_start",
    # a reasoner of three steps solves nothing, so that its student learns from other conversations
    *("solutions.limit=8", "solutions.least=0.0", "solutions.max_new_tokens=8"),
    'distill_sft.datasets=[{"path": "runs/tiny/world/conversations/train.jsonl"}]',
    *(f"{arm}.{key}" for arm in ("distill_sft", "distill") for key in ("max_steps=2", "save_steps=1")),
    *(f"{arm}.per_device_train_batch_size=8" for arm in ("distill_sft", "distill")),
    *("distill_sft.warmup_steps=1", "distill.warmup_steps=1", "distill.max_completion_length=8"),
    *("own_practice.max_steps=2", "own_practice.save_steps=1", "own_practice.per_device_train_batch_size=16"),
    "own_practice.max_completion_length=8",
    *("eval_distilled.limit=4", "ways.limit=4", "ways.max_new_tokens=8"),
]


def test_the_experiments_go_on_from_the_run_and_stand_in_its_report(finished, tmp_path):
    out, before = finished[0], (finished[0] / "seconds.json").read_bytes()
    models = [
        "start=runs/tiny/experiments/start",
        *(
            f"{name}-{n}=runs/tiny/experiments/{name}/checkpoint-{n}"
            for name in ("imitation", "practice")
            for n in (1, 2)
        ),
    ]
    tries = [f"{arm}-0=runs/tiny/experiments/{arm}" for arm in ("primed", "plain")]
    tries += [f"{arm}-2=runs/tiny/experiments/{arm}_grpo/checkpoint-2" for arm in ("primed", "plain")]
    taught = [
        f"{arm}-{n}=runs/tiny/experiments/{arm}/checkpoint-{n}"
        for arm in ("distill_sft", "distill", "own_practice")
        for n in (1, 2)
    ]
    worked = [f"{arm}=runs/tiny/experiments/{arm}" for arm in ("jobs_start", "jobs_practice", "jobs_practice_again")]
    more = {"eval": models, "tries_over_steps": tries, "eval_distilled": taught, "long_jobs": worked}
    settings = [*EXPERIMENTS_SHORT, *(f"{step}.models={json.dumps(values)}" for step, values in more.items())]
    argv = ["recipes/tiny/experiments.yaml", "--output_dir", out, "--seed", "5", "--set", *settings]
    log = tmp_path / "log"
    assert forks.run("recipes.run", argv, log, timeout=1800) == 0, log.read_text()[-8000:]
    assert (out / "seconds.json").read_bytes() == before  # the run's own times and markers are as they were
    assert {path.stem for path in (out / "experiments/steps").glob("*.json")} > {
        "ppo_long",
        "grpo_hard",
        "grpo_tools",
        "guess_check",
        "report",
    }
    page = (out / "report/index.html").read_text()
    for title in (
        "PPO past its peak",
        "Over a long run",
        "Imitation against practice, greedy",
        "A harder grade",
        "Longer words than it can spell",
        "Guess and check",
        "Rhymes continued verbatim",
        "Made-up facts",
        "Known facts, after",
        "Samples that begin",
        "honest: which is larger",
        "Replies with a second try",
        "Right answers by the length of the document",
    ):
        assert f"<b>{title}" in page
    assert set(json.loads((out / "report/summary.json").read_text())["experiments"]["methods"]) == {
        "honest",
        "ppo",
        "rloo",
        "dpo",
        "rloo_long",
    }
    assert (
        "is not shown: <code>experiments/" not in page or "experiments/grpo_hard" in page
    )  # a few steps may gain nothing
