"""Hostile programs against every backend that works here, and honest ones: each with the result it must have."""

import gzip
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eval.cli import UserError
from eval.tools import sandbox
from eval.tools.sandbox import (
    BACKENDS,
    ProgramResult,
    SandboxUnavailable,
    backends,
    find_backend,
    run_program,
    seccomp,
    why_not,
)
from eval.tools.sandbox.__main__ import main
from eval.tools.sandbox.probe import probe_backend

CONTAINED = {"timeout", "memory", "crash", "failed", "output", "passed"}
STOPPED = CONTAINED - {"passed"}
MEMORY = 256 * 2**20
ADD = "\ndef add(a, b): return a - b\n"  # wrong, so only a trick can pass
ADD_TESTS = "assert add(2, 3) == 5"

# id: (what it tries, code, statuses of a backend that runs CPython, what Monty says: a pattern over its text).
# CANARY is a file of the host, PORT and UNIX are its sockets, SECRET is in its environment.
SNIPPETS = {
    "H01": ("infinite loop", "while True: pass", {"timeout"}, "^TimeoutError"),
    "H02": (
        "a loop that swallows every exception",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        {"timeout"},
        "^TimeoutError",
    ),
    "H03": ("sleep", "import time\ntime.sleep(10**6)", {"timeout"}, "^$"),
    "H04": ("one huge string", "x = 'a' * 10**10", {"memory"}, "MemoryError"),
    "H05": ("a growing list", "x = []\nwhile True: x.append('a' * 10**6 + str(len(x)))", {"memory"}, "MemoryError"),
    "H06": ("a huge power", "x = 10**10**10", {"timeout", "memory"}, "MemoryError"),
    "H07": ("one long call into C", "sum(range(10**12))", {"timeout"}, "^TimeoutError"),
    "H08": ("endless recursion", "def f(n): return f(n + 1)\nf(0)", {"failed"}, "RecursionError"),
    "H09": (
        "recursion with the limit raised",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)",
        STOPPED,
        "Error",
    ),
    "H10": (
        "deeply nested source",
        "eval('(' * 200_000 + ')' * 200_000)",
        {"failed", "memory", "crash", "output"},
        "Error",
    ),
    "H11": (
        "a regular expression that backtracks for ever",
        "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
        {"timeout"},
        "^$|^TimeoutError",
    ),
    "H12": ("a flood on stdout", "while True: print('a' * 10_000)", {"output"}, "MemoryError"),
    "H13": (
        "a flood on stderr",
        "import sys\nwhile True: print('a' * 10_000, file=sys.stderr)",
        {"output"},
        "MemoryError|Error",
    ),
    "H14": ("read a file of the host", "print(open(CANARY).read())", {"failed"}, "Error"),
    "H15": ("write a file of the host", "open(CANARY, 'w').write('x')", {"failed"}, "Error"),
    "H16": ("read the environment", "import os\nprint(dict(os.environ))", {"passed", "failed"}, "Error"),
    "H17": (
        "read the environment of other processes",
        (
            "import glob\nfor f in glob.glob('/proc/*/environ'):\n    try: print(open(f, 'rb').read())\n    except"
            " OSError: pass"
        ),
        {"passed"},
        "Error",
    ),
    "H18": (
        "os.system by another name",
        "getattr(__import__('o' + 's'), 'sys' + 'tem')('echo x > ' + CANARY)",
        {"passed", "failed"},
        "Error",
    ),
    "H19": (
        "subprocess and system() of libc",
        (
            "import subprocess, ctypes\ntry: subprocess.run(['/bin/sh', '-c', 'echo x > ' + CANARY])\nexcept"
            " Exception: pass\nctypes.CDLL(None).system(b'echo x > ' + CANARY.encode())"
        ),
        {"passed", "failed"},
        "Error",
    ),
    "H20": (
        "a walk over __subclasses__ to os",
        (
            "for c in object.__subclasses__():\n    if c.__name__ == '_wrap_close':\n       "
            " print(c.__init__.__globals__['open'](CANARY).read())\nraise LookupError"
        ),
        {"failed"},
        "Error",
    ),
    "H21": (
        "a walk over frames to the host's globals",
        (
            "try: 1 / 0\nexcept ZeroDivisionError as e:\n    f = e.__traceback__.tb_frame\n    while f:\n       "
            " print([k for k in f.f_globals if 'run_program' in k])\n        if 'run_program' in f.f_globals: break\n "
            "       f = f.f_back\n    f.f_globals['CANARY']"
        ),
        {"failed"},
        "Error",
    ),
    "H22": ("TCP to the host", "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)", {"failed"}, "Error"),
    "H23": (
        "an abstract unix socket of the host",
        "import socket\nsocket.socket(socket.AF_UNIX).connect(UNIX)",
        {"failed"},
        "Error",
    ),
    "H24": (
        "a fork bomb",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        {"timeout"},
        "Error",
    ),
    "H25": (
        "a thread bomb",
        (
            "import threading, time\ntry:\n    for _ in range(10_000): threading.Thread(target=time.sleep, args=(30,),"
            " daemon=True).start()\nexcept (RuntimeError, MemoryError): pass"
        ),
        {"passed"},
        "Error",
    ),
    "H26": (
        "kill the parent and everybody",
        "import os\nfor pid in (os.getppid(), -1):\n    try: os.kill(pid, 9)\n    except OSError: pass",
        {"passed", "failed", "crash"},
        "Error",
    ),
    "H27": (
        "a daemon that outlives the run",
        (
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1)\n    "
            "    open(CANARY, 'w').write('x')"
        ),
        {"failed"},
        "Error",
    ),
    "H28": (
        "ignore all signals",
        (
            "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError,"
            " ValueError): pass\nwhile True: pass"
        ),
        {"timeout"},
        "Error",
    ),
    "H29": ("a segmentation fault", "import ctypes\nctypes.string_at(0)", {"crash", "failed"}, "Error"),
    "H30": (
        "fill the disk",
        (
            "for i in range(100):\n    for folder in ('/tmp', '.', '/dev/shm', '/var/tmp'):\n        try:\n           "
            " with open(f'{folder}/fill{i}', 'wb') as f: f.write(b'x' * 2**22)\n        except OSError: pass"
        ),
        {"passed"},
        "^$|Error",
    ),
    "H31": (
        "exhaust the file descriptors",
        (
            "files = []\ntry:\n    while True: files.append(open('/dev/null'))\nexcept OSError: pass\nassert"
            " len(files) < 1000"
        ),
        {"passed"},
        "^$|Error",
    ),
    "H32": ("read stdin", "input()", {"failed"}, "Error"),
    "H33": ("binary rubbish on stdout", "import os\nos.write(1, bytes(range(256)))", {"passed"}, "Error"),
    "H34": (
        "a new user namespace and a mount",
        (
            "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10000000) == -1\nassert"
            " libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1"
        ),
        {"passed"},
        "Error",
    ),
    "H35": (
        "change the kernel's settings",
        (
            "try:\n    open('/proc/sys/kernel/core_pattern', 'r+')\n    written = True\nexcept OSError: written ="
            " False\nassert not written"
        ),
        {"passed"},
        "^$|Error",
    ),
    "H36": (
        "leave state for the next run",
        (
            "import builtins, sys\nbuiltins.print = builtins.len = builtins.exec = builtins.open ="
            " None\nsys.modules['math'] = None"
        ),
        {"passed"},
        "Error",
    ),
    "R01": ("sys.exit(0) before the tests", f"import sys{ADD}sys.exit(0)", {"failed"}, None),
    "R02": ("os._exit(0) before the tests", f"import os{ADD}os._exit(0)", {"failed"}, None),
    "R03": ("raise SystemExit(0)", f"{ADD}raise SystemExit(0)", {"failed"}, None),
    "R04": (
        "print what looks like a pass, and exit",
        f"import os{ADD}print('passed', 'ok', 'PASSED', flush=True)\nos._exit(0)",
        {"failed"},
        None,
    ),
    "R05": (
        "exit with 0 when the tests fail",
        f"import atexit, os, sys{ADD}atexit.register(os._exit, 0)\nsys.excepthook = lambda *a: os._exit(0)",
        {"failed"},
        None,
    ),
    "R06": (
        "an answer that equals everything",
        "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
        {"passed"},
        None,
    ),  # a known limit
    "R07": (
        "a walk over frames for the result",
        (
            f"import sys{ADD}f = sys._getframe()\nwhile f:\n    for v in list(f.f_locals.values()) +"
            " list(f.f_globals.values()):\n        if isinstance(v, list): v.append('passed')\n        if"
            " isinstance(v, (str, bytes)): print(v)\n    f = f.f_back"
        ),
        {"failed"},
        None,
    ),
}


