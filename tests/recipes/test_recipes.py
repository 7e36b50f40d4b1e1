"""Every YAML of recipes/ takes two steps through its own script, with only model and data swapped for small local ones
of the same family and columns; then a fresh process loads every artifact with stock classes."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import PPO_IS_THERE, ROOT, SIZES, rows, save_model

pytestmark = pytest.mark.slow
SCRIPTS = ("pretrain", "sft", "reward", "ppo", "grpo", "rloo", "dpo", "distill")
RECIPES = sorted(path for path in ROOT.glob("recipes/*/*.yaml") if path.stem.split("_")[0] in SCRIPTS)
OTHERS = {"tokens", "pipeline", "experiments", "refusals", "conversations", "starters"}
FAMILIES = {"tiny": "llama", "smollm2-135m": "llama", "gpt2-124m": "gpt2", "qwen3-0.6b": "qwen3"}
HUB_ROWS = {  # the columns of the data sets on the Hub that the recipes name
    "HuggingFaceTB/smol-smoltalk": lambda r: {"messages": r["messages"], "source": "local"},
    "trl-lib/ultrafeedback_binarized": lambda r: {
        "chosen": r["prompt"] + r["chosen"],
        "rejected": r["prompt"] + r["rejected"],
        "score_chosen": 9.0,
        "score_rejected": 1.0,
    },
    "trl-lib/ultrafeedback-prompt": lambda r: {"prompt": r["prompt"]},
}
SMALL = {  # what two steps on a CPU need
    "pretrain": {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "sequence_length": 64,
        "max_eval_windows": 4,
        "torch_compile": False,
        "compile_layers": False,
        "dataloader_num_workers": 0,
        "eval_steps": 1,
        "sample_steps": 1,
    },
    "sft": {"max_steps": 2, "per_device_train_batch_size": 4, "max_length": 192, "eval_steps": 1},
    "reward": {"max_steps": 2, "per_device_train_batch_size": 4, "eval_steps": 1},
    "ppo": {
        "total_episodes": 32,
        "per_device_train_batch_size": 16,
        "local_rollout_forward_batch_size": 8,
        "response_length": 8,
    },
    "grpo": {"max_steps": 2, "per_device_train_batch_size": 32, "max_completion_length": 8},
    "rloo": {"max_steps": 2, "per_device_train_batch_size": 16, "max_completion_length": 8},
    "dpo": {"max_steps": 2, "per_device_train_batch_size": 4, "eval_steps": 1},
    "distill": {"max_steps": 2, "per_device_train_batch_size": 4, "max_completion_length": 8},
}
METRICS = {
    "pretrain": {"loss", "eval_bits_per_byte", "tokens", "tokens_per_second", "flops", "learning_rate", "grad_norm"},
    "sft": {"loss", "eval_loss", "num_tokens", "learning_rate"},
    "reward": {"loss", "accuracy", "margin", "eval_accuracy"},
    "ppo": {
        "objective/scores",
        "objective/kl",
        "policy/approxkl_avg",
        "val/ratio",
        "response_length",
        "loss/value_avg",
    },
    "grpo": {
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "num_generations",
        "completions/mean_length",
        "completions/clipped_ratio",
    },
    "rloo": {
        "reward",
        "rewards/reward_model/mean",
        "num_generations",
        "completions/mean_length",
        "clip_ratio/region_mean",
    },
    "dpo": {"loss", "rewards/accuracies", "rewards/margins", "eval_rewards/accuracies", "num_tokens"},
    "distill": {"loss", "num_tokens", "completions/mean_length"},
}


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def chatml(tokenizer) -> str:
    """The chat template that TRL ships for Qwen3: no generation markers, a newline after the last turn."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()


SMOLLM2 = {  # a template that nobody has marked
    "smollm2-135m": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
}


