"""Batched sampling from any causal model, for the evals, for building data and for talking to it.

    from eval.generate import generate
    replies = generate(model, tokenizer, [[{"role": "user", "content": "Who are you?"}]], max_new_tokens=48,
    temperature=0) replies[0][0].text

Conversations go through the tokenizer's chat template, plain strings are continued as they are; neither can forge a
control token (`eval.encoding`). Batches are sorted by length (less padding) and padded on the left; results come in
the order given.

The loop over tokens is our own, not `model.generate`, which keeps a batch whole until its last row is done:
here finished rows leave the batch, repeats of a prompt share its forward pass, and each row draws from a
random stream of its own, so that a sample does not depend on the batch it was drawn in. The distribution is
the model's own: `generation_config` gives the end tokens and nothing else (no top-k, no penalties).

`model` may be a `vllm.LLM` instead, which batches and draws by itself (`eval.vllm_batch`).

With `tools` a row whose turn ends in a call waits outside the batch while its tool runs, and comes back with the
result's tokens, which are read in one pass; its cache is kept, nothing is computed again, and the other rows go on.
See `eval.tool_loop`.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from eval.cli import UserError
from eval.encoding import Rendering, encode_text, render, seal, unseal

KEEP_SHARE = 0.875  # finished rows leave once the others are fewer than this: leaving copies the cache
# steps that rows with results wait for more of their kind: coming back is a forward pass and copies the cache, too
PATIENCE = 8


@dataclass
class Generation:
    """One continuation.

    Attributes:
        text: decoded without special tokens, cut before the first stop string; with tools that of the last turn.
        token_ids: the new tokens, the end token included if it was sampled; with tools those of all turns and results.
        finished: it ended with an end token (not by length, not by a stop string) and without a call that was not run.
        messages: with tools: the turns, role tool included, that continue the conversation; without: [].
        written: with tools: for each of `token_ids` 1 if the model wrote it, 0 if it is a tool's result; without: [].
    """

    text: str
    token_ids: list[int]
    finished: bool
    messages: list[dict] = field(default_factory=list)
    written: list[int] = field(default_factory=list)


def end_token_ids(ids: int | list[int] | None, tokenizer) -> set[int]:
    """The tokens that end a reply: the generation config's (`ids`) and the tokenizer's (an adapter keeps its base's
    config); none without any."""
    ids = [] if ids is None else [ids] if isinstance(ids, int) else ids
    return {*ids, tokenizer.eos_token_id} - {None}


def encode(tokenizer, prompts: list[list[dict]] | list[str] | list[list[int]], **rendering) -> list[list[int]]:
    """Token ids of each prompt; conversations end in the header of the assistant's turn. `rendering` goes to
    `eval.encoding.render`. What a prompt spells never becomes a control token, unless it is a `Rendering`. Prompts
    that are token ids already stay as they are.

    Raises:
        UserError: conversations, but the tokenizer has no chat template or one that refuses them; a prompt that is
            empty or no Unicode.
    """
    if prompts and isinstance(prompts[0], list) and prompts[0] and isinstance(prompts[0][0], int):
        return prompts
    if any(not isinstance(p, str) for p in prompts) and not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template: use a chat model, or give plain text"
        )
    rows = []
    for number, prompt in enumerate(prompts):
        is_text, is_rendered = isinstance(prompt, str), isinstance(prompt, Rendering)
        if not is_text:
            text = render(tokenizer, prompt, add_generation_prompt=True, **rendering)
        else:
            text = prompt if is_rendered else seal(tokenizer, prompt)
        if re.search("[\ud800-\udfff]", text):
            raise UserError(f"prompt {number} is no text: it holds half a surrogate pair, {unseal(text)[:80]!r}")
        begun = is_rendered and bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        rows.append(encode_text(tokenizer, text, add_special_tokens=is_text and not begun))
    if empty := [i for i, row in enumerate(rows) if not row]:
        raise UserError(f"prompt {empty[0]} is empty: a model needs at least one token to continue")
    return rows


def generate(
    model,
    tokenizer,
    prompts: list[list[dict]] | list[str] | list[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    num_return_sequences: int = 1,
    batch_size: int = 256,
    seed: int | None = None,
    stop_strings: list[str] | None = None,
    progress=None,
    tools: list[Callable] | None = None,
    max_tool_calls: int = 8,
    max_result_tokens: int | None = None,
    tool_time_limit: float = 120.0,
    stream: Callable[[int, int | dict], None] | None = None,
) -> list[list[Generation]]:
    """Continue each prompt `num_return_sequences` times.

    Args:
        model: of transformers, or a `vllm.LLM`.
        prompts: conversations (lists of messages, through the chat template), plain strings, or token ids; N of them.
        max_new_tokens: of a continuation; with tools the results count, as in TRL's `max_completion_length`.
        temperature: of sampling; 0 is greedy.
        batch_size: continuations at a time, at least one prompt's.
        seed: with the place of a prompt and of its repeat it fixes what is drawn; None: drawn from torch's generator.
        stop_strings: end a continuation; the text is cut before them.
        progress: called with the number of continuations done, after each batch.
        tools: typed functions with docstrings that the model may call. They run in threads, several at a time.
        max_tool_calls: turns of a continuation whose calls are run (TRL's `max_tool_calling_iterations`); the next one
            is the last.
        max_result_tokens: of one result, which is cut there (default: a quarter of `max_new_tokens`). One that does
            not fit into what is left of `max_new_tokens` ends the continuation.
        tool_time_limit: of one call, in seconds; after that the model is told, and the thread is left behind.
        stream: called with the place of a prompt and each token that is written, with tools also each message that is
            complete.

    Returns:
        N lists of `num_return_sequences` generations, in the order of `prompts`.

    Raises:
        UserError: see `encode` and `eval.tool_loop.Toolbox`; a prompt and `max_new_tokens` together exceed the model's
            positions; tools with a model that keeps more than keys and values of the past.
    """
    import torch

    toolbox = None
    if tools:
        from eval.tool_loop import Toolbox, Turns

        toolbox = Toolbox(
            tokenizer, tools, max_new_tokens // 4 if max_result_tokens is None else max_result_tokens, tool_time_limit
        )
    rows = encode(tokenizer, prompts, **(toolbox.rendering if toolbox else {}))
    if on_vllm := hasattr(model, "llm_engine"):
        from eval import vllm_batch

        continue_, draw, room = (
            vllm_batch.continue_batch,
            vllm_batch.seeds,
            model.llm_engine.model_config.max_model_len,
        )
    else:
        continue_, draw, room = (
            _continue,
            _draws,
            getattr(model.config.get_text_config(), "max_position_embeddings", None),
        )
    longest = max(map(len, rows), default=0)
    if room and longest + max_new_tokens > room:
        raise UserError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the model's {room} positions: shorten"
            " either"
        )
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    prompts_at_a_time = max(1, batch_size // num_return_sequences)
    out: list[list[Generation]] = [[] for _ in rows]
    training = not on_vllm and model.training
    if training:
        model.eval()
    try:
        for start in range(0, len(order), prompts_at_a_time):
            batch = order[start : start + prompts_at_a_time]
            draws = (
                draw([[seed, i, k] for i in batch for k in range(num_return_sequences)], max_new_tokens)
                if temperature
                else None
            )
            inputs = [rows[i] for i in batch]
            tell = (
                (lambda row, piece, batch=batch: stream(batch[row // num_return_sequences], piece)) if stream else None
            )
            turns = (
                Turns(toolbox, [r for r in inputs for _ in range(num_return_sequences)], max_tool_calls, tell)
                if toolbox
                else None
            )
            try:
                done = continue_(
                    model,
                    tokenizer,
                    inputs,
                    num_return_sequences,
                    max_new_tokens,
                    temperature,
                    draws,
                    stop_strings or [],
                    turns,
                    tell,
                )
            finally:
                if turns:
                    turns.close()
            for k, generation in enumerate(done):
                out[batch[k // num_return_sequences]].append(generation)
            if progress:
                progress(len(done))
    finally:
        if training:
            model.train()
    return out


def forward_parameters(model) -> set[str]:
    """Names of the parameters of the architecture's `forward`, which compiled and PEFT models hide."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return set(inspect.signature(inner.forward).parameters)


def cache_parameter(parameters: set[str]) -> str:
    """The name under which such a `forward` takes its cache: `cache` since transformers 5.24."""
    return "cache" if "cache" in parameters else "past_key_values"


def _draws(streams: list[list[int]], max_new_tokens: int):
    """Numbers in [0, 1): [streams, max_new_tokens]."""
    import numpy as np
    import torch

    return torch.from_numpy(
        np.stack([np.random.default_rng(stream).random(max_new_tokens, dtype=np.float32) for stream in streams])
    )


def _continue(
    model, tokenizer, rows, repeats, max_new_tokens, temperature, draws, stop_strings, turns=None, tell=None
) -> list[Generation]:
    """Continue one batch: `rows` of token ids, each `repeats` times; `draws` as `_draws` gives them."""
    import torch
    from transformers import DynamicCache

    device, ends = model.device, end_token_ids(model.generation_config.eos_token_id, tokenizer)
    takes = forward_parameters(model)
    cache_name = cache_parameter(takes)
    tail = max((len(s.encode()) for s in stop_strings), default=0) + 8  # tokens enough to hold any stop string
    ids, mask = _padded(rows, device)
    cache = DynamicCache(config=model.config)
    if turns:
        _require_keys_and_values(model, cache)
        cache = DynamicCache()  # all of the past: a row that waits must not lose the beginning of its sliding window

    def forward(ids, mask, cache):
        extra = (
            {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]} if "position_ids" in takes else {}
        )
        if "logits_to_keep" in takes:
            extra["logits_to_keep"] = 1
        extra[cache_name] = cache
        return model(input_ids=ids, attention_mask=mask, use_cache=True, **extra).logits[:, -1].float()

    tokens: list[list[int]] = [[] for _ in range(len(rows) * repeats)]
    begin = turns.begin if turns else [0] * len(tokens)  # of the current turn
    over = [False] * len(tokens)  # or waiting for a tool
    batch = _Batch(list(range(len(tokens))), cache, mask)
    parked: _Batch | None = None  # rows that left the batch to wait
    back: dict[int, list[int]] = {}  # rows whose results have come, with their tokens
    waited = 0
    with torch.no_grad():  # inference mode would leave tensors behind that a model in training cannot use
        logits = forward(ids, mask, cache)
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
            logits, batch.mask = logits.repeat_interleave(repeats, 0), mask.repeat_interleave(repeats, 0)
        while True:
            live = batch.live
            if temperature:  # the token at which the cumulated probability passes the row's draw
                mass = (logits / temperature).softmax(-1).cumsum(-1)
                draw = (
                    draws[live, [min(len(tokens[row]), max_new_tokens - 1) for row in live]].to(device)[:, None]
                    * mass[:, -1:]
                )
                chosen = torch.searchsorted(mass, draw, right=True).clamp(max=mass.shape[-1] - 1)
            else:
                chosen = logits.argmax(-1, keepdim=True)
            for row, token in zip(live, chosen[:, 0].tolist()):
                if not over[row]:
                    tokens[row].append(token)
                    if tell:
                        tell(row, token)
                    room = len(tokens[row]) < max_new_tokens
                    over[row] = (
                        not room
                        or token in ends
                        or (bool(stop_strings) and _stops(tokenizer, tokens[row][begin[row] :][-tail:], stop_strings))
                    )
                    if turns and over[row]:
                        turns.ended(row, tokens[row], may_call=room and token in ends)
            keep = [at for at, row in enumerate(live) if not over[row]]
            if turns:
                _collect(turns, back, tokens, max_new_tokens, wait=not keep)
            if not keep and not back:
                break
            waited = waited + 1 if back else 0
            few = len(keep) < KEEP_SHARE * len(live)
            if turns and (few or waited > PATIENCE or len(back) > (1 - KEEP_SHARE) * len(live)):
                waiting = [at for at, row in enumerate(live) if row in turns.open or row in back]
                parked = _join(parked, batch.align(waiting))
                batch, chosen = batch.keep(keep), chosen[keep]
                if back:
                    again = parked.keep([at for at, row in enumerate(parked.live) if row in back])
                    parked = parked.keep([at for at, row in enumerate(parked.live) if row not in back])
                    ends_and_results = [
                        [tokens[row][-1], *back[row]] for row in again.live
                    ]  # the end token has not been read, either
                    ids, mask = _padded(
                        [r[:-1] for r in ends_and_results], device, "right"
                    )  # no gap behind what was read
                    again.mask = torch.cat([again.mask, mask], 1)
                    forward(ids, again.mask, again.cache)
                    chosen = torch.cat([chosen, chosen.new_tensor([[r[-1]] for r in ends_and_results])])
                    batch = _join(batch, again.align(list(range(len(again.live)))))
                    for row in again.live:
                        turns.inject(row, tokens[row], back.pop(row))
                        over[row] = False
            elif few:
                at = torch.tensor(keep, device=device)
                batch.cache.batch_select_indices(at)
                chosen, batch.mask, batch.live = chosen[at], batch.mask[at], [live[k] for k in keep]
            read = batch.mask.new_ones(len(batch.live), 1)
            if turns and any(over[row] for row in batch.live):  # what a waiting row is given meanwhile is not its own
                read = batch.mask.new_tensor([[not over[row]] for row in batch.live])
            batch.mask = torch.cat([batch.mask, read], 1)
            logits = forward(chosen, batch.mask, batch.cache)
    return [_generation(tokenizer, row, t, ends, stop_strings, turns) for row, t in enumerate(tokens)]


