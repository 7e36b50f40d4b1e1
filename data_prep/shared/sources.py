"""Datasets as YAML lists of sources, so that a run can be repeated exactly.

    datasets:
      - {path: HuggingFaceTB/smoltalk, name: all, split: train, revision: <commit>, weight: 0.5}
      - {path: runs/tiny/world/conversations/train.jsonl, weight: 2, rename: {dialogue: messages}}
      - {path: allenai/WildChat-1M, streaming: true, rows: 10000, where: {language: [English]}}

`path` is a Hub id, a folder (one written by `save_to_disk`, or one of files), or file(s): JSON, JSON lines, Parquet,
CSV or Arrow, compressed or not, here or at an address (`hf://datasets/owner/name/file.parquet`). `data_files` picks
files of a Hub id or folder. `rows` takes the first ones, and with `streaming` nothing behind them is loaded. `where`
takes rows by the values of a column, `weight` w the first round(w · n) rows of a fixed shuffle; above 1 it repeats.
`rename` maps columns; the forms of published sets need none (docs/data.md).
"""

import glob
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

from eval.cli import UserError, write_json
from eval.shared.messages import without_nulls

KEYS = {"path", "name", "split", "revision", "weight", "rename", "data_files", "streaming", "rows", "where"}
BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
HUB = re.compile(r"(?:hf://|https://huggingface\.co/)datasets/([^/@]+/[^/@]+?)(?:@([^/]+))?/?")


def builder_of(path: str) -> str | None:
    """What reads a file of this name; None where it is no file's."""
    for ending in COMPRESSED:
        path = path.removesuffix(ending)
    return BUILDERS.get(Path(path).suffix.lower())


def _load(source: dict, split: str, **more):
    """`load_dataset` with what the source says."""
    from datasets import load_dataset, load_from_disk

    path = str(source["path"])
    on_the_hub = HUB.fullmatch(path)
    if on_the_hub:  # its address in place of its id
        path, revision = on_the_hub.groups()
        source = source | ({"revision": revision} if revision else {})
    here = sorted(glob.glob(path))
    kind = builder_of(here[0] if here and "*" in path else path)
    if source.get("data_files"):
        return load_dataset(
            path,
            source.get("name"),
            data_files=source["data_files"],
            split=split,
            revision=source.get("revision"),
            **more,
        )
    if kind and (here or "://" in path) and not Path(path).is_dir():
        if here and all(Path(file).stat().st_size == 0 for file in here):
            raise UserError(f"data source {path} is empty: expected at least one row")
        separator = {"sep": "\t"} if ".tsv" in path else {}
        return load_dataset(kind, data_files={split: here or path}, split=split, **separator, **more)
    if kind and Path(path).is_dir():
        raise UserError(f"data source {path} is a folder, though its name is a file's: give the files, {path}/*")
    if (Path(path) / "state.json").exists():
        return load_from_disk(path)
    if Path(path).is_dir() or (path.count("/") <= 1 and not kind):
        return load_dataset(path, source.get("name"), split=split, revision=source.get("revision"), **more)
    raise UserError(f"data source {path} does not exist: make it with the step before, or give a Hub id (owner/name)")


def _as_written(features):
    """The features with texts where JSON's reader saw times in them, which JSON does not have; None where it saw
    none."""
    from datasets import Features, List, Value

    times = []

    def texts(kind):
        if isinstance(kind, dict):
            return type(kind)({name: texts(held) for name, held in kind.items()})
        if isinstance(kind, List):
            return List(texts(kind.feature))
        if isinstance(kind, Value) and kind.dtype.startswith(("timestamp", "date", "time")):
            times.append(kind)
            return Value("string")
        return kind

    written = texts(features)
    return Features(written) if times else None


def _lines(files: list[str]):
    """The rows of JSON files, or of JSON lines, word for word."""
    import fsspec

    for file in files:
        with fsspec.open(file, "rt", encoding="utf-8", compression="infer") as text:
            if text.read(1) == "[":
                text.seek(0)
                yield from json.load(text)
            else:
                text.seek(0)
                yield from (json.loads(line) for line in text if line.strip())


def _nested(kind, name: str) -> bool:
    """Whether a column's type has a mapping with fixed keys at `name`, or below."""
    from datasets import List

    if isinstance(kind, dict):
        return any((key == name and isinstance(held, dict)) or _nested(held, name) for key, held in kind.items())
    return _nested(kind.feature, name) if isinstance(kind, List) else False


