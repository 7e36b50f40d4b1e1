"""AI drafts: an existing model answers prompts under the labelling guidelines, for people to edit.

    python -m data_prep.synthesize --model Qwen/Qwen3-8B --prompts runs/x/prompts.jsonl --output_dir runs/x/drafts
    python -m data_prep.synthesize --model http://localhost:8000/v1 --model_name Qwen/Qwen3-8B --prompts \
        runs/x/prompts.jsonl --output_dir runs/x/drafts

Prompts are rows with `prompt` (messages or text), `messages` (up to the last turn of the user) or `question`. The
guidelines are the system message of the request, before the row's own; the draft keeps the row's alone, and its
`tools`, which the drafting model does not see. What it thinks between <think> and </think> is no part of the draft.

`drafts.jsonl` holds `messages`, `status: draft` and `provenance`, `rejects.jsonl` a `reason` instead of the status:
`REASONS`. A draft is no training data: a person edits the last message and sets the status to accepted; give
`recipes.sft` a file of accepted rows alone.

Repetition is Gopher's (Rae et al. 2021, table A1) with another threshold: its 0.15 takes 5 % of GSM8K's own solutions,
whose steps say the same words of other numbers; 0.3 takes 0.3 %.

Chunks of prompts are appended whole; a killed run resumes after the last one, and its files are byte-identical.
"""

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_prep.shared.dataset_rows import columns_of, find_parts, read_rows
from data_prep.shared.ngrams import Index, words
from data_prep.shared.progress import Progress
from eval.cli import UserError, command, existing, output_folder, parse, sha256, write_json
from eval.generation.replies import Replier, replier_of
from eval.shared.fingerprints import model_fingerprint

GUIDELINES = Path(__file__).parent / "labelling" / "labelling_guidelines.md"
COLUMNS = ("prompt", "messages", "question")  # the first that a row has
ROLES = ("system", "user", "assistant", "tool")
REASONS = {
    "long_prompt": "the prompt has more than max_prompt_words; it was not asked",
    "empty": "nothing but white space",
    "not_finished": "cut at max_new_tokens, or still thinking",
    "long": "more than max_words",
    "repeats": "more than max_repeated of its characters lie in 5-grams of words that it had before",
    "copies": (
        "more than max_copied of its 13-grams stand in a message of the prompt or in the guidelines, or it is that"
        " message"
    ),
    "near_duplicate": (
        "it shares more than max_similar of its 5-grams and all numbers with an earlier draft of the prompt"
    ),
}
REPEATED, COPIED, SIMILAR = (
    5,
    13,
    5,
)  # words of an n-gram: Gopher's shortest (table A1), as in data_prep.decontaminate, as in FineWeb's MinHash


