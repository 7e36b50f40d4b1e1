"""Bad input is one line on stderr and exit code 2, before any work: nothing is written."""

import collections
import importlib
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import checkpoints
import pytest
import yaml
from conftest import PPO_IS_THERE, ROOT, SIZES, rows

SCRIPTS = ("pretrain", "sft", "reward", "ppo", "grpo", "rloo", "dpo")


@pytest.fixture(scope="module")
def good(world, tokens_dir, tokenizer_dir, chat_model, reward_model, preferences) -> dict[str, dict]:
    """A configuration of each stage that would run; every test spoils one thing."""
    model = {"model_name_or_path": str(chat_model), "use_cpu": True, "bf16": False, "per_device_train_batch_size": 4}

    def data(path):
        return [{"path": str(path)}]

    return {
        "pretrain": {
            "model_config": {"model_type": "llama", **SIZES["llama"]},
            "tokenizer": str(tokenizer_dir),
            "tokens_dir": str(tokens_dir),
        }
        | {"sequence_length": 64, "use_cpu": True, "bf16": False, "max_steps": 1, "per_device_train_batch_size": 4},
        "sft": model | {"datasets": data(world / "conversations/train.jsonl"), "max_steps": 1},
        "reward": model | {"datasets": data(preferences / "train.jsonl"), "max_steps": 1},
        "ppo": (
            model
            | {
                "datasets": data(world / "verses/train.jsonl"),
                "reward_model_path": str(reward_model),
                "total_episodes": 4,
            }
        ),
        "grpo": model | {"datasets": data(world / "problems/train.jsonl"), "max_steps": 1, "num_generations": 2},
        "rloo": (
            model
            | {"datasets": data(world / "verses/train.jsonl"), "reward_model_path": str(reward_model)}
            | {"max_steps": 1, "num_generations": 2, "max_completion_length": 8}
        ),
        "dpo": model | {"datasets": data(preferences / "train.jsonl"), "max_steps": 1},
    }


@pytest.fixture
def fails(good, tmp_path, capsys):
    """Runs a stage with a spoiled configuration and returns its one line of error; nothing may have been written."""

    def run(script: str, *argv, without: tuple = (), **changes) -> str:
        out = tmp_path / "out"
        config = {k: v for k, v in (good[script] | changes).items() if k not in without}
        file = tmp_path / f"{script}.yaml"
        file.write_text(yaml.safe_dump(config))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            importlib.import_module(f"recipes.{script}").main(["--config", str(file), "--output_dir", str(out), *argv])
        return one_line(exit_, capsys.readouterr().err, out)

    return run


def one_line(exit_, stderr: str, out: Path) -> str:
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert exit_.value.code == 2, stderr
    assert len(errors) == 1 and stderr.rstrip("\n").endswith(errors[0]) and "Traceback" not in stderr, stderr
    assert len(errors[0]) > 30, "the message says neither what nor how"
    assert not [p for p in out.rglob("*") if p.is_file()] if out.is_dir() else True
    return errors[0]