class Stages:
    """Runs recipes on demand; a recipe that starts from another's output runs that one before."""

    def __init__(self, folder, world, documents, preferences, tokenizer_dir):
        self.folder, self.world, self.documents, self.preferences, self.tokenizer_dir = (
            folder,
            world,
            documents,
            preferences,
            tokenizer_dir,
        )
        self.by_output = {
            yaml.safe_load(path.read_text()).get("output_dir"): path
            for path in [*RECIPES, *ROOT.glob("recipes/*/tokens.yaml")]
        }
        self.done: dict[Path, Path] = {}
        self.trainers: dict[Path, object] = {}

    def local_model(self, recipe: str) -> str:
        """A small model of the recipe's family with the special tokens of that family."""
        from transformers import AutoTokenizer

        family = FAMILIES[recipe]
        if not (folder := self.folder / recipe / "hub").exists():
            tokenizer = AutoTokenizer.from_pretrained(self.tokenizer_dir)
            tokenizer.eos_token = "<|endoftext|>"
            tokenizer.pad_token = "<|endoftext|>" if family == "qwen3" else None
            tokenizer.bos_token = "<|endoftext|>" if family == "gpt2" else None
            tokenizer.chat_template = chatml(tokenizer) if family == "qwen3" else SMOLLM2.get(recipe)
            save_model(folder, tokenizer, family)
        return str(folder)

    def index(self) -> Path:
        """What the search tool reads."""
        from eval.tools.search import build

        folder = self.folder / "index"
        if not folder.exists():
            build([self.documents], folder)
        return folder

    def countdown(self) -> Path:
        """Problems of the kind that second tries practise."""
        folder = self.folder / "countdown"
        if not folder.exists():
            importlib.import_module("data_prep.problems").main(
                ["--generate", "countdown", "--count", "64", "--output_dir", str(folder)]
            )
        return folder

    def senses(self) -> Path:
        """A few pictures and sounds as tokens."""
        folder = self.folder / "senses_data"
        if not folder.exists():
            importlib.import_module("data_prep.senses.__main__").main(
                f"--tokenizer {self.tokenizer_dir} --output_dir {folder} --pictures 90 --sounds 36 --test_each 1"
                " --picture_codes 20 --sound_codes 20 --validation_fraction 0.1".split()
            )
        return folder

    def path(self, value: str, recipe: str) -> str:
        """Where a path or Hub id of a recipe lies in this test."""
        if value in self.by_output:
            return str(self.run(self.by_output[value]))
        if value.startswith("recipes/"):
            return value
        if value == "runs/smol/hub":  # the pretrained model in a folder
            return self.local_model(recipe)
        value = value.replace("runs/smol/conversations", "runs/tiny/conversations")
        value = value.replace("runs/smol/problems", "runs/tiny/world/problems")
        value = value.replace("runs/smol/facts/prompts", "runs/tiny/world/verses")
        value = value.replace("runs/smol/facts/honesty.jsonl", "runs/tiny/world/problems/train.jsonl")
        value = value.replace("runs/smol/preferences", "runs/tiny/preferences")
        value = value.replace("runs/smol/hh", "runs/tiny/preferences")
        for prefix, local in (
            ("world", self.world),
            ("conversations", self.world / "conversations"),
            ("web/documents", self.documents),
            ("preferences", self.preferences),
            ("tokenizer", self.tokenizer_dir),
            ("experiments/hard/train", self.world / "problems/train"),
            ("experiments/hard/test", self.world / "problems/validation"),
            ("experiments/words/train", self.world / "problems/train"),
            ("experiments/words/test", self.world / "problems/validation"),
            ("experiments/expert", self.world / "conversations"),
            ("experiments/solutions/solutions", self.world / "conversations/train"),
            ("experiments/jobs/lessons", self.world / "conversations/train"),
            ("experiments/jobs/train", self.world / "problems/train"),
            ("experiments/second_tries/primed", self.world / "conversations/train"),
            ("experiments/second_tries/train", self.countdown() / "train"),
            ("experiments/senses_data", self.senses()),
        ):
            if value.startswith(f"runs/tiny/{prefix}"):
                return value.replace(f"runs/tiny/{prefix}", str(local))
        assert "/" in value and not value.startswith("runs/"), f"{value} is made by no recipe: add it here"
        return self.local_model(recipe)

    def data(self, source: dict, recipe: str) -> dict:
        if source["path"] in HUB_ROWS:
            taken = rows(self.world / "conversations/train.jsonl"), rows(self.preferences / "train.jsonl")
            file = self.folder / f"{source['path'].split('/')[1]}.jsonl"
            pairs = [
                {**pair, "messages": one["messages"] + two["messages"]}
                for pair, one, two in zip(taken[1], taken[0], taken[0][150:])
            ]
            file.write_text("".join(json.dumps(HUB_ROWS[source["path"]](row)) + "\n" for row in pairs))
            return {"path": str(file)} | {k: v for k, v in source.items() if k in ("weight", "rename")}
        if source["path"].endswith("gsm8k/train.jsonl"):
            return source | {"path": str(self.world / "problems/train.jsonl")}
        return source | {"path": self.path(source["path"], recipe)}

    def run(self, path: Path) -> Path:
        """The output folder of a recipe, which is run if it has not been."""
        if path in self.done:
            return self.done[path]
        recipe, script = path.parent.name, path.stem.split("_")[0]
        assert recipe in FAMILIES, f"{recipe} is new: name its family in FAMILIES"
        config = yaml.safe_load(path.read_text())
        out = self.folder / recipe / path.stem
        config["output_dir"] = str(out)
        for key in (
            "model_name_or_path",
            "teacher_model_name_or_path",
            "reward_model_path",
            "tokenizer",
            "tokens_dir",
        ):
            if config.get(key):
                config[key] = self.path(config[key], recipe)
        config.pop("model_revision", None)
        if config.get("tools"):
            config["tools"] = [tool.replace("runs/tiny/index", str(self.index())) for tool in config["tools"]]
        for key in ("datasets", "eval_datasets", "monitor_datasets"):
            if config.get(key):
                config[key] = [self.data(source, recipe) for source in config[key]]
        if script == "tokens":
            sources = [{"path": str(self.documents)}, {"path": str(self.world / "textbooks")}]
            config |= {
                "sources": [
                    s | {k: v for k, v in old.items() if k == "text_column"}
                    for s, old in zip(sources, config["sources"] * 2)
                ]
            }
            config |= {"tasks": 1, "workers": 1, "validation_fraction": 0.1}
        else:
            config |= SMALL[script] | {"logging_steps": 1, "use_cpu": True}
            config["gradient_accumulation_steps"] = min(2, config.get("gradient_accumulation_steps", 1))
            if "model_config" in config:
                config["model_config"] = {
                    k: v for k, v in config["model_config"].items() if k != "vocab_size"
                } | SIZES[FAMILIES[recipe]]
        file = self.folder / f"{recipe}-{path.name}"
        file.write_text(yaml.safe_dump(config))
        importlib.import_module("data_prep.tokens" if script == "tokens" else f"recipes.{script}").main(
            ["--config", str(file)]
        )
        self.done[path] = out
        return out