def _padded(rows: list[list[int]], device, side: str = "left") -> tuple:
    """Token ids [rows, columns], padded on one side, and their mask."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids, mask = ([torch.tensor(r) for r in rows], [torch.ones(len(r), dtype=torch.long) for r in rows])
    return tuple(pad_sequence(x, batch_first=True, padding_side=side).to(device) for x in (ids, mask))


def _require_keys_and_values(model, cache) -> None:
    """Raises `UserError` where a cache holds more than keys and values, by which rows are taken out and put back."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if other := [
        type(layer).__name__ for layer in cache.layers if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer)
    ]:
        raise UserError(
            f"tools need a model with attention layers alone, but {model.config.model_type} has states of its own"
            f" ({other[0]})"
        )


@dataclass
class _Batch:
    """Rows of a forward pass: which continuation each is, its keys and values, and its mask [rows, columns]."""

    live: list[int]
    cache: object
    mask: object

    def keep(self, at: list[int]) -> "_Batch":
        """The rows `at`, without the columns on the left that none of them uses."""
        if len(at) == len(self.live):
            return self
        mask = self.mask[at]
        left = int(mask.any(0).int().argmax()) if at else mask.shape[1]
        return _Batch([self.live[k] for k in at], _map(lambda x: x[at][:, :, left:], self.cache), mask[:, left:])

    def align(self, at: list[int]) -> "_Batch":
        """The rows `at`; what each has read stands on the right, without gaps."""
        mask = self.mask[at]
        columns = mask.argsort(dim=-1, stable=True)[:, mask.shape[1] - (int(mask.sum(-1).max()) if at else 0) :]
        cache = _map(
            lambda x: x[at].gather(2, columns[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])), self.cache
        )
        return _Batch([self.live[k] for k in at], cache, mask.gather(1, columns))