@dataclass
class SynthesizeArguments:
    model: str = field(
        metadata={
            "help": (
                "drafting model: folder, Hub id, or URL of an OpenAI-compatible endpoint up to /v1 (key:"
                " OPENAI_API_KEY)"
            )
        }
    )
    prompts: list[str] = field(metadata={"help": "files, globs, folders, Hub ids, or sources as JSON"})
    output_dir: str = field(metadata={"help": "folder to write"})
    model_name: str | None = field(default=None, metadata={"help": "of the model behind the endpoint"})
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub"})
    guidelines: str = field(default=str(GUIDELINES), metadata={"help": "text file, the system message of the request"})
    samples: int = field(default=1, metadata={"help": "drafts a prompt"})
    temperature: float = field(default=0.7, metadata={"help": "of sampling; 0 is greedy"})
    max_new_tokens: int = field(default=1024, metadata={"help": "of a draft, its thinking included"})
    max_prompt_words: int = field(default=2000, metadata={"help": "prompts with more are not asked"})
    max_words: int = field(default=600, metadata={"help": "drafts with more are rejected"})
    max_repeated: float = field(default=0.3, metadata={"help": "share of a draft in repeated 5-grams; 1 allows all"})
    max_copied: float = field(
        default=0.9,
        metadata={
            "help": (
                "share of a draft's 13-grams from the prompt or the guidelines; 1, for texts to be revised, allows all"
            )
        },
    )
    max_similar: float = field(
        default=0.8,
        metadata={"help": "share of 5-grams (Jaccard) that two drafts of a prompt have in common; 1 allows all"},
    )
    batch_size: int = field(default=64, metadata={"help": "drafts at a time, of a model that runs here"})
    backend: str = field(default="transformers", metadata={"help": "of a model that runs here: transformers or vllm"})
    chunk: int = field(default=64, metadata={"help": "prompts whose drafts are written together"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


# ---- Prompts ----


@dataclass(frozen=True)
class Prompt:
    messages: list[dict]
    tools: list | None
    source: str
    row: int

    def request(self, guidelines: str) -> list[dict]:
        """The messages under the guidelines; one system message, since many templates take no second."""
        own = self.messages[0]["role"] == "system"
        system = (
            f"{guidelines}\n\n# The system message of this conversation\n\n{self.messages[0]['content']}"
            if own
            else guidelines
        )
        return [{"role": "system", "content": system}, *self.messages[own:]]


def read_prompt(row: dict, where: str) -> list[dict]:
    """The messages up to the last turn of the user; a `UserError` where there is none."""
    column = columns_of(row, COLUMNS, where)[0]
    value = row[column]
    messages = value if isinstance(value, list) else [{"role": "user", "content": value}]
    messages = [
        {k: v for k, v in m.items() if v is not None} if isinstance(m, dict) else {} for m in messages
    ]  # Arrow fills in null
    while messages and messages[-1].get("role") != "user":
        messages.pop()
    if not messages:
        raise UserError(
            f"{where}: {column} has no turn of the user; it must be text or messages such as "
            + '[{"role": "user", "content": "Who are you?"}]'
        )
    for number, message in enumerate(messages, 1):
        content = message.get("content", "" if message.get("tool_calls") else None)
        if message.get("role") not in ROLES or not isinstance(content, str):
            raise UserError(
                f"{where}: message {number} of {column} must have a role ({', '.join(ROLES)}) and a text as content"
            )
    if not messages[-1]["content"].strip():
        raise UserError(f"{where}: the last turn of the user in {column} is empty")
    try:
        json.dumps([messages, row.get("tools")], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where} holds half a character (a lone surrogate): write the row again, or remove it"
        ) from None
    return messages


def read_prompts(sources: list) -> list[Prompt]:
    prompts = []
    for part in find_parts(sources):
        source = ":".join([part.path, *(part.spec[key] for key in ("name", "split") if (part.spec or {}).get(key))])
        for number, _, row in read_rows(part):
            prompts.append(
                Prompt(read_prompt(row, f"{part.path}, row {number}"), row.get("tools") or None, source, number)
            )
    if not prompts:
        raise UserError(
            f"the prompts ({', '.join(map(str, sources))}) are empty: expected at least one row with"
            f" {', '.join(COLUMNS)}"
        )
    return prompts


# ---- Filters ----


def answer_of(text: str) -> str:
    """The text behind the thinking."""
    return text.rpartition("</think>")[2].strip()


def repeated(text: list[str]) -> float:
    """Gopher's share of characters in n-grams that came before, of words without what stands between them."""
    from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate

    return find_all_duplicate(text, REPEATED) / max(1, sum(map(len, text)))


def copied(text: list[str], source: list[str]) -> float:
    """The share of the n-grams that stand in the source, too; a shorter text is a copy where it is the source, and no
    copy else."""
    if text == source or len(text) < COPIED:
        return float(text == source)
    index = Index(COPIED, COPIED)
    index.add(text)
    return index.shares(index.find(source)).get(0, 0.0)


def similar(a: list[str], b: list[str]) -> float:
    """Jaccard similarity of the n-grams; 0 where the numbers are others: 9.11 is no near duplicate of 9.9."""
    numbers = [Counter(word for word in text if word[0].isdigit()) for text in (a, b)]
    grams = [{tuple(text[i : i + SIMILAR]) for i in range(max(1, len(text) - SIMILAR + 1))} for text in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1]) if numbers[0] == numbers[1] else 0.0


@dataclass(frozen=True)
class Filter:
    args: SynthesizeArguments
    guidelines: list[str]  # words

    def __call__(self, reply: str, finished: bool, prompt: Prompt, others: list[str]) -> str | None:
        """The first of `REASONS` to reject a model's reply; `others`: answers to the prompt that were kept."""
        answer = answer_of(reply)
        text = words(answer) or answer.split()
        if not finished or answer.startswith("<think>"):
            return "not_finished" if reply.strip() else "empty"
        if not answer:
            return "empty"
        if len(text) > self.args.max_words:
            return "long"
        if repeated(text) > self.args.max_repeated:
            return "repeats"
        sources = [self.guidelines, *(words(message.get("content", "")) for message in prompt.messages)]
        if max(copied(text, source) for source in sources) > self.args.max_copied:
            return "copies"
        if any(similar(text, words(other) or other.split()) > self.args.max_similar for other in others):
            return "near_duplicate"
        return None


