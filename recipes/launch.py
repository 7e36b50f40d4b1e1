"""`accelerate launch` that ends as the stage does: with its one line and its exit code, and no traceback of the
launcher.

    python -m recipes.launch --config_file accelerate_configs/cpu_ddp.yaml -m recipes.sft \
        --config recipes/tiny/sft.yaml

Takes what `accelerate launch` takes, which raises an error of its own where a process fails, and exits with 1.
"""

import logging
import signal
import subprocess
import sys


def code_of(returned: int) -> int:
    """The exit code of a process as a shell gives it: 128 and the number of the signal that ended it, which is
    printed."""
    if returned >= 0:
        return returned
    print(f"error: a process of the stage was ended by {signal.Signals(-returned).name}", file=sys.stderr)
    return 128 - returned


def main(argv: list[str] | None = None) -> None:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # torchrun tells of each process that it ends
    args = launch_command_parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        launch_command(args)
    except subprocess.CalledProcessError as error:
        raise SystemExit(code_of(error.returncode)) from None
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        raise SystemExit(code_of(first.exitcode)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