@pytest.fixture(scope="module")
def stages(tmp_path_factory, world, documents, preferences, tokenizer_dir):
    import trl

    stages = Stages(tmp_path_factory.mktemp("recipes"), world, documents, preferences, tokenizer_dir)

    class Recording(trl.SFTTrainer):
        def train(self, *args, **kwargs):
            stages.trainers[Path(self.args.output_dir)] = self
            return super().train(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trl.SFTTrainer", Recording)
        yield stages


def test_every_yaml_is_known():
    names = {path.stem for path in ROOT.glob("recipes/*/*.yaml")} - {path.stem for path in RECIPES}
    assert names <= OTHERS, f"{names - OTHERS}: name a stage's file after its script, or add it to OTHERS"
    assert {path.stem for path in RECIPES} >= set(SCRIPTS) | {"sft_qlora"}


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_two_steps(stages, path):
    out, script = stages.run(path), path.stem.split("_")[0]
    record = json.loads((out / "stage.json").read_text())
    keys = {
        "git_commit",
        "config",
        "datasets",
        "parent",
        "seconds",
        "tokens",
        "flops",
        "tokens_per_second",
        "mfu",
        "device",
        "world_size",
        "peak_memory_gb",
        "cost",
        "versions",
    }
    assert keys <= record.keys()
    assert record["device"] == "cpu" and record["world_size"] == 1 and record["steps"] == 2 and record["seconds"] > 0
    assert script == "ppo" or record["tokens"] > 0
    config = yaml.safe_load((stages.folder / f"{path.parent.name}-{path.name}").read_text())
    assert record["parent"] == config.get("model_name_or_path")
    assert (
        all(
            data["path"] and (data.get("windows") or data["rows"] and data["fingerprint"])
            for data in record["datasets"]
        )
        and record["datasets"]
    )
    assert record["config"]["learning_rate"] == config["learning_rate"] and "hub_token" not in record["config"]
    log = rows(out / "log.jsonl")
    logged = {key for row in log for key, value in row.items() if isinstance(value, (int, float))}
    wanted = {name for name in METRICS[script] if config.get("eval_datasets") or not name.startswith("eval_")}
    assert wanted <= logged, wanted - logged
    assert {row["step"] for row in log} >= {1, 2} and all(row["seconds"] >= 0 for row in log)
    assert all(math.isfinite(value) for row in log for value in row.values() if isinstance(value, float))


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem == "pretrain"], ids=name_of)
def test_pretraining_keeps_samples_and_counts(stages, path):
    out = stages.run(path)
    prompts = yaml.safe_load(path.read_text())["sample_prompts"]
    samples = rows(out / "samples.jsonl")
    assert [(s["step"], s["prompt"]) for s in samples] == [(step, p) for step in (0, 1, 2) for p in prompts]
    assert all(isinstance(s["continuation"], str) for s in samples)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    ends = {tokenizer.convert_tokens_to_ids("<|endoftext|>"), tokenizer.eos_token_id}  # a document's end ends a text
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == sorted(ends)
    record, last = (
        json.loads((out / "stage.json").read_text()),
        [r for r in rows(out / "log.jsonl") if "tokens" in r][-1],
    )
    accumulation = min(2, yaml.safe_load(path.read_text()).get("gradient_accumulation_steps", 1))
    assert record["tokens"] == last["tokens"] == 2 * 2 * 64 * accumulation
    assert record["flops"] == last["flops"] > 6 * record["tokens"] * 32 * 32


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem.startswith("sft")], ids=name_of)
def test_loss_is_on_the_assistant_s_tokens_and_the_end_token_alone(stages, path):
    """Token by token: what is learned begins behind `<|im_start|>assistant\\n` and ends with `<|im_end|>`."""
    out = stages.run(path)
    trainer = stages.trainers[out]
    tokenizer = trainer.processing_class
    header, end = tokenizer.encode("<|im_start|>assistant\n"), tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token == "<|im_end|>"
    learned = 0
    for row in trainer.train_dataset:
        ids, expected, inside = row["input_ids"], [], False
        for i, token in enumerate(ids):
            inside = inside or ids[max(0, i - len(header)) : i] == header
            expected.append(token if inside else -100)
            inside = inside and token != end
        if packed := row.get("seq_lengths"):  # the first token of each conversation predicts nothing
            assert sum(packed) == len(ids)
        assert row["labels"] == expected
        learned += sum(label != -100 for label in expected)
    assert learned > 500
    text = tokenizer.decode(trainer.train_dataset[0]["input_ids"])
    assert "<|im_start|>user\n" in text and "<think>" not in text


