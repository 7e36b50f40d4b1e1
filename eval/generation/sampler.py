"""The loop over tokens that `eval.generation.generate` runs on a transformers model: one batch of continuations.

It is our own, not `model.generate`, which keeps a batch whole until its last row is done: here finished rows leave the
batch, repeats of a prompt share its forward pass, and each row draws from random numbers of its own. With tools a row
whose turn ends in a call is parked outside the batch while its tool runs, and returns with the result's tokens, which
are read in one pass.
"""

import inspect

from eval.generation.cached_rows import CachedRows, growing_cache, join, pad, require_keys_and_values
from eval.generation.results import (
    Generation,
    Settings,
    as_generation,
    collect_results,
    end_token_ids,
    has_stop_string,
)

KEEP_SHARE = 0.875  # finished rows leave once the others are fewer than this: leaving copies the cache
# steps that rows with results wait for more of their kind: returning is a forward pass and copies the cache, too
PATIENCE = 8


def draws(streams: list[list[int]], max_new_tokens: int):
    """Random numbers in [0, 1), one a token: [streams, max_new_tokens]. A stream is the seed of a continuation."""
    import numpy as np
    import torch

    return torch.from_numpy(
        np.stack([np.random.default_rng(stream).random(max_new_tokens, dtype=np.float32) for stream in streams])
    )


def continue_batch(
    model, tokenizer, rows: list[list[int]], settings: Settings, draws, turns=None, listener=None
) -> list[Generation]:
    """Continue `rows` of token ids, each `settings.repeats` times.

    Args:
        draws: as the function `draws` gives them, [continuations, max_new_tokens]; None where the temperature is 0.
        turns: `eval.generation.tool_loop.Turns` of the batch, or None without tools.
        listener: called with the number of a continuation and each token that it gets, or None.
    """
    return Sampler(model, tokenizer, rows, settings, draws, turns, listener).run()


