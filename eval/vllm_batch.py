"""`eval.generate` on vLLM: one batch of continuations, tools included.

    from vllm import LLM
    generate(LLM("Qwen/Qwen3-8B", enable_prefix_caching=True), tokenizer, conversations, tools=[python],
    max_new_tokens=512)

vLLM batches by itself: a row whose turn ends in a call leaves the engine, and comes back as a new request when its
result is there, with all of its tokens as the prompt; the prefix cache has read them before. The model's end tokens
are those of its generation config, as vLLM reads it.
"""

import zlib

from eval.generate import Generation, _collect, _generation, end_token_ids
from eval.thinking import may_think


def seeds(streams: list[list[int]], max_new_tokens: int) -> list[int]:
    """One a row; vLLM draws by them."""
    return [zlib.crc32(repr(stream).encode()) for stream in streams]


def continue_batch(
    llm, tokenizer, rows, repeats, max_new_tokens, temperature, draws, stop_strings, turns=None, tell=None
) -> list[Generation]:
    """What `eval.generate._continue` does; `draws`: of `seeds`, or None where `temperature` is 0."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine, rows = llm.llm_engine, [row for row in rows for _ in range(repeats)]
    ends = end_token_ids(engine.model_config.try_get_generation_config().get("eos_token_id"), tokenizer)
    tokens: list[list[int]] = [[] for _ in rows]
    requests: dict[str, int] = {}  # those in the engine, and their rows
    asked = 0
    # vLLM would stop at them within a thought, too: where there can be one, they are cut off afterwards
    stop = None if may_think(tokenizer) else stop_strings or None

    def ask(row: int) -> None:
        nonlocal asked
        settings = SamplingParams(
            max_tokens=max_new_tokens - len(tokens[row]),
            temperature=temperature,
            seed=draws[row] + len(tokens[row]) if draws else None,
            stop=stop,
            stop_token_ids=sorted(ends),
            output_kind=RequestOutputKind.DELTA,
        )
        requests[name := f"generate-{id(tokens)}-{asked}"] = row
        asked += 1
        engine.add_request(name, {"prompt_token_ids": rows[row] + tokens[row]}, settings)

    try:
        for row in range(len(rows)):
            ask(row)
        while requests or (turns and turns.open):
            for output in engine.step() if requests else []:
                row = requests[output.request_id]
                for token in output.outputs[0].token_ids:
                    tokens[row].append(token)
                    if tell:
                        tell(row, token)
                if output.finished:
                    del requests[output.request_id]
                    if turns:
                        turns.ended(
                            row, tokens[row], may_call=len(tokens[row]) < max_new_tokens and tokens[row][-1] in ends
                        )
            if turns:
                back: dict[int, list[int]] = {}
                _collect(turns, back, tokens, max_new_tokens, wait=not requests)
                for row, results in back.items():
                    turns.inject(row, tokens[row], results)
                    ask(row)
    finally:
        engine.abort_request(list(requests))  # an error, or a stop by hand, leaves none behind
    return [_generation(tokenizer, rows[row], row, t, ends, stop_strings, turns) for row, t in enumerate(tokens)]