@pytest.fixture
def spoiled(chat_model, tmp_path):
    """A copy of the model whose tokenizer has been spoiled by a function."""
    from transformers import AutoTokenizer

    def make(spoil) -> str:
        folder = tmp_path / "model"
        shutil.copytree(chat_model, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        spoil(tokenizer)
        (folder / "chat_template.jinja").unlink()
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


# ---- Keys and files ----


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_key(fails, script):
    error = fails(script, learning_ratee=1)
    assert "unknown key learning_ratee" in error and "did you mean learning_rate?" in error


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "key, value",
    [
        ("learning_rate", [1]),
        ("max_steps", 1.5),
        ("use_cpu", 3),
        ("datasets", "a.jsonl"),
        ("seed", "many"),
        ("seed", None),
    ],
)
def test_a_wrong_type(fails, script, key, value):
    if script == "pretrain" and key == "datasets":
        key = "model_config"
    assert key in fails(script, **{key: value})


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option(fails, script):
    assert "--learning_ratee" in fails(script, "--learning_ratee", "1")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_wrong_type_on_the_command_line(fails, script):
    assert "learning_rate" in fails(script, "--learning_rate", "fast")


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "argv, message",
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--config"], "--config needs a YAML file"),
        (["--config=nowhere.yaml"], "with a space"),
    ],
)
def test_a_missing_config(capsys, tmp_path, script, argv, message):
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module(f"recipes.{script}").main(argv)
    assert message in one_line(exit_, capsys.readouterr().err, tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("- a\n- b\n", "must hold `key: value` lines"),
        ("a: [", "is not valid YAML"),
        ("", "must hold `key: value` lines"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("\x80", "YAML"),
    ],
)
def test_a_config_that_is_none(capsys, tmp_path, text, message):
    (tmp_path / "c.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("recipes.sft").main(["--config", str(tmp_path / "c.yaml")])
    assert message in one_line(exit_, capsys.readouterr().err, tmp_path / "none")


# ---- Models ----


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("path", ["/nowhere/model", "runs/nowhere/sft", "nobody/no-such-model"])
def test_a_missing_model(fails, script, path):
    key = "tokenizer" if script == "pretrain" else "model_name_or_path"
    assert path in fails(script, **{key: path})


@pytest.mark.ppo
@pytest.mark.parametrize("path", ["/nowhere/model", "nobody/no-such-model", None])
def test_a_missing_reward_model(fails, path):
    error = fails("ppo", reward_model_path=path)
    assert (f"reward model {path}" if path else "reward_model_path must be str, but is None") in error


@pytest.mark.ppo
def test_no_reward_model(fails):
    assert "reward_model_path is not set" in fails("ppo", without=("reward_model_path",))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_that_was_cut_off(fails, chat_model, tmp_path, file):
    shutil.copytree(chat_model, tmp_path / "model")
    text = (tmp_path / "model" / file).read_bytes()
    (tmp_path / "model" / file).write_bytes(text[: len(text) // 2])
    assert "cannot be loaded" in fails("sft", model_name_or_path=str(tmp_path / "model"))


@pytest.mark.parametrize("script", SCRIPTS[1:])
def test_a_folder_that_holds_no_model(fails, script, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(script, model_name_or_path=str(tmp_path / "empty"))


def test_a_folder_with_a_tokenizer_and_no_model(fails, tokenizer_dir):
    assert "cannot be loaded" in fails("sft", model_name_or_path=str(tokenizer_dir))


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_model_at_all(fails, script):
    key = "model_config" if script == "pretrain" else "model_name_or_path"
    assert "model_name_or_path" in fails(script, without=(key,))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_config": {"hidden_size": 32}}, "needs model_type"),
        ({"model_config": {"model_type": "lama"}}, "lama"),
        ({"model_config": {"model_type": "llama", "vocab_size": 12}}, "vocab_size is 12, but the tokenizer has 512"),
        (
            {"model_config": {"model_type": "llama", "max_position_embeddings": 32}},
            "above the model's max_position_embeddings 32",
        ),
        ({"model_config": {"model_type": "llama", "hidden_size": 33, "num_attention_heads": 2}}, "model_config"),
        ({"tokens_dir": "/nowhere"}, "/nowhere/train.ds does not exist"),
        ({"tokens_dir": None}, "tokens_dir is not set"),
        ({"sequence_length": 10**6}, "fewer tokens than one window"),
        ({"compile_layers": True, "torch_compile": True}, "compile_layers and torch_compile are two ways"),
    ],
)
def test_pretraining_s_own_keys(fails, changes, message):
    assert message in fails("pretrain", **changes)


# ---- Data ----


@pytest.mark.parametrize(
    "script, column",
    [
        ("sft", "messages"),
        ("reward", "chosen"),
        ("reward", "rejected"),
        ("ppo", "prompt"),
        ("grpo", "prompt"),
        ("grpo", "answer"),
        ("rloo", "prompt"),
        ("dpo", "chosen"),
    ],
)
def test_a_missing_column(good, fails, tmp_path, script, column):
    data = [
        {k: v for k, v in row.items() if k != column} | {"other": 1}
        for row in rows(good[script]["datasets"][0]["path"])
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    error = fails(script, datasets=[{"path": str(tmp_path / "data.jsonl")}])
    assert f"has no column {column}" in error and "other" in error


@pytest.mark.parametrize("script", SCRIPTS[1:])
def test_an_empty_data_set(fails, tmp_path, script):
    (tmp_path / "data.jsonl").write_text("")
    assert "data.jsonl is empty" in fails(script, datasets=[{"path": str(tmp_path / "data.jsonl")}])


def test_empty_tokens(fails, tokens_dir, tmp_path):
    (tmp_path / "tokens.json").write_text((tokens_dir / "tokens.json").read_text())
    (tmp_path / "train.ds").write_bytes(b"")
    assert "holds fewer tokens than one window" in fails("pretrain", tokens_dir=str(tmp_path))


@pytest.mark.parametrize("script", SCRIPTS[1:])
@pytest.mark.parametrize(
    "datasets, message",
    [
        ([{"path": "/nowhere/data.jsonl"}], "/nowhere/data.jsonl does not exist"),
        ([{"path": "nobody/no-such-data"}], "nobody/no-such-data"),
        ([{"split": "train"}], "at least `path`"),
        ([{"path": "a/b", "splitt": "train"}], "unknown key splitt"),
        ([], "datasets is"),
    ],
)
def test_bad_data_sources(fails, script, datasets, message):
    assert message in fails(script, datasets=datasets)


def test_lines_that_are_not_json(fails, tmp_path):
    (tmp_path / "data.jsonl").write_text("messages\n{")
    assert "data.jsonl" in fails("sft", datasets=[{"path": str(tmp_path / "data.jsonl")}])


@pytest.mark.parametrize("script", SCRIPTS)
def test_fewer_rows_than_a_batch(good, fails, tmp_path, script):
    if script == "pretrain":
        assert "one step of 100000 windows needs at least 100000" in fails(script, per_device_train_batch_size=100_000)
        return
    (tmp_path / "data.jsonl").write_text(
        "".join(Path(good[script]["datasets"][0]["path"]).read_text().splitlines(True)[:7])
    )
    batch = {"per_device_train_batch_size": 16 if script in ("grpo", "rloo") else 8}
    error = fails(script, datasets=[{"path": str(tmp_path / "data.jsonl")}], **batch)
    assert "the training data have 7 rows" in error and "needs at least 8" in error


def test_nothing_fits_into_max_length(fails):
    assert "max_length" in fails("sft", max_length=4)
    assert "max_length 4" in fails("reward", max_length=4)
    assert not PPO_IS_THERE or "max_prompt_length 2" in fails("ppo", max_prompt_length=2)
    assert "max_prompt_length 2" in fails("rloo", max_prompt_length=2)
    assert "max_length 4" in fails("dpo", max_length=4)


def talk(user: str, reply: str) -> dict:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]}


def lines(path: Path, rows: list[dict]) -> list[dict]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [{"path": str(path)}]


def run(good, script: str, tmp_path, **changes) -> dict:
    """The record of the training data of a stage that runs."""
    out = tmp_path / "out"
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(good[script] | {"output_dir": str(out), "logging_steps": 1} | changes)
    )
    importlib.import_module(f"recipes.{script}").main(["--config", str(tmp_path / "c.yaml")])
    return json.loads((out / "stage.json").read_text())["datasets"][0]


