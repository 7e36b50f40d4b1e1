"""Whether a backend works here: a probe has run in it and could do none of the things that it tries."""

import contextlib
import functools
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from eval.cli import UserError
from eval.tools.sandbox.backends import BACKENDS
from eval.tools.sandbox.execution import run_once
from eval.tools.sandbox.program import Limits, SandboxFailed, SandboxUnavailable

PROBE = """
import os, sys
breaches = []
def tries(what):
    def run(act):
        try:
            act()
        except BaseException:
            return
        breaches.append(what)
    return run
@tries("reading a file of the host")
def _(): open({canary!r}).read()
@tries("writing a file of the host")
def _(): open({canary!r} + ".new", "w").write("x")
@tries("a connection to the host")
def _():
    import socket
    socket.create_connection(("127.0.0.1", {port}), 1)
@tries("a unix socket of the host")
def _():
    import socket
    socket.socket(socket.AF_UNIX).connect({unix!r})
@tries("a socket to the hypervisor")
def _():
    import socket
    socket.socket(40, socket.SOCK_STREAM)
@tries("a user namespace")
def _():
    import ctypes
    if ctypes.CDLL(None).unshare(0x10000000): raise OSError
@tries("a process")
def _():
    if not os.fork(): os._exit(0)
@tries("memory beyond the limit")
def _(): bytearray(2 * {memory})
@tries("memory that no limit counts")
def _(): os.memfd_create("x")
@tries("the environment of the host")
def _(): os.environ[{secret!r}]
@tries("the user root")
def _():
    if os.getuid(): raise OSError
print("version", "%d.%d.%d" % sys.version_info[:3])
"""


def interpreters() -> list[str]:
    """Interpreters to try: this one, which a home folder can hide from the sandbox's user, and the system's."""
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return list(dict.fromkeys(p for p in (own, os.path.realpath("/usr/bin/python3")) if os.path.exists(p)))


def _users(pid: int) -> set[int]:
    """The users, as the host sees them, of a process and all below it."""
    parents, users = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            status = (folder / "status").read_text()
            parents[int(folder.name)] = int(re.search(r"^PPid:\s+(\d+)", status, re.M)[1])
            users[int(folder.name)] = set(map(int, re.search(r"^Uid:(.*)$", status, re.M)[1].split()))
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return set().union(*(users.get(member, set()) for member in family))


@functools.cache
def probe_backend(name: str) -> tuple[str, str]:
    """(interpreter, version of backend and interpreter) of a backend that works.

    Raises:
        SandboxUnavailable: it does not; the message says why.
    """
    backend, secret = BACKENDS[name], f"TUMBLER_{secrets.token_hex(4)}"
    limits = Limits(cpu_seconds=5, wall_seconds=20, memory_bytes=256 * 2**20)
    reasons = []
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        os.chmod(folder, 0o777)
        canary = Path(folder, "canary")
        canary.write_text("canary")
        canary.chmod(0o666)
        address = f"\0{secret}"
        unix.bind(address)
        unix.listen()
        program = PROBE.format(
            canary=str(canary), port=tcp.getsockname()[1], unix=address, memory=limits.memory_bytes, secret=secret
        )
        os.environ[secret] = "1"
        try:
            for python in interpreters():
                users = set()
                try:
                    program_tests = "assert not breaches, ', '.join(breaches)"
                    result = run_once(
                        backend,
                        python,
                        "",
                        program,
                        program_tests,
                        limits,
                        started=lambda pid, users=users: users.update(_users(pid)),
                    )
                except (SandboxFailed, OSError, RuntimeError, subprocess.SubprocessError) as error:
                    reasons.append(f"{error} (with {python})")
                    continue
                if not result.passed:
                    raise SandboxUnavailable(
                        f"it lets through: {result.output.strip().splitlines()[-1].removeprefix('AssertionError: ')}"
                    )
                if 0 in users or not users:
                    raise SandboxUnavailable(
                        "seen from the host its programs belong to root"
                        if users
                        else "the user of its programs cannot be seen"
                    )
                return python, f"{backend.version()}, CPython {result.output.split()[-1]}"
        finally:
            del os.environ[secret]
    raise SandboxUnavailable("; ".join(reasons))


def find_backend(name: str = "auto") -> tuple[object, str, str]:
    """The first backend that works, or the one named: (backend, interpreter, versions). Tried out once per process.

    Raises:
        SandboxUnavailable: there is none.
    """
    if name != "auto" and name not in BACKENDS:
        raise UserError(f"unknown sandbox {name!r}; there are: auto, {', '.join(BACKENDS)}")
    reasons = []
    for backend in BACKENDS.values() if name == "auto" else [BACKENDS[name]]:
        why = why_not(backend.name)
        if not why:
            return backend, *probe_backend(backend.name)
        reasons.append(f"{backend.name}: {why} (cure: {backend.cure})")
    raise SandboxUnavailable(
        f"no sandbox for programs that a model wrote, and they do not run without one. {'. '.join(reasons)}"
    )


@functools.cache
def why_not(name: str) -> str:
    """Why a backend does not work here; "" if it does."""
    try:
        probe_backend(name)
    except SandboxUnavailable as error:
        return str(error)
    return ""
