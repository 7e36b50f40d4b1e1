"""vLLM against transformers: the same tokens, the same scores. In the environment of `make .venv-vllm/.ready`:

    .venv-vllm/bin/python -m pytest -n 0 -m vllm tests/eval/generation/test_vllm.py

On the models of a finished `make tiny`, in RUN (default: runs/tiny). Without one the model has random weights, and
what needs a trained one is skipped.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, rows
from tiny_run import HAS_RUN, RUN, conversations, model_folder, trained

installed = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here")


def test_sampling_needs_no_trl():
    """A serving environment has vLLM and transformers, and not all of what training needs."""
    modules = ", ".join(f"eval.generation.{name}" for name in ("generate", "tool_loop", "vllm_batch", "replies"))
    code = f"import sys; sys.modules['trl'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def folder(request) -> Path:
    return model_folder(request)


@pytest.fixture(scope="module")
def both(folder):
    """The model on vLLM and on transformers, and its tokenizer."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from transformers import AutoModelForCausalLM

    from eval.generation.models import load_pretrained, load_tokenizer
    from eval.generation.vllm_batch import load

    model = load_pretrained(AutoModelForCausalLM, str(folder), "model", dtype="auto")
    return load(str(folder)), model, load_tokenizer(str(folder))


def drawn(model, tokenizer, prompts, **options) -> list[list[int]]:
    from eval.generation.generate import generate

    replies = generate(model, tokenizer, prompts, temperature=0, seed=0, **options)
    return [group[0].token_ids for group in replies]


@pytest.mark.vllm
@installed
def test_greedy_replies_are_transformers(both, request):
    vllm, model, tokenizer = both
    prompts = conversations(request)
    assert len(prompts) >= (200 if HAS_RUN else 20)
    options = {"max_new_tokens": 48}
    assert drawn(vllm, tokenizer, prompts, **options) == drawn(model, tokenizer, prompts, **options)


@pytest.mark.vllm
@installed
@trained
def test_greedy_replies_with_tools_are_transformers(both, request):
    from eval.generation.tool_loop import load_tools

    vllm, model, tokenizer = both
    prompts = conversations(request)
    options = {"max_new_tokens": 256, "tools": load_tools(["python", f"search={RUN / 'index'}"])}
    found = drawn(vllm, tokenizer, prompts, **options)
    assert len(prompts) >= 200 and found == drawn(model, tokenizer, prompts, **options)
    assert sum(len(ids) > 48 for ids in found) > 50  # calls and results stand in them


@pytest.mark.vllm
@installed
def test_sampled_replies_are_as_often_the_greedy_one(both, request):
    """More of them at once than vLLM reads in a step; each prompt's share is compared, of 16 samples."""
    from eval.generation.generate import generate

    vllm, model, tokenizer = both
    prompts, drawing = conversations(request), {"max_new_tokens": 24, "num_return_sequences": 16, "batch_size": 10_000}
    greedy, shares = drawn(model, tokenizer, prompts, max_new_tokens=24), {}
    for name, engine in (("vllm", vllm), ("transformers", model)):
        replies = generate(engine, tokenizer, prompts, temperature=1, seed=0, **drawing)
        shares[name] = [sum(r.token_ids == ids for r in group) / 16 for group, ids in zip(replies, greedy)]
    differences = [a - b for a, b in zip(shares["vllm"], shares["transformers"])]
    mean = statistics.mean(differences)
    assert abs(mean) <= 4 * statistics.stdev(differences) / len(differences) ** 0.5 + 1e-9, mean
    again = generate(vllm, tokenizer, prompts[:4], temperature=1, seed=0, **drawing)
    assert again == generate(vllm, tokenizer, prompts[:4], temperature=1, seed=0, **drawing)


def command(module: str, *argv: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *argv], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.vllm
@installed
@trained
def test_scores_are_transformers(folder, tmp_path):
    """Greedy tasks of one model; and what vLLM prints does not reach the screen."""
    scores = {}
    tasks = ["facts_known", "facts_unseen", "identity", "letters", "every_third", "compare", "arithmetic"]
    for backend in ("transformers", "vllm"):
        options = ["--limit", "60", "--data_dir", str(RUN / "world/eval"), "--output_dir", str(tmp_path / backend)]
        told = command("eval.run", "--models", f"m={folder}", "--backend", backend, "--tasks", *tasks, *options)
        scores[backend] = json.loads((tmp_path / backend / "m/results.json").read_text())["results"]
        assert "INFO" not in told and "Gloo" not in told
    assert scores["vllm"] == scores["transformers"]


@pytest.mark.vllm
@installed
@trained
def test_pass_rates_on_vllm(folder, tmp_path):
    """A step of data_prep: greedy, so each problem is solved by both or by neither."""
    found = {}
    problems = str(RUN / "world/problems/validation.jsonl")
    for backend in ("transformers", "vllm"):
        out = tmp_path / backend
        asked = ["--samples", "1", "--temperature", "0", "--least", "0", "--most", "1", "--limit", "40"]
        where = ["--model", str(folder), "--problems", problems, "--output_dir", str(out), "--backend", backend]
        command("data_prep.pass_rate", *where, *asked, "--max_new_tokens", "72")
        found[backend] = [row["pass_rate"] for row in rows(out / "probes.jsonl")]
    assert found["vllm"] == found["transformers"] and len(found["vllm"]) == 40


@pytest.mark.vllm
@installed
@trained
def test_probes_on_vllm(folder, tmp_path):
    """Of `data_prep.refusals`: greedy, so each question gets the same reply and verdict of both."""
    found = {}
    asked = ["--questions", str(RUN / "world/practice/questions.jsonl"), "--limit", "120", "--judge", "names_choice"]
    for backend in ("transformers", "vllm"):
        out = tmp_path / backend
        where = ["--model", str(folder), "--output_dir", str(out), "--backend", backend]
        command("data_prep.refusals", *where, *asked, "--samples", "1", "--temperature", "0", "--max_new_tokens", "32")
        found[backend] = rows(out / "probes.jsonl")
    assert found["vllm"] == found["transformers"] and len(found["vllm"]) == 120


@pytest.mark.vllm
@installed
@trained
def test_preferences_on_vllm(tmp_path):
    """Sampled: the answers to a prompt differ, and make pairs."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for split in ("train", "validation", "test"):
        lines = (RUN / f"world/verses/{split}.jsonl").read_text().splitlines(keepends=True)
        (prompts / f"{split}.jsonl").write_text("".join(lines[:12]))
    asked = ["--prompts_dir", str(prompts), "--candidates", "4", "--max_new_tokens", "32"]
    out = tmp_path / "pairs"
    command(
        "data_prep.preferences", "--model", str(RUN / "sft"), "--output_dir", str(out), "--backend", "vllm", *asked
    )
    answers = rows(out / "answers.jsonl")
    assert len(answers) == 36 and sum(len(row["responses"]) > 1 for row in answers) > 18
    chosen = {row["chosen"][0]["content"] for row in rows(out / "train.jsonl")}
    assert chosen and chosen <= {text for row in answers for text in row["responses"]}


def test_backend_is_checked_before_work(chat_model):
    from eval.cli import UserError
    from eval.generation.replies import Replier

    with pytest.raises(UserError, match="transformers or vllm, but is vlm"):
        Replier(str(chat_model), 8, backend="vlm")
    with pytest.raises(UserError, match="is an endpoint: leave it out"):
        Replier("http://localhost:1/v1", 8, name="m", backend="vllm")
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(UserError, match="backend vllm needs vLLM"):
            Replier(str(chat_model), 8, backend="vllm")
