"""Rows of a batch with their keys and values: taken out of it, aligned and joined, without computing them again."""

from dataclasses import dataclass
from typing import Any

from eval.cli import UserError


@dataclass
class CachedRows:
    """Rows of a forward pass: which continuation each is, its keys and values, and its mask [rows, columns]."""

    live: list[int]
    cache: Any
    mask: Any

    def keep(self, at: list[int]) -> "CachedRows":
        """The rows `at`, without the columns on the left that none of them uses."""
        if len(at) == len(self.live):
            return self
        mask = self.mask[at]
        left = int(mask.any(0).int().argmax()) if at else mask.shape[1]
        cache = map_layers(lambda x: x[at][:, :, left:], self.cache)
        return CachedRows([self.live[k] for k in at], cache, mask[:, left:])

    def align(self, at: list[int]) -> "CachedRows":
        """The rows `at`; what each has read stands on the right, without gaps."""
        mask = self.mask[at]
        longest = int(mask.sum(-1).max()) if at else 0
        columns = mask.argsort(dim=-1, stable=True)[:, mask.shape[1] - longest :]

        def right(x):
            return x[at].gather(2, columns[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))

        return CachedRows([self.live[k] for k in at], map_layers(right, self.cache), mask.gather(1, columns))


def join(one: CachedRows | None, other: CachedRows) -> CachedRows:
    """The rows of both."""
    if not one or not one.live:
        return other
    if not other.live:
        return one
    rows = len(one.live)
    width = max(one.mask.shape[1], other.mask.shape[1])

    def both(x, y):
        z = x.new_zeros(rows + len(y), x.shape[1], width, x.shape[3])
        z[:rows, :, width - x.shape[2] :] = x
        z[rows:, :, width - y.shape[2] :] = y
        return z

    mask = both(one.mask[:, None, :, None], other.mask[:, None, :, None])[:, 0, :, 0]
    return CachedRows(one.live + other.live, map_layers(both, one.cache, other.cache), mask)


def map_layers(function, *caches):
    """A cache of what the function makes of each layer's keys, and of its values: [rows, heads, columns, size]."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    made = DynamicCache()
    for layers in zip(*(cache.layers for cache in caches)):
        layer = DynamicLayer()
        made.layers.append(layer)
        if layers[0].get_seq_length():  # else it uses another layer's
            keys = function(*(one.keys for one in layers))
            values = function(*(one.values for one in layers))
            layer.lazy_initialization(keys, values)
            layer.keys = keys
            layer.values = values
    return made


def pad(rows: list[list[int]], device, side: str = "left") -> tuple:
    """Token ids [rows, columns], padded on one side, and their mask."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(row) for row in rows]
    mask = [torch.ones(len(row), dtype=torch.long) for row in rows]
    return tuple(pad_sequence(x, batch_first=True, padding_side=side).to(device) for x in (ids, mask))


def require_keys_and_values(model, cache) -> None:
    """Raises `UserError` where a cache holds more than keys and values, by which rows are taken out and put back."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    other = [type(layer).__name__ for layer in cache.layers if type(layer) not in plain]
    if other:
        raise UserError(
            f"tools need a model with attention layers alone, but {model.config.model_type} has states of its own"
            f" ({other[0]})"
        )
