"""Rows of any data set, streamed: JSON lines by file and line, all else through `data_prep.shared.sources`; and the
texts in them."""

import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.shared.progress import Progress
from eval.cli import UserError, sha256

LINES = (".jsonl", ".jsonl.gz")
QUESTIONS = ("question", "problem", "prompt", "instruction", "input", "messages", "text")  # the first that an item has
ANSWERS = ("answer", "solution", "completion", "response", "output", "target")
TRAINING = (*QUESTIONS, *ANSWERS, "chosen", "rejected", "responses")  # all that a row has
ROWS = 500_000  # of a data set that is not JSON lines, in one part


@dataclass(frozen=True)
class Part:
    """What one worker reads at a time: a JSON-lines file, or rows `start` to `stop` of a source of
    `data_prep.shared.sources`."""

    source: str
    path: str
    spec: dict | None = None
    start: int = 0
    stop: int = 0

    def digest(self) -> str | None:
        """SHA-256 of the file."""
        return None if self.spec else sha256(self.path, "make it readable, or leave it out")


def find_parts(sources: Sequence[str | dict], most: int = ROWS) -> list[Part]:
    """The files of the sources, or their rows by `most`; a `UserError` for what is not there."""
    parts = []
    for source in sources:
        try:
            spec = json.loads(source) if isinstance(source, str) and source.lstrip().startswith("{") else source
        except ValueError as error:
            raise UserError(
                f"{source} is not JSON ({error}): a source is such as "
                + '{"path": "openai/gsm8k", "name": "main", "split": "test"}'
            ) from None
        spec = {"path": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, dict) or not spec.get("path"):
            raise UserError(f"a data set is a path, a Hub id, or a mapping with `path`, but is {source!r}")
        name = path = str(spec["path"])
        name += "".join(f":{spec[key]}" for key in ("name", "split") if spec.get(key))
        if Path(path).is_dir() and not (Path(path) / "state.json").exists():
            files = sorted(str(file) for file in Path(path).rglob("*") if file.name.endswith((*LINES, ".parquet")))
            if not files:
                raise UserError(f"{path} holds no *.jsonl, *.jsonl.gz or *.parquet")
        else:
            files = sorted(glob.glob(path)) or [path]
        for file in files:
            if file.endswith(LINES) and set(spec) == {"path"}:
                if not Path(file).is_file():
                    raise UserError(
                        f"{file} does not exist: make it with the step before, or give a Hub id (owner/name)"
                    )
                parts.append(Part(name, file))
            else:
                from data_prep.shared.sources import load_source

                spec, rows = spec | {"path": file}, len(load_source(spec | {"path": file}))
                parts += [Part(name, file, spec, start, min(start + most, rows)) for start in range(0, rows, most)]
    return parts


def read_rows(part: Part) -> Iterator[tuple[int, bytes, dict]]:
    """(number from 1, line, row) of each row; raises `UserError` where a line is no row."""
    progress = Progress(part.path)
    if part.spec:
        from data_prep.shared.sources import load_source

        for number, row in enumerate(load_source(part.spec).select(range(part.start, part.stop)), 1):
            progress(number, "rows", number / (part.stop - part.start))
            yield part.start + number, json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n", row
        return
    number, total = 0, os.path.getsize(part.path)
    try:
        with open(part.path, "rb") as raw, gzip.open(raw) if part.path.endswith(".gz") else raw as lines:
            for number, line in enumerate(lines, 1):
                progress(number, "rows", raw.tell() / total)
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(
                        f"{part.path}, line {number} is no JSON object: each line must be a row such as "
                        + '{"text": "…"}'
                    )
                yield number, line, row
    except ValueError as error:  # also what is no UTF-8
        raise UserError(
            f"{part.path}, line {number} is not JSON ({error}): write the file again, or remove the line"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{part.path} cannot be read to its end, write it again: {error}") from None


def text_of(value, role: str | None = None) -> str:
    """The text of a column: a string, messages (of one role, if given), parts of a message, or a list of them."""
    if isinstance(value, dict):
        return "" if role and value.get("role", role) != role else text_of(value.get("content") or value.get("text"))
    if isinstance(value, list):
        return "\n".join(filter(None, (text_of(part, role) for part in value)))
    return "" if value is None else str(value)


def columns_of(row: dict, columns: tuple[str, ...], where: str) -> list[str]:
    present = [column for column in columns if row.get(column) is not None]
    if present:
        return present
    raise UserError(
        f"{where} has none of {', '.join(columns)}, but {', '.join(map(str, row)) or 'nothing'}: name the column with"
        " a source, such as " + '\'{"path": "…", "rename": {"body": "text"}}\''
    )
