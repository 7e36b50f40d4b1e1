"""`compile_layers`: one graph for all layers, of training steps alone, and plain training where nothing compiles."""

import json
from functools import partialmethod

import pytest
import torch
import yaml
from conftest import ROOT, SIZES

from recipes import pretrain
from recipes.training import compiled


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x).relu()


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer(), Layer()])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled: the graphs, run as they are."""
    found = []

    def backend(graph, _):
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "compile_error", lambda: None)
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=backend))
    yield found
    torch._dynamo.reset()


def test_layers_share_a_graph_and_nothing_is_compiled_beside_training(graphs):
    model, x = Two(), torch.randn(3, 4, requires_grad=True)
    names, expected = set(model.state_dict()), model(x)
    assert compiled.compile_layers(model) and set(model.state_dict()) == names
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(model(x), expected) and not graphs
        with torch.compiler.set_stance("default"):
            assert torch.equal(model(x), expected) and len(graphs) == 1


def test_where_nothing_compiles_one_line_says_so(monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("InvalidCxxCompiler:\nno g++")

    monkeypatch.setattr(torch, "compile", broken)
    model = Two()
    assert not compiled.compile_layers(model)
    said = capsys.readouterr().out
    assert "InvalidCxxCompiler: no g++" in said and said.count("\n") == 1
    assert model(torch.randn(3, 4)).shape == (3, 4)


def test_training_compiles_its_steps_and_learns_the_same(graphs, tokens_dir, tokenizer_dir, tmp_path):
    keys = yaml.safe_load((ROOT / "recipes/tiny/pretrain.yaml").read_text())
    keys |= {"model_config": {"model_type": "llama", "tie_word_embeddings": True, **SIZES["llama"]}}
    keys |= {"sequence_length": 32, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 4}
    keys |= {"max_steps": 3, "warmup_steps": 1, "lr_scheduler_kwargs": {"num_decay_steps": 1}, "eval_steps": 2}
    keys |= {"max_eval_windows": 8, "sample_steps": 2, "logging_steps": 1, "bf16": False}
    keys |= {"tokenizer": str(tokenizer_dir), "tokens_dir": str(tokens_dir)}
    logs = []
    for compiling in (True, False):
        folder = tmp_path / str(compiling)
        (tmp_path / "pretrain.yaml").write_text(
            yaml.safe_dump(keys | {"compile_layers": compiling, "output_dir": str(folder)})
        )
        pretrain.main(["--config", str(tmp_path / "pretrain.yaml")])
        logs.append([json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()])
        assert len(graphs) == 1  # of the first run
    losses = [[row["loss"] for row in log if "loss" in row] for log in logs]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], abs=1e-4)
