"""A stage that was killed with SIGKILL goes on: the same weights as an unbroken run's, no step logged twice."""

import importlib
import json
import os
import signal
import time
from pathlib import Path

import forks
import pytest
import yaml
from conftest import SIZES, rows

pytestmark = pytest.mark.slow
KILLED = -signal.SIGKILL
SAVING = {"save_steps": 2, "save_total_limit": 1, "logging_steps": 1, "use_cpu": True, "bf16": False, "seed": 3}
TRAINING = SAVING | {  # as in recipes/tiny
    "bf16": True,
    "max_steps": 6,
    "per_device_train_batch_size": 4,
    "optimizer": "muon",
    "learning_rate": 0.01,
    "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 3},
    "warmup_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 3,
}


@pytest.fixture(scope="module")
def configs(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences, tmp_path_factory):
    """Each stage's configuration file; `output_dir` comes from the command line."""
    folder = tmp_path_factory.mktemp("configs")
    conversations = [{"path": str(world / f"conversations/{split}.jsonl")} for split in ("train", "validation")]
    stages = {
        "pretrain": (
            TRAINING
            | {
                "model_config": {"model_type": "llama", "tie_word_embeddings": True, **SIZES["llama"]},
                "tokenizer": str(tokenizer_dir),
                "tokens_dir": str(tokens_dir),
            }
            | {
                "sequence_length": 64,
                "max_eval_windows": 4,
                "sample_prompts": ["The people of", "Question:"],
                "sample_steps": 1,
            }
        ),
        "sft": (
            TRAINING
            | {
                "model_name_or_path": str(chat_model),
                "datasets": conversations[:1],
                "eval_datasets": conversations[1:],
                "max_length": 256,
            }
        ),
        "ppo": (
            SAVING
            | {
                "model_name_or_path": str(chat_model),
                "reward_model_path": str(reward_model),
                "datasets": [{"path": str(world / "verses/train.jsonl")}],
            }
            | {
                "total_episodes": 40,
                "per_device_train_batch_size": 8,
                "local_rollout_forward_batch_size": 8,
                "response_length": 6,
                "num_mini_batches": 2,
                "learning_rate": 0.01,
            }
        ),
        "grpo": (
            SAVING
            | {
                "model_name_or_path": str(chat_model),
                "datasets": [{"path": str(world / "problems/train.jsonl")}],
                "max_steps": 5,
                "learning_rate": 0.01,
            }
            | {
                "per_device_train_batch_size": 16,
                "num_generations": 4,
                "max_completion_length": 6,
                "entropy_coef": 0.1,
            }
        ),
    }
    rewarded = {key: stages["ppo"][key] for key in ("model_name_or_path", "reward_model_path", "datasets")}
    drawn = {"per_device_train_batch_size": 16, "num_generations": 4, "num_iterations": 2, "max_completion_length": 6}
    stages["rloo"] = SAVING | rewarded | drawn | {"max_steps": 5, "learning_rate": 0.01}
    pairs = [{"path": str(preferences / f"{split}.jsonl")} for split in ("train", "validation")]
    stages["dpo"] = TRAINING | {
        "model_name_or_path": str(chat_model),
        "datasets": pairs[:1],
        "eval_datasets": pairs[1:],
    }
    del stages["dpo"]["optimizer"]
    for name, config in stages.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return folder


def train(configs, stage: str, out: Path, *more: str, die: str | None = None, expect: int = 0) -> str:
    """Run a stage in a process of its own; what it printed."""
    log = out.with_suffix(".log")
    code = forks.run(f"recipes.{stage}", ["--config", configs / f"{stage}.yaml", "--output_dir", out, *more], log, die)
    assert code == expect, log.read_text()[-3000:]
    return log.read_text()


@pytest.fixture(scope="module")
def unbroken(configs, tmp_path_factory):
    """The folder of a run of each stage that nobody disturbed."""
    folder, done = tmp_path_factory.mktemp("unbroken"), {}

    def get(stage: str) -> Path:
        if stage not in done:
            train(configs, stage, folder / stage)
            done[stage] = folder / stage
        return done[stage]

    return get


def weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def metrics(folder: Path) -> list[dict]:
    """The log without clocks and speeds, and without the mean loss of this process's steps."""
    left_out = ("seconds", "runtime", "per_second", "step_time", "eps", "train_loss")
    return [{k: v for k, v in row.items() if not k.endswith(left_out)} for row in rows(folder / "log.jsonl")]


# Killed before the first checkpoint, between two, while one is written, after the last step
@pytest.mark.parametrize(
    "stage, moment",
    [("pretrain", "log:1"), ("pretrain", "save:4"), ("pretrain", "finish"), ("sft", "log:5"), ("dpo", "log:5")],
)
def test_a_killed_run_ends_in_the_same_weights(configs, unbroken, tmp_path, stage, moment):
    out = tmp_path / "run"
    train(configs, stage, out, die=moment, expect=KILLED)
    assert not (out / "stage.json").exists()
    kept = {
        "log:1": [],
        "log:5": ["checkpoint-4"],
        "save:4": ["checkpoint-2", "checkpoint-4"],
        "finish": ["checkpoint-6"],
    }[moment]
    assert sorted(p.name for p in out.glob("checkpoint-*")) == kept
    printed = train(configs, stage, out)
    resumed = {"log:1": None, "log:5": "checkpoint-4", "save:4": "checkpoint-2", "finish": "checkpoint-6"}[moment]
    assert f"continuing from {out / resumed}" in printed if resumed else "continuing" not in printed
    assert same(weights(out), weights(unbroken(stage)))
    assert metrics(out) == metrics(unbroken(stage))
    steps = [row["step"] for row in rows(out / "log.jsonl") if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
    if stage == "pretrain":
        assert rows(out / "samples.jsonl") == rows(unbroken(stage) / "samples.jsonl")
        assert [row["step"] for row in rows(out / "samples.jsonl")] == [step for step in range(7) for _ in range(2)]
    record = json.loads((out / "stage.json").read_text())
    assert (
        record["steps"] == 6 and record["tokens"] == json.loads((unbroken(stage) / "stage.json").read_text())["tokens"]
    )


def test_a_finished_stage_is_not_done_again(configs, unbroken):
    out = unbroken("sft")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert "is finished" in train(configs, "sft", out)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_what_a_checkpoint_does_not_fit_is_one_line(configs, tmp_path):
    """Other settings than it was saved with; the run itself is left as it was."""
    out = tmp_path / "run"
    train(configs, "sft", out, die="log:3", expect=KILLED)
    before = {p: p.read_bytes() for p in (out / "checkpoint-2").iterdir()}
    told = train(configs, "sft", out, "--use_peft", "true", expect=2)
    assert f"error: the run cannot go on from {out / 'checkpoint-2'} (" in told and "Traceback" not in told
    assert before == {p: p.read_bytes() for p in (out / "checkpoint-2").iterdir()}
    train(configs, "sft", out)


@pytest.mark.parametrize("stage", ["grpo", "rloo"])
def test_it_goes_on_as_if_nothing_had_happened(configs, unbroken, tmp_path, stage):
    out = tmp_path / "run"
    train(configs, stage, out, die="log:3", expect=KILLED)
    assert f"continuing from {out / 'checkpoint-2'}" in train(configs, stage, out, die="log:5", expect=KILLED)
    assert f"continuing from {out / 'checkpoint-4'}" in train(configs, stage, out)
    assert [row["step"] for row in rows(out / "log.jsonl") if "loss" in row] == [1, 2, 3, 4, 5]
    assert metrics(out) == metrics(unbroken(stage))  # the same problems, the same samples
    assert same(weights(out), weights(unbroken(stage)))
    assert json.loads((out / "stage.json").read_text())["steps"] == 5


@pytest.fixture(scope="module")
def watched():
    """Runs ppo in this process; what its trainer starts from: rows, policy, critic."""
    seen = {}

    class Watched(importlib.import_module("recipes.trainers.ppo").Trainer):
        def train(self):
            model = self.accelerator.unwrap_model(self.model)
            seen["rows"] = [ids for batch in self.dataloader for ids in batch["input_ids"].tolist()]
            seen["policy"] = {k: v.clone() for k, v in model.policy.state_dict().items()}
            seen["critic"] = {k: v.clone() for k, v in model.value_model.state_dict().items()}
            seen["optimizer"] = len(self.optimizer.state_dict()["state"])
            super().train()

    def run(config, out):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recipes.trainers.ppo.Trainer", Watched)
            importlib.import_module("recipes.ppo").main(["--config", str(config), "--output_dir", str(out)])
        return dict(seen)

    return run


@pytest.fixture(scope="module")
def whole(watched, configs, tmp_path_factory):
    return watched(configs / "ppo.yaml", tmp_path_factory.mktemp("ppo") / "whole")


def without_padding(rows_: list[list[int]], pad: int) -> list[list[int]]:
    return [[i for i in row if i != pad] for row in rows_]


@pytest.mark.parametrize("moment", ["log:3", "log:5", "finish"])
def test_ppo_goes_on_with_its_critic_its_optimiser_and_the_next_prompts(
    configs, tmp_path, watched, whole, tokenizer, reward_model, moment
):
    from safetensors.torch import load_file

    out = tmp_path / "run"
    if moment == "log:5":  # the second kill
        train(configs, "ppo", out, die="log:3", expect=KILLED)
    train(configs, "ppo", out, die=moment, expect=KILLED)
    done = {"log:3": 2, "log:5": 4, "finish": 5}[moment]
    checkpoint = {
        key: load_file(out / f"checkpoint-{done}" / part)
        for key, part in (("policy", "model.safetensors"), ("critic", "value_model/model.safetensors"))
    }
    resumed = watched(configs / "ppo.yaml", out)
    if done == 5:  # nothing was left to train
        resumed["rows"] = []
    for part in ("policy", "critic"):
        assert all((resumed[part][key] == value).all() for key, value in checkpoint[part].items()), part
    assert not same(checkpoint["critic"], load_file(reward_model / "model.safetensors"))
    assert resumed["optimizer"] > 0 == whole["optimizer"]
    expected = without_padding(whole["rows"], tokenizer.pad_token_id)[done * 8 :]
    assert without_padding(resumed["rows"], tokenizer.pad_token_id) == expected and len(expected) == (5 - done) * 8
    log = rows(out / "log.jsonl")
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5]
    assert [row["episode"] for row in log] == [8, 16, 24, 32, 40]
    assert json.loads((out / "stage.json").read_text())["steps"] == 5


