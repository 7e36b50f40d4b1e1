"""What says whether files are the ones that something was made from."""

import hashlib
from pathlib import Path

MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja")


def fingerprint(files: list[Path], by_content: bool) -> str:
    """Of the files' contents, or where that would take long, of their names, sizes and times."""
    digest = hashlib.sha256()
    for path in sorted(files):
        stat = path.stat()
        digest.update(f"{path.name} {'' if by_content else (stat.st_size, stat.st_mtime_ns)}\n".encode())
        if by_content:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def model_fingerprint(model: str) -> str:
    """Of the files of a model's folder; a model on the Hub or behind an endpoint has none here."""
    return fingerprint(
        [file for pattern in MODEL_FILES for file in Path(model).glob(pattern)] if Path(model).is_dir() else [],
        by_content=False,
    )
