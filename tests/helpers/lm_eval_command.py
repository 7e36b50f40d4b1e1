"""lm-eval's own command in a process of `forks`, which has its libraries: `main([folder, "run", "--model", …])` runs
in that folder."""

import os
import sys


def main(argv: list[str]) -> None:
    from lm_eval.__main__ import cli_evaluate

    folder, *options = argv
    os.chdir(folder)
    sys.argv = ["lm_eval", *options]
    cli_evaluate()
