"""Learning at test time: a document that a model never read, in its context, in a few steps of LoRA, or in both.

    python -m eval.probes.at_test_time --models base=runs/tiny/base --base base \
        --pages runs/tiny/world/library/library.jsonl --questions runs/tiny/world/eval/facts_unseen.jsonl \
        --known runs/tiny/world/eval/facts_known.jsonl --plain runs/tiny/web/documents --verifier names_choice \
        --output at_test_time.json

A document is one page, or some one behind the other; a question belongs to the page whose title it names. The same
questions are asked, greedily, about documents of each size, in these ways:

    nothing        the question alone
    context        the document stands before the question
    text-8         the question alone, after 8 steps of LoRA on the document's text and nothing else
    questions-8    the same on the text and on questions with answers that the model itself has written about each page
                   while it read it (as in SEAL, Zweiger et al. 2025)
    both-8         the document before the question, after the 8 steps on its text

Pretraining makes answers of facts only where they stand in several wordings, with questions among them (Allen-Zhu and
Li 2023, "Physics of Language Models", 3.1); `text` beside `questions` shows whether that holds here. What a model
writes itself can be wrong, and nothing is sorted out. After each document the adapter is dropped, and the model is
what it was. What it costs meanwhile of the old knowledge: `known`, questions whose answers the model knows, and the
bits per byte of `plain` text.

Costs are those of a document, `once` (tokens written and trained on, at each step anew; seconds), and those of a
question, `each` (tokens of its prompt; seconds). Seconds are the processor's, which waiting does not lengthen; on a
GPU those of the clock. A context that is kept and shared by its questions (prefix caching) would cost its tokens once:
here it is read anew for each. Errors are over documents, n counts questions.
"""

import itertools
import random
import re
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy, clustered
from eval.probes.reader import Adapter, Asked, Document, Page, Reader, bits_per_byte
from eval.shared.documents import documents

CURE = "give JSON lines of `question` and `answer`, such as those of runs/tiny/world/eval"
EXAMPLES = 3


