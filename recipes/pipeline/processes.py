"""The processes of a pipeline's step: forked, so that none imports anything again, with the environment that torchrun
would give them.

code, memory = run_step("recipes.sft", ["--config", "recipes/tiny/sft.yaml"], held, processes=2,
log=Path("runs/tiny/steps/sft.log"))
"""

import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from eval.shared.progress_file import VARIABLE

PR_SET_PDEATHSIG = 1


def start_process(module: str, argv: list[str], held, environment: dict, log: Path | None) -> int:
    """Fork a child that runs `module.main(argv)` with `environment` added to this one's; its process id. `log` takes
    what it prints."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    if sys.platform == "linux":  # a step must not outlive the run that would continue it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        held.close()  # so the lock need not be the step's, whose own helpers (datatrove's manager) may live on
    try:
        os.environ |= {name: str(value) for name, value in environment.items()}
        processes = environment.get("WORLD_SIZE")
        if processes:
            importlib.import_module("torch").set_num_threads(max(1, (os.cpu_count() or 1) // processes))
        if log:
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        importlib.import_module(module).main(argv)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def called_each_second(watch: Callable | None):
    """Call `watch()` in a thread until the block ends."""
    done = threading.Event()

    def loop():
        while not done.wait(1):
            watch()

    thread = threading.Thread(target=loop, daemon=True)
    if watch:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if watch:
            thread.join()  # so that no other step is forked beside it


def run_step(
    module: str,
    argv: list[str],
    held,
    processes: int,
    log: Path,
    share: Path | None = None,
    watch: Callable | None = None,
) -> tuple[int, float]:
    """Run `module.main(argv)` in as many processes; the exit code of the first that fails, and their peak resident
    memory in GiB, added up. The first one prints and says in the file `share` how far it is
    (`eval.shared.progress_file`), the others write to `log`. `watch` is called each second."""
    ranks, running = {}, {}
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ranks = {
                "WORLD_SIZE": processes,
                "LOCAL_WORLD_SIZE": processes,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": free.getsockname()[1],
            }
    for rank in range(processes):
        environment = ranks and ranks | {"RANK": rank, "LOCAL_RANK": rank}
        if share and rank == 0:
            environment = environment | {VARIABLE: share}
        running[start_process(module, argv, held, environment, log if rank else None)] = rank
    with called_each_second(watch):
        codes, memory = wait_for(running)
    failed = next((rank for rank, code in codes.items() if code), 0)
    if failed and codes[0] in (0, -signal.SIGKILL):
        print(log.read_text(errors="replace")[-4000:], end="", file=sys.stderr)
    return codes[failed], memory


def wait_for(running: dict[int, int]) -> tuple[dict[int, int], float]:
    """Wait for the processes (id → rank); exit code by rank, in the order in which they ended, and their peak memory
    in GiB, added up. Where one fails, the others are killed."""
    codes, memory = {}, 0.0
    while running:
        pid, status, usage = os.wait4(-1, 0)
        if pid not in running:
            continue
        codes[running.pop(pid)] = code = os.waitstatus_to_exitcode(status)
        memory += usage.ru_maxrss / 2**20
        if code and running:
            time.sleep(2)  # what is wrong for all, the first one says itself
            for other in running:  # it would wait for the one that failed
                os.kill(other, signal.SIGKILL)
    return codes, memory
