"""Commands as processes of their own, forked from a server that has imported the libraries once, so that killing one
costs no start-up. `die` names the moment at which a process kills itself with SIGKILL:

    step:3       the third step is done and not yet logged
    log:3        the third step is logged
    save:4       checkpoint-4 is written but for its last file
    finish       training is done, the model not yet saved
"""

import gc
import importlib
import multiprocessing
import os
import signal
from pathlib import Path

from recipes.pipeline.steps import HEAVY

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(HEAVY))


def _die_at(moment: str) -> None:
    from transformers.trainer_callback import CallbackHandler, TrainerState

    from recipes.training.stage import Stage

    kind, _, step = moment.partition(":")

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def before(original):
        return lambda self, *args: die() if self.global_step == int(step) else original(self, *args)

    def after(original):
        def wrapped(self, args, state, control, *rest):
            out = original(self, args, state, control, *rest)
            return die() if state.global_step == int(step) else out

        return wrapped

    if kind == "step":
        CallbackHandler.on_step_end = after(CallbackHandler.on_step_end)
    elif kind == "log":
        CallbackHandler.on_log = after(CallbackHandler.on_log)
    elif kind == "save":
        TrainerState.save_to_json = before(TrainerState.save_to_json)
    elif kind == "finish":
        Stage.finish = die
    else:
        raise ValueError(moment)


def _run(module: str, argv: list[str], log: str, die: str | None) -> None:
    gc.freeze()  # what the server has imported is no garbage: a collection would take 0.3 s
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if die:
        _die_at(die)
    importlib.import_module(module).main(argv)


def start(module: str, argv: list[str], log: Path, die: str | None = None):
    """`module.main(argv)` in a process of its own; its output goes to `log`."""
    process = _forks.Process(target=_run, args=(module, [str(a) for a in argv], str(log), die))
    process.start()
    return process


def run(module: str, argv: list[str], log: Path, die: str | None = None, timeout: float = 180) -> int:
    """Its exit code, −9 when it was killed."""
    process = start(module, argv, log, die)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{module} did not end in {timeout} s: {log.read_text()[-2000:]}")
    return process.exitcode
