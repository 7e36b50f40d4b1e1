"""Documents → memory-mapped tokens, and the dataset that `recipes/pretrain.py` reads.

    python -m data_prep.tokens --config recipes/tiny/tokens.yaml

datatrove tokenises each source, ends each document with `end_of_text`, shuffles and merges into `train.ds` and
`validation.ds` (little-endian uint16, or uint32 for vocabularies above 65,536) beside `*.index` (document ends) and
`tokens.json`. A document goes to validation by a hash of its id, so the split does not hang on order or seed.
"""

import hashlib
import json
import os
import shutil
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from eval.cli import UserError, command, existing, output_folder, parse

SPLITS = ("train", "validation")


@dataclass
class TokensArguments:
    sources: list[dict] = field(
        metadata={"help": "list of {path: folder of *.jsonl(.gz), or Hub id with name, split, revision; text_column: text}"}
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


DROPPED = "rows without text"  # a counter of the readers


def _adapter(reader, row: dict, path: str, number: int | str) -> dict:
    document = reader._default_adapter(row, path, number)
    if not document["text"]:
        reader.stat_update(DROPPED)
    return document


def _reader(source: dict):
    import orjson
    from datatrove.pipeline.readers import HuggingFaceDatasetReader, JsonlReader

    class Reader(JsonlReader):
        """datatrove's, but broken lines are counted, and a broken file is an error."""

        def read_file(self, filepath: str):
            try:
                with self.data_folder.open(filepath, "r", compression=self.compression) as lines:
                    for number, line in enumerate(lines):
                        try:
                            row = orjson.loads(line)
                        except ValueError:
                            row = None
                        row = row if isinstance(row, dict) and isinstance(row.get(self.text_key), str) else {}
                        if document := self.get_document_from_dict(row, filepath, number):
                            yield document
            except (OSError, EOFError, UnicodeError, zlib.error) as error:
                raise UserError(f"{path}/{filepath} cannot be read to its end, write it again or remove it: {error}") from None

    if not isinstance(source, dict) or not isinstance(source.get("path"), str):
        raise UserError(f"a token source is a mapping with at least `path`, but is {source!r}")
    if unknown := set(source) - {"path", "name", "split", "revision", "text_column"}:
        raise UserError(f"token source {source.get('path')}: unknown key {', '.join(sorted(unknown))}; keys are path, name, split, revision, text_column")
    path, column = source["path"], source.get("text_column", "text")
    if Path(path).is_dir():
        if not any(Path(path).rglob("*.jsonl*")):
            raise UserError(f"token source {path} holds no *.jsonl or *.jsonl.gz")
        return Reader(path, text_key=column, adapter=_adapter, glob_pattern="**/*.jsonl*")
    if path.count("/") != 1 or path.startswith((".", "/")):
        raise UserError(f"token source {path} does not exist: give a folder of documents (python -m data_prep.web writes one) or a Hub id")
    options = {k: source[k] for k in ("name", "revision") if k in source} | {"split": source.get("split", "train")}
    return HuggingFaceDatasetReader(path, dataset_options=options, streaming=True, text_key=column, adapter=_adapter)


def _split_writers(args: TokensArguments, tokenizer_file: str, folder: Path):
    """A pipeline step that sends each document to the tokeniser of its split."""
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.tokens import DocumentTokenizer

    class SplitTokenizer(PipelineStep):
        name = "train and validation"

        def run(self, data, rank: int = 0, world_size: int = 1):
            held = []  # validation documents: a small share

            def train():
                for document in data:
                    if is_validation(str(document.id), args.validation_fraction):
                        held.append(document)
                    else:
                        yield document

            for split, documents in (("train", train()), ("validation", held)):
                DocumentTokenizer(
                    str(folder / split), tokenizer_file, eos_token=args.end_of_text, seed=args.seed + rank, save_final_metadata=False
                ).run(documents, rank, world_size)

    return SplitTokenizer()


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((TokensArguments,), argv)
    if not 0 < args.validation_fraction < 1:
        raise UserError(f"validation_fraction must lie between 0 and 1, but is {args.validation_fraction}")
    if min(args.tasks, args.workers) < 1:
        raise UserError("tasks and workers must be at least 1")
    if not args.sources:
        raise UserError("sources is empty: list at least one, such as `- path: runs/tiny/web/documents`")
    readers = [_reader(source) for source in args.sources]
    from datatrove.pipeline.tokens import DocumentTokenizerMerger

    from data_prep.executor import Executor
    from eval.models import load_tokenizer

    tokenizer = load_tokenizer(args.tokenizer)
    if args.end_of_text not in tokenizer.get_vocab():
        raise UserError(f"end_of_text {args.end_of_text} is not a token of {args.tokenizer}")
    out = output_folder(args.output_dir)
    parts = out / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    tokenizer_file = parts / "tokenizer.json"
    tokenizer.backend_tokenizer.save(str(tokenizer_file))
    for i, reader in enumerate(readers):
        folder = parts / str(i)
        Executor(
            [reader, _split_writers(args, str(tokenizer_file), folder)], tasks=args.tasks, workers=args.workers, logging_dir=str(folder / "logs"), skip_completed=False
        ).run()
        steps = json.loads((folder / "logs" / "stats.json").read_text())
        if dropped := steps[0]["stats"].get(DROPPED):
            count = dropped["total"] if isinstance(dropped, dict) else dropped
            print(f"{args.sources[i]['path']}: {count:,} {DROPPED} in column {args.sources[i].get('text_column', 'text')} were dropped")
        for split in SPLITS:
            (parts / split).mkdir(exist_ok=True)
            for file in sorted((folder / split).glob("*.ds*")):
                file.rename(parts / split / f"{i:03d}_{file.name}")
    for split in SPLITS:  # all of it, before anything that stands is replaced
        if not any(f.stat().st_size for f in (parts / split).glob("*.ds")):
            columns = ", ".join(sorted({source.get("text_column", "text") for source in args.sources}))
            raise UserError(f"no document fell into {split}: the sources hold too few with text in column {columns} for validation_fraction {args.validation_fraction}")
    record, counts = out / "tokens.json", {}
    record.unlink(missing_ok=True)
    tokenizer_file.replace(out / "tokenizer.json")
    for split in SPLITS:
        DocumentTokenizerMerger(str(parts / split), str(out), split, seed=args.seed, save_final_metadata=False, progress=False).run()
        (out / f"000_{split}.ds").rename(out / f"{split}.ds")
        (out / f"000_{split}.ds.index").rename(out / f"{split}.ds.index")
        ends = np.fromfile(out / f"{split}.ds.index", dtype="<u8")
        counts[split] = {"tokens": int(ends[-1]), "documents": len(ends)}
    dtype = "<u2" if counts["train"]["tokens"] * 2 == (out / "train.ds").stat().st_size else "<u4"
    shutil.rmtree(parts)
    part = out / "tokens.json.part"
    part.write_text(json.dumps({"dtype": dtype, "tokenizer": args.tokenizer, "sources": args.sources, "seed": args.seed, **counts}, indent=2))
    os.replace(part, record)
    print(f"{out}: " + ", ".join(f"{split} {c['tokens']:,} tokens in {c['documents']:,} documents" for split, c in counts.items()))


class TokenDataset:
    """Windows of `sequence_length` tokens from a memory-mapped file: a map-style dataset for `Trainer`.

    Windows do not overlap and run across documents, which end with the end-of-text token. Nothing is loaded before it is
    read, so a window's place in the file is all the state there is.

    Raises:
        UserError: the folder holds no tokens, or fewer than one window.
    """

    def __init__(self, folder: str, split: str, sequence_length: int):
        self.path = existing(Path(folder) / f"{split}.ds", "token file", "write it with `python -m data_prep.tokens`")
        info = json.loads(existing(Path(folder) / "tokens.json", "token record", "write it with `python -m data_prep.tokens`").read_text())
        self.dtype, self.sequence_length = np.dtype(info["dtype"]), sequence_length
        self.length = self.path.stat().st_size // self.dtype.itemsize // sequence_length
        if not self.length:
            raise UserError(f"{self.path} holds fewer tokens than one window of sequence_length {sequence_length}")

    @cached_property
    def tokens(self) -> np.memmap:  # opened on first use, in each worker
        return np.memmap(self.path, dtype=self.dtype, mode="r")

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k != "tokens"}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> dict:
        import torch

        ids = torch.from_numpy(self.tokens[i * self.sequence_length : (i + 1) * self.sequence_length].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


if __name__ == "__main__":
    main()
