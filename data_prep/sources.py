"""Datasets as YAML lists of sources, so that a run can be repeated exactly.

    datasets:
      - {path: HuggingFaceTB/smoltalk, name: all, split: train, revision: <commit>, weight: 0.5}
      - {path: runs/tiny/world/conversations/train.jsonl, weight: 2, rename: {dialogue: messages}}

`path` is a Hub id, a folder written by `save_to_disk`, or JSON-lines / Parquet file(s). `weight` w takes the first
round(w · n) rows of a fixed shuffle; above 1 it repeats. `rename` maps columns.
"""

import glob
import random
from pathlib import Path

from eval.cli import UserError

KEYS = {"path", "name", "split", "revision", "weight", "rename"}


def load_source(source: dict):
    """One source as a `datasets.Dataset`.

    Raises:
        UserError: unknown key, missing path, unknown split, or nothing in it.
    """
    from datasets import load_dataset, load_from_disk
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
    from datasets.utils import logging

    if not isinstance(source, dict) or "path" not in source:
        raise UserError(f"a data source is a mapping with at least `path`, but is {source!r}")
    if unknown := set(source) - KEYS:
        raise UserError(f"data source {source['path']}: unknown key {', '.join(sorted(unknown))}; keys are {', '.join(sorted(KEYS))}")
    path, split = str(source["path"]), source.get("split") or "train"
    files = sorted(glob.glob(path)) if path.endswith((".jsonl", ".json", ".jsonl.gz", ".parquet")) else []
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # a broken file is our error to report
    try:
        if files:
            if all(Path(f).stat().st_size == 0 for f in files):
                raise UserError(f"data source {path} is empty: expected at least one row")
            kind = "parquet" if path.endswith(".parquet") else "json"
            data = load_dataset(kind, data_files={split: files}, split=split)
        elif (Path(path) / "state.json").exists():
            data = load_from_disk(path)
        elif Path(path).is_dir() or (path.count("/") <= 1 and not path.endswith((".jsonl", ".json", ".gz", ".parquet"))):
            data = load_dataset(path, source.get("name"), split=split, revision=source.get("revision"))
        else:
            raise UserError(f"data source {path} does not exist: make it with the step before, or give a Hub id (owner/name)")
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError) as error:
        raise UserError(f"data source {path} is neither a file here nor reachable on the Hub: {str(error).splitlines()[0]}") from None
    except DatasetGenerationError as error:
        raise UserError(f"data source {path} cannot be read, give JSON lines or Parquet with the same columns in each row: {error.__cause__}") from None
    except ValueError as error:
        raise UserError(f"data source {path}: {str(error).splitlines()[0]}") from None
    finally:
        logging.set_verbosity(verbosity)
    if rename := source.get("rename"):
        if missing := set(rename) - set(data.column_names):
            raise UserError(f"data source {path} has no column {', '.join(sorted(missing))} to rename (it has {', '.join(data.column_names)})")
        data = data.rename_columns(rename)
    if len(data) == 0:
        raise UserError(f"data source {path} is empty: expected at least one row")
    return data


def load_sources(sources: list[dict], columns: tuple[str, ...] = (), seed: int = 0, optional: tuple[str, ...] = ()):
    """All sources as one shuffled dataset, weighted.

    Args:
        columns: columns that every source must have; others that not all share are dropped, but for `tools`, which a conversation may lack.
        optional: further columns that a source may lack, None there.

    Raises:
        UserError: a column is missing, or what `load_source` raises.
    """
    from datasets import concatenate_datasets

    if not sources:
        raise UserError("datasets is empty: list at least one source, such as `- {path: owner/name, split: train}`")
    parts = []
    for source in sources:
        data = load_source(source)
        if missing := [c for c in columns if c not in data.column_names]:
            raise UserError(f"data source {source['path']} has no column {', '.join(missing)} (it has {', '.join(data.column_names)}); `rename: {{old: new}}` maps columns")
        weight = source.get("weight", 1)
        if not isinstance(weight, (int, float)) or not 0 < weight <= 1000:
            raise UserError(f"data source {source['path']}: weight must be a number above 0 and at most 1000, but is {weight}")
        if weight != 1:
            order = list(range(len(data)))
            random.Random(seed).shuffle(order)
            count = max(1, round(weight * len(data)))
            data = data.select([order[i % len(order)] for i in range(count)])
        parts.append(data)
    if len(parts) > 1:
        for name in ("tools", *optional):
            if any(name in p.column_names for p in parts):
                parts = [p if name in p.column_names else p.add_column(name, [None] * len(p)) for p in parts]
        shared = set.intersection(*(set(p.column_names) for p in parts))
        parts = [p.remove_columns([c for c in p.column_names if c not in shared]) for p in parts]
    return concatenate_datasets(parts).shuffle(seed=seed) if len(parts) > 1 else parts[0]


def is_conversation(messages) -> bool:
    """Whether it is a list of messages: mappings with a role, and content or tool calls."""
    return isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) and m.get("role") and (isinstance(m.get("content"), str) or m.get("tool_calls")) for m in messages)