def test_conversations_without_a_word_to_learn_are_counted(good, tmp_path, capsys):
    data = lines(tmp_path / "data.jsonl", [talk("Is it?", "Yes.")] * 6 + [talk("It is big. " * 80, "No.")] * 2)
    record = run(good, "sft", tmp_path, datasets=data, max_length=64)
    why = "no word of the assistant stands within max_length 64"
    assert (record["rows_in"], record["left_out"], record["rows"]) == (8, {why: 2}, 6)
    assert capsys.readouterr().out.count(f"the training data: 2 of 8 rows left out: {why} (2)\n") == 1


def test_pairs_that_are_too_long_or_equal_are_counted(good, tmp_path, capsys):
    asked = {"prompt": [{"role": "user", "content": "Is it?"}]}

    def pair(a, b):
        sides = (("chosen", a), ("rejected", b))
        return asked | {side: [{"role": "assistant", "content": text}] for side, text in sides}

    data = lines(
        tmp_path / "data.jsonl",
        [pair("Yes.", "No.")] * 4 + [pair("It is big. " * 60, "No.")] * 3 + [pair("No.", "No.")],
    )
    record = run(good, "reward", tmp_path, datasets=data, max_length=64)
    long = "a reply with its prompt has more than max_length 64 tokens"
    assert (record["rows_in"], record["left_out"], record["rows"]) == (8, {"both replies are the same": 1, long: 3}, 4)
    said = capsys.readouterr().out
    assert (
        said.count("data.jsonl: 1 of 8 rows left out: both replies are the same (1)\n")
        == said.count(f"3 of 7 rows left out: {long} (3)\n")
        == 1
    )