class Sampler:
    """One batch of continuations, a token of each at a time. See `continue_batch` for the arguments.

    Attributes:
        tokens: the new token ids of each continuation.
        over: of each continuation: it has ended, or waits for a tool.
        batch: the continuations that the next forward pass computes.
        parked: continuations outside the batch, which wait for a tool; None before the first.
        returning: token ids of the results that have come, by continuation.
    """

    def __init__(self, model, tokenizer, rows, settings: Settings, draws, turns, listener):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.rows, self.draws, self.turns, self.listener = rows, draws, turns, listener
        count = len(rows) * settings.repeats
        self.tokens: list[list[int]] = [[] for _ in range(count)]
        self.over = [False] * count
        self.turn_begins = turns.begin if turns else [0] * count
        self.ends = end_token_ids(model.generation_config.eos_token_id, tokenizer)
        # as many tokens as hold any stop string
        self.tail = max((len(stop.encode()) for stop in settings.stop_strings), default=0) + 8
        self.batch: CachedRows
        self.parked: CachedRows | None = None
        self.returning: dict[int, list[int]] = {}
        self.waited = 0  # steps since the first of `returning` came
        self.arguments = forward_parameters(model)

    def run(self) -> list[Generation]:
        """Sample until every continuation has ended."""
        import torch

        with torch.no_grad():  # inference mode would leave tensors behind that a model in training cannot use
            logits = self._read_prompts()
            while True:
                chosen = self._choose(logits)
                self._append(chosen[:, 0].tolist())
                keep = [at for at, row in enumerate(self.batch.live) if not self.over[row]]
                if self.turns:
                    collect_results(
                        self.turns, self.returning, self.tokens, self.settings.max_new_tokens, wait=not keep
                    )
                if not keep and not self.returning:
                    break
                chosen = self._change_rows(keep, chosen)
                logits = self._forward(chosen, self._mask_with_new_column(), self.batch.cache)
        return [self._generation(row) for row in range(len(self.tokens))]

    def _prompt(self, row: int) -> list[int]:
        return self.rows[row // self.settings.repeats]

    def _generation(self, row: int) -> Generation:
        stop_strings = self.settings.stop_strings
        return as_generation(
            self.tokenizer, self._prompt(row), row, self.tokens[row], self.ends, stop_strings, self.turns
        )

    def _read_prompts(self):
        """The logits after the prompts, [continuations, vocabulary]; each prompt is read once for all its repeats."""
        ids, mask = pad(self.rows, self.model.device)
        cache = growing_cache(self.model.config)
        if self.turns:
            require_keys_and_values(self.model, cache)
            # all of the past: a row that waits must not lose the beginning of its sliding window
            cache = growing_cache()
        logits = self._forward(ids, mask, cache)
        repeats = self.settings.repeats
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
            logits = logits.repeat_interleave(repeats, 0)
            mask = mask.repeat_interleave(repeats, 0)
        self.batch = CachedRows(list(range(len(self.tokens))), cache, mask)
        return logits

    def _forward(self, ids, mask, cache):
        """The logits of the last column, [rows, vocabulary]; `cache` gets the keys and values of `ids`."""
        extra = {}
        if "position_ids" in self.arguments:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if "logits_to_keep" in self.arguments:
            extra["logits_to_keep"] = 1
        extra[cache_parameter(self.arguments)] = cache
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **extra)
        return output.logits[:, -1].float()

    def _choose(self, logits):
        """The next token of each row of the batch, [rows, 1]: greedy, or where the cumulated probability passes the
        row's random number."""
        import torch

        temperature = self.settings.temperature
        if not temperature:
            return logits.argmax(-1, keepdim=True)
        live, last = self.batch.live, self.settings.max_new_tokens - 1
        mass = (logits / temperature).softmax(-1).cumsum(-1)
        numbers = self.draws[live, [min(len(self.tokens[row]), last) for row in live]].to(mass.device)[:, None]
        chosen = torch.searchsorted(mass, numbers * mass[:, -1:], right=True)
        return chosen.clamp(max=mass.shape[-1] - 1)

    def _append(self, chosen: list[int]) -> None:
        """Give each row that is not over its token, and note which rows that token ends."""
        for row, token in zip(self.batch.live, chosen):
            if self.over[row]:
                continue
            self.tokens[row].append(token)
            if self.listener:
                self.listener(row, token)
            has_room = len(self.tokens[row]) < self.settings.max_new_tokens
            self.over[row] = not has_room or token in self.ends or self._has_stop_string(row)
            if self.turns and self.over[row]:
                self.turns.ended(row, self.tokens[row], may_call=has_room and token in self.ends)

    def _has_stop_string(self, row: int) -> bool:
        if not self.settings.stop_strings:
            return False
        begin, stop_strings = self.turn_begins[row], self.settings.stop_strings
        return has_stop_string(self.tokenizer, self._prompt(row), self.tokens[row], begin, self.tail, stop_strings)

    def _change_rows(self, keep: list[int], chosen):
        """Let rows leave the batch and return to it, where enough of them do; `chosen` of the rows that are then in
        it."""
        size = len(self.batch.live)
        self.waited = self.waited + 1 if self.returning else 0
        few = len(keep) < KEEP_SHARE * size
        many_return = self.waited > PATIENCE or len(self.returning) > (1 - KEEP_SHARE) * size
        if self.turns and (few or many_return):
            return self._park_and_return(keep, chosen)
        if few:
            return self._drop_finished(keep, chosen)
        return chosen

    def _drop_finished(self, keep: list[int], chosen):
        import torch

        at = torch.tensor(keep, device=chosen.device)
        self.batch.cache.batch_select_indices(at)
        self.batch.mask = self.batch.mask[at]
        self.batch.live = [self.batch.live[k] for k in keep]
        return chosen[at]

    def _park_and_return(self, keep: list[int], chosen):
        """Rows that wait for a tool are parked; those whose results have come read them and return."""
        live = self.batch.live
        waiting = [at for at, row in enumerate(live) if row in self.turns.open or row in self.returning]
        self.parked = join(self.parked, self.batch.align(waiting))
        self.batch = self.batch.keep(keep)
        chosen = chosen[keep]
        return self._return_parked(chosen) if self.returning else chosen

    def _return_parked(self, chosen):
        import torch

        again = self.parked.keep([at for at, row in enumerate(self.parked.live) if row in self.returning])
        self.parked = self.parked.keep([at for at, row in enumerate(self.parked.live) if row not in self.returning])
        # the token that ended the turn has not been read, either
        unread = [[self.tokens[row][-1], *self.returning[row]] for row in again.live]
        # padded on the right: no gap between them and what was read
        ids, mask = pad([row[:-1] for row in unread], self.model.device, "right")
        again.mask = torch.cat([again.mask, mask], 1)
        self._forward(ids, again.mask, again.cache)
        chosen = torch.cat([chosen, chosen.new_tensor([[row[-1]] for row in unread])])
        self.batch = join(self.batch, again.align(list(range(len(again.live)))))
        for row in again.live:
            self.turns.inject(row, self.tokens[row], self.returning.pop(row))
            self.over[row] = False
        return chosen

    def _mask_with_new_column(self):
        """The batch's mask with the column of the tokens that are read next."""
        import torch

        mask, live = self.batch.mask, self.batch.live
        new = mask.new_ones(len(live), 1)
        if self.turns and any(self.over[row] for row in live):  # what a waiting row is given meanwhile is not its own
            new = mask.new_tensor([[not self.over[row]] for row in live])
        self.batch.mask = torch.cat([mask, new], 1)
        return self.batch.mask


def forward_parameters(model) -> set[str]:
    """Names of the parameters of the architecture's `forward`, which compiled and PEFT models hide."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return set(inspect.signature(inner.forward).parameters)


def cache_parameter(parameters: set[str]) -> str:
    """The name under which such a `forward` takes its cache: `cache` since transformers 5.24."""
    return "cache" if "cache" in parameters else "past_key_values"