def _join(one: _Batch | None, other: _Batch) -> _Batch:
    """The rows of both."""
    if not one or not one.live:
        return other
    if not other.live:
        return one
    rows, width = len(one.live), max(one.mask.shape[1], other.mask.shape[1])

    def both(x, y):
        z = x.new_zeros(rows + len(y), x.shape[1], width, x.shape[3])
        z[:rows, :, width - x.shape[2] :], z[rows:, :, width - y.shape[2] :] = x, y
        return z

    mask = both(*(batch.mask[:, None, :, None] for batch in (one, other)))[:, 0, :, 0]
    return _Batch(one.live + other.live, _map(both, one.cache, other.cache), mask)


def _map(function, *caches):
    """A cache of what the function makes of the keys, and of the values, of each layer: [rows, heads, columns, size]."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    made = DynamicCache()
    for layers in zip(*(cache.layers for cache in caches)):
        made.layers.append(layer := DynamicLayer())
        if layers[0].get_seq_length():  # else it uses another layer's
            keys, values = (function(*(getattr(layer, name) for layer in layers)) for name in ("keys", "values"))
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
    return made


def _collect(turns, back: dict[int, list[int]], tokens, max_new_tokens: int, wait: bool) -> None:
    """Add to `back` the rows whose results have come and fit; with `wait` until there is one, or none can come."""
    while turns.open:
        for row, suffix in turns.finished(wait=wait and not back).items():
            if len(tokens[row]) + len(suffix) < max_new_tokens:
                back[row] = suffix
            elif len(tokens[row]) + len(suffix) == max_new_tokens:  # no room for a word about them
                turns.inject(row, tokens[row], suffix)
            else:
                turns.drop(row)
        if back or not wait:
            return


def _stops(tokenizer, token_ids, stop_strings) -> bool:
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    return any(s in text for s in stop_strings)


def _generation(tokenizer, row, token_ids, ends, stop_strings, turns) -> Generation:
    text = tokenizer.decode(token_ids[turns.begin[row] :] if turns else token_ids, skip_special_tokens=True)
    for stop in stop_strings:
        text = text.partition(stop)[0]
    finished = bool(token_ids) and token_ids[-1] in ends
    if not turns:
        return Generation(text, token_ids, finished)
    messages, written = turns.messages[row], turns.written(row, len(token_ids))
    return Generation(
        text, token_ids, finished and bool(written[-1]) and not messages[-1].get("tool_calls"), messages, written
    )