@dataclass
class AtTestTimeArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    pages: str = field(metadata={"help": "*.jsonl(.gz) of `text` and `metadata` with a `title`, or a folder of them"})
    questions: str = field(
        metadata={"help": ".jsonl file of `question` (names a title), `answer`, …: about the pages"}
    )
    known: str = field(metadata={"help": ".jsonl file of the same columns: what the model knows"})
    plain: str = field(
        metadata={"help": "documents whose bits per byte are measured, as for --pages; no title needed"}
    )
    verifier: str = field(metadata={"help": "name in eval.verifiers"})
    output: str = field(metadata={"help": ".json file to write"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    sizes: list[int] = field(default_factory=lambda: [1, 2, 4, 8], metadata={"help": "pages in a document"})
    subjects: int = field(default=24, metadata={"help": "pages asked about, a multiple of each size, drawn by lot"})
    steps: list[int] = field(default_factory=lambda: [8, 32], metadata={"help": "of LoRA, after which it is asked"})
    learning_rate: float = field(default=1e-3, metadata={"help": "of LoRA"})
    rank: int = field(default=8, metadata={"help": "of LoRA"})
    own: int = field(default=1, metadata={"help": "times that the model writes questions about a page"})
    alone: str = field(default="{question}", metadata={"help": "prompt, or a chat model's message"})
    reading: str = field(
        default="Read: {text}\nQuestion: {question}\nAnswer:", metadata={"help": "the same with the document"}
    )
    writing: str = field(
        default="Read: {text}\nQuestion:", metadata={"help": "the same that has the model write questions and answers"}
    )
    known_limit: int = field(default=36, metadata={"help": "only the first of the questions that it knows"})
    plain_limit: int = field(default=4, metadata={"help": "only the first of the plain documents"})
    plain_tokens: int = field(default=512, metadata={"help": "of each the first"})
    max_new_tokens: int = field(default=16, metadata={"help": "of an answer"})
    max_question_tokens: int = field(default=128, metadata={"help": "of what the model writes at a time"})
    batch_size: int = field(default=64, metadata={"help": "answers at a time"})
    seed: int = field(default=0, metadata={"help": "of the choice of pages, of the adapters and of what is written"})


@dataclass
class Way:
    """What was measured in one way, document by document."""

    asked: list[Asked] = field(default_factory=list)
    tokens_once: list[int] = field(default_factory=list)
    seconds_once: list[float] = field(default_factory=list)
    known: list[list[float]] = field(default_factory=list)
    bits: list[list[float]] = field(default_factory=list)

    def add(self, asked: Asked, tokens: int = 0, seconds: float = 0.0) -> None:
        self.asked.append(asked)
        self.tokens_once.append(tokens)
        self.seconds_once.append(seconds)

    def figures(self) -> dict:
        prompts = [tokens for asked in self.asked for tokens in asked.tokens]
        seconds = sum(asked.seconds for asked in self.asked)
        once = {"tokens": fmean(self.tokens_once), "seconds": fmean(self.seconds_once)}
        found: dict[str, Any] = {
            "right": clustered([asked.hits for asked in self.asked]),
            "once": once,
            "each": {"tokens": fmean(prompts), "seconds": seconds / len(prompts)},
        }
        if self.known:
            found["known"], found["bits_per_byte"] = clustered(self.known), clustered(self.bits)
        return found


def read_pages(args: AtTestTimeArguments) -> tuple[list[Page], int]:
    """The pages to ask about, `subjects` of them, and the number of questions that name no page.

    Raises:
        UserError: a file that cannot be read, a question that cannot be judged, or too few pages that one is about.
    """
    titled = [row for row in documents(args.pages) if (row.get("metadata") or {}).get("title")]
    pages = {str(row["metadata"]["title"]).casefold(): Page(row["metadata"]["title"], row["text"]) for row in titled}
    titles = "|".join(map(re.escape, sorted(pages, key=len, reverse=True)))
    named, left_out = re.compile(rf"(?<!\w)(?:{titles})(?!\w)"), 0
    for row in read_questions(args.questions, args.verifier):
        title = named.search(row["question"].casefold()) if pages else None
        if title is None:
            left_out += 1
        else:
            pages[title[0]].rows.append(row)
    chosen = [page for page in pages.values() if page.rows]
    if len(chosen) < args.subjects:
        raise UserError(
            f"{args.questions} names the titles of {len(chosen)} pages of {args.pages} ({left_out} questions name"
            f" none), but subjects is {args.subjects}: ask for fewer, or give pages with metadata.title"
        )
    return random.Random(args.seed).sample(chosen, args.subjects), left_out


def read_questions(path: str, name: str) -> list[dict]:
    """Rows with `question` and `answer`, each of which the verifier of that name can judge.

    Raises:
        UserError: one is not so.
    """
    from eval.verifiers import get_verifier

    rows, verifier = read_jsonl(path, ("question", "answer"), CURE), get_verifier(name)
    for number, row in enumerate(rows, 1):
        try:
            judged = isinstance(row["question"], str) and verifier("", **row) is not None
        except (TypeError, AttributeError, ValueError, LookupError):
            judged = False
        if not judged:
            raise UserError(f"{path}, line {number}: {name} cannot judge an answer to it: {CURE}, or another verifier")
    return rows


def check_arguments(args: AtTestTimeArguments) -> None:
    """Raises `UserError` for what is out of range, and for prompts without their places."""
    names = ("rank", "own", "known_limit", "plain_limit", "max_new_tokens", "max_question_tokens", "batch_size")
    counts = [getattr(args, name) for name in names]
    if not args.sizes or not args.steps or min(*args.sizes, *args.steps, *counts) < 1:
        raise UserError(f"sizes, steps, {', '.join(names[:-1])} and {names[-1]} must be at least 1")
    if args.plain_tokens < 2 or args.learning_rate <= 0:
        raise UserError("plain_tokens must be at least 2, and learning_rate above 0")
    if args.subjects < 2 * max(args.sizes) or any(args.subjects % size for size in args.sizes):
        raise UserError(
            f"subjects must be a multiple of each of sizes, and make two documents at least of each, but is"
            f" {args.subjects} with sizes {' '.join(map(str, args.sizes))}"
        )
    for key, places in (("alone", ["{question}"]), ("reading", ["{text}", "{question}"]), ("writing", ["{text}"])):
        missing = [place for place in places if place not in getattr(args, key)]
        if missing:
            raise UserError(f"{key} must have {missing[0]} in it, but is {getattr(args, key)!r}")


def measure(reader: Reader, pages: list[Page], known: list[dict], plain: list[list[int]], bar) -> dict:
    """Of one model: `old`, what it knows before; by `sizes` of a document each way's figures; and `examples`.

    `bar` (of tqdm) counts documents, and tells the figures of each size when it is done."""
    before = {
        "known": accuracy(reader.ask(known).hits),
        "bits_per_byte": accuracy(bits_per_byte(reader.model, reader.tokenizer, plain)),
    }
    seconds_written = reader.write_questions(pages)
    sizes = {}
    for size in sorted(set(reader.args.sizes), reverse=True):  # what is too long for the model is said at once
        ways: dict[str, Way] = {}
        parts = [Document(pages[at : at + size]) for at in range(0, len(pages), size)]
        for document in parts:
            for name in ("nothing", "context"):
                ways.setdefault(name, Way()).add(reader.ask(document.rows, document.text if name == "context" else ""))
            train_and_ask(reader, document, ways, known, plain, seconds_written * size)
            bar.update()
        figures = {name: way.figures() for name, way in ways.items()}
        sizes[size] = {"documents": len(parts), "ways": figures}
        shares = ", ".join(f"{name} {m['right']['value']:.3f}" for name, m in figures.items())
        bar.write(f"documents of {size}: {shares} (n = {sum(len(page.rows) for page in pages)})")
    return {
        "old": before,
        "own_questions": accuracy([len(page.own) for page in pages]),
        "sizes": dict(sorted(sizes.items())),
        "examples": examples(parts[0], ways),
    }


def train_and_ask(
    reader: Reader, document: Document, ways: dict[str, Way], known: list[dict], plain: list[list[int]], writing: float
) -> None:
    """Measure the ways with an adapter; `writing`: the seconds that the questions about the document took."""
    args, clock = reader.args, reader.clock
    pairs = [pair for page in document.pages for pair in page.own]
    written = sum(page.written for page in document.pages)
    for kind, own, tokens, seconds in (("text", [], 0, 0.0), ("questions", pairs, written, writing)):
        rows = reader.rows([document.text], own)
        with Adapter(reader.model, args.rank, args.learning_rate, args.seed) as adapter:
            for steps in sorted(set(args.steps)):
                begun = clock()
                adapter.train(rows, steps)
                seconds += clock() - begun
                cost = (tokens + adapter.tokens, seconds)
                way = ways.setdefault(f"{kind}-{steps}", Way())
                way.add(reader.ask(document.rows), *cost)
                way.known.append(reader.ask(known).hits)
                way.bits.append(bits_per_byte(reader.model, reader.tokenizer, plain))
                if kind == "text":
                    ways.setdefault(f"both-{steps}", Way()).add(reader.ask(document.rows, document.text), *cost)


def examples(document: Document, ways: dict[str, Way]) -> list[dict]:
    """The first questions about the first document, and what was said in each way: `question`, `answer`, `replies`."""
    shown = []
    for place, row in enumerate(document.rows[:EXAMPLES]):
        replies = []
        for name, way in ways.items():
            asked = way.asked[0]
            replies.append({"way": name, "text": asked.texts[place], "right": asked.hits[place] == 1.0})
        shown.append({"question": row["question"], "answer": str(row["answer"]), "replies": replies})
    return shown


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((AtTestTimeArguments,), argv)
    models = named_folders(args.models, args.base)
    check_arguments(args)
    pages, left_out = read_pages(args)
    known = read_questions(args.known, args.verifier)[: args.known_limit]
    plain = [row["text"] for row in itertools.islice(documents(args.plain), args.plain_limit)]
    output_file(args.output, [*models.values(), args.pages, args.questions, args.known, args.plain])
    from tqdm import tqdm

    from eval.generation.generate import encode
    from eval.generation.models import load_models, require_chat_template

    loaded, results = load_models(models), {}
    for name, (_, tokenizer) in loaded.items():
        if name not in args.base:
            require_chat_template(tokenizer, models[name])
    total = len(models) * sum(args.subjects // size for size in set(args.sizes))
    with tqdm(total=total, unit="document", mininterval=1) as bar:
        for name, (model, tokenizer) in loaded.items():
            reader = Reader(model, tokenizer, name in args.base, args)
            rows = [row[: args.plain_tokens] for row in encode(tokenizer, plain) if len(row) > 1]
            bar.set_description(name)
            results[name] = measure(reader, pages, known, rows, bar)
    write_json(args.output, {**asdict(args), "left_out": left_out, "models": results}, ensure_ascii=False)


if __name__ == "__main__":
    main()
