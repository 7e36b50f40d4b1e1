"""The figures, the dialogue and the pictures of the documentation, from a finished run: one command for all.

    python docs/refresh.py --run runs/tiny
    python docs/refresh.py --run runs/tiny --runs runs/tiny runs/tiny-1 --real runs/smol --pictures false

Each block between `<!-- begin: NAME -->` and `<!-- end: NAME -->` is replaced by what the command in `BLOCKS` prints.
`--run` gives the dialogue and the pictures, `--runs` the columns of the tables, `--real` a run of `make smol`.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, parse

ROOT = Path(__file__).resolve().parents[1]
REAL = "recipes/smollm2-135m/README.md"
BLOCKS = {  # (file, block): module and its options; {run} and {runs} are filled in
    ("README.md", "dialogue"): ["eval.report.dialogue", "--run", "{run}"],
    ("README.md", "headlines"): ["eval.report.table", "--headline", "true", "--runs", "{runs}", "{real}"],
    ("docs/figures.md", "scores"): ["eval.report.table", "--runs", "{runs}"],
    ("docs/figures.md", "seconds"): ["eval.report.table", "--seconds", "true", "--runs", "{runs}"],
    (REAL, "dialogue"): ["eval.report.dialogue", "--run", "{real}"],
    (REAL, "scores"): ["eval.report.table", "--runs", "{real}"],
    (REAL, "seconds"): ["eval.report.table", "--seconds", "true", "--runs", "{real}"],
}


@dataclass
class RefreshArguments:
    run: str = field(metadata={"help": "folder of a finished run, for the dialogue and the pictures"})
    runs: list[str] = field(
        default_factory=list, metadata={"help": "runs of the tables, one column each (default: run)"}
    )
    real: str | None = field(
        default=None, metadata={"help": "a run of make smol; without it its figures stay as they are"}
    )
    pictures: bool = field(default=True, metadata={"help": "make report.png and chat.png, too"})


def printed(argv: list[str]) -> str:
    """What a command of this repository prints; raises `UserError` where it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *argv], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise UserError(f"{' '.join(argv)} ended with exit code {done.returncode}; its own error stands above")
    return done.stdout.strip()


def replaced(text: str, name: str, content: str) -> str:
    """The text with new content in its block `name`; raises `UserError` where it does not have exactly one."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(
            f"block {name}: expected one {begin} and one {end}, got {text.count(begin)} and {text.count(end)}"
        )
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    return re.sub(pattern, lambda _: f"{begin}\n{content}\n{end}", text, flags=re.DOTALL)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((RefreshArguments,), argv)
    runs = args.runs or [args.run]
    real = [args.real] if args.real else []
    for run in {args.run, *runs, *real}:
        existing(
            Path(run) / "report" / "summary.json", "summary", "make the report: python -m eval.report --run_dir RUN"
        )
    contents = {}
    for block, (module, *options) in BLOCKS.items():
        if "{real}" in options and not real:
            print(f"{block[0]}: {block[1]} stays as it is: it needs --real")
            continue
        given = {"{runs}": runs, "{run}": [args.run], "{real}": real}
        words = ["-m", module]
        for option in options:
            words += given.get(option, [option])
        contents[block] = printed(words)
    if args.pictures:
        print(printed([str(ROOT / "docs" / "pictures.py"), "--run", args.run, "--output_dir", str(ROOT / "docs")]))
    for (name, block), content in contents.items():
        path = ROOT / name
        path.write_text(replaced(path.read_text(encoding="utf-8"), block, content), encoding="utf-8")
        print(f"{name}: {block}")


if __name__ == "__main__":
    main()
