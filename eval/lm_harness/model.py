"""lm-evaluation-harness samples through `eval.generation.generate`: its model `tumbler`.

Everything but `generate_until` is lm-eval's own Hugging Face model, so log-likelihood tasks run, too. On greedy
tasks the answers equal `--model hf`'s; a model whose generation config asks for penalties is the exception, as
`eval.generation.generate` takes the end tokens from it and nothing else. What a model thinks is never scored, in any
task.

With `tools` every task that generates becomes one with tools: the chat template shows them, their calls are run, and
the reply that is scored is the last turn:

    simple_evaluate(model="tumbler", model_args="pretrained=runs/tiny/sft,tools=python", apply_chat_template=True, …)
"""

import zlib

from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from eval.checking.thinking import thinks, visible
from eval.cli import UserError
from eval.generation.control_tokens import SEAL, seal, seal_messages
from eval.generation.encoding import encode_text
from eval.generation.generate import encode, generate
from eval.generation.rendering import Rendering
from eval.generation.tool_loop import Toolbox, load_tools

NEUTRAL = {
    "top_k": (0, None),
    "top_p": (1, None),
    "min_p": (0, None),
    "num_beams": (1, None),
}  # values that change nothing

MOST_LOGITS = 2**27  # at once, in log-likelihood tasks: 0.5 GiB in float32, of which there are two at times


def scored(text: str) -> str:
    """What of a reply is scored: what stands behind its thinking (lm-eval's `think_end_token`, for every way in which
    thinking is marked); "" where the thinking never ends. A reply without thinking stays as it is.
    """
    return visible(text).lstrip() if thinks(text) else text


