"""`--dry_run`: what is told of every recipe before it does anything, and what it is told from."""

import importlib
import json
import re
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import SIZES


@pytest.fixture
def light(chat_model, reward_model, tmp_path):
    """A function that copies a model's folder without its weights: what a dry run needs of it."""

    def copy(model) -> str:
        folder = tmp_path / model.name
        folder.mkdir(exist_ok=True)
        for file in model.iterdir():
            if file.suffix != ".safetensors":
                (folder / file.name).write_bytes(file.read_bytes())
        return str(folder)

    return copy


def run(stage: str, config: dict, folder, capsys, *options: str) -> str:
    """What a dry run prints. It may leave nothing in the folder."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"use_cpu": True, "bf16": False, "report_to": "none"}))
    before = sorted(folder.rglob("*"))
    arguments = ["--config", str(path), "--output_dir", str(folder / "out"), "--dry_run", "true"]
    try:
        importlib.import_module(f"recipes.{stage}").main([*arguments, *options])
    finally:
        assert sorted(folder.rglob("*")) == before
    return capsys.readouterr().out


def test_bytes_count_while_a_tensor_is_held():
    from recipes.planning.live_bytes import on_shapes

    with on_shapes() as live, live.phase() as phase:
        kept = torch.empty(256, 1024)  # 1 MiB
        _ = kept @ torch.empty(1024, 512)  # 2 MiB, and a result of half a one
    assert phase.before == 0 and phase.peak == 3.5 * 2**20 and live.now == 2**20 + 2**19
    assert phase.flops == 2 * 256 * 1024 * 512


def test_a_backward_pass_needs_what_autograd_keeps():
    from recipes.planning.live_bytes import on_shapes, with_shapes

    with torch.device("meta"):
        layers = [torch.nn.Linear(64, 64, bias=False) for _ in range(4)]
        model = torch.nn.Sequential(*layers)
    with on_shapes() as live:
        model = with_shapes(model)
        weights = 4 * 64 * 64 * 4
        assert live.now == weights
        with live.phase() as phase:
            model(torch.empty(1024, 64)).sum().backward()
        assert live.now == 2 * weights  # a gradient each
    rows = 1024 * 64 * 4
    assert 5 * rows <= phase.more <= 7 * rows + weights


def meta_model(**sizes):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("llama", vocab_size=512, tie_word_embeddings=True, **SIZES["llama"] | sizes)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def settings(**others) -> tuple:
    """Script, training and model arguments, as far as memory depends on them."""
    training = {"optim": "adamw_torch", "bf16": False} | {k: v for k, v in others.items() if k in ("optim", "bf16")}
    model = SimpleNamespace(load_in_4bit=others.get("load_in_4bit", False), load_in_8bit=False)
    return SimpleNamespace(optimizer=others.get("optimizer")), SimpleNamespace(**training), model


def test_what_is_held_is_weights_gradients_and_the_optimisers_state():
    from recipes.planning.held_bytes import held_bytes

    model = meta_model()
    weights = 4 * sum(p.numel() for p in model.parameters())
    held = held_bytes(model, *settings())
    assert held.gradients == weights and held.optimizer == 2 * weights
    assert weights <= held.weights < weights + 1000  # and the angles of RoPE
    assert held_bytes(model, *settings(optim="adamw_8bit")).optimizer == weights / 2
    assert held_bytes(model, *settings(optim="sgd")).optimizer == 0
    matrices = 4 * sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    assert held_bytes(model, *settings(optimizer="muon")).optimizer == 2 * weights - matrices
    model.requires_grad_(False)
    assert held_bytes(model, *settings()).total == held.weights
    assert held_bytes(model, *settings(load_in_4bit=True)).weights < 0.6 * held.weights


def test_sharding_divides_what_each_strategy_divides(monkeypatch):
    from recipes.planning.held_bytes import held_bytes

    model = meta_model(num_hidden_layers=16)
    alone = held_bytes(model, *settings())
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert held_bytes(model, *settings()).gradients == 2 * alone.gradients
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    zero2 = held_bytes(model, *settings())
    assert zero2.weights == alone.weights
    assert (zero2.gradients, zero2.optimizer) == (alone.gradients / 4, alone.optimizer / 4)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    fsdp = held_bytes(model, *settings())
    assert alone.weights / 4 < fsdp.weights < 0.6 * alone.weights and fsdp.optimizer == alone.optimizer / 4


def test_rows_are_counted_without_being_read(tmp_path):
    from recipes.planning.first_rows import rows_of

    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n\n{"a": 3}\n')
    assert rows_of({"path": str(path)}) == 3
    assert rows_of({"path": str(path), "weight": 2}) == 6 and rows_of({"path": str(path), "rows": 2}) == 2
    assert rows_of({"path": str(path), "where": {"a": [1]}}) is None and rows_of({"path": "owner/name"}) is None


def test_sft_tells_rows_steps_and_memory(world, light, chat_model, tmp_path, capsys):
    data = world / "conversations/train.jsonl"
    rows = len(data.read_text().splitlines())
    config = {"model_name_or_path": light(chat_model), "datasets": [{"path": str(data)}], "num_train_epochs": 2}
    config |= {"per_device_train_batch_size": 16, "activation_checkpointing": False, "max_length": 192}
    told = run("sft", config, tmp_path, capsys)
    assert f"data: {rows:,} rows" in told and f"steps: {-(-2 * rows // 16)}\n" in told
    assert re.search(r"training +[\d.]+ (Mi|Gi)B, of which logits", told) and re.search(
        r"time: [\d.e-]+ s a step", told
    )
    with pytest.raises(SystemExit) as stopped:
        run("sft", config, tmp_path, capsys, "--device_memory", "0.25")
    assert stopped.value.code == 2 and "error: it does not fit: a device needs about" in capsys.readouterr().err


def test_checkpointing_and_adapters_need_less(world, light, chat_model):
    from trl import ModelConfig, SFTConfig

    from recipes.planning.dry_run import Job, estimate
    from recipes.sft import SFTScriptArguments
    from recipes.training.setup import parse_stage

    def needs(*options: str) -> tuple:
        shared = ["--model_name_or_path", light(chat_model), "--output_dir", "none", "--dry_run", "true"]
        parsed = parse_stage((SFTScriptArguments, SFTConfig, ModelConfig), [*shared, *options])
        held, phases, counts = estimate(Job("sft", *parsed, [100] * 50, 50))
        return held, phases["training"].more, counts

    held, whole, counts = needs("--activation_checkpointing", "false")
    # 0.54 where Python frees what hangs in cycles of references at once, 0.90 where it does so late
    assert needs("--activation_checkpointing", "true")[1] < 0.95 * whole
    adapted, _, of_adapter = needs("--activation_checkpointing", "false", "--use_peft", "true")
    assert counts[0] == counts[1] and of_adapter[1] < 0.5 * of_adapter[0]
    assert adapted.optimizer < 0.5 * held.optimizer


CONFIGS = {  # what a stage needs beside a model
    "pretrain": {"max_steps": 7, "sequence_length": 64, "per_device_train_batch_size": 2},
    "reward": {"max_steps": 7, "per_device_train_batch_size": 4},
    "dpo": {"max_steps": 7, "per_device_train_batch_size": 4},
    "ppo": {"total_episodes": 28, "per_device_train_batch_size": 4, "response_length": 8},
    "grpo": {"max_steps": 7, "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8},
    "rloo": {"max_steps": 7, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8},
}


@pytest.mark.parametrize("stage", CONFIGS)
def test_every_stage_tells_its_steps_and_loads_no_weights(
    stage, world, tokens_dir, tokenizer_dir, preferences, light, chat_model, reward_model, tmp_path, capsys
):
    config = CONFIGS[stage] | {"activation_checkpointing": False}
    if stage == "pretrain":
        config |= {"tokens_dir": str(tokens_dir), "tokenizer": str(tokenizer_dir)}
        config |= {"model_config": {"model_type": "llama", **SIZES["llama"]}}
    else:
        files = {"reward": preferences / "train.jsonl", "dpo": preferences / "train.jsonl"}
        files |= {"grpo": world / "problems/train.jsonl"}
        data = files.get(stage, world / "verses/train.jsonl")
        config |= {"model_name_or_path": light(chat_model), "datasets": [{"path": str(data)}]}
    if stage in ("ppo", "rloo"):
        config |= {"reward_model_path": light(reward_model)}
    told = run(stage, config, tmp_path, capsys)
    assert f"dry run of recipes.{stage}: " in told and "steps: 7\n" in told
    assert re.search(r"peak +[\d.]+ GiB of", told) and ("KV cache" in told) == (stage in ("ppo", "grpo", "rloo"))


def test_keys_of_a_dry_run_are_refused_without_one(light, chat_model, world, tmp_path, capsys):
    data = [{"path": str(world / "conversations/train.jsonl")}]
    options = ["--model_name_or_path", light(chat_model), "--datasets", json.dumps(data), "--output_dir", "none"]
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("recipes.sft").main([*options, "--device_memory", "8"])
    assert stopped.value.code == 2 and "device_memory and reply_tokens are of a dry run" in capsys.readouterr().err