def test_ppo_goes_on_with_its_adapters(configs, tmp_path):
    from safetensors.torch import load_file

    out, lora = tmp_path / "run", ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj"]
    train(configs, "ppo", out, *lora, die="log:3", expect=KILLED)
    before = load_file(out / "checkpoint-2" / "adapter_model.safetensors")
    assert f"continuing from {out / 'checkpoint-2'}" in train(configs, "ppo", out, *lora)
    after = load_file(out / "adapter_model.safetensors")
    assert before.keys() == after.keys() and not same(before, after)
    assert [row["step"] for row in rows(out / "log.jsonl")] == [1, 2, 3, 4, 5]


# ---- The driver ----


@pytest.fixture
def pipeline(configs, world, documents, tmp_path):
    """Four steps of a pipeline; the third, `base`, trains for some seconds."""
    base = yaml.safe_load((configs / "pretrain.yaml").read_text()) | {
        "max_steps": 100,
        "save_steps": 20,
        "logging_steps": 5,
        "eval_steps": 50,
        "sample_steps": 50,
    }
    base |= {"tokenizer": "runs/x/tokenizer", "tokens_dir": "runs/x/tokens", "output_dir": "runs/x/base"}
    base["lr_scheduler_kwargs"] = {"num_decay_steps": 30}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "tokens.yaml").write_text(
        yaml.safe_dump(
            {
                "sources": [{"path": str(documents)}],
                "tokenizer": "runs/x/tokenizer",
                "output_dir": "runs/x/tokens",
                "validation_fraction": 0.2,
            }
        )
    )
    texts = [f"{documents}/*.jsonl", f"{world}/conversations/train.jsonl"]
    steps = [
        {
            "name": "tokenizer",
            "module": "data_prep.tokenizer",
            "seeded": False,
            "seconds": 1,
            "args": {"sources": texts, "output_dir": "runs/x/tokenizer", "vocab_size": 512},
        },
        {"name": "tokens", "module": "data_prep.tokens", "config": str(tmp_path / "tokens.yaml"), "seconds": 1},
        {"name": "base", "module": "recipes.pretrain", "config": str(tmp_path / "base.yaml"), "seconds": 5},
        {
            "name": "report",
            "module": "eval.report.__main__",
            "seeded": False,
            "seconds": 1,
            "args": {"run_dir": "runs/x"},
        },
    ]
    (tmp_path / "pipeline.yaml").write_text(
        yaml.safe_dump({"recipe": "x", "output_dir": "runs/x", "offline": True, "steps": steps})
    )
    return tmp_path / "pipeline.yaml"