def _own_keys(data):
    """The data with calls and tools that have their own keys only: Arrow gives each mapping the keys of all rows."""
    from datasets import Features, Json, List

    filled = [
        name for name, kind in data.features.items() if _nested(kind, "arguments") or _nested(kind, "properties")
    ]
    if not filled:
        return data
    lists = {name for name in filled if isinstance(data.features[name], List)}
    features = {
        name: (List(Json()) if name in lists else Json()) if name in filled else kind
        for name, kind in data.features.items()
    }
    return data.map(
        lambda row: {name: without_nulls(row[name]) for name in filled},
        features=Features(features),
        desc="keys of other rows",
    )


def _first(data, rows: int | None, streaming: bool):
    """The first rows as a `datasets.Dataset`."""
    from datasets import Dataset

    if streaming:
        head = data if rows is None else data.take(rows)
        return Dataset.from_generator(lambda: iter(head), features=head.features)
    return data if rows is None else data.select(range(min(rows, len(data))))


def require_utf8(data, path: str) -> None:
    """Raises `UserError` for texts that are no UTF-8: JSON's reader lets them pass, and each use of them fails."""
    import pyarrow

    try:
        data.data.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"data source {path} is not UTF-8 ({reason}): write it in UTF-8, iconv does it") from None


def load_source(source: dict):
    """One source as a `datasets.Dataset`.

    Raises:
        UserError: unknown key, missing path, unknown split, or nothing in it.
    """
    _check_source(source)
    path = str(source["path"])
    data = _read(source, path)
    if _json_files(path):
        require_utf8(data, path)
    rename = source.get("rename")
    if rename:
        missing = set(rename) - set(data.column_names)
        if missing:
            raise UserError(
                f"data source {path} has no column {', '.join(sorted(missing))} to rename (it has "
                f"{', '.join(data.column_names)})"
            )
        data = data.rename_columns(rename)
    if len(data) == 0:
        raise UserError(f"data source {path} is empty: expected at least one row")
    return _own_keys(chosen(data, source.get("where") or {}, f"data source {path}"))


def _check_source(source: dict) -> None:
    if not isinstance(source, dict) or "path" not in source:
        raise UserError(f"a data source is a mapping with at least `path`, but is {source!r}")
    unknown = set(source) - KEYS
    if unknown:
        raise UserError(
            f"data source {source['path']}: unknown key {', '.join(sorted(unknown))}; keys are "
            f"{', '.join(sorted(KEYS))}"
        )
    rows, streaming = source.get("rows"), source.get("streaming") or False
    if rows is not None and (type(rows) is not int or rows < 1) or not isinstance(streaming, bool):
        raise UserError(
            f"data source {source['path']}: rows must be at least 1 and streaming true or false, but are {rows} and"
            f" {streaming}"
        )


def _json_files(path: str) -> list[str]:
    return [file for file in sorted(glob.glob(path)) if builder_of(file) == "json"]


def _read(source: dict, path: str):
    """The rows of a source, of JSON files word for word; what the libraries raise becomes a `UserError`."""
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
    from datasets.utils import logging

    streaming = source.get("streaming") or False
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # a broken file is our error to report
    try:
        data = _load(source, source.get("split") or "train", **({"streaming": True} if streaming else {}))
        files = _json_files(path)
        features = _as_written(data.features) if files and data.features else None
        if features:
            data = Dataset.from_generator(_lines, features=features, gen_kwargs={"files": files})
        return _first(data, source.get("rows"), streaming and not hasattr(data, "num_rows"))
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError) as error:
        raise UserError(
            f"data source {path} is neither a file here nor reachable on the Hub: {str(error).splitlines()[0]}"
        ) from None
    except DatasetGenerationError as error:
        raise UserError(
            f"data source {path} cannot be read, give JSON lines or Parquet with the same columns in each row: "
            f"{error.__cause__}"
        ) from None
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise UserError(f"data source {path}: {' '.join(str(error).split())[:300]}") from None
    finally:
        logging.set_verbosity(verbosity)


def chosen(data, where: dict, what: str):
    """The rows whose columns hold one of the values.

    Raises:
        UserError: there is no such column, or no such row.
    """
    if not isinstance(where, dict):
        raise UserError(f"{what}: where must be {{column: [values]}}, but is {where}")
    for column, values in where.items():
        if column not in data.column_names:
            raise UserError(
                f"{what}: where: its rows have no column {column} (they have {', '.join(data.column_names)})"
            )
        wanted = values if isinstance(values, list) else [values]
        data = data.select([i for i, value in enumerate(data[column]) if value in wanted])
    if not len(data):
        raise UserError(f"{what}: no row is left: {where}")
    return data


def print_left_out(where: str, rows: int, left_out: Counter) -> None:
    """What was left out of how many rows, and why: once, by the first process of a run."""
    if left_out and os.environ.get("RANK", "0") == "0":
        print(
            f"{where}: {sum(left_out.values()):,} of {rows:,} rows left out: "
            + "; ".join(f"{why} ({count:,})" for why, count in left_out.most_common()),
            flush=True,
        )


