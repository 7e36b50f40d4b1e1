"""What the tests share: the environment, a small world, and small models with random weights."""

import atexit
import gc
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

_CACHE = tempfile.mkdtemp(prefix="tumbler-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ |= {  # before torch and the Hugging Face libraries are imported
    "HF_HOME": _CACHE,
    "HYPOTHESIS_STORAGE_DIRECTORY": _CACHE,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",  # the same tests on every machine
}

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")
ROOT = Path(__file__).resolve().parent.parent


# What takes longest begins first, so that both processes end at about the same time
LONGEST = (
    "test_pipeline.py",
    "test_recipes.py",
    "test_web.py",
    "test_benchmarks.py",
    "test_resume.py",
    "test_errors.py",
    "test_hub.py",
    "test_tokens.py",
)


PPO_IS_THERE = importlib.util.find_spec("trl.experimental.ppo") is not None


def needs_ppo(item) -> bool:
    """Whether a test runs PPOTrainer: it has the marker, or `ppo` as a word of its name or its parameters."""
    return bool(item.get_closest_marker("ppo") or re.search(r"(?<![a-z])ppos?(?![a-z])", item.name))


def pytest_collection_modifyitems(items):
    if not PPO_IS_THERE:
        for item in filter(needs_ppo, items):
            item.add_marker(pytest.mark.skip(reason="this TRL has no PPOTrainer; the one of constraints.txt has"))
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


imported = 0


@pytest.fixture(autouse=True)
def no_garbage():
    """Modules are none: accelerate collects at each start of a training, which would go through them all for 0.3 s.
    Looked at where many have been imported since the last time."""
    global imported
    if len(sys.modules) > imported + 300:
        imported = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def untouched():
    """A command may set variables for its own process; here many share one."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)


def rows(path) -> list[dict]:
    """The rows of a JSON-lines file."""
    return [
        json.loads(line) for line in Path(path).read_text().split("\n") if line
    ]  # splitlines() splits at U+2028, too


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data, which lies beside the project."""
    folder = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; SHARED_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """The tiny internet with 8 known people."""
    from data_prep.world.__main__ import main

    folder = tmp_path_factory.mktemp("run") / "world"
    main(
        f"--output_dir {folder} --seed 0 --known 8 --pages_per_person 2 --textbooks 60 --conversations 300"
        " --problems 80".split()
    )
    return folder


@pytest.fixture(scope="session")
def documents(world) -> Path:
    """The good pages as documents, as if `data_prep.web` had found them all."""
    folder = world.parent / "documents"
    folder.mkdir()
    with (folder / "0.jsonl").open("w") as f:
        for page in rows(world / "truth" / "pages.jsonl"):
            if page["keep"]:
                f.write(json.dumps({"id": page["url"], "text": page["text"], "metadata": {}}) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokenizer_dir(world, documents) -> Path:
    from data_prep.tokenizer import main

    folder = world.parent / "tokenizer"
    main(
        [
            "--sources",
            f"{documents}/*.jsonl",
            f"{world}/textbooks/*.jsonl",
            f"{world}/conversations/train.jsonl",
            "--output_dir",
            str(folder),
            "--vocab_size",
            "512",
        ]
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_dir)


@pytest.fixture(scope="session")
def tokens_dir(world, documents, tokenizer_dir) -> Path:
    from data_prep.tokens import main

    folder = world.parent / "tokens"
    config = world.parent / "tokens.yaml"
    config.write_text(
        json.dumps(
            {"sources": [{"path": str(documents)}, {"path": str(world / "textbooks")}], "validation_fraction": 0.1}
        )
    )
    main(["--config", str(config), "--tokenizer", str(tokenizer_dir), "--output_dir", str(folder)])
    return folder


SIZES = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    },
    "qwen3": {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },  # 4-bit blocks hold 64
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
}


def save_model(folder: Path, tokenizer, family: str = "llama", reward: bool = False) -> Path:
    """A model of the family with random weights and two small layers, beside its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(0)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), tie_word_embeddings=True, **special, **SIZES[family]
    )
    config.num_labels = 1 if reward else 2
    (AutoModelForSequenceClassification if reward else AutoModelForCausalLM).from_config(config).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def train_until(holds, model, batches, rounds: int, lr: float = 0.01) -> None:
    """Train `model` until `holds()`, which is asked after each round over `batches()`, (input_ids, labels) each.

    What a model says after a given number of steps differs from processor to processor.

    Raises:
        Failed: it does not hold after so many rounds.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(rounds):
        model.train()
        for input_ids, labels in batches():
            model(input_ids=input_ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        if holds():
            return
    pytest.fail(f"{rounds} rounds of training have not taught the model what the tests need")


@pytest.fixture(scope="session")
def chat_model(world, tokenizer) -> Path:
    """A model with random weights and a chat template: what base, sft, ppo and grpo are in form."""
    return save_model(world.parent / "chat_model", tokenizer)


@pytest.fixture(scope="session")
def teacher_model(chat_model) -> Path:
    """The chat model with larger weights, so that its distributions are sharper."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(chat_model, chat_model.parent / "teacher_model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reward_model(world, tokenizer) -> Path:
    return save_model(world.parent / "reward_model", tokenizer, reward=True)


@pytest.fixture(scope="session")
def preferences(world) -> Path:
    """Pairs of verses ranked by the gold taste, as `data_prep.preferences` writes them."""
    import random

    from data_prep.world import taste

    rng, folder = random.Random(0), world.parent / "preferences"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        with (folder / f"{split}.jsonl").open("w") as f:
            for row in taste.prompts(split):
                verses = [taste.verse(rng, row["topic"]) for _ in range(2)]
                better, worse = taste.rank(row, verses, rng, 0.3)
                pair = {
                    k: [{"role": "assistant", "content": verses[i]}]
                    for k, i in (("chosen", better), ("rejected", worse))
                }
                margin = taste.score(row, verses[better]) - taste.score(row, verses[worse])
                f.write(json.dumps({"prompt": row["prompt"], **pair, "gold_margin": margin}) + "\n")
    return folder
