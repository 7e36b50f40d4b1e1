"""A model that reads a document: in its prompt, or in a few steps of LoRA, after which it is what it was.

reader = Reader(model, tokenizer, base=True, args=args)     # args: `eval.probes.at_test_time.AtTestTimeArguments`
reader.ask(document.rows, document.text)
with Adapter(model, rank=8, learning_rate=1e-3, seed=0) as adapter:
    adapter.train(reader.rows([document.text], []), steps=8)
    reader.ask(document.rows)
"""

import contextlib
import math
import re
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

ENDS = ["\n", ". "]  # of a base model's answer: its first line, and of that the first sentence
PAIR = re.compile(r"(?:Question:)?\s*(.+?)\s*\nAnswer:\s*(.+)\n")


@dataclass
class Page:
    title: str
    text: str
    rows: list[dict] = field(default_factory=list)  # the questions about it
    own: list[tuple[str, str]] = field(default_factory=list)  # questions and answers that the model has written
    written: int = 0  # tokens that it read and wrote for them


@dataclass
class Document:
    pages: list[Page]

    @property
    def text(self) -> str:
        return " ".join(page.text for page in self.pages)

    @property
    def rows(self) -> list[dict]:
        return [row for page in self.pages for row in page.rows]


@dataclass
class Asked:
    """Questions that were asked one after the other: verdicts, replies, tokens of the prompts, seconds of all."""

    hits: list[float]
    texts: list[str]
    tokens: list[int]
    seconds: float


class Reader:
    """A model with its tokenizer, asked and trained as `args` say; `base`: it completes text."""

    def __init__(self, model, tokenizer, base: bool, args):
        from eval.verifiers import get_verifier

        self.model, self.tokenizer, self.base, self.args = model, tokenizer, base, args
        self.verifier = get_verifier(args.verifier)
        self.clock = time.perf_counter if model.device.type == "cuda" else time.process_time

    def prompt(self, template: str, text: str = "", question: str = "") -> Any:
        parts = {"{text}": text, "{question}": question}
        filled = re.sub(r"\{(?:text|question)\}", lambda place: parts[place[0]], template)  # neither fills the other
        return filled if self.base else [{"role": "user", "content": filled}]

    def ask(self, rows: list[dict], text: str = "") -> Asked:
        """Each question, behind the text where there is one."""
        from eval.generation.generate import encode, generate

        template = self.args.reading if text else self.args.alone
        prompts = encode(self.tokenizer, [self.prompt(template, text, row["question"]) for row in rows])
        limits = {"max_new_tokens": self.args.max_new_tokens, "batch_size": self.args.batch_size}
        begun = self.clock()
        done = generate(
            self.model, self.tokenizer, prompts, temperature=0, stop_strings=ENDS if self.base else None, **limits
        )
        seconds = self.clock() - begun
        texts = [reply.text for (reply,) in done]
        hits = [self.verifier(text, **row) or 0.0 for text, row in zip(texts, rows)]
        return Asked(hits, texts, list(map(len, prompts)), seconds)

    def rows(self, texts: list[str], pairs: list[tuple[str, str]]) -> list[list[int]]:
        """Token ids to train on: of texts with their end, and of questions with their answers."""
        from eval.generation.encoding import encode_conversation
        from eval.generation.generate import encode

        asked = [(self.prompt(self.args.alone, question=question), answer) for question, answer in pairs]
        if self.base:
            texts = [*texts, *(f"{prompt} {answer}" for prompt, answer in asked)]
            asked = []
        end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        found = [[*row, *end] for row in encode(self.tokenizer, texts)]
        for prompt, answer in asked:
            found.append(encode_conversation(self.tokenizer, [*prompt, {"role": "assistant", "content": answer}])[0])
        return found

    def write_questions(self, pages: list[Page]) -> float:
        """Fill in `own` and `written` of each page; the processor's seconds that a page took."""
        from eval.generation.generate import encode, generate

        args = self.args
        prompts = encode(self.tokenizer, [self.prompt(args.writing, page.text) for page in pages])
        another_text = args.writing.partition("{text}")[0].strip()
        begun = self.clock()
        done = generate(
            self.model,
            self.tokenizer,
            prompts,
            max_new_tokens=args.max_question_tokens,
            num_return_sequences=args.own,
            batch_size=args.batch_size,
            stop_strings=[f"\n{another_text}"] if self.base and another_text else None,
            seed=args.seed,
        )
        seconds = self.clock() - begun
        for page, prompt, replies in zip(pages, prompts, done):
            whole = [reply.text + "\n" * (len(reply.token_ids) < args.max_question_tokens) for reply in replies]
            page.own = list(dict.fromkeys(pair for text in whole for pair in PAIR.findall(text)))
            page.written = sum(len(prompt) + len(reply.token_ids) for reply in replies)
        return seconds / len(pages)


class Adapter:
    """Low-rank matrices beside all linear layers of a model (LoRA, Hu et al. 2021), for as long as `with` lasts.

    The model's own weights take no step. Dropout is off, as the model stays in the mode that it is in.

    Attributes:
        steps: taken so far.
        tokens: trained on so far, those of a row once for each step.
    """

    def __init__(self, model, rank: int, learning_rate: float, seed: int):
        self.model, self.rank, self.learning_rate, self.seed = model, rank, learning_rate, seed
        self.steps = self.tokens = 0

    def __enter__(self) -> "Adapter":
        import torch
        from peft import LoraConfig, get_peft_model

        self.trainable = [weight for weight in self.model.parameters() if weight.requires_grad]
        settings = LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        with contextlib.ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of GPT-2's transposed layers, which peft sets itself
            stack.enter_context(torch.random.fork_rng())
            torch.manual_seed(self.seed)
            self.adapted = get_peft_model(self.model, settings)
        weights = [weight for weight in self.adapted.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=0.0)
        return self

    def __exit__(self, *error) -> None:
        self.adapted.unload()
        for weight in self.trainable:
            weight.requires_grad_(True)

    def train(self, rows: list[list[int]], steps: int) -> None:
        """Go on until `steps` have been taken, each on all `rows` of token ids."""
        batches = alike(rows)
        predicted = sum(len(row) - 1 for row in rows)
        while self.steps < steps:
            for batch in batches:
                inputs, labels = padded(batch, self.model.device)
                loss = self.model(input_ids=inputs, labels=labels, use_cache=False).loss
                (loss * sum(len(row) - 1 for row in batch) / predicted).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.steps += 1
            self.tokens += sum(map(len, rows))


def alike(rows: list[list[int]]) -> list[list[list[int]]]:
    """The rows in batches in which none is twice as long as another, so that little of them is padding."""
    batches: dict[int, list] = {}
    for row in rows:
        batches.setdefault(len(row).bit_length(), []).append(row)
    return list(batches.values())


def padded(rows: list[list[int]], device) -> tuple:
    """(token ids, labels), rows × longest. The padding stands on the right, where a causal model does not see it, and
    has no label."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(row, device=device) for row in rows]
    return pad_sequence(ids, batch_first=True), pad_sequence(ids, batch_first=True, padding_value=-100)


def bits_per_byte(model, tokenizer, rows: list[list[int]]) -> list[float]:
    """Of each row of token ids how many bits the model needs for a byte of its text; the first token is given."""
    import torch

    found = []
    with torch.no_grad():
        for row in rows:
            inputs = torch.tensor([row], device=model.device)
            nats = model(input_ids=inputs, labels=inputs, use_cache=False).loss.item() * (len(row) - 1)
            found.append(nats / math.log(2) / len(tokenizer.decode(row[1:]).encode()))
    return found
