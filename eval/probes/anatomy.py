"""The arithmetic of a language model: its parameters by part, the FLOPs of a token, the memory of its cache.

    anatomy(model, ids)   ->  {"parameters": {"embedding": 131072, ...}, "total": ..., "flops": {...}, "cache": {...}}

FLOPs are counted while the model reads a text (`torch.utils.flop_counter`), so that mixtures of experts and unusual
attention count as what they compute; the rule of thumb beside them is 2 FLOPs a parameter and token, without the
embedding table, which is only looked up (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1).
The cache is measured, too: the bytes of the keys and values that the model keeps of the text.
"""

import re

PARTS = ("embedding", "attention", "feed-forward", "norms", "output", "other")
NORM = re.compile(r"norm|(^|\.)ln_", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|mixer|mamba|rwkv", re.IGNORECASE)
FEED_FORWARD = re.compile(r"mlp|ffn|feed_forward|moe|expert|(^|\.)fc\d|dense_h_to_4h|dense_4h_to_h", re.IGNORECASE)


def part_of(name: str) -> str:
    """The part of a model that a parameter belongs to, by its name: `model.layers.0.mlp.up_proj.weight` is
    feed-forward."""
    module = name.rsplit(".", 1)[0]
    if NORM.search(module.rsplit(".", 1)[-1]):
        return "norms"
    if ATTENTION.search(module):
        return "attention"
    return "feed-forward" if FEED_FORWARD.search(module) else "other"


def parameters(model) -> dict[str, int]:
    """The number of parameters of each part; a table that is both embedding and output counts once, as embedding."""
    from torch.nn import Embedding

    tables = {id(p) for module in model.modules() if isinstance(module, Embedding) for p in module.parameters()}
    head = model.get_output_embeddings()
    outputs = {id(p) for p in head.parameters()} if head is not None else set()
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():  # each once, though two modules share it
        if id(parameter) in tables:
            part = "embedding"
        elif id(parameter) in outputs:
            part = "output"
        else:
            part = part_of(name)
        counts[part] += parameter.numel()
    return {part: count for part, count in counts.items() if count}


def flops(model, ids: list[int], counts: dict[str, int]) -> dict:
    """FLOPs a token that the model spends on reading `ids`: `counted`, and by the rule of thumb (`rule`)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    given = torch.tensor([ids], device=model.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_ids=given, use_cache=False)
    head = model.get_output_embeddings()
    is_tied = head is not None and not counts.get("output")
    looked_up = 0 if is_tied else counts.get("embedding", 0)
    return {
        "counted": counter.get_total_flops() / len(ids),
        "rule": 2 * (sum(counts.values()) - looked_up),
        "tokens": len(ids),
    }


def cache(model, ids: list[int]) -> dict | None:
    """Bytes a token of the keys and values that the model keeps of `ids`; None where it keeps something else.

    `positions` is the longest text that the model's config allows, `whole` the cache of such a text.
    """
    import torch

    with torch.inference_mode():
        kept = model(input_ids=torch.tensor([ids], device=model.device), use_cache=True).get("past_key_values")
    layers = getattr(kept, "layers", None) or []
    tensors = [getattr(layer, name, None) for layer in layers for name in ("keys", "values")]
    if not tensors or any(not isinstance(tensor, torch.Tensor) for tensor in tensors):
        return None
    each = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / len(ids)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return {"bytes_per_token": each, "positions": positions, "whole": positions and each * positions}


def anatomy(model, ids: list[int]) -> dict:
    """What the page shows beside a model; `ids`: the text on which FLOPs and cache are measured."""
    counts = parameters(model)
    config = model.config.get_text_config()
    shape = {
        "layers": getattr(config, "num_hidden_layers", None),
        "heads": getattr(config, "num_attention_heads", None),
        "width": getattr(config, "hidden_size", None),
        "vocabulary": getattr(config, "vocab_size", None),
    }
    total = sum(counts.values())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "parameters": counts,
        "total": total,
        "bytes": weights,
        "shape": shape,
        "flops": flops(model, ids, counts),
        "cache": cache(model, ids),
    }
