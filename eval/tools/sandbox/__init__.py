r"""Programs with tests, written by a model and run in full CPython where they can do no harm: code rewards, HumanEval.

    python -m eval.tools.sandbox

says what works here and how to get what does not. In code:

    run_program("def add(a, b):\n    return a + b\n", "assert add(2, 3) == 5")  ->  ProgramResult(passed=True,
    status="passed", ...)

Backends, in the order in which "auto" takes them:

    bwrap      bubblewrap (namespaces) + rlimits + a seccomp filter, as a kernel user that is not root: `apt install
               bubblewrap`
    sandlock   Landlock + seccomp, needs no namespaces (containers); not as root, Linux 6.12: `pip install sandlock`

A backend counts as working when a probe has run in it: a program that tries to read and write files of the host, reach
its sockets, make a namespace, a process and more memory than it may; and whose user, seen from the host, is not root.
Where none works there is `SandboxUnavailable`, never a plain subprocess.

A program has passed when a nonce comes out after its tests; the exit code is not asked (`sys.exit(0)` before the
tests). CPU seconds are the limit: on a loaded machine the wall clock fails programs that are right. What a sandbox
cannot decide: an object that equals everything passes any `assert`, and a program that knows this package can find
the nonce in its own process. So the verifier `code` looks at a program first (`eval.checking.tampering`), and gives
nothing to one that reaches for what decides its tests.

bwrap runs 48 of HumanEval's canonical solutions a second on one core, tests included, and all 164 pass; a bare
interpreter starts in a third of that time (15 ms and 5 ms). Threads may share the work. Only the standard library is
there; one thread, no processes; bwrap gives an empty `/tmp`, sandlock no folder to write to; hashes are seeded, so a
program's sets have one order.
"""

from eval.cli import UserError
from eval.tools.sandbox.backends import BACKENDS, Bwrap, Sandlock
from eval.tools.sandbox.execution import run_once
from eval.tools.sandbox.probe import find_backend, why_not
from eval.tools.sandbox.program import Limits, ProgramResult, SandboxFailed, SandboxUnavailable

__all__ = [
    "BACKENDS",
    "Bwrap",
    "Limits",
    "ProgramResult",
    "SandboxUnavailable",
    "Sandlock",
    "find_backend",
    "run_program",
    "why_not",
]


def run_program(
    code: str,
    tests: str,
    *,
    cpu_seconds: float = Limits.cpu_seconds,
    wall_seconds: float = Limits.wall_seconds,
    memory_bytes: int = Limits.memory_bytes,
    output_bytes: int = Limits.output_bytes,
    backend: str = "auto",
) -> ProgramResult:
    """Run the code, then the tests in the same namespace. Threads may call it at the same time: one process each.

    Args:
        code, tests: Python source. The tests raise (`assert`) where the code is wrong.
        cpu_seconds: of the program, rounded up.
        wall_seconds: the backstop, for a program that sleeps.
        memory_bytes: address space.
        output_bytes: of stdout and stderr together; a program that writes more is ended.
        backend: a name in `BACKENDS`, or "auto".

    Raises:
        SandboxUnavailable: no backend works here, or it failed twice for a reason that is not the program's.
    """
    if min(cpu_seconds, wall_seconds, output_bytes) <= 0 or memory_bytes < 64 * 2**20:
        given = f"{cpu_seconds}, {wall_seconds}, {output_bytes}, {memory_bytes}"
        raise UserError(
            "a program needs more than 0 seconds (CPU, wall clock) and bytes of output, and 64 MiB of memory; not"
            f" {given}"
        )
    chosen, python, version = find_backend(backend)
    limits = Limits(cpu_seconds, wall_seconds, memory_bytes, output_bytes)
    try:
        return run_once(chosen, python, version, code, tests, limits)
    except SandboxFailed:
        try:
            return run_once(chosen, python, version, code, tests, limits)
        except SandboxFailed as error:
            raise SandboxUnavailable(
                f"{chosen.name} failed: {error}; check it with python -m eval.tools.sandbox"
            ) from None
