"""The finished `make tiny` that tests of engines read, in RUN (default: runs/tiny), and what to ask its model."""

import os
from pathlib import Path

import pytest
from conftest import ROOT, rows

RUN = Path(os.environ.get("RUN", ROOT / "runs/tiny")).resolve()
HAS_RUN = (RUN / "honest/model.safetensors").exists()
trained = pytest.mark.skipif(not HAS_RUN, reason=f"no finished `make tiny` in {RUN}; RUN names another folder")
PROMPTS = 240


def model_folder(request) -> Path:
    """The run's `honest`; without a run a model with random weights."""
    return RUN / "honest" if HAS_RUN else request.getfixturevalue("chat_model")


def conversations(request) -> list[list[dict]]:
    """Questions of six of the evals, `PROMPTS` in all where there is a run."""
    data = RUN / "world/eval" if HAS_RUN else request.getfixturevalue("world") / "eval"
    files = ("facts_known", "facts_unseen", "letters", "every_third", "arithmetic", "identity")
    asked = [row["question"] for name in files for row in rows(data / f"{name}.jsonl")[: PROMPTS // len(files)]]
    return [[{"role": "user", "content": question}] for question in asked]
