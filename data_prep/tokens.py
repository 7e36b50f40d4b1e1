"""Documents → memory-mapped tokens, for `data_prep.shared.token_dataset`.

    python -m data_prep.tokens --config recipes/tiny/tokens.yaml

datatrove tokenises each source, ends each document with `end_of_text`, and shuffles; the parts are merged, shuffled by
`seed`, into `train.ds` and `validation.ds` (little-endian uint16, or uint32 for vocabularies above 65,536) beside
`*.index` (document ends) and `tokens.json`, which is written last. A document goes to validation by a hash of its id
(of its text, where it has none), so the split does not hang on order, tasks or seed. Neither documents nor tokens are
ever all in memory. A killed run resumes after its finished tasks when it is given again with the same settings,
tokenizer and files.
"""

import contextlib
import hashlib
import json
import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.tokens import DocumentTokenizer

from data_prep.crawl.readers import DROPPED, Source, make_reader, source_files
from data_prep.shared.progress import Progress, end_with_parent
from eval.cli import UserError, command, output_folder, parse, write_json

SPLITS = ("train", "validation")


@dataclass
class TokensArguments:
    sources: list[dict] = field(
        metadata={
            "help": "list of {path: folder of *.jsonl(.gz), or Hub id with name, split, revision; text_column: text}"
        }
    )
    tokenizer: str = field(metadata={"help": "tokenizer folder or Hub id"})
    output_dir: str = field(metadata={"help": "folder for train.ds and validation.ds"})
    end_of_text: str = field(default="<|endoftext|>", metadata={"help": "token after each document"})
    validation_fraction: float = field(default=0.02, metadata={"help": "share of documents kept for validation"})
    seed: int = field(default=0, metadata={"help": "seed of the document shuffle"})
    tasks: int = field(default=1, metadata={"help": "datatrove tasks a source"})
    workers: int = field(default=1, metadata={"help": "tasks at once"})


def is_validation(document_id: str, fraction: float) -> bool:
    return int(hashlib.md5(document_id.encode()).hexdigest()[:8], 16) < fraction * 2**32


class SplitTokenizer(PipelineStep):
    """Sends each document to the tokeniser of its split: `folder/<split>/<rank>…ds` with an index, shuffled."""

    name = "train and validation"

    def __init__(self, args: TokensArguments, tokenizer_file: Path, folder: Path):
        super().__init__()
        self.args, self.tokenizer_file, self.folder = args, tokenizer_file, folder

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        import multiprocess

        parent = multiprocess.parent_process()
        if parent:
            end_with_parent(parent)
        self.folder.mkdir(exist_ok=True)
        held = self.folder / f"{rank:05d}.held"  # texts of validation documents, one JSON string a line

        def train() -> DocumentsPipeline:
            with held.open("w") as file:
                for document in data:
                    if is_validation(str(document.id), self.args.validation_fraction):
                        file.write(json.dumps(document.text) + "\n")
                    else:
                        yield document

        def validation() -> DocumentsPipeline:
            with held.open() as file:
                yield from (Document(text=json.loads(line), id="") for line in file)

        for split, documents in zip(SPLITS, (train(), validation())):
            DocumentTokenizer(
                str(self.folder / split),
                str(self.tokenizer_file),
                eos_token=self.tokenizer_file.with_suffix(".end").read_text(),
                seed=self.args.seed + rank,
                save_final_metadata=False,
                batch_size=1000,  # datatrove's 10,000 encoded web pages are a gigabyte
            ).run(documents, rank, world_size)
        held.unlink()


def merge(parts: list[Path], path: Path, token_size: int, seed: int) -> dict:
    """Write the documents of all parts, each read front to back, into `path` and `path.index` in an order drawn from
    `seed`.

    The bytes are those of datatrove's DocumentTokenizerMerger, which takes 4-byte tokens for 2-byte ones unless each
    part has a metadata file, splits files at 100 G tokens, and holds the ends as Python integers.

    Returns:
        {"tokens", "documents"}
    """
    lengths = [np.diff(np.fromfile(f"{part}.index", dtype="<u8").astype(np.int64), prepend=0) for part in parts]
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(parts)), [len(part) for part in lengths]))
    merged = np.empty(len(order), dtype=np.int64)
    merged[np.argsort(order, kind="stable")] = np.concatenate(lengths)
    progress = Progress(f"[tokens] merging {path.name}")
    with contextlib.ExitStack() as stack, path.open("wb") as out:
        files = [stack.enter_context(part.open("rb")) for part in parts]
        for number, (part, length) in enumerate(zip(order, merged), 1):
            out.write(files[part].read(length * token_size))
            progress(number, "documents", number / len(order))
    np.cumsum(merged).astype("<u8").tofile(f"{path}.index")
    return {"tokens": int(merged.sum()), "documents": len(merged)}