def test_problems_without_a_judge_or_room_are_counted(good, chat_model, tmp_path, capsys):
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(chat_model, tmp_path / "short")
    config = AutoConfig.from_pretrained(tmp_path / "short", max_position_embeddings=128)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "short")

    def problem(text, answer):
        return {"prompt": [{"role": "user", "content": text}], "answer": answer}

    data = lines(
        tmp_path / "data.jsonl",
        [problem("1 + 1?", "2")] * 4 + [problem("1 + 1? " * 100, "2")] + [problem("Who?", "Ann")],
    )
    record = run(
        good, "grpo", tmp_path, datasets=data, model_name_or_path=str(tmp_path / "short"), max_completion_length=8
    )
    long = "the prompt has more than the 120 tokens that a completion leaves of the model's positions"
    assert (record["rows_in"], record["left_out"], record["rows"]) == (
        6,
        {"final_number cannot judge it": 1, long: 1},
        4,
    )
    assert "2 of 6 rows left out: " in capsys.readouterr().out


def test_a_conversation_longer_than_the_model_s_positions(good, tokenizer, fails, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt2", vocab_size=len(tokenizer), n_positions=64, **SIZES["gpt2"])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    data = lines(tmp_path / "data.jsonl", [talk("Is it?", "It is big. " * 40)] * 4)
    assert "but the model only 64 positions: set max_length to at most 64" in fails(
        "sft", model_name_or_path=str(tmp_path / "gpt2"), datasets=data
    )
    assert (
        run(good, "sft", tmp_path, model_name_or_path=str(tmp_path / "gpt2"), datasets=data, max_length=64)["rows"]
        == 4
    )


def test_another_number_of_processes_is_told(good, tmp_path, capsys):
    from types import SimpleNamespace

    from recipes.training.stage import Stage

    args, training_args = (
        SimpleNamespace(resume=True),
        SimpleNamespace(output_dir=str(tmp_path / "out"), push_to_hub=False),
    )
    model_args = SimpleNamespace(model_name_or_path="m")
    checkpoints.write(tmp_path / "out/checkpoint-2")
    for before, told in ((2, 1), (1, 0)):
        (tmp_path / "out/progress.json").write_text(json.dumps({"seconds": 1.0, "world_size": before}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recipes.training.stage._plain", vars)
            Stage(args, training_args, model_args)
        assert (
            capsys.readouterr().out.count(f"note: it was started with {before} processes and goes on with 1") == told
        )


# ---- Tokenizers and templates ----


@pytest.mark.parametrize("script", SCRIPTS[1:])
def test_no_chat_template(fails, spoiled, script):
    assert "has no chat template" in fails(
        script, model_name_or_path=spoiled(lambda t: setattr(t, "chat_template", None))
    )


def test_a_template_without_generation_markers(fails, spoiled):
    def spoil(tokenizer):
        text = tokenizer.chat_template.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
        tokenizer.chat_template = text.replace(
            "{%- for m in messages -%}", "{%- for m in messages[-1:] -%}"
        )  # so that it cannot be derived, either

    assert "has no {% generation %} markers" in fails("sft", model_name_or_path=spoiled(spoil))


def test_an_end_token_that_carries_no_loss(fails, spoiled):
    def spoil(tokenizer):
        text = tokenizer.chat_template
        tokenizer.chat_template = re.sub(r"({{- '<\|im_end\|>' -}})\s*({%- endgeneration -%})", r"\2\1", text)
        assert tokenizer.chat_template != text

    assert "would never learn to stop" in fails("sft", model_name_or_path=spoiled(spoil))


@pytest.mark.parametrize("script", ["reward", "ppo", "dpo"])
@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_a_pad_token_that_is_the_end_token_or_none(fails, spoiled, script, pad):
    def spoil(tokenizer):
        tokenizer.pad_token = pad
        tokenizer.chat_template += "{#- <|pad|> and <|endoftext|> mean something here -#}"  # so that none is spare

    assert "needs a pad token that is not its end token" in fails(script, model_name_or_path=spoiled(spoil))


def test_a_chat_template_file(fails, tmp_path):
    assert "does not exist" in fails("sft", chat_template=str(tmp_path / "none.jinja"))
    (tmp_path / "broken.jinja").write_text("{% generation %}{{ messages }")
    assert "chat template" in fails("sft", chat_template=str(tmp_path / "broken.jinja"))


# ---- Output ----


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_space_for_the_output(fails, monkeypatch, script):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**30, 2**30 - 2**20, 2**20))
    error = fails(script)
    assert "no space for the output" in error and "1 MiB free" in error


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_output_folder_that_cannot_be_written(good, tmp_path, capsys, script):
    (tmp_path / "file").write_text("")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(good[script]))
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module(f"recipes.{script}").main(
            ["--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "file" / "out")]
        )
    assert "cannot write the output folder" in one_line(exit_, capsys.readouterr().err, tmp_path / "file")


def test_checkpoints_of_an_earlier_run_and_no_resume(good, tmp_path, capsys):
    (tmp_path / "out" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(good["sft"]))
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("recipes.sft").main(
            ["--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "out"), "--resume", "false"]
        )
    assert "holds checkpoints of an earlier run" in one_line(exit_, capsys.readouterr().err, tmp_path / "out")


# ---- Names and numbers ----


@pytest.mark.parametrize("script", ["pretrain", "sft", "reward"])
def test_an_unknown_optimizer(fails, script):
    assert "optimizer must be muon or unset" in fails(script, optimizer="mion")


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_optim(fails, script):
    assert "adamw_torhc" in fails(script, optim="adamw_torhc")


def test_an_unknown_reward(fails):
    error = fails("grpo", rewards=["final_numbr"])
    assert "final_numbr" in error and "final_number" in error


def test_a_reward_whose_column_is_missing(fails):
    assert "choices" in fails("grpo", rewards=["made_up"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_steps": 3}, "PPO ignores max_steps"),
        ({"gradient_accumulation_steps": 2, "num_mini_batches": 2}, "keep one of them at 1"),
        ({"eval_strategy": "steps", "eval_steps": 1}, "PPO never evaluates"),
        ({"stop_token": None}, "stop_token must be eos"),
    ],
)
def test_what_ppo_would_ignore(fails, changes, message):
    assert message in fails("ppo", **changes)


def test_fsdp_on_a_cpu_is_refused(fails, monkeypatch):
    """accelerate would train whole copies, and say nothing."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "FSDP was asked for, but accelerate would train whole copies on a CPU" in fails("dpo")


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_there_is_one_line(fails, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert "DEEPSPEED was asked for, but is not installed" in fails("dpo")


@pytest.mark.ppo
@pytest.mark.parametrize("engine", ["FSDP", "DEEPSPEED"])
def test_ppo_does_not_run_where_weights_are_spread(monkeypatch, engine):
    from types import SimpleNamespace

    from eval.cli import UserError
    from recipes.ppo import check

    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    with pytest.raises(UserError, match=f"PPO does not run under {engine}"):
        check(SimpleNamespace(gradient_accumulation_steps=1, num_mini_batches=1))


def test_a_trl_without_the_trainer_is_named(monkeypatch, capsys):
    from recipes import ppo

    monkeypatch.setattr(ppo, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        ppo.main(["--config", "recipes/tiny/ppo.yaml"])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and "needs PPOTrainer, which TRL 1.12 has" in told and "recipes.rloo" in told


@pytest.mark.parametrize("script", ["grpo", "rloo"])
def test_vllm_that_cannot_be_used_is_named(fails, monkeypatch, script):
    """On a processor without a GPU; and where TRL's trainer, asked for or not, cannot read the version."""
    from recipes.training import setup

    for mode in ("colocate", "server"):
        assert "use_vllm needs a GPU" in fails(script, use_vllm=True, vllm_mode=mode)
    monkeypatch.setattr(setup, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "trl.trainer.grpo_trainer", None)
    assert "cannot be imported beside the vLLM" in fails(script)


def test_vllm_that_is_not_there_is_named(monkeypatch):
    from types import SimpleNamespace

    from eval.cli import UserError
    from recipes.training import setup

    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="use_vllm needs vLLM: pip install"):
        setup.require_vllm(SimpleNamespace(use_vllm=True, device=SimpleNamespace(type="cuda")))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"reward_model_path": None}, "there is no reward"),
        ({"reward_weights": [1.0, 2.0]}, "one number for each of"),
        (
            {"reward_model_path": None, "rewards": ["refusal"], "missing_eos_penalty": 2.0},
            "off a reward model's score",
        ),
        ({"missing_eos_penalty": -1.0}, "at least 0"),
        ({"reward_model_path": None, "rewards": ["final_number"]}, "no column answer"),
        ({"rewards": ["final_numbr"]}, "final_numbr"),
        ({"reward_model_path": "/nowhere/reward"}, "/nowhere/reward does not exist"),
        ({"num_generations": 1}, "at least 2 generations"),
        ({"reward_model_path": None, "rewards": ["refusal"], "judge": "refusal"}, "refusal is the reward itself"),
    ],
)
def test_rewards_of_rloo(good, fails, changes, message):
    if "judge" in changes:
        changes = changes | {"monitor_steps": 1, "monitor_datasets": good["rloo"]["datasets"]}
    assert message in fails("rloo", **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"loss_type": ["sigmoyd"]}, "sigmoyd is none of TRL's: sigmoid, hinge, ipo"),
        ({"loss_type": ["kto", "sigmoid"]}, "name one alone"),
        ({"loss_type": ["kto"], "label_smoothing": 0.1}, "label_smoothing is not used with loss_type kto"),
        ({"loss_type": ["orpo"], "precompute_ref_log_probs": True}, "is not used with loss_type orpo"),
        ({"f_divergence_type": "kl"}, "f_divergence_type must be one of reverse_kl"),
        ({"padding_free": True}, "leave padding_free and truncation_mode out"),
        ({"beta": -0.1}, "beta must not be negative"),
        ({"loss_type": ["kto"], "per_device_train_batch_size": 1}, "KTO's settings"),
    ],
)
def test_what_dpo_would_ignore_or_tell_late(fails, changes, message):
    assert message in fails("dpo", **changes)


