"""The folder of a run: rows are appended to its two files, and a killed run resumes where both are whole."""

import json
import os
from pathlib import Path

from eval.cli import UserError, write_json


def load(path: Path) -> dict:
    """A JSON object; a `UserError` where the file holds none."""
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
        with_settings = (folder / "settings.json").exists()
        there = [folder / name for name in (*self.FILES, "summary.json") if (folder / name).exists()]
        if there and not with_settings:
            raise UserError(
                f"{folder} holds {there[0].name} without settings.json, so it is not of this command: give another"
                " --output_dir"
            )
        self.begun = any(file.stat().st_size for file in there)  # else its settings bind nobody
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
        if not path.exists():
            return None
        gone = [name for name in self.FILES if not (self.folder / name).exists()]
        if gone:
            raise UserError(
                f"{self.folder} is finished, but {gone[0]} is gone: put it back, or give another --output_dir"
            )
        return load(path)

    def begin(self, provenance: dict) -> dict:
        """Store the settings, cut what was being written when the run was killed; returns the progress."""
        if self.begun and self.provenance != provenance:
            raise UserError(
                f"{self.folder} was begun with the model {self.provenance}, which is now {provenance}: give its"
                " --revision, or another --output_dir"
            )
        settings = self.settings | {"provenance": provenance}
        write_json(self.folder / "settings.json", settings, indent=1, ensure_ascii=False)
        progress = self._read_progress()
        for name, size in progress["bytes"].items():
            with (self.folder / name).open("ab") as file:
                if file.tell() < size:
                    raise UserError(
                        f"{self.folder / name} is shorter than when it was written: put it back, or give another"
                        " --output_dir"
                    )
                file.truncate(size)
        return progress

    def _read_progress(self) -> dict:
        """How far the run was; a `UserError` where the file is not what `append` writes."""
        path = self.folder / "progress.json"
        if not path.exists():
            return {"prompts": 0, "drafts": 0, "rejects": {}, "seconds": 0.0, "bytes": dict.fromkeys(self.FILES, 0)}
        progress = load(path)
        sizes, rejects = progress.get("bytes"), progress.get("rejects")
        whole = isinstance(rejects, dict) and isinstance(sizes, dict) and sizes.keys() == set(self.FILES)
        if whole:
            numbers = [progress.get(key) for key in ("prompts", "drafts", "seconds")]
            numbers += [*sizes.values(), *rejects.values()]
            whole = all(isinstance(number, int | float) for number in numbers)
        if not whole:
            raise UserError(f"{path} is not as it was written: remove its folder, or give another --output_dir")
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
