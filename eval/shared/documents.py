"""Documents as datatrove writes them: JSON lines of `id`, `text` and `metadata`, compressed or not.

for row in documents("runs/tiny/web/documents"): ...
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator

from eval.cli import UserError, existing

PATTERNS = ("*.jsonl", "*.jsonl.gz")


def documents(folder: str | os.PathLike) -> Iterator[dict]:
    """The rows of a *.jsonl or *.jsonl.gz file, or of all below a folder, file by file in the order of their names.

    Raises:
        UserError: there is no such file, or a line is no document.
    """
    root = existing(folder, "documents", "give a folder of JSON lines with id, text, metadata")
    files = sorted(
        path for pattern in PATTERNS for path in ([root] if root.is_file() else root.rglob("*")) if path.match(pattern)
    )
    if not files:
        raise UserError(f"{folder} holds no *.jsonl or *.jsonl.gz: give the folder `documents` of data_prep.web")
    for path in files:
        try:
            with (
                gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
            ) as lines:
                for number, line in enumerate(lines, 1):
                    row = json.loads(line)
                    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                        raise UserError(
                            f"{path}, line {number} has no text: expected documents with id, text, metadata"
                        )
                    if not isinstance(row.get("metadata") or {}, dict):
                        raise UserError(
                            f'{path}, line {number}: metadata must be a mapping, such as {{"title": …}}, but is'
                            f" {str(row['metadata'])[:80]!r}"
                        )
                    json.dumps(
                        [row["text"], row.get("metadata")], ensure_ascii=False
                    ).encode()  # half a surrogate pair is no text
                    yield row
        except (OSError, EOFError, RecursionError, zlib.error, ValueError) as error:
            raise UserError(f"{path} cannot be read as JSON lines in UTF-8 ({error})") from None
