"""Packed rows give the loss of separate rows, and no conversation sees another."""

import pytest
import torch
from conftest import SIZES

from recipes.training.packing import EvenShares, PackedRows, leave_out_mask, places


def features(lengths: list[int]) -> list[dict]:
    torch.manual_seed(0)
    rows = [torch.randint(5, 60, (n,)).tolist() for n in lengths]
    return [{"input_ids": row, "labels": [-100] * (len(row) // 2) + row[len(row) // 2 :]} for row in rows]


def model(attention: str, family: str = "llama"):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=64, pad_token_id=0, **SIZES[family])
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def test_every_conversation_has_one_place():
    lengths = [30, 7, 12, 5, 28, 3, 19]
    rows = places(lengths, 30)
    assert sorted(i for row in rows for i in row) == list(range(7))
    assert all(sum(lengths[i] for i in row) <= 30 for row in rows) and len(rows) == 4


def test_processes_share_the_tokens_of_a_step():
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    lengths = torch.randint(10, 300, (1010,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = EvenShares(lengths, batch_size=10, processes=4, seed=0)

    def batches(process: int) -> list[list[int]]:
        return list(BatchSamplerShard(BatchSampler(sampler, 10, drop_last=True), 4, process))

    dealt = [batches(process) for process in range(4)]
    rows = [row for process in dealt for batch in process for row in batch]
    assert len(rows) == len(set(rows)) == 1000  # each once, and the last ten fill no step
    for step in zip(*dealt):
        tokens = [sum(lengths[row] for row in batch) for batch in step]
        assert max(tokens) < 1.05 * min(tokens)
    assert batches(0) == dealt[0]  # the same again, in each process
    sampler.set_epoch(1)
    assert batches(0) != dealt[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_the_loss_is_that_of_separate_rows(attention, family):
    network, rows = model(attention, family), features([30, 7, 12, 5, 28, 3, 19])
    collator = PackedRows(0)
    batch = collator(rows)
    assert batch["input_ids"].shape[0] < len(rows) and batch["attention_mask"].sum() == sum(
        len(row["input_ids"]) for row in rows
    )
    assert collator.share == pytest.approx(1 - batch["attention_mask"].float().mean().item())
    alone = [
        network(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss for row in rows
    ]
    counts = [sum(label != -100 for label in row["labels"][1:]) for row in rows]
    network.register_forward_pre_hook(leave_out_mask, with_kwargs=True)
    packed = network(**batch).loss
    expected = sum(loss * n for loss, n in zip(alone, counts)) / sum(counts)
    torch.testing.assert_close(packed, expected, rtol=1e-6, atol=1e-6)


def test_with_the_mask_they_would_see_each_other():
    """What the pre-hook is for: a mask of ones and zeros says nothing of borders."""
    network, batch = model("eager"), PackedRows(0)(features([30, 7, 12, 5, 28, 3, 19]))
    seen = network(**batch).loss
    network.register_forward_pre_hook(leave_out_mask, with_kwargs=True)
    assert abs(seen - network(**batch).loss) > 1e-6
