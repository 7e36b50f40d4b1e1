"""What a program runs in: bubblewrap or sandlock."""

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from eval.tools.sandbox.program import ENVIRONMENT, FILE_BYTES, FLAGS, Child, Limits, SandboxUnavailable
from eval.tools.sandbox.seccomp import seccomp_filter_fd

NOBODY = 65534


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
    def start(self, python: str, limits: Limits) -> Iterator[Child]:
        seccomp, pipe = seccomp_filter_fd(), subprocess.PIPE
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
                    yield Child(process.pid, process.stdin.fileno(), process.stdout.fileno(), process.kill, wait)
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
    def start(self, python: str, limits: Limits) -> Iterator[Child]:
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

            yield Child(process.pid, process.stdin.fileno(), process.stdout.fileno(), process.kill, wait)


BACKENDS = {backend.name: backend for backend in (Bwrap(), Sandlock())}
