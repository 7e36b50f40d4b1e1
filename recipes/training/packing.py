"""Conversations behind each other in one row, none of which sees another: next to no padding is computed.

    sampler = EvenShares(lengths, batch_size, processes, seed)
    trainer.data_collator = PackedRows(pad_token_id)
    model.register_forward_pre_hook(leave_out_mask, with_kwargs=True)

`recipes.sft` does so with `pack_rows: true`. TRL's own packing needs flash attention; here transformers itself keeps
the conversations apart by their positions, which begin at 0 in each (`transformers.masking_utils`), with eager and
sdpa attention. The loss is that of separate rows.
"""

import math

import torch
from torch.utils.data import Sampler

WIDTHS = 64  # what widths are multiples of: of few shapes, a processor's kernels are made once and not in each step
WIDEST = 448  # where no conversation is longer: in wider rows attention costs more than the padding that is saved


def places(lengths: list[int], width: int) -> list[list[int]]:
    """Which conversations share a row of `width` tokens: first fit, the longest first."""
    rows, free = [], []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = next((i for i, room in enumerate(free) if room >= lengths[number]), None)
        if at is None:
            at = len(rows)
            rows.append([])
            free.append(width)
        rows[at].append(number)
        free[at] -= lengths[number]
    return rows


def arrange(lengths: list[int]) -> tuple[list[list[int]], int]:
    """The conversations of each row, and the width of all: that multiple of `WIDTHS` that leaves the least padding."""
    least = math.ceil(max(lengths) / WIDTHS) * WIDTHS
    most = max(least, min(2 * least, WIDEST))
    ways = [(places(lengths, width), width) for width in range(least, most + 1, WIDTHS)]
    return min(ways, key=lambda way: len(way[0]) * way[1])


class EvenShares(Sampler):
    """A random order in which the processes of a step get about as many tokens, as none waits for the others then.

    It is of global batches one behind the other, in each the rows of the first process, of the second and so on, as
    accelerate deals batches out. transformers' `BatchRebalanceSampler` evens the tokens of padded rows, not of packed.

    Args:
        lengths: tokens of each row.
        batch_size: rows a process and step.
        processes: how many there are.
        seed: of the order, together with the epoch.
    """

    def __init__(self, lengths: list[int], batch_size: int, processes: int, seed: int):
        self.lengths = lengths
        self.batch_size = batch_size
        self.processes = processes
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        step = self.batch_size * self.processes
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            if len(rows) < step:  # the last step's, which accelerate fills up
                yield from rows
            else:
                yield from self.dealt(rows)

    def dealt(self, rows: list[int]) -> list[int]:
        """The rows of a step, process by process: the longest first, each to the process with the fewest tokens."""
        shares: list[list[int]] = [[] for _ in range(self.processes)]
        tokens = [0] * self.processes
        for row in sorted(rows, key=lambda row: -self.lengths[row]):
            open_shares = [at for at in range(self.processes) if len(shares[at]) < self.batch_size]
            at = min(open_shares, key=tokens.__getitem__)
            shares[at].append(row)
            tokens[at] += self.lengths[row]
        return [row for share in shares for row in share]


class PackedRows:
    """A data collator: features with `input_ids` and `labels` become packed rows.

    Attributes:
        share: of all tokens so far that are padding.
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id
        self.tokens = self.padding = 0

    def __call__(self, features: list[dict]) -> dict[str, torch.Tensor]:
        lengths = [len(feature["input_ids"]) for feature in features]
        rows, width = arrange(lengths)
        shape = (len(rows), width)
        batch = {
            "input_ids": torch.full(shape, self.pad_token_id),
            "labels": torch.full(shape, -100),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "position_ids": torch.zeros(shape, dtype=torch.long),
        }
        for i, row in enumerate(rows):
            start = 0
            for number in row:
                end = start + lengths[number]
                batch["input_ids"][i, start:end] = torch.as_tensor(features[number]["input_ids"])
                batch["labels"][i, start + 1 : end] = torch.as_tensor(
                    features[number]["labels"][1:]
                )  # the first follows from nothing
                batch["attention_mask"][i, start:end] = 1
                batch["position_ids"][i, start:end] = torch.arange(lengths[number])
                start = end
        self.tokens += batch["attention_mask"].numel()
        self.padding += batch["attention_mask"].numel() - sum(lengths)
        return batch

    @property
    def share(self) -> float:
        return self.padding / max(1, self.tokens)


def leave_out_mask(module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A forward pre-hook: an attention mask, by which the trainer counts tokens, or a cache would hide from
    transformers that rows are packed."""
    kept = {name: value for name, value in kwargs.items() if name != "attention_mask"}
    return args, kept | {"use_cache": False}