@pytest.mark.parametrize("recipe", sorted({p.parent.name for p in RECIPES if p.stem == "reward"}))
def test_reward_model_and_policy_meet_at_the_same_token(stages, recipe):
    """What the reward model reads last is the end token, and its text is the policy's prompt with a reply
    behind it."""
    from transformers import AutoTokenizer

    from recipes.reward import tokenize

    tokenizer = AutoTokenizer.from_pretrained(stages.run(ROOT / "recipes" / recipe / "reward.yaml"))
    names = ("ppo", "rloo") if PPO_IS_THERE else ("rloo",)
    pleasing = next(path for name in names if (path := ROOT / "recipes" / recipe / f"{name}.yaml").exists())
    policy = AutoTokenizer.from_pretrained(stages.run(pleasing))
    assert policy.get_vocab() == tokenizer.get_vocab() and policy.chat_template == tokenizer.chat_template
    for row in rows(stages.preferences / "train.jsonl")[:20]:
        prompt = policy.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        reply = policy.encode(row["chosen"][0]["content"], add_special_tokens=False) + [policy.eos_token_id]
        assert tokenize(row, tokenizer)["chosen_ids"] == prompt + reply


def test_the_reward_is_read_at_the_end_token_whatever_the_template_writes_after_it(tokenizer):
    import copy

    from eval.generation.models import scored_ids

    shipped = copy.deepcopy(tokenizer)
    shipped.chat_template = chatml(tokenizer)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    assert shipped.apply_chat_template(messages, tokenize=False).endswith("<|im_end|>\n")
    assert scored_ids(shipped, messages)[-1] == shipped.eos_token_id


