"""Rows made out of rows by long work, a chunk at a time: a killed run resumes after its last whole chunk, with the
same bytes."""

import fcntl
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.shared.progress import Progress
from eval.cli import UserError, write_json


def dump(row: dict) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode(errors="replace") + b"\n"  # half a surrogate pair is no UTF-8


def stream(path: Path) -> Iterator[dict]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise UserError(f"{path}, line {number} is not JSON: delete the folder, and run again") from None


def hold(file) -> None:
    """Keep other runs off a file while it is open; a `UserError` where one has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(
            f"another run is at work on {file.name}: wait for it, or choose another --output_dir"
        ) from None


def whole_chunks(path: Path, chunk: int, total: int, column: str) -> int:
    """Rows (they have `column`) of the whole chunks in a file; what a killed run left behind them is cut off."""
    if not path.exists():
        return 0
    done = end = at = 0
    with path.open("rb+") as file:
        hold(file)
        for rows, line in enumerate(itertools.islice(file, total), 1):
            try:
                json.loads(line)[column]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            at += len(line)
            if rows % chunk == 0 or rows == total:
                done, end = rows, at
        file.truncate(end)
    return done


def require_same(before: dict, now: dict, folder: Path) -> None:
    """Raises `UserError` where the rows of a folder were made with other settings than are asked for now."""
    other = [
        f"{key}: {before.get(key)}, now {now.get(key)}" for key in now | before if now.get(key) != before.get(key)
    ]
    if other:
        raise UserError(
            f"{folder} was made with other settings ({', '.join(other)[:300]}): delete it, or choose another"
            " --output_dir"
        )


def same_settings(path: Path, settings: dict, made: Path) -> None:
    """Store what decides the rows of the file `made`; a `UserError` where it has rows of other settings."""
    if made.exists() and made.stat().st_size:
        try:
            before = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            raise UserError(f"{path} cannot be read: delete the folder, or choose another --output_dir") from None
        require_same(before, settings, path.parent)
    write_json(path, settings, ensure_ascii=False)


def by_chunks(
    path: Path,
    inputs: Path,
    total: int,
    column: str,
    chunk: int,
    seed: int,
    start: Callable[[], Callable[[list[dict], int], list[dict]]],
) -> None:
    """Append a row to `path` for each row of `inputs` that it lacks, a chunk at a time.

    Args:
        column: what every row of `path` has.
        seed: of the whole; each chunk's depends on it and on the chunk's place.
        start: loads what is needed, if anything is left to do, and returns `work(rows, seed)`, which returns a row for
            each.
    """
    done, what = whole_chunks(path, chunk, total, column), path.name
    if done:
        print(f"{what}: {done:,} of {total:,} rows were there", flush=True)
    if done == total:
        return
    work, progress, left = start(), Progress(what), total - done
    rows = itertools.islice(stream(inputs), done, None)
    with path.open("ab") as out:
        hold(out)
        for place in itertools.count(done // chunk):
            batch = list(itertools.islice(rows, chunk))
            if not batch:
                return
            first = place * chunk + 1
            try:
                results = work(batch, seed * 1_000_000 + place)
            except UserError as error:
                raise UserError(f"{inputs.name}, rows {first} to {first + len(batch) - 1}: {error}") from None
            out.write(b"".join(map(dump, results)))
            out.flush()
            os.fsync(out.fileno())
            done += len(batch)
            progress(done, f"of {total:,} rows", 1 - (total - done) / left)
