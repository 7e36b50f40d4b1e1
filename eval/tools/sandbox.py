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
tests). CPU seconds are the
limit: on a loaded machine the wall clock fails programs that are right. What a sandbox cannot decide: an object that
    equals everything
passes any `assert`, and a program that knows this file can find the nonce in its own process. So the verifier `code`
looks at a program first (`eval.checking.tampering`), and gives nothing to one that reaches for what decides its tests.

bwrap runs 48 of HumanEval's canonical solutions a second on one core, tests included, and all 164 pass; a bare
interpreter starts in a third of that time (15 ms and 5 ms). Threads may share the work. Only the standard library is
there; one thread, no processes; bwrap gives an empty `/tmp`, sandlock no folder to write to; hashes are seeded, so a
program's sets have one order.
"""

import contextlib
import functools
import math
import os
import re
import secrets
import select
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, parse

NOBODY = 65534
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

# Denied on top of what the namespaces keep out: sockets (AF_VSOCK, which reaches the hypervisor, knows no namespace),
# memory that RLIMIT_AS does not count, new processes, and kernel interfaces that a program with tests has no use for.
DENIED = """socket socketpair fork vfork ptrace process_vm_readv process_vm_writev memfd_create memfd_secret shmget
    shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open add_key request_key keyctl bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register unshare setns mount umount2 pivot_root
    move_mount open_tree fsopen fsmount fspick fsconfig mount_setattr chroot init_module finit_module delete_module
    kexec_load kexec_file_load open_by_handle_at name_to_handle_at personality splice tee vmsplice inotify_init
    inotify_init1 inotify_add_watch fanotify_init mbind set_mempolicy migrate_pages move_pages get_mempolicy pidfd_open
    pidfd_getfd kcmp sched_setscheduler sched_setattr syslog acct quotactl swapon swapoff reboot settimeofday
    clock_settime adjtimex""".split()


class SandboxUnavailable(UserError):
    """No backend works here, or not the one asked for; the message says why and what to install."""


class _Lost(Exception):
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
class _Child:
    """A started process: pipes, and how to end it. `wait(seconds)` gives the exit code (negative or above 128: a
    signal), None if it still runs."""

    pid: int
    stdin: int
    stdout: int
    kill: Callable[[], None]
    wait: Callable[[float], int | None]


# ----------------------------------------------------------------------------------------------------------------
# backends


@functools.cache
def _filter() -> bytes:
    """The seccomp filter as BPF: EPERM for `DENIED`, all else allowed; a system call of another architecture kills."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no libseccomp.so.2
        raise SandboxUnavailable(
            f"no seccomp filter ({error}): pip install pyseccomp; apt install libseccomp2"
        ) from None
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED:
        with contextlib.suppress(ValueError, OSError):  # not a system call of this machine
            rules.add_rule(pyseccomp.ERRNO(1), name)
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _filter_fd() -> int:
    """A file of its own for each run: bwrap reads it to the end."""
    fd = os.memfd_create("filter")
    os.write(fd, _filter())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Bwrap:
    name, cure = (
        "bwrap",
        (
            "apt install bubblewrap util-linux (Debian, Ubuntu); in a container bwrap needs user namespaces, else pip"
            " install sandlock"
        ),
    )

    def version(self) -> str:
        return subprocess.run([self._path(), "--version"], capture_output=True, text=True, timeout=10).stdout.strip()

    def _path(self, name: str = "bwrap") -> str:
        path = shutil.which(name)
        if not path:
            raise SandboxUnavailable(f"{name} is not installed")
        return path

    def _as_nobody(self) -> list[str]:
        """What drops root. Not Popen's `user`: with it Python forks instead of vforks, 30 ms for each GiB that this
        process holds."""
        return (
            [self._path("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
            if os.geteuid() == 0
            else []
        )

    def command(self, python: str, limits: Limits, seccomp: int) -> list[str]:
        prefix = str(Path(python).parent.parent)
        own = [] if prefix == "/usr" or prefix.startswith("/usr/") else ["--ro-bind", prefix, prefix]
        # fmt: off
        return [
            self._path(), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
            "--clearenv",
            *(word for item in ENVIRONMENT.items() for word in ("--setenv", *item)), "--hostname", "sandbox",
            "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
            "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", *own, "--dev", "/dev", "--remount-ro", "/dev",
            "--size", str(FILE_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--cap-drop", "ALL",
            "--seccomp", str(seccomp), "--", python, *FLAGS, limits.stub(),
        ]  # no /proc: as it belongs to the kernel's user, it is a way out
        # fmt: on

    @contextlib.contextmanager
    def start(self, python: str, limits: Limits) -> Iterator[_Child]:
        seccomp, pipe = _filter_fd(), subprocess.PIPE
        try:
            line = self.command(python, limits, seccomp)
            process = subprocess.Popen(
                [*self._as_nobody(), *line],
                env={},
                cwd="/",
                pass_fds=(seccomp,),
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.STDOUT,
                bufsize=0,
            )
        finally:
            os.close(seccomp)
        alive = os.pidfd_open(process.pid)

        def wait(seconds: float) -> int | None:
            with (
                selectors.DefaultSelector() as ended
            ):  # Popen.wait(timeout) looks at intervals, which costs milliseconds
                ended.register(alive, selectors.EVENT_READ)
                return process.wait() if ended.select(max(0.0, seconds)) else None

        try:
            with process:
                try:
                    yield _Child(process.pid, process.stdin.fileno(), process.stdout.fileno(), process.kill, wait)
                finally:
                    process.kill()
                    while select.select([process.stdout], [], [], 1)[0] and os.read(process.stdout.fileno(), 65536):
                        pass  # its end comes when nothing is left of what was inside
        finally:
            os.close(alive)


class Sandlock:
    name, cure = "sandlock", "pip install sandlock (Linux 6.12, and not as root)"

    def version(self) -> str:
        from importlib.metadata import version

        return f"sandlock {version('sandlock')}"

    @contextlib.contextmanager
    def start(self, python: str, limits: Limits) -> Iterator[_Child]:
        if os.geteuid() == 0:
            raise SandboxUnavailable("as root it keeps all capabilities")
        try:
            import sandlock
        except ImportError:
            raise SandboxUnavailable("sandlock is not installed") from None
        abi = sandlock.landlock_abi_version()
        if abi < sandlock.min_landlock_abi():
            raise SandboxUnavailable(f"the kernel's Landlock has ABI {abi}, {sandlock.min_landlock_abi()} is needed")
        places = [
            "/usr",
            "/lib",
            "/lib64",
            "/etc/ld.so.cache",
            "/dev/null",
            "/dev/urandom",
            str(Path(python).parent.parent),
        ]
        box = sandlock.Sandbox(
            fs_readable=[place for place in dict.fromkeys(places) if os.path.exists(place)],
            clean_env=True,
            env=ENVIRONMENT,
            cwd="/usr",
            no_coredump=True,
            extra_deny_syscalls=["memfd_create"],
        )
        piped = sandlock.StdioMode.PIPED
        with box.popen(
            [python, *FLAGS, limits.stub()], stdin=piped, stdout=piped, stderr=sandlock.StdioMode.NULL
        ) as process:

            def wait(seconds: float) -> int | None:
                result = process.wait(max(0.01, seconds))
                if result.reason == sandlock.ExitReason.TIMEOUT:
                    return None
                if result.reason == sandlock.ExitReason.KILLED:
                    return -signal.SIGKILL
                return -result.signal if result.signal else result.exit_code

            yield _Child(process.pid, process.stdin.fileno(), process.stdout.fileno(), process.kill, wait)


BACKENDS = {backend.name: backend for backend in (Bwrap(), Sandlock())}


def _pythons() -> list[str]:
    """Interpreters to try: this one, which a home folder can hide from the sandbox's user, and the system's."""
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return list(dict.fromkeys(p for p in (own, os.path.realpath("/usr/bin/python3")) if os.path.exists(p)))


# ---------------------------------------------------------------------------------------------------------------- a
# run


def _exchange(
    child: _Child, request: bytes, limits: Limits, deadline: float, started: Callable[[int], None] | None
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


def _run(
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
        raise _Lost(said[-1])
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
        return _run(chosen, python, version, code, tests, limits)
    except _Lost:
        try:
            return _run(chosen, python, version, code, tests, limits)
        except _Lost as error:
            raise SandboxUnavailable(
                f"{chosen.name} failed: {error}; check it with python -m eval.tools.sandbox"
            ) from None


# ---------------------------------------------------------------------------------------------------------------- the
# probe

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
def _probe(name: str) -> tuple[str, str]:
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
            for python in _pythons():
                users = set()
                try:
                    program_tests = "assert not breaches, ', '.join(breaches)"
                    result = _run(
                        backend,
                        python,
                        "",
                        program,
                        program_tests,
                        limits,
                        started=lambda pid, users=users: users.update(_users(pid)),
                    )
                except (_Lost, OSError, RuntimeError, subprocess.SubprocessError) as error:
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
            return backend, *_probe(backend.name)
        reasons.append(f"{backend.name}: {why} (cure: {backend.cure})")
    raise SandboxUnavailable(
        f"no sandbox for programs that a model wrote, and they do not run without one. {'. '.join(reasons)}"
    )


@functools.cache
def why_not(name: str) -> str:
    """Why a backend does not work here; "" if it does."""
    try:
        _probe(name)
    except SandboxUnavailable as error:
        return str(error)
    return ""


@dataclass
class SandboxArguments:
    backend: str = field(default="auto", metadata={"help": f"auto (all), or one of {', '.join(BACKENDS)}"})


@command
def main(argv: list[str] | None = None) -> None:
    """Tell of each backend whether it works, and what to do if not; exit code 2 if none does."""
    (args,) = parse((SandboxArguments,), argv)
    for name, backend in BACKENDS.items():
        if args.backend not in ("auto", name):
            continue
        why = why_not(name)
        if why:
            print(f"{name}: does not work: {why}. Cure: {backend.cure}")
        else:
            result = run_program("", "", backend=name)
            print(f"{name}: works, {1000 * result.seconds:.0f} ms a program ({result.version}, {_probe(name)[0]})")
    find_backend(args.backend)


if __name__ == "__main__":
    main()
