"""Replies of a chat model that lies in a folder, on the Hub, or behind an OpenAI-compatible endpoint.

    replies = Replier("runs/tiny/sft", max_new_tokens=64)
    replies = Replier("Qwen/Qwen3-8B", max_new_tokens=64, backend="vllm")    # in this process
    replies = Replier("http://localhost:8000/v1", max_new_tokens=64, name="Qwen/Qwen3-8B")    # key: OPENAI_API_KEY
    replies([[{"role": "user", "content": "Who are you?"}]], samples=5)[0][0].text

vLLM, llama.cpp, TGI and the hosted services speak the endpoint's language. Its requests run side by side, and are
tried again where the server is busy or the line breaks. Not through `huggingface_hub.InferenceClient`: it refuses
localhost under HF_HUB_OFFLINE and sends the Hub's token to any endpoint.
"""

import json
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from eval.cli import UserError

AT_ONCE = 8  # requests
TRIES, WAIT, LONGEST_WAIT = (
    6,
    1.0,
    60.0,
)  # WAIT · 2^n seconds before try n + 1, half a minute in all; or what the server asks for
TIMEOUT = 600.0  # seconds without a word: an answer comes when it is whole
BACKENDS = ("transformers", "vllm")
ALIKE = 8  # conversations whose samples are all the same, from which an endpoint seems not to sample
BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
CURES = {
    401: "set OPENAI_API_KEY to a key that it takes",
    403: "set OPENAI_API_KEY to a key that it takes",
    404: "give the URL up to /v1, and the name of a model that is served there",
}


@dataclass(frozen=True)
class Reply:
    """`text`, whether it came to its end (not cut at `max_new_tokens`), and, with tools, its turns with their calls
    and results, of which `text` is the last."""

    text: str
    finished: bool
    messages: list[dict] = field(default_factory=list, hash=False)


