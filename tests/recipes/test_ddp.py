"""Two processes: every stage takes two steps under accelerate_configs/cpu_ddp.yaml, saves, and counts both processes'
work."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from conftest import PPO_IS_THERE, ROOT, rows
from two_steps import STAGES, configs

pytestmark = pytest.mark.slow


def evaluation(model, world, out) -> list[str]:
    tasks = ("facts_known", "apples", "identity")
    return [
        "--models",
        f"model={model}",
        "--tasks",
        *tasks,
        "--limit",
        "4",
        "--data_dir",
        str(world / "eval"),
        "--output_dir",
        str(out),
    ]


@pytest.fixture(scope="module")
def folder(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, teacher_model, tmp_path_factory):
    """The stages' outputs and what both processes printed."""
    folder = tmp_path_factory.mktemp("ddp")
    settings = configs(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, teacher_model)
    stages = []
    for name in STAGES if PPO_IS_THERE else sorted({*STAGES} - {"ppo"}):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings[name] | {"output_dir": str(folder / name)}))
        stages.append([f"recipes.{name}", ["--config", str(folder / f"{name}.yaml")]])
    stages.append(["eval.run", evaluation(chat_model, world, folder / "eval")])
    (folder / "stages.json").write_text(json.dumps(stages))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        "accelerate_configs/cpu_ddp.yaml",
        "--main_process_port",
        "0",
    ]
    run = subprocess.run(
        [*launch, "tests/helpers/ddp_stages.py", str(folder / "stages.json")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    (folder / "printed.txt").write_text(run.stdout)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes(folder, stage):
    record = json.loads((folder / stage / "stage.json").read_text())
    assert record["world_size"] == 2 and record["steps"] == 2
    printed = (folder / "printed.txt").read_text()
    assert f"rank 0: recipes.{stage} done" in printed and f"rank 1: recipes.{stage} done" in printed
    assert (folder / stage / "model.safetensors").exists() and (folder / stage / "tokenizer.json").exists()
    for checkpoint in ("checkpoint-1", "checkpoint-2"):
        assert (folder / stage / checkpoint / "model.safetensors").exists() and (
            folder / stage / checkpoint / "trainer_state.json"
        ).exists()
    log = rows(folder / stage / "log.jsonl")
    assert [row["step"] for row in log if "learning_rate" in row or "lr" in row] == [1, 2]  # one process writes
    if stage == "pretrain":
        assert record["tokens"] == 2 * 2 * 4 * 64
        assert [row["step"] for row in rows(folder / stage / "samples.jsonl")] == [0, 1, 2]
    if stage == "ppo":
        assert [row["episode"] for row in log] == [8, 16]
        assert (folder / stage / "checkpoint-1" / "value_model" / "model.safetensors").exists()
    if stage in ("grpo", "rloo", "dpo"):
        assert record["tokens"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_what_two_processes_saved_loads(folder, stage):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    model = (AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM).from_pretrained(
        folder / stage
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / stage)
    assert model(**tokenizer("Who are you?", return_tensors="pt")).logits.isfinite().all()


def test_two_processes_evaluate_as_one(folder, chat_model, world, tmp_path):
    from eval.run import main

    main(evaluation(chat_model, world, tmp_path))
    one, two = (json.loads((out / "model/results.json").read_text()) for out in (tmp_path, folder / "eval"))
    for results in (one, two):
        del results["date"], results["total_evaluation_time_seconds"]
    assert one == two
    for file in (tmp_path / "model").glob("samples_*.jsonl"):
        assert file.read_text() == (folder / "eval/model" / file.name).read_text()
    assert (folder / "printed.txt").read_text().count("end_token ") == 1
