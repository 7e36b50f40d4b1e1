"""One run of a program in a backend: code and tests go in, what it wrote and how it ended come out."""

import os
import secrets
import selectors
import signal
import struct
import time
from collections.abc import Callable

from eval.tools.sandbox.program import READY, Child, Limits, ProgramResult, SandboxFailed


def _exchange(
    child: Child, request: bytes, limits: Limits, deadline: float, started: Callable[[int], None] | None
) -> tuple[bytes, str | None]:
    """Send the request when the stub is ready, read until the end: (output, None), or why it was ended: "output",
    "wall"."""
    output, left, ready = bytearray(), memoryview(request), False
    os.set_blocking(child.stdin, False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            rest = deadline - time.monotonic()
            if rest <= 0 or not (events := selector.select(rest)):
                return bytes(output), "wall"
            for key, _ in events:
                if key.fd == child.stdin:
                    try:
                        left = left[os.write(child.stdin, left) :]
                    except BrokenPipeError:
                        left = left[:0]
                    if not left:
                        selector.unregister(child.stdin)
                elif chunk := os.read(child.stdout, 65536):
                    output += chunk
                    if not ready and output.startswith(READY):
                        ready = True
                        if started:
                            started(child.pid)
                        selector.register(child.stdin, selectors.EVENT_WRITE)
                    if len(output) > limits.output_bytes + len(READY) + 32:
                        return bytes(output), "output"
                else:
                    return bytes(output), None


def run_once(
    backend,
    python: str,
    version: str,
    code: str,
    tests: str,
    limits: Limits,
    started: Callable[[int], None] | None = None,
) -> ProgramResult:
    nonce = secrets.token_hex(16).encode()
    parts = [text.encode("utf-8", "surrogatepass") for text in (code, tests)]
    request = struct.pack("<QQ", *map(len, parts)) + b"".join(parts) + nonce
    begin = time.monotonic()
    with backend.start(python, limits) as child:
        output, ended = _exchange(child, request, limits, begin + limits.wall_seconds, started)
        code = child.wait(begin + limits.wall_seconds - time.monotonic()) if ended is None else None
        if code is None:
            child.kill()
            ended = ended or "wall"
    seconds = time.monotonic() - begin
    if not output.startswith(READY):
        said = output.decode(errors="replace").strip().splitlines() or [
            f"it did not start within {seconds:.1f} s" if ended else "it ended at once"
        ]
        raise SandboxFailed(said[-1])
    output = output[len(READY) :]
    passed = ended is None and output.endswith(nonce)
    text = output.removesuffix(nonce)[: limits.output_bytes].decode(errors="replace")
    number = 0 if code is None else -code if code < 0 else max(0, code - 128)
    if passed:
        status = "passed"
    elif ended:
        status = {"wall": "timeout", "output": "output"}[ended]
    elif number in (signal.SIGKILL, signal.SIGXCPU) and seconds >= 0.9 * limits.cpu_seconds:
        status = "timeout"
    elif number:
        status = "crash"
    else:
        last = text.rstrip().rpartition("\n")[2]
        status = "memory" if last.startswith("MemoryError") else "failed"
    return ProgramResult(passed, status, text, seconds, backend.name, version)
