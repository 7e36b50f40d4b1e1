r"""The tool `python`: short code of a model, run by Monty (an interpreter of its own, not CPython:
https://github.com/pydantic/monty).

    python("'strawberry'.count('r')")  ->  "3"

    python -m eval.tools.python --query "sum(range(10))"

Monty knows a subset of Python: functions, simple classes, comprehensions, match, 25 modules (math, re, datetime,
collections, itertools, json, random, ...); no inheritance, no generators, no files, no network. What it does not know
is an error text, which the model reads. Whole programs with tests need CPython: `eval.tools.sandbox`.

Each call is a fresh session with the same clock and the same random numbers, so a call is repeatable; `time.sleep`
returns at once. Time, memory and output are limited. Monty's pool of workers lives in a helper process, for two
reasons found by trying: in a forked child (data loaders, torchrun, `datasets.map`) Monty's threads are gone and the
next call hangs for ever; and a value can be small in memory but endless in print (`x = 'a' * 10**6; [x] * 1000`),
which then costs the helper and not the trainer. Each thread and each forked process takes a helper that is free, or
starts one (0.1 s).
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, parse
from eval.tools import as_result

SECONDS = 2.0  # of running; a worker that does not stop by itself is killed a second later
MEMORY_BYTES = 128 * 2**20
HELPER_BYTES = 512 * 2**20  # for the value and its text
OUTPUT_BYTES = 100_000  # of print
BATCH = 64  # codes that go to a helper at once
GRACE = 3.0  # after which the helper itself is lost
CLOCK = "2026-01-01T12:00:00+00:00"
ROOT = str(Path(__file__).resolve().parents[2])


def serve() -> None:
    """The helper: a JSON line `[codes, seconds]` in, a JSON line with their texts out, until the input ends."""
    import datetime
    import resource

    from pydantic_monty import CollectString, Monty, MontyError

    policy = {"sleep": "zero", "datetime": datetime.datetime.fromisoformat(CLOCK)}
    seeded = {**policy, "random_start": {"seed": 0}}  # costs a tenth of a call

    def run(pool, code: str, seconds: float) -> str:
        printed, last = CollectString(max_bytes=OUTPUT_BYTES), ""
        try:
            limits = {"max_feed_duration_secs": seconds, "max_memory": MEMORY_BYTES, "max_total_sleep_secs": 1.0}
            with pool.checkout(
                limits=limits, os_policy=seeded if "random" in code else policy, assert_message_annotations=False
            ) as session:
                value = session.feed_run(code, print_callback=printed)
            last = "" if value is None else repr(value)
        except MontyError as error:
            last = _message(error, seconds)
        except (MemoryError, RecursionError):
            last = "MemoryError: the value is too large to be shown"
        except Exception as error:
            last = f"{type(error).__name__}: {error}"
        return as_result((printed.output + last).rstrip("\n"))

    with Monty(min_processes=1, max_processes=1) as pool:
        run(pool, "1", 1.0)
        os.write(1, b"ready\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a worker that dies says so there; the model is told in any case
        with open("/proc/self/status") as status:
            used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + HELPER_BYTES, used + HELPER_BYTES))
        for line in sys.stdin.buffer:
            codes, seconds = json.loads(line)
            answer = memoryview(json.dumps([run(pool, code, seconds) for code in codes]).encode() + b"\n")
            while answer:
                answer = answer[os.write(1, answer) :]


def _message(error, seconds: float) -> str:
    """`ZeroDivisionError: division by zero (line 1)`."""
    if not hasattr(error, "display"):
        return (
            "TimeoutError: the code did not stop"
            if getattr(error, "timed_out", False)
            else "MemoryError: the interpreter died"
        )
    text = error.display("type-msg")
    if text.startswith("TimeoutError: feed time limit"):
        return f"TimeoutError: the code ran longer than {seconds:g} seconds"
    frames = error.traceback()
    return f"{text} (line {frames[-1].line})" if frames else text


class Helper:
    """One helper process. Not for two threads at once."""

    def __init__(self):
        code = f"import sys; sys.path[:] = {[ROOT, *sys.path]!r}; from eval.tools.python import serve; serve()"
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C does not reach it, and it can be killed with its workers.
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True
        )
        if self._line(time.monotonic() + 60) != b"ready\n":
            self.kill()
            raise UserError("the tool python does not start (see above): pip install 'pydantic-monty>=1.4,<2'")

    def _line(self, deadline: float) -> bytes:
        """A line of the helper's; b"" if it died or the deadline passed."""
        chunks, out = [], self.process.stdout.fileno()
        while (
            (left := deadline - time.monotonic()) > 0
            and select.select([out], [], [], left)[0]
            and (chunk := os.read(out, 65536))
        ):
            chunks.append(chunk)
            if chunk.endswith(b"\n"):
                return b"".join(chunks)
        return b""

    def run(self, codes: list[str], seconds: float) -> list[str] | None:
        """Their texts; None if the helper is lost."""
        try:
            question = memoryview(json.dumps([codes, seconds]).encode() + b"\n")
            while question:  # a signal can end a write early
                question = question[self.process.stdin.write(question) :]
            return json.loads(self._line(time.monotonic() + seconds * len(codes) + GRACE) or b"null")
        except OSError:
            return None

    def close(self) -> None:
        """Let go of it: it ends when nobody holds its input."""
        self.process.stdin.close()
        self.process.stdout.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.close()
        self.process.wait()


