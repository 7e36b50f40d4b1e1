"""Conversations behind each other in one row, none of which sees another: next to no padding is computed.

    trainer.data_collator = PackedRows(pad_token_id)
    model.register_forward_pre_hook(leave_out_mask, with_kwargs=True)

`recipes.sft` does so with `pack_rows: true`. TRL's own packing needs flash attention; here transformers itself keeps
the conversations apart by their positions, which begin at 0 in each (`transformers.masking_utils`), with eager and
sdpa attention. The loss is that of separate rows.
"""

import math

import torch

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
