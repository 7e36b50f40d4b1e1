"""What `eval.generation.generate` gives back, and how both of its engines end a continuation.

The engines are `eval.generation.sampler` (transformers) and `eval.generation.vllm_batch`.
"""

from dataclasses import dataclass, field

from eval.checking.thinking import cut, opened

HEADER = 8  # tokens, which hold the tag that a header ends on


@dataclass
class Generation:
    """One continuation.

    Attributes:
        text: decoded without special tokens, cut before the first stop string; with tools that of the last turn. It
            begins with the tag of the thought that the prompt opened, where it did.
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


@dataclass(frozen=True)
class Settings:
    """How one batch is sampled; the arguments of `eval.generation.generate.generate` have the meanings.

    Attributes:
        repeats: continuations of each prompt (`num_return_sequences`).
    """

    repeats: int
    max_new_tokens: int
    temperature: float
    stop_strings: list[str]


def end_token_ids(ids: int | list[int] | None, tokenizer) -> set[int]:
    """The tokens that end a reply: the generation config's (`ids`) and the tokenizer's (an adapter keeps its base's
    config); none without any."""
    if ids is None:
        ids = []
    elif isinstance(ids, int):
        ids = [ids]
    return {*ids, tokenizer.eos_token_id} - {None}


def collect_results(turns, returning: dict[int, list[int]], tokens, max_new_tokens: int, wait: bool) -> None:
    """Add to `returning` the rows whose results have come and fit; with `wait` until there is one, or none can come.

    Args:
        turns: `eval.generation.tool_loop.Turns` of the batch.
        returning: token ids of the results by row.
        tokens: the new token ids of every row.
    """
    while turns.open:
        for row, suffix in turns.finished(wait=wait and not returning).items():
            length = len(tokens[row]) + len(suffix)
            if length < max_new_tokens:
                returning[row] = suffix
            elif length == max_new_tokens:  # the results fit, but the model has no room to answer
                turns.inject(row, tokens[row], suffix)
            else:
                turns.drop(row)
        if returning or not wait:
            return


def turn_text(tokenizer, prompt: list[int], token_ids: list[int], begin: int) -> str:
    """The text of the turn that begins at `begin`; before it the tag of the thought that its header opened."""
    text = tokenizer.decode(token_ids[begin:], skip_special_tokens=True)
    header = (prompt[-HEADER:] + token_ids[:begin])[-HEADER:]
    tag = opened(tokenizer.decode(header))
    return text if text.startswith(tag) else tag + text


def has_stop_string(tokenizer, prompt: list[int], token_ids: list[int], begin: int, tail: int, stop_strings) -> bool:
    """Whether the turn that begins at `begin` has come to a stop string outside its thinking; its last `tail` tokens
    are looked at first."""
    last = tokenizer.decode(token_ids[begin:][-tail:], skip_special_tokens=True)
    if not any(stop in last for stop in stop_strings):
        return False
    text = turn_text(tokenizer, prompt, token_ids, begin)
    return cut(text, stop_strings) != text


def as_generation(
    tokenizer, prompt: list[int], row: int, token_ids: list[int], ends: set[int], stop_strings, turns
) -> Generation:
    """The continuation of a row, out of its new tokens; `turns` is None without tools."""
    text = cut(turn_text(tokenizer, prompt, token_ids, turns.begin[row] if turns else 0), stop_strings)
    finished = bool(token_ids) and token_ids[-1] in ends
    if not turns:
        return Generation(text, token_ids, finished)
    messages = turns.messages[row]
    written = turns.written(row, len(token_ids))
    finished = finished and bool(written[-1]) and not messages[-1].get("tool_calls")
    return Generation(text, token_ids, finished, messages, written)