class _Helpers:
    """The helpers of this process: `free` ones wait for a call."""

    def __init__(self):
        self.lock, self.free, self.all = threading.Lock(), [], set()

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        for helper in self.all:
            helper.close()
            helper.process.returncode = 0  # nothing to wait for
        self.__init__()

    def end(self) -> None:
        for helper in self.all:
            helper.close()
        for helper in self.all:
            try:
                helper.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                helper.kill()

    def take(self) -> Helper:
        with self.lock:
            if self.free:
                return self.free.pop()
        helper = Helper()
        self.all.add(helper)
        return helper

    def give_back(self, helper: Helper) -> None:
        with self.lock:
            self.free.append(helper)

    def drop(self, helper: Helper) -> None:
        helper.kill()
        self.all.discard(helper)


_helpers = _Helpers()
os.register_at_fork(after_in_child=_helpers.forget)
atexit.register(_helpers.end)


def _run(codes: list[str], seconds: float) -> list[str] | None:
    helper = _helpers.take()
    try:
        texts = helper.run(codes, seconds)
    except BaseException:  # Ctrl-C between question and answer: the answer must not become another call's
        _helpers.drop(helper)
        raise
    (_helpers.drop if texts is None else _helpers.give_back)(helper)
    return texts


def run_codes(codes: list[str], seconds: float = SECONDS) -> list[str]:
    """What each code prints, then the value of its last expression, or the error it ends with; at most
    `eval.tools.MAX_CHARACTERS` of it.

    Together they cost half of what they cost one by one (120 and 200 µs each on one core); they run one after the
    other all the same.

    Raises:
        UserError: Monty is not installed.
    """
    texts = []
    for at in range(0, len(codes), BATCH):
        batch = codes[at : at + BATCH]
        done = _run(batch, seconds)
        if done is None:  # one of them took the helper with it
            done = (
                ["MemoryError: the interpreter did not answer"]
                if len(batch) == 1
                else [text for code in batch for text in run_codes([code], seconds)]
            )
        texts += done
    return texts


def python(query: str) -> str:
    """Runs Python code.

    Args:
        query: The code, for example: sum(range(10))

    Returns:
        What it prints and the value of its last expression, or the error message; no newline at the end.
    """
    return run_codes([query])[0]


@dataclass
class PythonArguments:
    query: str = field(metadata={"help": "code to run"})


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PythonArguments,), argv)
    print(python(args.query))


if __name__ == "__main__":
    main()
