"""A crawl becomes documents: FineWeb's recipe on datatrove.

    python -m data_prep.web --input_dir runs/tiny/world/warc --output_dir runs/tiny/web [--tasks 1 --workers 1]
    python -m data_prep.web score --web_dir runs/tiny/web --truth runs/tiny/world/truth

WARC files -> URL filter -> Trafilatura -> language -> Gopher repetition -> Gopher quality -> C4 -> FineWeb quality ->
MinHash -> PII. The thresholds are those that FineWeb published; they stand with their sources in `data_prep/web.yaml`,
which is read unless `--config` names another, and `--key value` overrides one. `score` holds the outcome against what
is known of a generated crawl.

Under `output_dir`: `documents/*.jsonl.gz` and `parquet/*.parquet` (id, text, metadata with url and date),
`removed/<step>/*.jsonl.gz` (what a step took, with `filter_reason`), `funnel.json` and `funnel.svg` (documents and
words left after each step, and the reasons), `README.md` (the data card), `work/` (between the stages), `logs/`. A
rerun does only the tasks that have not finished; a task reads whole files, so more tasks than WARC files are of no
use. `--executor slurm` or `ray` runs the same stages on a cluster.

Where it departs from datatrove's examples/fineweb.py the outcome stays: pages are extracted in the process itself, a
document is cut into words once, a broken record costs that record only, and nothing is fetched from the network. Where
the outcome departs, `web.yaml` says it. `data_prep/benchmark.py` compares the two.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from data_prep.crawl.arguments import STEPS, WebArguments, check
from data_prep.crawl.stages import SETTINGS, run_stages
from data_prep.crawl.steps import page_steps
from eval.cli import UserError, command, existing, output_folder, parse, sha256, write_json

__all__ = ["DEFAULT_CONFIG", "STEPS", "WebArguments", "arguments", "main", "page_steps"]

DEFAULT_CONFIG = Path(__file__).with_name("web.yaml")
PLACES = ("workers", "executor", "executor_options", "input_dir", "output_dir")  # where and how fast, not what


def check_settings(args: WebArguments, files: list[Path]) -> None:
    """What has been done under other settings, or with other pages, must not be mixed with what is asked for now."""
    settings = {key: value for key, value in asdict(args).items() if key not in PLACES}
    settings["files"] = [
        [path.name, sha256(path, "give WARC files that this user may read as --input_dir")] for path in files
    ]
    path = Path(args.output_dir) / SETTINGS
    try:
        same = not path.exists() or json.loads(path.read_text()) == settings
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so nobody knows what the work there was made of: delete"
            f" {args.output_dir}, or give another --output_dir"
        ) from None
    if not same:
        raise UserError(
            f"{args.output_dir} holds work of other settings or WARC files: delete it, or give another --output_dir"
        )
    write_json(path, settings, indent=None)


def arguments(argv: list[str]) -> WebArguments:
    """The arguments over `web.yaml`, unless `--config` names another."""
    if "--config" not in argv:
        argv = ["--config", str(DEFAULT_CONFIG), *argv]
    return parse((WebArguments,), argv)[0]


def find_files(folder: str) -> list[Path]:
    """The WARC files of the crawl; a `UserError` where there is none."""
    cure = "give the one that data_prep.world or a crawl has written as --input_dir"
    path = existing(folder, "the folder of WARC files", cure)
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"no permission to read {path}: give a folder that this user may read as --input_dir")
    files = sorted(path.rglob("*.warc.gz"))
    if not files:
        raise UserError(f"no *.warc.gz file in {path}")
    return files


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["score"]:
        from data_prep.crawl import score

        return score.run(*parse((score.ScoreArguments,), argv[1:]))
    args = arguments(argv)
    files = find_files(args.input_dir)
    check(args)
    output_folder(args.output_dir)
    check_settings(args, files)
    run_stages(args, len(files))


if __name__ == "__main__":
    from data_prep.web import main  # so that worker processes find the steps by their name

    main()