def test_a_batch_that_does_not_hold_whole_groups(fails):
    assert "num_generations" in fails("grpo", num_generations=3)
    assert "num_generations" in fails("rloo", num_generations=3)


# ---- The other commands ----

COMMANDS = [
    "data_prep.world.__main__",
    "data_prep.world.judge",
    "data_prep.world.copying",
    "data_prep.web",
    "data_prep.crawl.score",
    "data_prep.benchmark",
    "data_prep.decontaminate",
    "data_prep.tokenizer",
    "data_prep.tokens",
    "data_prep.preferences",
    "data_prep.problems",
    "data_prep.senses.__main__",
]
COMMANDS += [
    "eval.run",
    "eval.pairs",
    "eval.senses.__main__",
    "eval.report.__main__",
    "recipes.run",
    *(f"eval.probes.{name}" for name in ("regurgitation", "in_context", "dreams", "life", "jagged", "at_test_time")),
]


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_refuses_what_it_does_not_know(module, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argv in (["--no_such_option", "1"], ["--config", "nowhere.yaml"], []):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            importlib.import_module(module).main(argv)
        one_line(exit_, capsys.readouterr().err, tmp_path)


@pytest.mark.parametrize(
    "text, argv, message",
    [
        (None, [], "does not exist"),
        ("steps: [", [], "cannot be read"),
        ("a: 1", [], "is no pipeline"),
        ("{recipe: x, output_dir: runs/x, steps: []}", ["--set", "base.max_steps=1"], "names no step"),
        ("{recipe: x, output_dir: runs/x, steps: []}", ["--set", "base.max_steps"], "takes STEP.KEY=VALUE"),
        (
            "{recipe: x, output_dir: runs/x, steps: [{name: a, module: recipes.sft, config: none.yaml, seconds: 1}]}",
            [],
            "none.yaml does not exist",
        ),
        (
            "{recipe: x, output_dir: runs/x, steps: [{name: a, module: recipes.sft, seconds: 1, processes: true}]}",
            [],
            "processes must be a whole number",
        ),
    ],
)
def test_pipelines(capsys, tmp_path, text, argv, message):
    if text is not None:
        (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("recipes.run").main(
            [str(tmp_path / "p.yaml"), "--output_dir", str(tmp_path / "out"), *argv]
        )
    assert message in one_line(exit_, capsys.readouterr().err, tmp_path / "out" / "models")


# ---- As a process ----


def test_as_a_process(tmp_path):
    (tmp_path / "c.yaml").write_text("learning_ratee: 1\n")
    command = [
        sys.executable,
        "-m",
        "recipes.pretrain",
        "--config",
        str(tmp_path / "c.yaml"),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2 and not (tmp_path / "out").exists()
    assert [line for line in run.stderr.splitlines() if line.startswith("error: ")] == run.stderr.splitlines()[-1:]
    assert "unknown key learning_ratee" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_was_spoiled_above_is_good_unspoiled(good, tmp_path, script):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(good[script]))
    importlib.import_module(f"recipes.{script}").main(
        ["--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "out")]
    )
    assert (tmp_path / "out" / "stage.json").exists()