# ---- Files ----


def load(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): remove its folder, or give another --output_dir") from None


class Output:
    """The folder of a run: two files of rows, `settings.json`, and `progress.json`, which says how far both files are
    whole."""

    FILES = ("drafts.jsonl", "rejects.jsonl")

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        begun = (folder / "settings.json").exists()
        self.begun = begun and any(
            (folder / name).exists() and (folder / name).stat().st_size for name in (*self.FILES, "summary.json")
        )  # else its settings bind nobody
        if not begun and (strange := [name for name in (*self.FILES, "summary.json") if (folder / name).exists()]):
            raise UserError(
                f"{folder} holds {strange[0]} without settings.json, so it is not of this command: give another"
                " --output_dir"
            )
        before = load(folder / "settings.json") if self.begun else settings
        self.provenance = before.get("provenance")
        other = [key for key in settings if before.get(key) != settings[key]]
        if other:
            raise UserError(
                f"{folder} was begun with {other[0]} {before.get(other[0])}, not {settings[other[0]]}: take the same"
                " settings, or give another --output_dir"
            )

    def finished(self) -> dict | None:
        """The summary of a run that came to its end."""
        path = self.folder / "summary.json"
        if path.exists() and (gone := [name for name in self.FILES if not (self.folder / name).exists()]):
            raise UserError(
                f"{self.folder} is finished, but {gone[0]} is gone: put it back, or give another --output_dir"
            )
        return load(path) if path.exists() else None

    def begin(self, provenance: dict) -> dict:
        """Store the settings, cut what was being written when the run was killed; returns the progress."""
        if self.begun and self.provenance != provenance:
            raise UserError(
                f"{self.folder} was begun with the model {self.provenance}, which is now {provenance}: give its"
                " --revision, or another --output_dir"
            )
        write_json(
            self.folder / "settings.json", self.settings | {"provenance": provenance}, indent=1, ensure_ascii=False
        )
        path = self.folder / "progress.json"
        progress = (
            load(path)
            if path.exists()
            else {"prompts": 0, "drafts": 0, "rejects": {}, "seconds": 0.0, "bytes": dict.fromkeys(self.FILES, 0)}
        )
        whole = (
            isinstance(progress.get("rejects"), dict)
            and isinstance(progress.get("bytes"), dict)
            and progress["bytes"].keys() == set(self.FILES)
        )
        numbers = (
            [progress.get(key) for key in ("prompts", "drafts", "seconds")]
            + [*progress["bytes"].values(), *progress["rejects"].values()]
            if whole
            else []
        )
        if not whole or not all(isinstance(number, int | float) for number in numbers):
            raise UserError(f"{path} is not as it was written: remove its folder, or give another --output_dir")
        for name, size in progress["bytes"].items():
            with (self.folder / name).open("ab") as file:
                if file.tell() < size:
                    raise UserError(
                        f"{self.folder / name} is shorter than when it was written: put it back, or give another"
                        " --output_dir"
                    )
                file.truncate(size)
        return progress

    def append(self, rows: dict[str, list[dict]], progress: dict) -> None:
        """Add rows to the files, then the progress, with the sizes of the files."""
        for name in self.FILES:
            with (self.folder / name).open("ab") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[name]).encode())
                file.flush()
                os.fsync(file.fileno())
                progress["bytes"][name] = file.tell()
        write_json(self.folder / "progress.json", progress, indent=1, ensure_ascii=False)

    def finish(self, summary: dict) -> None:
        write_json(self.folder / "summary.json", summary, indent=1, ensure_ascii=False)
        (self.folder / "progress.json").unlink(missing_ok=True)


# ---- The run ----


def check(args: SynthesizeArguments) -> None:
    for key in ("samples", "max_new_tokens", "max_prompt_words", "max_words", "batch_size", "chunk"):
        if getattr(args, key) < 1:
            raise UserError(f"{key} must be at least 1, but is {getattr(args, key)}")
    for key in ("max_repeated", "max_copied", "max_similar"):
        if not 0 < getattr(args, key) <= 1:
            raise UserError(f"{key} must lie above 0 and at most at 1, but is {getattr(args, key)}")
    if not 0 <= args.temperature < math.inf:
        raise UserError(
            f"samples must be at least 1 and temperature at least 0, but are {args.samples} and {args.temperature}"
        )
    if not args.prompts:
        raise UserError("prompts needs at least one data set")
    if args.temperature == 0 and args.samples > 1:
        raise UserError(
            f"at temperature 0 all {args.samples} samples would be the same: raise temperature, or take one sample"
        )


