"""What runs inside a sandbox, and what is known of it outside: the stub, the limits, a started process, a result."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from eval.cli import UserError

FILE_BYTES = 16 * 2**20  # of one file, and of /tmp
READY = b"\0ready\n"
FLAGS = ("-s", "-S", "-B", "-u", "-c")  # no site-packages; unbuffered: what was printed stands before the traceback
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}

# What runs inside: limits, then code and tests from standard input. Code and tests are compiled apart, so an open
# string or an `if False:` at the code's end swallows no test; the nonce is read when the tests are through; and what a
# poisoned `builtins` or `os` would change is kept before the code runs.
STUB = """
import os, struct, sys, resource as r
for what, most in (
    (r.RLIMIT_AS, {memory}), (r.RLIMIT_CPU, {cpu}), (r.RLIMIT_FSIZE, {file}),
    (r.RLIMIT_NOFILE, 64), (r.RLIMIT_NPROC, 1), (r.RLIMIT_CORE, 0),
):
    r.setrlimit(what, (most, most))
def main(read=os.read, write=os.write, leave=os._exit, compile=compile, exec=exec, len=len):
    def take(size):
        data = b""
        while len(data) < size:
            data += read(pipe, size - len(data))
        return data
    pipe = os.dup(0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(1, 2)
    write(1, {ready})
    code, tests = (take(size).decode("utf-8", "surrogatepass") for size in struct.unpack("<QQ", take(16)))
    code, tests = compile(code, "code", "exec"), compile(tests, "tests", "exec")
    names = {{"__name__": "__main__", "__builtins__": __builtins__}}
    exec(code, names)
    exec(tests, names)
    write(1, take(32))
    leave(0)
main()
"""


class SandboxUnavailable(UserError):
    """No backend works here, or not the one asked for; the message says why and what to install."""


class SandboxFailed(Exception):
    """The sandbox itself failed, not the program."""


@dataclass(frozen=True)
class ProgramResult:
    """What became of a program.

    `status` is passed; failed (an exception, or an end before the tests' end); timeout; memory; output (more than the
    cap); crash (a signal). `output` is what it wrote to stdout and stderr, with the traceback; `seconds` are wall
    clock; `backend` and `version` name what it ran in.
    """

    passed: bool
    status: str
    output: str
    seconds: float
    backend: str
    version: str


@dataclass(frozen=True)
class Limits:
    """CPU seconds (rounded up), seconds of the wall clock, bytes of memory, bytes of output."""

    cpu_seconds: float = 5
    wall_seconds: float = 30
    memory_bytes: int = 512 * 2**20
    output_bytes: int = 100_000

    def stub(self) -> str:
        return STUB.format(memory=self.memory_bytes, cpu=math.ceil(self.cpu_seconds), file=FILE_BYTES, ready=READY)


@dataclass
class Child:
    """A started process: pipes, and how to end it. `wait(seconds)` gives the exit code (negative or above 128: a
    signal), None if it still runs."""

    pid: int
    stdin: int
    stdout: int
    kill: Callable[[], None]
    wait: Callable[[float], int | None]