def fingerprint(args: TokensArguments, tokenizer) -> str:
    """Of all that the tokens hang on; files of documents by name, size and time."""
    settings = {key: value for key, value in asdict(args).items() if key not in ("workers", "output_dir", "tokenizer")}
    settings["tokenizer"] = tokenizer.backend_tokenizer.to_str()
    files = [path for source in args.sources for path in source_files(source)]
    settings["files"] = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def tokenize(args: TokensArguments, readers: list[Source], parts: Path) -> None:
    """Run the tasks that have not finished, source by source."""
    from data_prep.crawl.executor import Executor

    for i, reader in enumerate(readers):
        folder, what = parts / str(i), f"[tokens] {reader.path}"
        steps = [reader, SplitTokenizer(args, parts / "text.json", folder)]
        executor = Executor(
            steps, tasks=args.tasks, workers=min(args.workers, args.tasks), logging_dir=str(folder / "logs")
        )
        todo = len(executor.get_incomplete_ranks())
        if todo < args.tasks:
            print(f"{what}: {args.tasks - todo} of {args.tasks} tasks are finished", flush=True)
        executor.run()
        counts = [
            json.loads(file.read_text())[0]["stats"].get(DROPPED, 0)
            for file in (folder / "logs" / "stats").glob("*.json")
        ]
        dropped = sum(count["total"] if isinstance(count, dict) else count for count in counts)
        if dropped:
            print(f"{what}: {dropped:,} {DROPPED} in column {reader.text_key} were dropped")


def parts_of(split: str, parts: Path, sources: int) -> Iterator[Path]:
    """Token files of a split in the order of sources and tasks, empty ones left out."""
    for i in range(sources):
        yield from (file for file in sorted((parts / str(i) / split).glob("*_doc_shuffled.ds")) if file.stat().st_size)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((TokensArguments,), argv)
    if not 0 < args.validation_fraction < 1:
        raise UserError(f"validation_fraction must lie between 0 and 1, but is {args.validation_fraction}")
    if min(args.tasks, args.workers) < 1:
        raise UserError("tasks and workers must be at least 1")
    if not args.sources:
        raise UserError("sources is empty: list at least one, such as `- path: runs/tiny/web/documents`")
    readers = [make_reader(source) for source in args.sources]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    if len(readers) * args.tasks > most:
        raise UserError(
            f"{len(readers)} sources of {args.tasks} tasks are more files than may be open here at once: give at most"
            f" {most // len(readers)} tasks, or raise `ulimit -n`"
        )
    from eval.generation.encoding import marks_of
    from eval.generation.models import load_tokenizer

    tokenizer = load_tokenizer(args.tokenizer)
    if args.end_of_text not in tokenizer.get_vocab():
        raise UserError(f"end_of_text {args.end_of_text} is not a token of {args.tokenizer}")

    # ---- What an earlier run has done ----
    out = output_folder(args.output_dir)
    parts, settings = out / "parts", fingerprint(args, tokenizer)
    started = parts / "settings"
    if not started.exists() or started.read_text() != settings:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        tokenizer.backend_tokenizer.save(str(parts / "tokenizer.json"))
        twin, spellings = marks_of(tokenizer).twin  # a document that spells a control token must not become one
        twin.save(str(parts / "text.json"))
        (parts / "text.end").write_text(spellings.get(args.end_of_text, args.end_of_text))
        started.write_text(settings)

    # ---- Tokenise, merge ----
    tokenize(args, readers, parts)
    files = {split: list(parts_of(split, parts, len(readers))) for split in SPLITS}
    for split in SPLITS:  # all of it, before anything that stands is replaced
        if not files[split]:
            columns = ", ".join(sorted({reader.text_key for reader in readers}))
            raise UserError(
                f"no document fell into {split}: the sources hold too few with text in column {columns} for"
                f" validation_fraction {args.validation_fraction}"
            )
    record, size = out / "tokens.json", 4 if tokenizer.backend_tokenizer.get_vocab_size() > 2**16 else 2
    record.unlink(missing_ok=True)
    shutil.copyfile(parts / "tokenizer.json", out / "tokenizer.json")
    counts = {split: merge(files[split], out / f"{split}.ds", size, args.seed) for split in SPLITS}
    write_json(
        record,
        {"dtype": f"<u{size}", "tokenizer": args.tokenizer, "sources": args.sources, "seed": args.seed, **counts},
    )
    shutil.rmtree(parts)
    print(
        f"{out}: "
        + ", ".join(f"{split} {c['tokens']:,} tokens in {c['documents']:,} documents" for split, c in counts.items())
    )


if __name__ == "__main__":
    from data_prep.tokens import main  # so that worker processes find the steps by their name

    main()