def draft(
    prompts: list[Prompt],
    start: int,
    replier: Replier,
    guidelines: str,
    reject: Filter,
    args: SynthesizeArguments,
    provenance: dict,
) -> dict[str, list[dict]]:
    """The rows of both files for a chunk of prompts that begins at `start`, whose seed depends on that place alone."""
    fits = [
        sum(len(words(m.get("content", ""))) for m in prompt.messages) <= args.max_prompt_words for prompt in prompts
    ]
    seed = random.Random(f"synthesize-{args.seed}-{start}").getrandbits(31)
    replies = iter(
        replier([prompt.request(guidelines) for prompt, fit in zip(prompts, fits) if fit], args.samples, seed)
        if any(fits)
        else []
    )
    drafts, rejects = [], []
    for prompt, fit in zip(prompts, fits):
        tools, source = (
            ({"tools": prompt.tools} if prompt.tools else {}),
            provenance | {"source": prompt.source, "row": prompt.row},
        )
        if not fit:
            rejects.append({"messages": prompt.messages, **tools, "reason": "long_prompt", "provenance": source})
            continue
        kept: list[str] = []
        for sample, reply in enumerate(next(replies)):
            reason = reject(reply.text, reply.finished, prompt, kept)
            text = reply.text if reason == "not_finished" else answer_of(reply.text)
            messages = [*prompt.messages, {"role": "assistant", "content": text}]
            row = {
                "messages": messages,
                **tools,
                **({"reason": reason} if reason else {"status": "draft"}),
                "provenance": source | {"sample": sample},
            }
            (rejects if reason else drafts).append(row)
            if not reason:
                kept.append(text)
    return dict(zip(Output.FILES, (drafts, rejects)))


def print_summary(folder: Path, summary: dict) -> None:
    rejects = ", ".join(f"{count:,} {reason}" for reason, count in summary["rejects"].items())
    print(
        f"{folder}: {summary['drafts']:,} drafts for {summary['prompts']:,} prompts, to be edited; rejected:"
        f" {rejects or 'none'}"
    )


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SynthesizeArguments,), argv)
    check(args)
    try:
        guidelines = existing(args.guidelines, "guidelines", "give a text file").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"guidelines {args.guidelines} cannot be read as text ({error}): give a text file") from None
    if not guidelines:
        raise UserError(f"guidelines {args.guidelines} are empty: write what a good answer is")
    digest = sha256(args.guidelines, "give a text file")
    prompts = read_prompts(args.prompts)

    # ---- What was done before ----
    settings = {key: value for key, value in asdict(args).items() if key not in ("output_dir", "guidelines")}
    settings |= {"guidelines_sha256": digest, "model_files": model_fingerprint(args.model)}
    settings["prompts_sha256"] = hashlib.sha256(
        json.dumps([asdict(prompt) for prompt in prompts]).encode()
    ).hexdigest()
    folder = output_folder(args.output_dir)
    output = Output(folder, settings)
    summary = output.finished()
    if summary:
        print_summary(folder, summary)
        return

    # ---- Draft ----
    replier = replier_of(args)
    progress = output.begin(replier.provenance)
    provenance = replier.provenance | {"guidelines_sha256": digest, "seed": args.seed}
    reject = Filter(args, words(guidelines))
    first, begun, before = progress["prompts"], time.monotonic(), progress["seconds"]
    if first:
        print(f"{folder}: {first:,} of {len(prompts):,} prompts were drafted before", flush=True)
    report = Progress("synthesize")
    for start in range(first, len(prompts), args.chunk):
        chunk = prompts[start : start + args.chunk]
        rows = draft(chunk, start, replier, guidelines, reject, args, provenance)
        done = start + len(chunk)
        progress["prompts"], progress["drafts"] = done, progress["drafts"] + len(rows["drafts.jsonl"])
        progress["rejects"] = dict(
            sorted((Counter(progress["rejects"]) + Counter(row["reason"] for row in rows["rejects.jsonl"])).items())
        )
        progress["seconds"] = round(before + time.monotonic() - begun, 1)
        try:
            output.append(rows, progress)
        except OSError as error:
            raise UserError(
                f"cannot write {folder} ({error.strerror}): free some space and run the command again; {start:,}"
                " prompts are done"
            ) from None
        report(done - first, f"of {len(prompts) - first:,} prompts", (done - first) / (len(prompts) - first))
    summary = {key: progress[key] for key in ("prompts", "drafts", "rejects", "seconds")} | {"provenance": provenance}
    output.finish(summary)
    print_summary(folder, summary)


if __name__ == "__main__":
    main()
