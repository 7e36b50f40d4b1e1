"""Batched sampling from any causal model, for the evals, for building data and for talking to it.

    from eval.generation.generate import generate
    conversation = [{"role": "user", "content": "Who are you?"}]
    replies = generate(model, tokenizer, [conversation], max_new_tokens=48, temperature=0)
    replies[0][0].text

Conversations go through the tokenizer's chat template, plain strings are continued as they are; neither can forge a
control token (`eval.generation.encoding`). Batches are sorted by length (less padding) and padded on the left; results
come in the order given.

A sample does not depend on the batch it was drawn in: each continuation draws from a random stream of its own
(`eval.generation.sampler`). The distribution is the model's own: `generation_config` gives the end tokens and nothing
else (no top-k, no penalties).

`model` may be a `vllm.LLM` instead, which batches and draws by itself (`eval.generation.vllm_batch`).

With `tools` the model's calls are run, and it reads their results: see `eval.generation.tool_loop`.
"""

import re
from collections.abc import Callable

from eval.cli import UserError
from eval.generation.control_tokens import seal, unseal
from eval.generation.encoding import encode_text
from eval.generation.rendering import Rendering, render
from eval.generation.results import Generation, Settings, end_token_ids

__all__ = ["Generation", "encode", "end_token_ids", "generate"]


def encode(tokenizer, prompts: list, **rendering) -> list[list[int]]:
    """Token ids of each prompt: a conversation, which ends in the header of the assistant's turn, a text, or token
    ids, which stay as they are. `rendering` goes to `eval.generation.rendering.render`. What a prompt spells never
    becomes a control token, unless it is a `Rendering`.

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
    empty = [i for i, row in enumerate(rows) if not row]
    if empty:
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
        stop_strings: end a continuation; the text is cut before them. Those in its thinking do not count.
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
        UserError: see `encode` and `eval.generation.tool_loop.Toolbox`; a prompt and `max_new_tokens` together exceed
            the model's positions; tools with a model that keeps more than keys and values of the past.
    """
    settings = Settings(num_return_sequences, max_new_tokens, temperature, stop_strings or [])
    toolbox = _toolbox(tokenizer, tools, max_new_tokens, max_result_tokens, tool_time_limit)
    rows = encode(tokenizer, prompts, **(toolbox.rendering if toolbox else {}))
    run = _Batches(model, tokenizer, rows, settings, seed, toolbox, max_tool_calls, stream)
    return run.generate(max(1, batch_size // num_return_sequences), progress)


def _toolbox(tokenizer, tools, max_new_tokens: int, max_result_tokens: int | None, time_limit: float):
    """The tools as `eval.generation.tool_loop.Toolbox`; None without any."""
    if not tools:
        return None
    from eval.generation.tool_loop import Toolbox

    return Toolbox(
        tokenizer, tools, max_new_tokens // 4 if max_result_tokens is None else max_result_tokens, time_limit
    )


class _Batches:
    """Continues encoded prompts, longest first, a batch at a time; see `generate` for the arguments."""

    def __init__(self, model, tokenizer, rows, settings: Settings, seed, toolbox, max_tool_calls, stream):
        import torch

        self.model, self.tokenizer, self.rows, self.settings = model, tokenizer, rows, settings
        self.toolbox, self.max_tool_calls, self.stream = toolbox, max_tool_calls, stream
        self.on_vllm = hasattr(model, "llm_engine")
        self._check_room()
        self.seed = int(torch.randint(2**31, ())) if seed is None else seed

    def generate(self, prompts_at_a_time: int, progress) -> list[list[Generation]]:
        """The continuations of each prompt, in the order of the prompts."""
        order = sorted(range(len(self.rows)), key=lambda i: (-len(self.rows[i]), i))
        out: list[list[Generation]] = [[] for _ in self.rows]
        training = not self.on_vllm and self.model.training
        if training:
            self.model.eval()
        try:
            for start in range(0, len(order), prompts_at_a_time):
                batch = order[start : start + prompts_at_a_time]
                done = self._continue(batch)
                for k, generation in enumerate(done):
                    out[batch[k // self.settings.repeats]].append(generation)
                if progress:
                    progress(len(done))
        finally:
            if training:
                self.model.train()
        return out

    def _continue(self, batch: list[int]) -> list[Generation]:
        """The continuations of the prompts with these places, `repeats` of each one after the other."""
        from eval.generation.tool_loop import Turns

        engine = self._engine()
        repeats = self.settings.repeats
        listener = self._listener(batch)
        draws = None
        if self.settings.temperature:
            streams = [[self.seed, i, k] for i in batch for k in range(repeats)]
            draws = engine.draws(streams, self.settings.max_new_tokens)
        turns = None
        inputs = [self.rows[i] for i in batch]
        if self.toolbox:
            prompts = [row for row in inputs for _ in range(repeats)]
            turns = Turns(self.toolbox, prompts, self.max_tool_calls, listener)
        try:
            return engine.continue_batch(self.model, self.tokenizer, inputs, self.settings, draws, turns, listener)
        finally:
            if turns:
                turns.close()

    def _listener(self, batch: list[int]):
        """`stream` for the continuations of a batch, which are numbered; None without one."""
        if not self.stream:
            return None
        return lambda row, piece: self.stream(batch[row // self.settings.repeats], piece)

    def _engine(self):
        """The module that continues a batch."""
        if self.on_vllm:
            from eval.generation import vllm_batch as engine
        else:
            from eval.generation import sampler as engine
        return engine

    def _check_room(self) -> None:
        if self.on_vllm:
            room = self.model.llm_engine.model_config.max_model_len
        else:
            room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        longest = max(map(len, self.rows), default=0)
        if room and longest + self.settings.max_new_tokens > room:
            raise UserError(
                f"a prompt of {longest} tokens and {self.settings.max_new_tokens} new ones exceed the model's {room}"
                " positions: shorten either"
            )
