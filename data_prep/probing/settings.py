"""`settings.json`: what decides the replies in a folder, so that a run resumes only under the same settings."""

import dataclasses
import json
from pathlib import Path

from data_prep.probing.arguments import RefusalsArguments
from data_prep.shared.chunks import require_same
from eval.cli import UserError, write_json
from eval.shared.fingerprints import model_fingerprint

NO_REPLY = {  # they decide no reply, or do so by their content, whose digest is stored
    "output_dir",
    "questions",
    "documents",
    "limit",
    "knows_at",
    "unknown_at",
    "known_per_unknown",
    "phrasings",
    "batch_size",
}


class Settings:
    """settings.json: what decides the replies in a folder, and where they are from.

    Attributes:
        thresholds: of the verdicts in the folder; None where they are of several.
    """

    def __init__(self, folder: Path, args: RefusalsArguments, inputs: str):
        self.path = folder / "settings.json"
        self.provenance = {}
        self.thresholds = [args.knows_at, args.unknown_at]
        self.settings = {key: value for key, value in dataclasses.asdict(args).items() if key not in NO_REPLY}
        for model in filter(None, {args.model, args.writer, args.judge_model}):
            if Path(model).is_dir():  # a stage may be run again in its place
                self.settings[f"files of {model}"] = model_fingerprint(model)
        self.settings["passages" if args.documents else "questions"] = inputs
        self._compare_with(folder)

    def _compare_with(self, folder: Path) -> None:
        """Take over the provenance of the replies in the folder; a `UserError` where they are of other settings."""
        files = [folder / name for name in ("written.jsonl", "probes.jsonl")]
        with_replies = [file.name for file in files if file.exists() and file.stat().st_size]
        if with_replies and not self.path.exists():
            raise UserError(
                f"{folder} holds {with_replies[0]} without settings.json, so nothing says where it is from: delete the"
                " folder, or choose another --output_dir"
            )
        if not with_replies:  # settings of a run that failed before it had a reply bind nobody
            return
        try:
            stored = json.loads(self.path.read_text())
            before, provenance = dict(stored["settings"]), dict(stored["provenance"])
            thresholds = stored["thresholds"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.path} cannot be read: delete the folder, or choose another --output_dir") from None
        self.provenance = provenance
        self.thresholds = self.thresholds if thresholds == self.thresholds else None
        require_same(before, self.settings, folder)

    def write(self, **provenance: dict) -> None:
        self.provenance |= provenance
        write_json(
            self.path,
            {"settings": self.settings, "thresholds": self.thresholds, "provenance": self.provenance},
            ensure_ascii=False,
        )
