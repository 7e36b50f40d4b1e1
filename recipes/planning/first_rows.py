"""The first rows of a stage's data, and how many there are in all: what a dry run reads, without leaving a file.

data, intake, rows = first_rows([{"path": "owner/name"}], "messages", ("messages",))
"""

import glob
import tempfile
from pathlib import Path

FIRST = 2000  # rows that are read of each source


def rows_of(source: dict) -> int | None:
    """Rows of a data source where they can be counted without reading them: lines of a file, a Parquet file's record;
    else None."""
    from data_prep.shared.sources import COMPRESSED, builder_of

    files = sorted(glob.glob(str(source["path"])))
    kinds = {builder_of(file) for file in files}
    if not files or source.get("where") or any(file.endswith(COMPRESSED) for file in files):
        return None
    if kinds == {"parquet"}:
        import pyarrow.parquet

        rows = sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)
    elif kinds == {"json"} and all(file.endswith((".jsonl", ".ndjson")) for file in files):
        rows = 0
        for file in files:
            with open(file, "rb") as lines:
                rows += sum(1 for line in lines if line.strip())
    else:
        return None
    return round(min(rows, source.get("rows") or rows) * source.get("weight", 1))


def short(source):
    """A source that reads its first rows alone; a folder and a slice, which cannot be streamed, stay whole."""
    if not isinstance(source, dict) or Path(str(source.get("path"))).is_dir() or "[" in str(source.get("split")):
        return source
    return {**source, "streaming": True, "rows": min(source.get("rows") or FIRST, FIRST)}


def first_rows(sources: list[dict], *form) -> tuple:
    """What `data_prep.shared.sources.load_sources` gives of the first rows, and the number of rows in all or None."""
    from datasets import Dataset, config

    from data_prep.shared.sources import load_sources
    from recipes.trainers.patches import replaced

    with tempfile.TemporaryDirectory() as folder, replaced(config, HF_DATASETS_CACHE=folder):
        data, intake = load_sources([short(source) for source in sources], *form)
        data = data.select(range(min(len(data), FIRST * len(sources))))
        data = Dataset.from_dict(data.to_dict(), features=data.features)  # in memory: what is made of it is, too
    counts = [rows_of(source) for source in sources]
    return data, intake, None if None in counts else sum(counts)