def keep(folder: str | Path, counts: list[dict]) -> None:
    """Of each source its path, form, rows and what was left out, as `left_out.json` beside what was made of them; no
    file where nothing was."""
    path = Path(folder) / "left_out.json"
    if any(source["left_out"] for source in counts):
        write_json(path, counts, ensure_ascii=False)
    else:
        path.unlink(missing_ok=True)


def count(where: str, form: str, rows: int, left_out: Counter) -> dict:
    """The record of a source; what was left out of it is said."""
    print_left_out(where, rows, left_out)
    return {"path": where, "form": form, "rows_in": rows, "left_out": dict(left_out)}


def refuse_drafts(data):
    """The data; raises `UserError` where rows are drafts of `data_prep.synthesize`: a column `status` that is draft,
    or not accepted where others are."""
    statuses = data["status"][:] if "status" in data.column_names else []
    drafts = [status for status in statuses if status != "accepted"]
    if {"draft", "accepted"} & set(statuses) and drafts:
        raise UserError(
            f"{len(drafts):,} rows of the data are drafts (status {drafts[0]!r}): a person edits them and sets "
            "the status to accepted; see data_prep/labelling/labelling_guidelines.md"
        )
    return data


def load_sources(
    sources: list[dict],
    goal: str | None,
    columns: tuple[str, ...] = (),
    seed: int = 0,
    optional: tuple[str, ...] = (),
    prepare=lambda data, source: data,
) -> tuple:
    """(All sources as one shuffled dataset in the form that a goal wants, weighted; of each its path, form and
    counts.)

    Args:
        goal: what the rows are to become, see `data_prep.schemas`; None: they stay as they are.
        columns: further columns that every source must have; others that not all share are dropped, which is said, but
            for `tools`, which a conversation may lack. Without a goal all are kept, None where a source lacks them.
        optional: further columns that a source may lack, None there.
        prepare: (data, source) -> data, of a source's rows as they come.

    Raises:
        UserError: the form of a source is not known, or what `load_source` raises.
    """
    from datasets import concatenate_datasets

    from data_prep.schemas import convert

    if not sources:
        raise UserError("datasets is empty: list at least one source, such as `- {path: owner/name, split: train}`")
    parts, counts = [], []
    for source in sources:
        raw = prepare(load_source(source), source)
        if goal:
            data, schema, left_out = convert(raw, goal, f"data source {source['path']}")
        else:
            data, schema, left_out = raw, "as it is", Counter()
        counts.append(count(str(source["path"]), schema, len(raw), left_out))
        missing = [c for c in columns if c not in data.column_names]
        if missing:
            raise UserError(
                f"data source {source['path']} has no column {', '.join(missing)} (it has "
                f"{', '.join(data.column_names)}); `rename: {{old: new}}` maps columns"
            )
        parts.append(_weighted(data, source, seed))
    if len(parts) == 1:
        return parts[0], counts
    parts = _alike(parts, goal, columns, optional)
    return concatenate_datasets(parts).shuffle(seed=seed), counts


def _weighted(data, source: dict, seed: int):
    """The rows of a source by its weight: some of them, or some of them again."""
    weight = source.get("weight", 1)
    if not isinstance(weight, int | float) or not 0 < weight <= 1000:
        raise UserError(
            f"data source {source['path']}: weight must be a number above 0 and at most 1000, but is {weight}"
        )
    if weight == 1:
        return data
    order = list(range(len(data)))
    random.Random(seed).shuffle(order)
    return data.select([order[i % len(order)] for i in range(max(1, round(weight * len(data))))])


def _alike(parts: list, goal: str | None, columns: tuple[str, ...], optional: tuple[str, ...]) -> list:
    """The data sets with the same columns: those that all share, and `tools` and optional ones with None."""
    from data_prep.schemas import features

    if goal is None:
        optional = tuple(dict.fromkeys(name for part in parts for name in part.column_names))
    for name in dict.fromkeys(("tools", *optional)):
        kinds = [p.features[name] for p in parts if name in p.column_names]
        if kinds:
            parts = [
                p if name in p.column_names else p.add_column(name, [None] * len(p), feature=kinds[0]) for p in parts
            ]
    needed = {*(features(goal) if goal else ()), *columns, *optional, "tools"}
    first, *others = parts
    shared = []
    for name in first.column_names:
        in_all = all(name in p.column_names for p in others)
        if in_all and (name in needed or all(p.features[name] == first.features[name] for p in others)):
            shared.append(name)
    dropped = sorted({name for part in parts for name in part.column_names} - set(shared))
    if dropped:
        print(f"left out, as the data sources do not share them: {', '.join(dropped)}")
    return [p.select_columns(shared) for p in parts]
