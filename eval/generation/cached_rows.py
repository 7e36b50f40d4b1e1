"""Rows of a batch with their keys and values: taken out of it, aligned and joined, without computing them again."""

from dataclasses import dataclass
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from eval.cli import UserError

ROOM = 64  # columns that are free behind keys and values when they are copied


class RoomyLayer(DynamicLayer):
    """A layer's keys and values with room behind them. What is new is written there; `DynamicLayer` copies all that is
    old for each token. Not for training: nothing is kept of what it overwrites.
    """

    all_keys = all_values = None  # with the room; `keys` and `values` are views of their first columns

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.all_keys, self.keys = append(self.all_keys, self.keys, key_states)
        self.all_values, self.values = append(self.all_values, self.values, value_states)
        return self.keys, self.values


def append(whole, old, new) -> tuple:
    """`old` with `new` behind it, [rows, heads, columns, size], as the first columns of a tensor with room.

    Args:
        whole: whose first columns `old` is, so that `new` can be written behind them; another tensor or None where it
            has to be copied.

    Returns:
        The tensor with room, and the view of its first columns.
    """
    begin = old.shape[2] if old.numel() else 0
    end = begin + new.shape[2]
    begins_whole = whole is not None and begin and whole.data_ptr() == old.data_ptr()
    if not (begins_whole and whole.shape[:2] == old.shape[:2] and end <= whole.shape[2]):
        rows, heads, _, size = new.shape
        whole = new.new_empty(rows, heads, end + ROOM, size)
        if begin:
            whole[:, :, :begin] = old
    whole[:, :, begin:end] = new
    return whole, whole[:, :, :end]


def growing_cache(config=None) -> DynamicCache:
    """An empty cache of `RoomyLayer`s; with a model's config, of its own kinds of layers where they are others."""
    cache = DynamicCache(config=config)
    cache.layer_class_to_replicate = RoomyLayer
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


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
    made = growing_cache()
    for layers in zip(*(cache.layers for cache in caches)):
        layer = RoomyLayer()
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
    plain = (RoomyLayer, DynamicSlidingWindowLayer)
    other = [type(layer).__name__ for layer in cache.layers if type(layer) not in plain]
    if other:
        raise UserError(
            f"tools need a model with attention layers alone, but {model.config.model_type} has states of its own"
            f" ({other[0]})"
        )
