"""lm-evaluation-harness samples through `eval.generate`: its model `tumbler`.

Everything but `generate_until` is lm-eval's own Hugging Face model, so log-likelihood tasks run, too. On greedy
tasks the answers equal `--model hf`'s; a model whose generation config asks for penalties is the exception, as
`eval.generate` takes the end tokens from it and nothing else.
"""

import zlib

from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from eval.cli import UserError
from eval.generate import generate

NEUTRAL = {"top_k": (0, None), "top_p": (1, None), "min_p": (0, None), "num_beams": (1, None)}  # values that change nothing


@register_model("tumbler")
class GenerateLM(HFLM):
    """`HFLM` that generates with `eval.generate`.

    Args:
        seed: of sampled tasks; each task draws from streams of its own, so scores do not depend on the other tasks.
        progress: called with (task, number of replies) as they come.

    Attributes:
        finished: {task: [ended with an end token, one a reply]} of the greedy replies, in the order of the requests.
    """

    def __init__(self, *args, seed: int = 0, progress=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed, self.progress, self.finished = seed, progress, {}

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
            if unknown := {k: v for k, v in settings.items() if v not in NEUTRAL.get(k, ())}:
                raise UserError(f"task {task}: generation_kwargs {unknown} are not supported; evaluate it with lm_eval --model hf")
            repeats = max(map(len, places.values()))
            generations = generate(
                self.model,
                self.tokenizer,
                [request.args[0] for request in first],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                num_return_sequences=repeats if temperature else 1,
                batch_size=self.batch_size if isinstance(self.batch_size, int) else 256,
                seed=zlib.crc32(f"{self.seed}:{task}".encode()),
                stop_strings=[until] if isinstance(until, str) else until,
                progress=(lambda n: self.progress(task, n)) if self.progress else None,
            )
            if not temperature:
                self.finished[task] = [g[0].finished for g in generations]
                generations = [g * repeats for g in generations]
            for at, done in zip(places.values(), generations):
                for place, generation in zip(at, done):
                    replies[place] = generation.text
        return replies
