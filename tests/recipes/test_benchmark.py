"""`recipes.benchmark --stage pretrain` on a model of 60,000 parameters: the plain loop trains as the recipe does."""

import re

import forks
import pytest
import yaml
from conftest import ROOT, SIZES

from recipes.benchmark import main


@pytest.fixture(scope="module")
def config(tokenizer_dir, tmp_path_factory):
    """As recipes/tiny/pretrain.yaml, with another model; the tokens come from the command line."""
    path = tmp_path_factory.mktemp("benchmark") / "pretrain.yaml"
    keys = yaml.safe_load((ROOT / "recipes/tiny/pretrain.yaml").read_text())
    keys |= {"model_config": {"model_type": "llama", "tie_word_embeddings": True, **SIZES["llama"]}, "warmup_steps": 2}
    keys |= {"sequence_length": 32, "per_device_train_batch_size": 2, "logging_steps": 1, "max_steps": 20}
    keys |= {"gradient_accumulation_steps": 2, "lr_scheduler_kwargs": {"num_decay_steps": 4}, "bf16": False}
    keys["compile_layers"] = False  # what is compiled is compiled as one
    keys |= {"tokenizer": str(tokenizer_dir)}
    path.write_text(yaml.safe_dump(keys))
    return path


def benchmark(config, tokens_dir, log, **options) -> str:
    """What the command prints; in a process of its own, as it forks."""
    argv = ["--stage", "pretrain", "--config", config, "--tokens_dir", tokens_dir, "--steps", 4, "--rounds", 1]
    argv += [word for key, value in options.items() for word in (f"--{key}", value)]
    assert forks.run("small_benchmark", argv, log, timeout=600) == 0, log.read_text()[-5000:]
    return log.read_text()


NUMBER = r"[\d,.]+"
SPREAD = rf"({NUMBER}) \({NUMBER} to {NUMBER}\)"


def losses(printed: str) -> dict[str, float]:
    return {name: float(loss) for name, loss in re.findall(r"round 1, (\w+ \w+): .* loss (\S+)", printed)}


def test_two_processes_train_the_same_as_the_recipe(config, tokens_dir, tmp_path):
    printed = benchmark(config, tokens_dir, tmp_path / "log", processes=2, compiled="false")
    both = losses(printed)
    assert list(both) == ["bare eager", "recipe eager"] and 4 < both["bare eager"] < 8
    assert both["recipe eager"] == pytest.approx(both["bare eager"], abs=0.02)
    found = re.findall(rf"(\w+) eager: {SPREAD} tokens/s", printed)
    speeds = {name: float(speed.replace(",", "")) for name, speed in found}
    assert min(speeds.values()) > 0
    assert re.search(rf"^peak: {SPREAD} GFLOP/s \(2 processes of \d+ threads, float32\)", printed, re.M)
    assert re.search(rf"^products of the model's linear layers .*: {SPREAD} of the peak", printed, re.M)
    ratio = float(re.search(rf"^recipe / bare, eager: {SPREAD}", printed, re.M)[1])
    assert ratio == pytest.approx(speeds["recipe"] / speeds["bare"], rel=0.02) and "compiled" not in printed


def test_compiled_beside_compiled(config, tokens_dir, tmp_path):
    """With the backend that the config names; this one traces as inductor does, and writes no C++."""
    keys = yaml.safe_load(config.read_text()) | {"torch_compile_backend": "aot_eager"}
    traced = tmp_path / "pretrain.yaml"
    traced.write_text(yaml.safe_dump(keys))
    printed = benchmark(traced, tokens_dir, tmp_path / "log", processes=1)
    compiling = dict(re.findall(r"(\w+) compiled: compiling took (\d+) s", printed))
    assert compiling.keys() == {"bare", "recipe"} and min(map(int, compiling.values())) > 0
    assert re.search(rf"^recipe / bare, compiled: {SPREAD}", printed, re.M)
    found = losses(printed).values()
    assert len(found) == 4 and max(found) - min(found) < 0.02


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--stage", "pretrain"], "needs --config"),
        (["--stage", "pretrain", "--config", "no.yaml"], "no.yaml does not exist"),
        (["--stage", "pretrain", "--config", "CONFIG", "--steps", "16"], "max_steps of"),
        (["--stage", "pretrain", "--config", "CONFIG", "--rounds", "0"], "must be at least 1"),
        (["--stage", "sft", "--model", "x", "--data", "y"], "stage must be grpo, ppo with a reward_model, or"),
    ],
)
def test_bad_input_is_one_line(argv, said, config, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([str(config) if word == "CONFIG" else word for word in argv])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and said in error and error.count("\n") == 1