class Host:
    """What a program could harm, and whether it did."""

    def __init__(self, folder: Path):
        self.folder, self.secret = folder, "secret-8f21c0"
        self.canary = folder / "canary"
        self.canary.write_text("canary-77d3")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.name = f"\0tumbler-{os.getpid()}-{id(self)}"
        self.unix.bind(self.name)
        self.unix.listen()
        folder.chmod(0o777)
        self.canary.chmod(0o666)
        for listener in (self.tcp, self.unix):
            listener.setblocking(False)

    def fill(self, code: str) -> str:
        values = {"CANARY": str(self.canary), "PORT": self.tcp.getsockname()[1], "UNIX": self.name}
        return re.sub(r"\b(CANARY|PORT|UNIX)\b(?!')", lambda m: repr(values[m[1]]), code)

    def check(self, output: str) -> None:
        assert self.canary.read_text() == "canary-77d3" and list(self.folder.iterdir()) == [self.canary]
        assert self.secret not in output and "canary-77d3" not in output
        for listener in (self.tcp, self.unix):
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.fixture
def host(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("host")
    monkeypatch.setenv("HOST_SECRET", "secret-8f21c0")
    host = Host(folder)
    yield host
    host.tcp.close()
    host.unix.close()


@pytest.fixture(params=list(BACKENDS))
def backend(request) -> str:
    if why := why_not(request.param):
        pytest.skip(f"{request.param}: {why}")
    return request.param


def processes(mark: str) -> list[str]:
    """The processes with `mark` on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in text:
            found.append(text)
    return found


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_hostile(backend, host, snippet):
    what, code, statuses, _ = SNIPPETS[snippet]
    tests = ADD_TESTS if snippet.startswith("R") else ""
    memory = MEMORY + 4096 * (os.getpid() % 10_000)  # a number of our own, by which the processes are known
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    result = run_program(
        host.fill(code),
        tests,
        cpu_seconds=1,
        wall_seconds=2 if snippet == "H03" else 15,
        memory_bytes=memory,
        output_bytes=50_000,
        backend=backend,
    )
    assert result.status in statuses, (what, result)
    assert result.passed == (result.status == "passed") and len(result.output.encode()) <= 3 * 50_000
    assert time.monotonic() - begin < 16 and (snippet != "H03" or result.seconds < 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    if snippet == "H27":
        time.sleep(1.5)
    deadline = time.monotonic() + 1
    while processes(str(memory)) and time.monotonic() < deadline:  # the kernel takes its time to reap
        time.sleep(0.01)
    assert not processes(str(memory))
    host.check(result.output)
    again = run_program("import math\nprint(len('abc'), math.pi > 3)", "", backend=backend)
    assert again.passed and again.output == "3 True\n"


def test_what_a_result_says(backend):
    result = run_program(
        "def add(a, b):\n    print('adding')\n    return a + b", "assert add(2, 3) == 5", backend=backend
    )
    assert result == ProgramResult(True, "passed", "adding\n", result.seconds, backend, result.version)
    assert re.search(r"\d+\.\d+.*CPython 3\.\d+\.\d+", result.version) and 0 < result.seconds < 30
    result = run_program("print('before')\ndef add(a, b):\n    return a - b", "assert add(2, 3) == 5", backend=backend)
    assert (
        result.status == "failed"
        and result.output.startswith("before\n")
        and result.output.rstrip().endswith("AssertionError")
    )
    assert run_program("def add(", "", backend=backend).output.rstrip().splitlines()[-1].startswith("SyntaxError")


def test_code_cannot_swallow_the_tests(backend):
    for code in ("x = '''", "if False:", "def f():\n    pass\n    '''", "x = (", "# \\"):
        assert run_program(code, "assert False", backend=backend).status == "failed"
    for code in (
        "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None",
        "import os\nos.read = lambda *a: b''\nos._exit = lambda *a: None",
        "import sys, io\nsys.stdout = io.StringIO()",
        "import sys\nsys.exit = lambda *a: None\nclass AssertionError(BaseException): pass",
    ):
        assert not run_program(code, "assert 1 == 2", backend=backend).passed
        assert run_program(code, "assert 1 == 1", backend=backend).passed


def test_text_of_every_kind(backend):
    assert (
        run_program("s = 'Grüße, 世界 \U0001f600'\nprint(s)", "assert len(s) == 11", backend=backend).output
        == "Grüße, 世界 \U0001f600\n"
    )
    assert run_program("s = '\ud800'", "", backend=backend).status == "failed"  # no Python source
    assert run_program("x = 1\0", "", backend=backend).status == "failed"
    assert run_program(
        "x = 0\n" + "x += 1\n" * 100_000, "assert x == 100_000", cpu_seconds=20, backend=backend
    ).passed  # more than a pipe holds
    assert run_program("", "", backend=backend).passed


def test_runs_are_repeatable(backend):
    outputs = {run_program("print(list({'a', 'b', 'c', 'd', 'e'}))", "", backend=backend).output for _ in range(4)}
    assert len(outputs) == 1


def test_threads(backend):
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda i: run_program(f"x = {i}", f"assert x == {i} and {i} % 3", backend=backend), range(24))
        )
    assert [r.passed for r in results] == [bool(i % 3) for i in range(24)]


def test_after_a_fork(backend):
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if run_program("", "", backend=backend).passed else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_no_descriptors_are_left(backend):
    count = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731
    run_program("", "", backend=backend)
    before = count()
    for code in ("", "1/0", "while True: print('a' * 1000)"):
        run_program(code, "", output_bytes=10_000, backend=backend)
    assert count() == before and threading.active_count() < 20


def test_limits_must_make_sense():
    for bad in ({"cpu_seconds": 0}, {"wall_seconds": -1}, {"memory_bytes": 1000}, {"output_bytes": 0}):
        with pytest.raises(UserError, match="more than 0"):
            run_program("", "", **bad)
    with pytest.raises(UserError, match="there are: auto, bwrap"):
        run_program("", "", backend="docker")


@pytest.fixture
def fresh():
    """Backends are tried out anew, before and after."""
    for cached in (why_not, probe_backend):
        cached.cache_clear()
    yield
    for cached in (why_not, probe_backend):
        cached.cache_clear()


def test_without_a_sandbox_nothing_runs(fresh, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    for name in BACKENDS.keys() - {"bwrap"}:
        monkeypatch.delitem(BACKENDS, name)
    with pytest.raises(
        SandboxUnavailable,
        match=(
            r"do not run without one\. bwrap: bwrap is not installed \(cure: apt install bubblewrap.*pip install"
            r" sandlock"
        ),
    ):
        run_program("print(1)", "")
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert (
        "bwrap: does not work: bwrap is not installed. Cure: apt install bubblewrap" in out
        and err.startswith("error: no sandbox")
        and err.count("\n") == 1
    )


@pytest.mark.parametrize(
    "more, allowed, why",
    [
        (
            ["--bind", tempfile.gettempdir(), tempfile.gettempdir()],
            (),
            "reading a file of the host, writing a file of the host",
        ),
        (
            ["--share-net"],
            ("socket",),
            "a connection to the host, a unix socket of the host, a socket to the hypervisor",
        ),
        ([], ("memfd_create",), "memory that no limit counts"),
    ],
)
def test_a_weak_sandbox_is_found_out(fresh, monkeypatch, more, allowed, why):
    """The probe runs the sandbox; it does not ask whether the program is there."""
    if missing := why_not("bwrap"):
        pytest.skip(missing)
    for cached in (why_not, probe_backend, seccomp.seccomp_filter):
        cached.cache_clear()
    command = sandbox.Bwrap.command

    def weak(self, *args):
        line = command(self, *args)
        at = line.index("--remount-ro", line.index("--remount-ro") + 1)
        return [*line[:at], *more, *line[at:]]

    monkeypatch.setattr(sandbox.Bwrap, "command", weak)
    monkeypatch.setattr(seccomp, "DENIED", [name for name in seccomp.DENIED if name not in allowed])
    try:
        assert why_not("bwrap") == f"it lets through: {why}"
    finally:
        seccomp.seccomp_filter.cache_clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as root")
def test_root_is_found_out(fresh, monkeypatch):
    if missing := why_not("bwrap"):
        pytest.skip(missing)
    for cached in (why_not, probe_backend):
        cached.cache_clear()
    monkeypatch.setattr(backends, "NOBODY", 0)
    assert why_not("bwrap")


def test_a_sandbox_that_fails_is_no_wrong_answer(backend, monkeypatch):
    monkeypatch.setattr(sandbox, "find_backend", lambda name: (BACKENDS[backend], "/nowhere/python3", ""))
    with pytest.raises(SandboxUnavailable, match="failed: .*python -m eval.tools.sandbox"):
        run_program("", "", wall_seconds=5, backend=backend)


def test_doctor(backend, capsys):
    main(["--backend", backend])
    assert re.match(rf"{backend}: works, \d+ ms a program \(.*CPython 3", capsys.readouterr().out)


def humaneval(folder: Path) -> list[dict]:
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as f:
        return [json.loads(line) for line in f]


def run_row(row: dict, solution: str, backend: str = "auto") -> ProgramResult:
    return run_program(
        row["prompt"] + solution, f"{row['test']}\ncheck({row['entry_point']})\n", cpu_seconds=3, backend=backend
    )


def test_humaneval(shared_data, backend):
    """All canonical solutions pass, at 40 a second on a core with nothing else to do: three times what a bare
    interpreter's start takes. Each is timed beside such a start, and the median counts: what else the machine does
    comes and goes."""
    python, rows, ratios = find_backend(backend)[1], humaneval(shared_data), []
    for row in rows:
        begin = time.monotonic()
        subprocess.run([python, "-S", "-c", "pass"], check=True)
        bare = time.monotonic()
        result = run_row(row, row["canonical_solution"], backend)
        ratios.append((time.monotonic() - bare) / (bare - begin))
        assert result.passed, f"{row['task_id']}: {result.output[-300:]}"
    assert len(rows) == 164 and statistics.median(ratios) < 10, f"{statistics.quantiles(ratios, n=10)}"


def broken(solution: str) -> str:
    """The solution with its last line that returns giving nothing."""
    lines = solution.rstrip().split("\n")
    at = max(i for i, line in enumerate(lines) if line.lstrip().startswith("return"))
    lines[at] = re.match(r"\s*", lines[at])[0] + "return None"
    return "\n".join(lines) + "\n"


def test_humaneval_with_a_line_broken(shared_data):
    try:
        find_backend()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    rows = humaneval(shared_data)[::4]
    passed = [row["task_id"] for row in rows if run_row(row, broken(row["canonical_solution"])).passed]
    assert len(rows) == 41 and not passed