ADAPTERS = {"use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize("script", SCRIPTS)
def test_lora_trains_adapters_alone(stages, script):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    stages.run(ROOT / f"recipes/tiny/{script}.yaml")
    config = (
        yaml.safe_load((stages.folder / f"tiny-{script}.yaml").read_text())
        | ADAPTERS
        | {"output_dir": str(stages.folder / "lora" / script)}
    )
    if script == "pretrain":  # goes on with a model instead of making one
        config["model_name_or_path"] = str(stages.run(ROOT / "recipes/tiny/pretrain.yaml"))
        config.pop("model_config")
    if script == "distill":  # random replies have taught `grpo` nothing, so it would be what its student is
        config["teacher_model_name_or_path"] = str(stages.run(ROOT / "recipes/tiny/sft.yaml"))
    file = stages.folder / f"lora-{script}.yaml"
    file.write_text(yaml.safe_dump(config))
    importlib.import_module(f"recipes.{script}").main(["--config", str(file)])
    out = Path(config["output_dir"])
    assert (out / "adapter_model.safetensors").exists() and not (out / "model.safetensors").exists()
    auto, kwargs = (
        (AutoModelForSequenceClassification, {"num_labels": 1}) if script == "reward" else (AutoModelForCausalLM, {})
    )
    model = auto.from_pretrained(out, **kwargs)
    adapters = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert adapters and (
        script == "grpo" or all(p.abs().sum() > 0 for p in adapters)
    )  # random replies earn GRPO nothing
    if script == "reward":  # the new head comes back, too
        saved = load_file(out / "adapter_model.safetensors")
        assert torch.equal(
            model.score.weight, next(value for key, value in saved.items() if key.endswith("score.weight"))
        )
    record = json.loads((out / "stage.json").read_text())
    assert record["steps"] == 2 and METRICS[script] <= {key for row in rows(out / "log.jsonl") for key in row}


@pytest.mark.parametrize("script", ["sft", "reward"])
def test_a_merged_adapter_is_a_model_like_any_other(stages, script):
    """It says what the base with its adapter says, and no adapter is left beside it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    stages.run(ROOT / f"recipes/tiny/{script}.yaml")
    recipe = yaml.safe_load((stages.folder / f"tiny-{script}.yaml").read_text())
    logits = {}
    for name, merged in (("adapter", False), ("merged", True)):
        out = stages.folder / "merging" / f"{script}-{name}"
        config = recipe | ADAPTERS | {"output_dir": str(out), "merge_adapter": merged, "learning_rate": 0.05}
        file = stages.folder / f"merging-{script}.yaml"
        file.write_text(yaml.safe_dump(config))
        importlib.import_module(f"recipes.{script}").main(["--config", str(file)])
        auto, more = AutoModelForCausalLM, {}
        if script == "reward":
            auto, more = AutoModelForSequenceClassification, {"num_labels": 1}
        model = auto.from_pretrained(out, **more)
        prompt = AutoTokenizer.from_pretrained(out)("Who are you?", return_tensors="pt")
        with torch.no_grad():
            logits[name] = model(**prompt).logits
        assert (out / "adapter_model.safetensors").exists() != merged
        assert (out / "model.safetensors").exists() == merged
    torch.testing.assert_close(logits["merged"], logits["adapter"], atol=1e-4, rtol=1e-4)


def test_merging_goes_with_an_adapter(stages, capsys):
    stages.run(ROOT / "recipes/tiny/sft.yaml")
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("recipes.sft").main(
            ["--config", str(stages.folder / "tiny-sft.yaml"), "--merge_adapter", "true"]
        )
    assert stopped.value.code == 2 and "use_peft: true" in capsys.readouterr().err


FRESH = """
import json, sys, torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
assert not [m for m in sys.modules if m.split(".")[0] in ("recipes", "data_prep", "eval")]
job, out = json.load(open(sys.argv[1])), {}
for name, (kind, folder) in job["models"].items():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = (AutoModelForSequenceClassification if kind == "reward" else AutoModelForCausalLM).from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer("Who are you?", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    ends = getattr(model.generation_config, "eos_token_id", None) if kind != "reward" else None
    out[name] = {"class": type(model).__name__, "shape": list(logits.shape), "ends": ends}
    out[name] |= {"eos": tokenizer.eos_token_id, "vocabulary": len(tokenizer)}
    out[name] |= {"template": bool(tokenizer.chat_template)}
for path in job["data"]:
    out[path] = len(load_dataset("json", data_files=path, split="train"))
print(json.dumps(out))
"""


def test_a_fresh_process_loads_every_artifact_with_stock_classes(stages, world, documents, preferences, tmp_path):
    there = [path for path in RECIPES if PPO_IS_THERE or path.stem.split("_")[0] != "ppo"]
    models = {name_of(path): [path.stem.split("_")[0], str(stages.run(path))] for path in there}
    data = [str(p) for folder in (world, documents, preferences) for p in sorted(folder.rglob("*.jsonl"))]
    (tmp_path / "job.json").write_text(json.dumps({"models": models, "data": data}))
    (tmp_path / "fresh.py").write_text(FRESH)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "fresh.py"), str(tmp_path / "job.json")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    out = json.loads(run.stdout.splitlines()[-1])
    assert all(out[path] > 0 for path in data)
    for name, (kind, folder) in models.items():
        got = out[name]
        assert (
            "ForSequenceClassification" in got["class"]
            if kind == "reward"
            else got["class"].endswith(("ForCausalLM", "LMHeadModel"))
        ), name
        assert got["shape"][-1] == (1 if kind == "reward" else got["vocabulary"]), name
        assert got["template"] == (kind != "pretrain" or name.startswith("tiny")), name
        adapter = (Path(folder) / "adapter_config.json").exists()  # leaves its base's generation config
        if kind not in ("pretrain", "reward") and not adapter:
            ends = got["ends"] if isinstance(got["ends"], list) else [got["ends"]]
            assert got["eos"] in ends, f"{name}: generate() would not stop at the end token"
