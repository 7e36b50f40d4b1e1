"""The dataset that `recipes/pretrain.py` reads: windows of the tokens that `data_prep.tokens` wrote."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from eval.cli import UserError, existing


class TokenDataset:
    """Windows of `sequence_length` tokens from a memory-mapped file: a map-style dataset for `Trainer`.

    Windows do not overlap and run across documents, which end with the end-of-text token. Nothing is loaded before it
    is read, so a window's place in the file is all the state there is: a sampler that skips n windows has resumed.

    Trainer's default order is a list of all the windows, shuffled anew each epoch: about 48 bytes a window in each
    process (230 MB for 10 GB in windows of 1,024). The documents are shuffled already, so `train_sampling_strategy:
    sequential` loses nothing, holds no list, and reads the disk front to back.

    Raises:
        UserError: the folder holds no tokens, fewer than one window, or a file that is not as long as its record says.
    """

    def __init__(self, folder: str, split: str, sequence_length: int):
        cure = "write it with `python -m data_prep.tokens`"
        self.path = existing(Path(folder) / f"{split}.ds", "token file", cure)
        record = existing(Path(folder) / "tokens.json", "token record", cure)
        try:
            info = json.loads(record.read_text())
            self.dtype, tokens = np.dtype(info["dtype"]), info[split]["tokens"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{record} cannot be read ({error}): {cure}") from None
        size, self.sequence_length = self.path.stat().st_size, sequence_length
        self.length = size // self.dtype.itemsize // sequence_length
        if not self.length:
            raise UserError(f"{self.path} holds fewer tokens than one window of sequence_length {sequence_length}")
        if size != tokens * self.dtype.itemsize:
            raise UserError(
                f"{self.path} has {size:,} bytes, but {record.name} says {tokens * self.dtype.itemsize:,}: {cure}"
            )

    @cached_property
    def tokens(self) -> np.memmap:  # opened on first use, in each worker
        return np.memmap(self.path, dtype=self.dtype, mode="r")

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k != "tokens"}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> dict:
        """`input_ids` and `labels`, int64 of shape (sequence_length,)."""
        import torch

        ids = torch.from_numpy(self.tokens[i * self.sequence_length : (i + 1) * self.sequence_length].astype(np.int64))
        return {"input_ids": ids, "labels": ids}
