"""`eval.generation.generate` on vLLM: one batch of continuations, tools included.

    from vllm import LLM
    llm = LLM("Qwen/Qwen3-8B", enable_prefix_caching=True)
    generate(llm, tokenizer, conversations, tools=[python], max_new_tokens=512)

vLLM batches by itself: a row whose turn ends in a call leaves the engine, and comes back as a new request when its
result is there, with all of its tokens as the prompt; the prefix cache has read them before. The model's end tokens
are those of its generation config, as vLLM reads it.
"""

import zlib

from eval.checking.thinking import may_think
from eval.generation.results import Generation, Settings, as_generation, collect_results, end_token_ids


def draws(streams: list[list[int]], max_new_tokens: int) -> list[int]:
    """One a row; vLLM draws by them."""
    return [zlib.crc32(repr(stream).encode()) for stream in streams]


def continue_batch(
    llm, tokenizer, rows: list[list[int]], settings: Settings, draws, turns=None, listener=None
) -> list[Generation]:
    """What `eval.generation.sampler.continue_batch` does; `draws`: of `draws` above, or None where the temperature is
    0."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = llm.llm_engine
    rows = [row for row in rows for _ in range(settings.repeats)]
    max_new_tokens, stop_strings = settings.max_new_tokens, settings.stop_strings
    ends = end_token_ids(engine.model_config.try_get_generation_config().get("eos_token_id"), tokenizer)
    tokens: list[list[int]] = [[] for _ in rows]
    requests: dict[str, int] = {}  # those in the engine, and their rows
    asked = 0
    # vLLM would stop at them within a thought, too: where there can be one, they are cut off afterwards
    stop = None if may_think(tokenizer) else stop_strings or None

    def ask(row: int) -> None:
        nonlocal asked
        parameters = SamplingParams(
            max_tokens=max_new_tokens - len(tokens[row]),
            temperature=settings.temperature,
            seed=draws[row] + len(tokens[row]) if draws else None,
            stop=stop,
            stop_token_ids=sorted(ends),
            output_kind=RequestOutputKind.DELTA,
        )
        name = f"generate-{id(tokens)}-{asked}"
        requests[name] = row
        asked += 1
        engine.add_request(name, {"prompt_token_ids": rows[row] + tokens[row]}, parameters)

    try:
        for row in range(len(rows)):
            ask(row)
        while requests or (turns and turns.open):
            for output in engine.step() if requests else []:
                row = requests[output.request_id]
                for token in output.outputs[0].token_ids:
                    tokens[row].append(token)
                    if listener:
                        listener(row, token)
                if output.finished:
                    del requests[output.request_id]
                    if turns:
                        turns.ended(
                            row, tokens[row], may_call=len(tokens[row]) < max_new_tokens and tokens[row][-1] in ends
                        )
            if turns:
                back: dict[int, list[int]] = {}
                collect_results(turns, back, tokens, max_new_tokens, wait=not requests)
                for row, results in back.items():
                    turns.inject(row, tokens[row], results)
                    ask(row)
    finally:
        engine.abort_request(list(requests))  # an error, or a stop by hand, leaves none behind
    return [as_generation(tokenizer, rows[row], row, t, ends, stop_strings, turns) for row, t in enumerate(tokens)]
