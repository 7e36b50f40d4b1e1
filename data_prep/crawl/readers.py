"""Where documents come from: datatrove's readers, with what is broken counted or named, and progress shown."""

import io
import zlib
from pathlib import Path

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers import HuggingFaceDatasetReader, JsonlReader

from data_prep.shared.progress import Progress
from eval.cli import UserError

DROPPED = "rows without text"  # a counter of the readers


class Source:
    """What our readers add to datatrove's: rows without text are counted, a row without an id goes by its text,
    progress is shown."""

    path: str
    share: float | None = None  # of the task's bytes, where they are known

    def _default_adapter(self, row: dict, path: str, number: int | str) -> dict:
        if not isinstance(row.get(self.text_key), str):
            row[self.text_key] = ""
        if row.get(self.id_key) is None:
            row[self.id_key] = row[self.text_key]
        document = super()._default_adapter(row, path, number)
        if not document["text"]:
            self.stat_update(DROPPED)
        return document

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        progress = Progress(f"[tokens] {self.path}, task {rank + 1} of {world_size}")
        for number, document in enumerate(super().run(data, rank, world_size), 1):
            progress(number, "documents", self.share)
            yield document


class Folder(Source, JsonlReader):
    """datatrove's, but broken lines are counted, and a broken file is an error."""

    def read_files_shard(self, shard: list[str]) -> DocumentsPipeline:
        self.before, self.total = 0, sum(self.data_folder.size(path) for path in shard)
        yield from super().read_files_shard(shard)

    def read_file(self, filepath: str) -> DocumentsPipeline:
        import orjson
        from fsspec.compression import compr
        from fsspec.utils import infer_compression

        try:
            with (
                self.data_folder.open(filepath, "rb") as raw,
                compr[infer_compression(filepath)](raw, mode="rb") as file,
            ):
                for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8")):
                    self.share = (self.before + raw.tell()) / self.total
                    try:
                        row = orjson.loads(line)
                    except ValueError:
                        row = None
                    document = self.get_document_from_dict(row if isinstance(row, dict) else {}, filepath, number)
                    if document:
                        yield document
                self.before += self.data_folder.size(filepath)
        except (OSError, EOFError, UnicodeError, zlib.error) as error:
            raise UserError(
                f"{self.path}/{filepath} cannot be read to its end, write it again or remove it: {error}"
            ) from None


class Hub(Source, HuggingFaceDatasetReader):
    """datatrove's, streamed."""


def make_reader(source: dict) -> Source:
    """Raises `UserError` for what is no source, or is not there."""
    if not isinstance(source, dict) or not isinstance(source.get("path"), str):
        raise UserError(f"a token source is a mapping with at least `path`, but is {source!r}")
    unknown = set(source) - {"path", "name", "split", "revision", "text_column"}
    if unknown:
        raise UserError(
            f"token source {source.get('path')}: unknown key {', '.join(sorted(unknown))}; keys are path, name, split,"
            " revision, text_column"
        )
    path, column = source["path"], source.get("text_column", "text")
    if Path(path).is_dir():
        if not source_files(source):
            raise UserError(f"token source {path} holds no *.jsonl or *.jsonl.gz")
        reader = Folder(path, text_key=column, glob_pattern="**/*.jsonl*")
    elif path.count("/") != 1 or path.startswith((".", "/")):
        raise UserError(
            f"token source {path} does not exist: give a folder of documents (python -m data_prep.web writes one) or a"
            " Hub id"
        )
    else:
        options = {k: source[k] for k in ("name", "revision") if k in source} | {"split": source.get("split", "train")}
        reader = Hub(path, dataset_options=options, streaming=True, text_key=column)
    reader.path = path
    return reader


def source_files(source: dict) -> list[Path]:
    return sorted(Path(source["path"]).rglob("*.jsonl*"))