def alive(path: Path) -> bool:
    """Whether a process that writes to `path` is left."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == str(path) for fd in (process / "fd").iterdir()):
                return True
        except OSError:
            continue
    return False


def test_a_killed_pipeline_goes_on_in_its_step_and_repeats_none(pipeline, tmp_path, capsys):
    out, log = tmp_path / "run", tmp_path / "run.log"
    argv = [pipeline, "--output_dir", out]
    process = forks.start("recipes.run", argv, log)
    deadline = time.time() + 120
    while not list((out / "base").glob("checkpoint-*/trainer_state.json")):
        assert process.is_alive() and time.time() < deadline, log.read_text()[-3000:]
        time.sleep(0.01)
    process.kill()  # the run alone: its step must not go on without it
    process.join()
    deadline = time.time() + 5
    while alive(out / ".lock"):
        assert time.time() < deadline, "the step outlived its run"
        time.sleep(0.05)
    assert sorted(p.stem for p in (out / "steps").glob("*.json")) == ["tokenizer", "tokens"]
    (out / "steps" / "base.share").unlink(
        missing_ok=True
    )  # how far the killed step was, which the next run writes anew
    before = {p: p.stat().st_mtime_ns for folder in ("steps", "tokenizer", "tokens") for p in (out / folder).iterdir()}
    log_2 = tmp_path / "again.log"
    assert forks.run("recipes.run", argv, log_2) == 0, log_2.read_text()[-3000:]
    printed = log_2.read_text()
    assert (
        "continuing from" in printed and "[3/4] base" in printed and "[1/4]" not in printed and "[2/4]" not in printed
    )
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert [row["step"] for row in rows(out / "base" / "log.jsonl") if "loss" in row] == list(range(5, 101, 5))
    seconds = json.loads((out / "seconds.json").read_text())
    assert list(seconds["seconds"]) == ["total", "tokenizer", "tokens", "base", "report"]
    assert seconds["seconds"]["total"] == pytest.approx(sum(list(seconds["seconds"].values())[1:]), abs=0.1)
    assert seconds["peak_rss_gb"] > 0.1 and seconds["recipe"] == "x" and seconds["seed"] == 0
    summary = json.loads((out / "report" / "summary.json").read_text())
    assert summary["stages"]["base"]["bits_per_byte"] > 0

    # finished: nothing is done again, and other settings are refused
    assert forks.run("recipes.run", argv, log_2) == 0 and "━━ [" not in log_2.read_text()
    from recipes.run import main

    for other in (["--set", "base.max_steps=101"], ["--seed", "1"]):
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, argv), *other])
        error = capsys.readouterr().err
        assert (
            exit_.value.code == 2
            and error.startswith("error: ")
            and "made with other settings" in error
            and error.count("\n") == 1
        )
    with pytest.raises(SystemExit) as exit_:
        main([*map(str, argv), "--set", "bas.max_steps=101"])
    assert exit_.value.code == 2 and "no step" in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(pipeline, tmp_path, capsys, monkeypatch):
    from recipes import run

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    out = tmp_path / "run"
    out.mkdir()
    held = run.lock(out)
    with pytest.raises(SystemExit) as exit_:
        run.main([str(pipeline), "--output_dir", str(out)])
    held.close()
    assert exit_.value.code == 2 and "another run is at work" in capsys.readouterr().err
