"""Two processes of a CPU with whole copies, FSDP2, ZeRO-2 and ZeRO-3: each stage takes two steps with the losses of
one process, saves, goes on from its first checkpoint, and loads.

    make test-sharding    # in .venv-deepspeed; with -rP it prints the table of docs/engines.md
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT, rows
from two_steps import configs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed (make test-sharding)"),
]
SHARDED = ("fsdp2", "zero2", "zero3")
READ = ("pretrain", "continued", "sft", "reward", "dpo")  # their batches are the data's rows
SAMPLED = ("grpo", "rloo", "distill")  # each process draws its own replies, so they are compared with two whole copies
ENGINES = {
    "cpu_ddp": "DistributedDataParallel",
    "fsdp2": "FSDP",
    "zero2": "DeepSpeedEngine",
    "zero3": "DeepSpeedEngine",
}
REFUSED = ("ppo", "muon", "watched")
TOLERANCE = 1e-4  # of losses and gradient norms, relative: sums in float32 in another order
DRAWN = 0.1  # the same of a new model under ZeRO-3, whose weights are drawn in another order


@pytest.fixture(scope="module")
def settings(
    world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, teacher_model
) -> dict[str, dict]:
    settings = configs(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, teacher_model)
    muon = settings["pretrain"]
    watch = {"monitor_steps": 1, "monitor_datasets": settings["rloo"]["datasets"]}
    settings["pretrain"] = {key: value for key, value in muon.items() if key != "optimizer"}
    begun = {key: value for key, value in settings["pretrain"].items() if key != "model_config"}
    settings |= {"continued": begun | {"model_name_or_path": str(chat_model)}}
    settings |= {"muon": muon, "watched": settings["rloo"] | watch}
    return {name: stage | {"learning_rate": 1e-3} for name, stage in settings.items()}


def launch(kind: str, settings: dict, folder, processes: int = 2) -> dict:
    """Stage, and `<stage>_again`, which goes on from its first checkpoint -> see tests/helpers/sharded_stages.py."""
    modules = {"continued": "pretrain", "muon": "pretrain", "watched": "rloo"}
    stages = []
    for name, stage in settings.items():
        rows_each = stage["per_device_train_batch_size"] * 2 // processes
        own = {"output_dir": str(folder / name), "per_device_train_batch_size": rows_each}
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(stage | own))
        stages.append([f"recipes.{modules.get(name, name)}", ["--config", str(config)], str(folder / name)])
    (folder / "stages.json").write_text(json.dumps(stages))
    config = ["--config_file", f"accelerate_configs/{kind}.yaml", "--num_processes", str(processes)]
    run = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *config, "--mixed_precision", "no"]
        + ["--main_process_port", "0", "tests/helpers/sharded_stages.py", str(folder / "stages.json")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=550,
    )
    (folder / "printed.txt").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def one(settings, tmp_path_factory):
    """One process, of the stages whose batches it would see."""
    folder = tmp_path_factory.mktemp("one")
    launch("cpu", {name: settings[name] for name in READ}, folder, processes=1)
    return folder


@pytest.fixture(scope="module")
def copies(settings, tmp_path_factory):
    """Two processes with a whole copy each."""
    folder = tmp_path_factory.mktemp("cpu_ddp")
    return "cpu_ddp", folder, launch("cpu_ddp", {name: settings[name] for name in (*READ, *SAMPLED)}, folder)


@pytest.fixture(scope="module", params=["cpu_ddp", *SHARDED])
def two(request, settings, tmp_path_factory, copies):
    """How two processes hold the weights, their outputs, and what became of each stage."""
    if request.param == "cpu_ddp":
        return copies
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, launch(request.param, settings, folder)


def steps(folder) -> list[dict]:
    """What was logged of each step: loss, gradient norm and, where there is one, the mean reward."""
    keys = ("loss", "grad_norm", "reward")
    logged = [row for row in rows(folder / "log.jsonl") if "lr" in row or "learning_rate" in row]
    return [{key: row[key] for key in keys if key in row} for row in logged]


def largest_difference(run: list[dict], other: list[dict]) -> float:
    """Largest relative difference of two runs' logged numbers; those below 1e-3 count as differences from 1e-3."""
    assert [row.keys() for row in run] == [row.keys() for row in other]
    pairs = [(row[key], same[key]) for row, same in zip(run, other, strict=True) for key in row]
    return max(abs(a - b) / max(abs(b), 1e-3) for a, b in pairs)


@pytest.mark.parametrize("stage", REFUSED)
def test_what_does_not_run_says_so_before_any_work(two, stage):
    kind, folder, results = two
    assert kind == "cpu_ddp" or results[stage]["error"] == "exit 2" and not (folder / stage).exists()


@pytest.mark.parametrize("stage", [*READ, *SAMPLED])
def test_two_steps(two, one, copies, stage):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    kind, folder, results = two
    assert results[stage]["error"] == results[f"{stage}_again"]["error"] == ""
    classes = results[stage]["trained"]
    assert ("sharded weights" in classes) == (kind in ("fsdp2", "zero3"))
    assert any(name.startswith(ENGINES[kind]) for name in classes)
    logged = steps(folder / stage)
    assert len(logged) == 2 and any(row["grad_norm"] > 0 for row in logged)
    whole = one if stage in READ else copies[1]
    difference = largest_difference(logged, steps(whole / stage))
    print(f"{stage} | {kind} | {difference:.1e}")
    assert difference < (DRAWN if (stage, kind) == ("pretrain", "zero3") else TOLERANCE)
    assert largest_difference(steps(folder / f"{stage}_again"), logged[1:]) < TOLERANCE
    if stage in ("pretrain", "continued"):  # the others' count padding, of which batches of four rows have less
        flops = [json.loads((out / stage / "stage.json").read_text())["flops"] for out in (whole, folder)]
        assert flops[0] == flops[1]
    auto_class = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
    for out in (folder / stage, folder / f"{stage}_again", folder / stage / "checkpoint-2"):
        model = auto_class.from_pretrained(out)
        assert model(**AutoTokenizer.from_pretrained(out)("Who are you?", return_tensors="pt")).logits.isfinite().all()