class Replier:
    """Samples replies to conversations.

    Args:
        model: folder, Hub id, or the URL of an endpoint (up to /v1).
        max_new_tokens: of a reply.
        temperature: of sampling; 0 is greedy.
        name: of the model behind the endpoint.
        revision: of a model on the Hub.
        batch_size: replies at a time, of a model that runs here.
        backend: transformers or vllm, of a model that runs here.
        tools: what the model may call, of a model that runs here.
        max_result_tokens: of one result (default: a quarter of `max_new_tokens`).
        max_tool_calls: turns of a reply whose calls are run.

    Attributes:
        provenance: what identifies the source of a reply, to be kept with it; `revision` is the commit of a model on
            the Hub.

    Raises:
        UserError: the model cannot be loaded or has no chat template; an endpoint without `name`, or with a URL that
            is none; another backend; a backend or tools with an endpoint.
    """

    def __init__(
        self,
        model: str,
        max_new_tokens: int,
        temperature: float = 1.0,
        name: str | None = None,
        revision: str | None = None,
        batch_size: int = 256,
        backend: str = "transformers",
        tools: Sequence[Callable] = (),
        max_result_tokens: int | None = None,
        max_tool_calls: int = 8,
    ):
        if backend not in BACKENDS:
            raise UserError(f"backend is {' or '.join(BACKENDS)}, but is {backend}")
        if max_new_tokens < 1 or batch_size < 1 or not 0 <= temperature < math.inf:
            raise UserError(
                "max_new_tokens and batch_size must be at least 1 and temperature at least 0, but are"
                f" {max_new_tokens}, {batch_size} and {temperature}"
            )
        self.max_new_tokens, self.temperature, self.batch_size = max_new_tokens, temperature, batch_size
        self.tools, self.max_result_tokens, self.max_tool_calls = list(tools), max_result_tokens, max_tool_calls
        url = model.startswith(("http://", "https://"))
        if revision and (url or Path(model).is_dir()):
            raise UserError(
                f"revision {revision} is for models on the Hub, but the model is"
                f" {'an endpoint' if url else f'the folder {model}'}: leave it out"
            )
        if url and backend != "transformers":
            raise UserError(
                f"backend {backend} is of a model that runs here, but {model} is an endpoint: leave it out"
            )
        if url and tools:
            raise UserError(f"tools are of a model that runs here, but {model} is an endpoint: leave them out")
        if url:
            self._reply = _Endpoint(model, name, max_new_tokens, temperature)
        elif name:
            raise UserError(
                f"the name of a model ({name}) is for endpoints, but {model} is no URL: leave it out, or give such as"
                " http://localhost:8000/v1"
            )
        else:
            revision = self._load(model, revision, backend)
        self.provenance = {
            "model": name or model,
            "endpoint": model if url else None,
            "revision": revision,
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
        }

    def __call__(self, conversations: list[list[dict]], samples: int = 1, seed: int = 0) -> list[list[Reply]]:
        """`samples` replies to each conversation, in order; the same seed gives the same ones (an endpoint may not
        keep to it).

        Raises:
            UserError: the endpoint refuses, or does not answer after several tries.
        """
        return self._reply(conversations, samples, seed)

    def _load(self, model: str, revision: str | None, backend: str) -> str | None:
        """The revision, by its commit where the Hub has one."""
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from eval.generation.models import load_pretrained, load_tokenizer, require_chat_template

        logging.disable_progress_bar()
        self.tokenizer = load_tokenizer(model, revision=revision)
        require_chat_template(self.tokenizer, model)
        self._reply = self._here
        if backend == "vllm":
            from eval.generation.vllm_batch import load

            self.model = load(model, revision)
            return revision
        self.model = load_pretrained(AutoModelForCausalLM, model, "model", revision=revision, dtype="auto")
        if torch.cuda.is_available():
            self.model.to("cuda")
        return getattr(self.model.config, "_commit_hash", None) or revision

    def _here(self, conversations: list[list[dict]], samples: int, seed: int) -> list[list[Reply]]:
        from eval.generation.generate import generate

        done = generate(
            self.model,
            self.tokenizer,
            conversations,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            num_return_sequences=samples,
            batch_size=self.batch_size,
            seed=seed,
            tools=self.tools or None,
            max_result_tokens=self.max_result_tokens,
            max_tool_calls=self.max_tool_calls,
        )
        replies = []
        for group in done:
            replies.append([Reply(g.text, g.finished, g.messages) for g in group])
        return replies


