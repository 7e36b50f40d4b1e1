"""Muon in batches, and the arithmetic of a processor without bf16 instructions."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import recipes.training.muon
from eval.processor import has_bf16
from recipes.training.muon import BatchedMuon, MuonFactory, orthogonalise

SHAPES = [(16, 16)] * 3 + [(48, 16)] * 2 + [(16, 48)]
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear")


class Products(TorchDispatchMode):
    """Collects the dtypes of all matrix products that run within, and counts the rows that they make."""

    def __init__(self):
        super().__init__()
        self.dtypes, self.rows = set(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in PRODUCTS:
            self.dtypes |= {arg.dtype for arg in args if isinstance(arg, torch.Tensor)}
            self.rows += args[-1].shape[:-1].numel()
        return function(*args, **(kwargs or {}))


def parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    drawn = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for p in drawn:
        p.grad = torch.randn_like(p)
    return drawn


@pytest.mark.parametrize("nesterov", [True, False])
def test_batches_step_as_torch_s_muon_does(monkeypatch, nesterov):
    monkeypatch.setattr(recipes.training.muon, "has_bf16", lambda: True)
    one_by_one, batched = parameters(), parameters()
    options = {"lr": 0.02, "weight_decay": 0.1, "nesterov": nesterov}
    reference, ours = torch.optim.Muon(one_by_one, **options), BatchedMuon(batched, **options)
    for _ in range(3):
        reference.step()
        ours.step()
    for p, q in zip(one_by_one, batched):
        torch.testing.assert_close(q, p, rtol=0, atol=2e-3)  # a batched product in bfloat16 may round in another order


def step_of_one_of_two(rank: int, folder: str) -> None:
    """Three steps as one of two processes; what came of its parameters into `folder`."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    stepped = parameters()
    optimizer = BatchedMuon(stepped, lr=0.02, weight_decay=0.1)
    with Products() as products:
        for _ in range(3):
            optimizer.step()
    torch.save((stepped, products.rows), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_share_the_matrices_out(tmp_path):
    torch.multiprocessing.spawn(step_of_one_of_two, (str(tmp_path),), nprocs=2)
    alone = parameters()
    optimizer = BatchedMuon(alone, lr=0.02, weight_decay=0.1)
    with Products() as products:
        for _ in range(3):
            optimizer.step()
    for rank in range(2):
        stepped, rows = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for p, q in zip(stepped, alone, strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=2e-3)
        assert rows < 0.7 * products.rows  # 2 + 1 + 1 of 3 + 2 + 1 matrices


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (2, 16, 48)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    directions = orthogonalise(torch.randn(shape), (3.4445, -4.7750, 2.0315), 5, 1e-7, torch.float32)
    values = torch.linalg.svdvals(directions)
    assert directions.shape == shape and values.min() > 0.3 and values.max() < 1.4


@pytest.mark.parametrize("able", [True, False])
def test_the_iteration_runs_in_bf16_only_where_the_processor_has_it(monkeypatch, able):
    monkeypatch.setattr(recipes.training.muon, "has_bf16", lambda: able)
    optimizer = BatchedMuon(parameters(), lr=0.02)
    with Products() as products:
        optimizer.step()
    assert products.dtypes == {torch.bfloat16 if able else torch.float32}


def test_a_processor_that_is_to_look_as_if_it_had_no_bf16(monkeypatch):
    monkeypatch.setenv("TUMBLER_BF16", "0")
    assert not has_bf16()


def test_no_bf16_product_runs_in_training_without_the_instructions(monkeypatch, tmp_path, tokens_dir, tokenizer_dir):
    """A whole step of pretraining with `bf16: true` and Muon: forward, backward and optimiser."""
    from recipes.pretrain import main

    monkeypatch.setenv("TUMBLER_BF16", "0")
    model = (
        '{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,'
        ' "num_attention_heads": 2, "tie_word_embeddings": true}'
    )
    argv = [
        "--model_config",
        model,
        "--tokenizer",
        str(tokenizer_dir),
        "--tokens_dir",
        str(tokens_dir),
        "--output_dir",
        str(tmp_path / "base"),
        "--sequence_length",
        "32",
    ]
    argv += [
        "--optimizer",
        "muon",
        "--bf16",
        "true",
        "--max_steps",
        "2",
        "--per_device_train_batch_size",
        "2",
        "--max_eval_windows",
        "2",
        "--report_to",
        "none",
    ]
    with Products() as products:
        main(argv)
    assert products.dtypes == {torch.float32}


def test_matrices_take_muon_and_the_rest_adamw(tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **sizes))
    optimizer = MuonFactory()(model, muon_lr=0.02, lr=1e-3, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-8)
    matrices, rest = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert id(model.get_input_embeddings().weight) in rest and id(model.model.norm.weight) in rest
    assert id(model.model.layers[0].mlp.up_proj.weight) in matrices and not matrices & rest
