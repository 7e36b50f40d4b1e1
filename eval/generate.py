"""Batched sampling from any causal model, for the evals, for building data and for talking to it.

    from eval.generate import generate
    replies = generate(model, tokenizer, [[{"role": "user", "content": "Who are you?"}]], max_new_tokens=48, temperature=0)
    replies[0][0].text

Conversations go through the tokenizer's chat template, plain strings are continued as they are. Batches
are sorted by length (less padding) and padded on the left; results come in the order given.

The loop over tokens is our own, not `model.generate`, which keeps a batch whole until its last row is done:
here finished rows leave the batch, repeats of a prompt share its forward pass, and each row draws from a
random stream of its own, so that a sample does not depend on the batch it was drawn in. The distribution is
the model's own: `generation_config` gives the end tokens and nothing else (no top-k, no penalties).
"""

import inspect
from dataclasses import dataclass

from eval.cli import UserError

KEEP_SHARE = 0.875  # finished rows leave once the others are fewer than this: leaving copies the cache


@dataclass
class Generation:
    """One continuation.

    Attributes:
        text: decoded without special tokens, cut before the first stop string.
        token_ids: the new tokens, the end token included if it was sampled.
        finished: it ended with an end token (not by length, not by a stop string).
    """

    text: str
    token_ids: list[int]
    finished: bool


def end_token_ids(model, tokenizer) -> list[int]:
    """The tokens that end a reply: the generation config's and the tokenizer's (an adapter keeps its base's config); [] without any."""
    ids = model.generation_config.eos_token_id
    ids = [] if ids is None else [ids] if isinstance(ids, int) else ids
    return [i for i in dict.fromkeys([*ids, tokenizer.eos_token_id]) if i is not None]


def encode(tokenizer, prompts: list[list[dict]] | list[str]) -> list[list[int]]:
    """Token ids of each prompt; conversations end in the header of the assistant's turn.

    Raises:
        UserError: conversations, but the tokenizer has no chat template; an empty prompt.
    """
    if any(not isinstance(p, str) for p in prompts) and not tokenizer.chat_template:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path} has no chat template: use a chat model, or give plain text")
    texts = [p if isinstance(p, str) else tokenizer.apply_chat_template(p, add_generation_prompt=True, tokenize=False) for p in prompts]
    bos = tokenizer.bos_token
    rows = [tokenizer.encode(t, add_special_tokens=isinstance(p, str) and not (bos and t.startswith(bos))) for p, t in zip(prompts, texts)]
    if empty := [i for i, row in enumerate(rows) if not row]:
        raise UserError(f"prompt {empty[0]} is empty: a model needs at least one token to continue")
    return rows


def generate(
    model,
    tokenizer,
    prompts: list[list[dict]] | list[str],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    num_return_sequences: int = 1,
    batch_size: int = 256,
    seed: int | None = None,
    stop_strings: list[str] | None = None,
    progress=None,
) -> list[list[Generation]]:
    """Continue each prompt `num_return_sequences` times.

    Args:
        prompts: conversations (lists of messages, through the chat template) or plain strings; N of them.
        temperature: of sampling; 0 is greedy.
        batch_size: continuations at a time, at least one prompt's.
        seed: with the place of a prompt and of its repeat it fixes what is drawn; None: drawn from torch's generator.
        stop_strings: end a continuation; the text is cut before them.
        progress: called with the number of continuations done, after each batch.

    Returns:
        N lists of `num_return_sequences` generations, in the order of `prompts`.

    Raises:
        UserError: see `encode`; a prompt and `max_new_tokens` together exceed the model's positions.
    """
    import numpy as np
    import torch

    rows = encode(tokenizer, prompts)
    longest, room = max(map(len, rows), default=0), getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if room and longest + max_new_tokens > room:
        raise UserError(f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the model's {room} positions: shorten either")
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    prompts_at_a_time = max(1, batch_size // num_return_sequences)
    out: list[list[Generation]] = [[] for _ in rows]
    training = model.training
    model.eval()
    try:
        for start in range(0, len(order), prompts_at_a_time):
            batch = order[start : start + prompts_at_a_time]
            draws = None
            if temperature:
                streams = [np.random.default_rng([seed, i, k]) for i in batch for k in range(num_return_sequences)]
                draws = torch.from_numpy(np.stack([s.random(max_new_tokens, dtype=np.float32) for s in streams]))
            inputs = [rows[i] for i in batch]
            done = _continue(model, tokenizer, inputs, num_return_sequences, max_new_tokens, temperature, draws, stop_strings or [])
            for k, generation in enumerate(done):
                out[batch[k // num_return_sequences]].append(generation)
            if progress:
                progress(len(done))
    finally:
        model.train(training)
    return out


def _continue(model, tokenizer, rows, repeats, max_new_tokens, temperature, draws, stop_strings) -> list[Generation]:
    """Continue one batch: `rows` of token ids, each `repeats` times; `draws` [rows × repeats, max_new_tokens] in [0, 1)."""
    import torch
    from transformers import DynamicCache

    device, ends = model.device, set(end_token_ids(model, tokenizer))
    inner = getattr(model, "_orig_mod", model)  # compiled and PEFT models hide what the architecture takes
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    takes = inspect.signature(inner.forward).parameters
    tail = max((len(s.encode()) for s in stop_strings), default=0) + 8  # tokens enough to hold any stop string
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=device)
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=device)
    cache = DynamicCache(config=model.config)

    def forward(ids, mask):
        extra = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]} if "position_ids" in takes else {}
        if "logits_to_keep" in takes:
            extra["logits_to_keep"] = 1
        return model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **extra).logits[:, -1].float()

    tokens: list[list[int]] = [[] for _ in range(len(rows) * repeats)]
    live = list(range(len(tokens)))  # which continuation each row of the cache belongs to
    over = [False] * len(tokens)
    with torch.no_grad():  # inference mode would leave tensors behind that a model in training cannot use
        logits = forward(ids, mask)
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
            logits, mask = logits.repeat_interleave(repeats, 0), mask.repeat_interleave(repeats, 0)
        for step in range(max_new_tokens):
            if temperature:  # the token at which the cumulated probability passes the row's draw
                mass = (logits / temperature).softmax(-1).cumsum(-1)
                draw = draws[live, step].to(device)[:, None] * mass[:, -1:]
                chosen = torch.searchsorted(mass, draw, right=True).clamp(max=mass.shape[-1] - 1)
            else:
                chosen = logits.argmax(-1, keepdim=True)
            for row, token in zip(live, chosen[:, 0].tolist()):
                if not over[row]:
                    tokens[row].append(token)
                    over[row] = token in ends or (bool(stop_strings) and _stops(tokenizer, tokens[row][-tail:], stop_strings))
            keep = [at for at, row in enumerate(live) if not over[row]]
            if not keep or step + 1 == max_new_tokens:
                break
            if len(keep) < KEEP_SHARE * len(live):
                at = torch.tensor(keep, device=device)
                cache.batch_select_indices(at)
                chosen, mask, live = chosen[at], mask[at], [live[k] for k in keep]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], 1)
            logits = forward(chosen, mask)
    return [_generation(tokenizer, t, ends, stop_strings) for t in tokens]


def _stops(tokenizer, token_ids, stop_strings) -> bool:
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    return any(s in text for s in stop_strings)


def _generation(tokenizer, token_ids, ends, stop_strings) -> Generation:
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    for stop in stop_strings:
        text = text.partition(stop)[0]
    return Generation(text, token_ids, bool(token_ids) and token_ids[-1] in ends)
