"""`RoomyLayer` holds what transformers' `DynamicLayer` holds, whatever is done to its rows, and copies seldom."""

import pytest
import torch
from conftest import SIZES
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from eval.generation.cached_rows import ROOM, RoomyLayer, growing_cache, map_layers
from eval.generation.sampler import cache_parameter, forward_parameters


def columns(count: int, rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, count, 8), torch.randn(rows, 2, count, 8)


def test_it_holds_what_a_dynamic_layer_holds():
    torch.manual_seed(0)
    roomy, plain = RoomyLayer(), DynamicLayer()

    def both(step):
        for layer in (roomy, plain):
            step(layer)
        assert torch.equal(roomy.keys, plain.keys) and torch.equal(roomy.values, plain.values)
        assert roomy.get_seq_length() == plain.get_seq_length()

    def add(count: int, rows: int = 4):
        new = columns(count, rows)
        both(lambda layer: layer.update(*new))

    add(5)
    for _ in range(ROOM + 3):  # past the end of the first room
        add(1)
    both(lambda layer: layer.batch_select_indices(torch.tensor([2, 0])))
    add(1, rows=2)
    both(lambda layer: layer.batch_repeat_interleave(3))
    add(2, rows=6)
    both(lambda layer: layer.crop(-2))
    add(1, rows=6)


def test_a_token_is_written_behind_the_others_and_nothing_is_copied():
    layer = RoomyLayer()
    layer.update(*columns(3))
    places = [layer.update(*columns(1))[0].data_ptr() for _ in range(ROOM)]
    assert len(set(places)) == 1
    assert layer.update(*columns(1))[0].data_ptr() != places[0]


def test_rows_that_were_taken_out_are_their_own():
    """What is written for them must not change the rows that they were taken from."""
    cache = growing_cache()
    cache.update(*columns(3), 0)
    before = cache.layers[0].keys.clone()
    taken = map_layers(lambda x: x[:2], cache)
    taken.update(*columns(1, rows=2), 0)
    assert torch.equal(cache.layers[0].keys, before) and taken.layers[0].get_seq_length() == 4
    cache.update(*columns(1), 0)
    assert not torch.equal(cache.layers[0].keys[:2, :, 3:], taken.layers[0].keys[:, :, 3:])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_model_reads_the_same_from_it(family):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=64, pad_token_id=0, **SIZES[family])
    model = AutoModelForCausalLM.from_config(config).eval()
    ids, name = torch.randint(1, 64, (3, 12)), cache_parameter(forward_parameters(model))
    logits = []
    for cache in (growing_cache(config), DynamicCache(config=config)):
        parts = []
        with torch.no_grad():
            for part in (ids[:, :5], *ids[:, 5:].split(1, dim=1)):
                parts.append(model(input_ids=part, use_cache=True, **{name: cache}).logits[:, -1])
        logits.append(torch.stack(parts))
    torch.testing.assert_close(logits[0], logits[1])