class Generates:
    """What an lm-eval model becomes that generates with `eval.generation.generate`.

    Args:
        seed: of sampled tasks; each task draws from streams of its own, so scores do not depend on the other tasks.
        progress: called with (task, number of replies) as they come.
        tools: functions, or their names (see `eval.generation.tool_loop.load_tools`; in one string they stand between
        `+`).
        max_tool_calls: of a reply, see `eval.generation.generate`.
        tool_tokens: with tools: how many tokens calls and results may take beside the reply's own; a result three
            quarters of them.

    Attributes:
        finished: {task: [ended with an end token, one a reply]} of the greedy replies, in the order of the requests.
    """

    def __init__(
        self,
        *args,
        seed: int = 0,
        progress=None,
        tools: list | str | None = None,
        max_tool_calls: int = 8,
        tool_tokens: int = 512,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.seed, self.progress, self.finished = seed, progress, {}
        self.renders = False  # lm-eval makes conversations of its prompts
        tools = tools.split("+") if isinstance(tools, str) else tools or []
        self.tools = [tool for given in tools for tool in (load_tools([given]) if isinstance(given, str) else [given])]
        self.max_tool_calls, self.tool_tokens = max_tool_calls, tool_tokens if self.tools else 0
        if self.tools:
            self.chat_template_args |= Toolbox(self.tokenizer, self.tools, 0, 0).rendering

    @property
    def described(self) -> dict:
        """For the results' `config`."""
        if not isinstance(self, HFLM):
            return {}
        return {
            "model_num_parameters": self.model.num_parameters(),
            "model_dtype": str(self.model.dtype),
            "device": str(self.model.device),
        }

    # ---- What a prompt spells never becomes a control token: lm-eval passes renderings on as text, so they are sealed
    # ----

    def apply_chat_template(self, chat_history: list[dict], add_generation_prompt: bool = True) -> str:
        self.renders = True
        return super().apply_chat_template(seal_messages(self.tokenizer, chat_history), add_generation_prompt)

    def tok_encode(self, string: str | list[str], add_special_tokens: bool | None = None, **kwargs):
        sealed = string if self.renders or not isinstance(string, str) else seal(self.tokenizer, string)
        if SEAL not in sealed:
            return super().tok_encode(string, add_special_tokens, **kwargs)
        bos = self.tokenizer.bos_token
        special = (
            not (self.renders or (bos and string.startswith(bos)))
            if add_special_tokens is None
            else add_special_tokens
        )
        return encode_text(self.tokenizer, sealed, special)[-(kwargs.get("left_truncate_len") or 0) :]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return super()._encode_pair(context, seal(self.tokenizer, continuation) if self.renders else continuation)

    def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
        """Replies in the order of `requests`; a request that stands there k times is sampled k times."""
        groups: dict[tuple, dict[int, list[int]]] = {}  # (task, settings) -> request -> its places
        for place, request in enumerate(requests):
            groups.setdefault((request.task_name, repr(request.args[1])), {}).setdefault(id(request), []).append(place)
        replies: list[str] = [""] * len(requests)
        for (task, _), places in groups.items():
            first = [requests[at[0]] for at in places.values()]
            settings = normalize_gen_kwargs(first[0].args[1], self.max_gen_toks)
            until, temperature = settings.pop("until", []), settings.pop("temperature", 0.0)
            max_new_tokens, _ = settings.pop("max_gen_toks"), settings.pop("do_sample", None)
            unknown = {k: v for k, v in settings.items() if v not in NEUTRAL.get(k, ())}
            if unknown:
                raise UserError(
                    f"task {task}: generation_kwargs {unknown} are not supported; evaluate it with lm_eval --model hf"
                )
            repeats = max(map(len, places.values()))
            room = self.max_length - max_new_tokens - self.tool_tokens
            texts = [Rendering(r.args[0]) if self.renders else r.args[0] for r in first]
            prompts = [
                row[-room:] if room > 0 else row for row in encode(self.tokenizer, texts)
            ]  # cut as lm-eval does
            generations = generate(
                self.model,
                self.tokenizer,
                prompts,
                max_new_tokens=max_new_tokens + self.tool_tokens,
                temperature=temperature,
                num_return_sequences=repeats if temperature else 1,
                batch_size=self.batch_size if isinstance(self.batch_size, int) else 256,
                seed=zlib.crc32(f"{self.seed}:{task}".encode()),
                stop_strings=[until] if isinstance(until, str) else until,
                tools=self.tools,
                max_tool_calls=self.max_tool_calls,
                max_result_tokens=self.tool_tokens * 3 // 4,
                progress=(lambda n, task=task: self.progress(task, n)) if self.progress else None,
            )
            if not temperature:
                self.finished[task] = [g[0].finished for g in generations]
                generations = [g * repeats for g in generations]
            for at, done in zip(places.values(), generations):
                for place, generation in zip(at, done):
                    replies[place] = scored(generation.text)
        return replies


@register_model("tumbler")
class GenerateLM(Generates, HFLM):
    """lm-eval's Hugging Face model that generates with `eval.generation.generate`."""

    def _loglikelihood_tokens(self, requests, *args, **kwargs):
        """lm-eval's, with fewer rows at a time where their logits would be more than `MOST_LOGITS`."""
        longest = max((len(context) + len(text) for _, context, text in requests), default=1)
        longest = min(longest, self.max_length)  # what is longer lm-eval cuts
        rows = max(1, MOST_LOGITS // (longest * self.vocab_size))
        given = self.batch_size_per_gpu
        if isinstance(given, int):  # else lm-eval finds out what fits
            self.batch_size_per_gpu = min(given, rows)
        try:
            return super()._loglikelihood_tokens(requests, *args, **kwargs)
        finally:
            self.batch_size_per_gpu = given


def load_lm(backend: str, path: str, tokenizer, device: str, **options):
    """The model of a folder or Hub id for lm-eval, by transformers or vLLM.

    Raises:
        UserError: it cannot be loaded, or vLLM is not installed.
    """
    if backend == "vllm":
        from eval.generation import vllm_batch

        settings = vllm_batch.options(path)
        vllm_batch.name_package()
        with vllm_batch.quiet():
            from lm_eval.models.vllm_causallms import VLLM

            return type("GenerateVLLM", (Generates, VLLM), {})(pretrained=path, **settings, **options)
    from transformers import AutoModelForCausalLM

    from eval.generation.models import load_pretrained

    return GenerateLM(
        pretrained=load_pretrained(AutoModelForCausalLM, path, "model", dtype="auto").to(device),
        tokenizer=tokenizer,
        **options,
    )