# ---- Endpoints ----


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer that is none: followed, it would lose the request and might take the key elsewhere."""

    def redirect_request(self, *_):
        return None


class _Endpoint:
    """Asks `url`/chat/completions for replies of the model `name`, `AT_ONCE` at a time."""

    def __init__(self, url: str, name: str | None, max_new_tokens: int, temperature: float):
        try:
            parts = urlsplit(url)
            plain = (
                parts.hostname
                and parts.port != 0
                and not (parts.username or parts.password or parts.query or parts.fragment)
            )
        except ValueError:
            plain = False
        if not (plain and url.isascii() and url.isprintable() and " " not in url):
            raise UserError(
                "the URL of the endpoint must be such as http://localhost:8000/v1, without user, key or query: a key"
                " is given as OPENAI_API_KEY"
            )
        if not name:
            raise UserError(f"{url} is an endpoint: give the name of the model behind it")
        self.key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (self.key.isascii() and (self.key.isprintable() or not self.key)):
            raise UserError("OPENAI_API_KEY holds characters that no key has: copy it again")
        self.url, self.name = url.rstrip("/").removesuffix("/chat/completions"), name
        self.options = {"model": name, "max_tokens": max_new_tokens, "temperature": temperature}
        self.temperature = temperature
        self.open = build_opener(_NoRedirect).open
        self.told = self.told_alike = False

    def __call__(self, conversations: list[list[dict]], samples: int, seed: int) -> list[list[Reply]]:
        jobs = [(c, hash_seed(seed, i, k)) for i, c in enumerate(conversations) for k in range(samples)]
        stop = threading.Event()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                done = list(
                    pool.map(lambda job: self._ask(*job, stop), jobs)
                )  # an error cancels those that have not begun
            except BaseException:
                stop.set()
                raise
        replies = [done[i : i + samples] for i in range(0, len(done), samples)]
        if samples > 1 and self.temperature > 0:
            self._tell_alike(replies)
        return replies

    def _tell_alike(self, replies: list[list[Reply]]) -> None:
        """Say, once, that all samples of each conversation are the same: the server may not sample at all."""
        alike = all(len({reply.text for reply in group}) == 1 for group in replies)
        if self.told_alike or len(replies) < ALIKE or not alike:
            return
        self.told_alike = True
        print(
            f"note: the endpoint {self.url} said the same each time it was asked, to each of {len(replies)}"
            f" conversations, at temperature {self.temperature}: see that it samples (`transformers serve`"
            " does where the model's generation_config.json has do_sample: true)",
            flush=True,
        )

    def _ask(self, messages: list[dict], seed: int, stop: threading.Event) -> Reply:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        body = json.dumps({"messages": messages, "seed": seed, **self.options}).encode()
        for attempt in range(TRIES):
            wait = WAIT * 2**attempt
            try:
                with self.open(Request(f"{self.url}/chat/completions", body, headers), timeout=TIMEOUT) as answer:
                    return self._read(answer.read())
            except HTTPError as error:
                problem = f"status {error.code}: {self._said(error) or error.reason}"
                if error.code not in BUSY:
                    raise UserError(
                        f"the endpoint {self.url} refuses to answer for {self.name} ({problem}):"
                        f" {CURES.get(error.code, 'see what it says')}"
                    ) from None
                asked = error.headers.get("Retry-After", "")
                wait = max(wait, min(float(asked), LONGEST_WAIT)) if asked.isdecimal() else wait
            except (OSError, HTTPException) as error:  # refused, broken off, timed out, cut short
                problem = self._plain(str(getattr(error, "reason", error)) or type(error).__name__)
            if attempt + 1 < TRIES and not self.told:
                self.told = True
                print(f"the endpoint {self.url} does not answer ({problem}): trying again", flush=True)
            if attempt + 1 == TRIES or stop.wait(wait):
                raise UserError(
                    f"the endpoint {self.url} does not answer for {self.name} ({problem}): see that it runs, then run"
                    " the command again"
                )

    def _read(self, answer: bytes) -> Reply:
        try:
            choice = json.loads(answer)["choices"][0]
            text, reason = choice["message"].get("content"), choice["finish_reason"]
            if not isinstance(text, str | None):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError):
            message = self._plain(answer.decode("utf-8", "replace")) or "nothing"
            raise UserError(
                f"the endpoint {self.url} gives no chat completion, but {message}:"
                " give the URL of an OpenAI-compatible"
                " server, up to /v1"
            ) from None
        return Reply(
            (text or "").encode("utf-8", "replace").decode(), reason in ("stop", "eos_token")
        )  # the latter is TGI's word

    def _said(self, error: HTTPError) -> str:
        try:
            return self._plain(error.read(10_000).decode("utf-8", "replace"))
        except (OSError, HTTPException):
            return ""

    def _plain(self, text: str) -> str:
        """A server's words in one short line, without the key."""
        return " ".join((text.replace(self.key, "…") if self.key else text).split())[:200]


def hash_seed(seed: int, prompt: int, sample: int) -> int:
    """A seed of its own for each reply, below 2³¹."""
    return (seed * 1_000_003 + prompt * 1009 + sample) % 2**31


def replier_of(args, **tools) -> Replier:
    """The `Replier` of a command's arguments: `model`, `max_new_tokens`, `temperature`, `model_name`, `revision`,
    `batch_size` and `backend`; `tools`: those options of it that are about tools."""
    return Replier(
        args.model,
        args.max_new_tokens,
        args.temperature,
        args.model_name,
        args.revision,
        args.batch_size,
        args.backend,
        **tools,
    )
