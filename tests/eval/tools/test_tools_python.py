"""The python tool, honest and hostile."""

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT
from test_sandbox import ADD_TESTS, SNIPPETS, host  # noqa: F401

from eval.cli import UserError
from eval.tools import MAX_CHARACTERS, as_result, cut
from eval.tools import python as module
from eval.tools.python import BATCH, GRACE, python, run_codes


def run_code(code: str, seconds: float) -> str:
    return run_codes([code], seconds)[0]


@pytest.mark.parametrize(
    "code, text",
    [
        ("'strawberry'.count('r')", "3"),
        ("'ubiquitous'[2::3]", "'iiu'"),
        ("9.11 < 9.9", "True"),
        ("print('a')\n1 + 1", "a\n2"),
        ("print('a')", "a"),
        ("x = 3", ""),
        ("", ""),
        ("None", ""),
        (
            "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n[f(i) for i in range(10)]",
            "[0, 1, 1, 2, 3, 5, 8, 13, 21, 34]",
        ),
        ("import math\nmath.factorial(20)", "2432902008176640000"),
        ("{'b': (1, 2.5), 'a': {3}}", "{'b': (1, 2.5), 'a': {3}}"),
        ("'Grüße, 世界 \U0001f600'", "'Grüße, 世界 \U0001f600'"),
        ("print('before')\n1 / 0", "before\nZeroDivisionError: division by zero (line 2)"),
        ("assert 1 == 2", "AssertionError (line 1)"),
        ("def f(:", "SyntaxError: Expected a parameter or the end of the parameter list (line 1)"),
        ("import statistics", "ModuleNotFoundError: No module named 'statistics' (line 1)"),
        ("print('<|im_end|>')", "<| im_end |>"),
    ],
)
def test_python(code, text):
    assert python(code) == text


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_hostile(host, snippet):  # noqa: F811
    what, code, _, says = SNIPPETS[snippet]
    if snippet.startswith("R"):
        code += f"\n{ADD_TESTS}\nprint('a-nonce')"
    seconds = 15.0 if says == "MemoryError" else 1.0  # memory is to run out first, on a busy machine, too
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    text = run_code(host.fill(code), seconds=seconds)
    assert time.monotonic() - begin < seconds + GRACE + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert len(text) <= MAX_CHARACTERS + 100
    if says is None:
        assert ("a-nonce" in text) == (snippet == "R06"), (what, text)  # R06: a known limit
    else:
        assert re.search(says, text), (what, text)
    if snippet == "H27":
        time.sleep(1.5)
    host.check(text)
    assert python("import math\nprint(len('abc'))\nmath.pi > 3") == "3\nTrue"


@pytest.mark.parametrize(
    "code, says",
    [
        ("x = 'a' * 10**6\n[x] * 1000", "MemoryError"),  # small as a value, endless in print
        ("x = [1]\nfor i in range(40): x = [x, x]\nx", "MemoryError"),
        ("x = []\nfor i in range(100_000): x = [x]\nx", "MemoryError"),
        ("10**5000", "ValueError: Exceeds the limit"),
        ("'a' * 10**6", "cut: 1000002 characters"),
        ("print('a' * 10**6)", "MemoryError: memory limit exceeded"),
        ("for i in range(50_000): print(i)", "MemoryError|cut"),
        ("'\ud800'", "SyntaxError"),
        ("x = 1\0", "SyntaxError"),
        ("+".join(["1"] * 300_000), "Error"),
        ("(" * 100_000 + ")" * 100_000, "Error"),
        ("x = 3\nwhile True: x = x * x", "Error"),
        ("# " + "a" * 10**7, "^$"),
    ],
)
def test_values_and_sources_without_end(code, says):
    begin = time.monotonic()
    text = run_code(code, seconds=1.0)
    assert re.search(says, text) and len(text) <= MAX_CHARACTERS + 100 and time.monotonic() - begin < 1 + GRACE + 1.5
    assert python("1 + 1") == "2"


def test_calls_share_nothing_and_are_repeatable():
    assert python("x = 1\nimport random\nrandom.seed(5)") == ""
    assert python("x").startswith("NameError")
    drawn = (
        "import random, time, datetime\n(random.random(), random.randint(1, 10**9), time.time(),"
        " datetime.datetime.now(), time.perf_counter())"
    )
    assert python(drawn) == python(drawn) and "2026, 1, 1, 12, 0" in python(drawn)


def test_a_thousand_calls_a_second():
    """5,000 a second on a core with nothing else to do; the floor leaves room for a busy machine."""
    python("1")
    begin = time.monotonic()
    assert {python("3 + 4") for _ in range(500)} == {"7"}
    assert 500 / (time.monotonic() - begin) > 100


def test_many_at_once():
    codes = [f"{i} + 1" for i in range(2 * BATCH + 1)]
    assert run_codes(codes) == [str(i + 1) for i in range(2 * BATCH + 1)] and run_codes([]) == []
    lost = "x = [1]\nfor i in range(40): x = [x, x]\nx"  # takes the helper with it
    assert [text[:11] for text in run_codes(["1", lost, "1 / 0"], seconds=0.3)] == ["1", "MemoryError", "ZeroDivisio"]


def test_threads():
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: python(f"{i} * {i}"), range(200))) == [str(i * i) for i in range(200)]
    assert len(module._helpers.all) <= 6


def test_one_slow_call_does_not_hold_up_the_others():
    slow = threading.Thread(target=run_code, args=("while True: pass", 1.5))
    slow.start()
    time.sleep(0.1)
    begin = time.monotonic()
    assert python("1 + 1") == "2"
    assert time.monotonic() - begin < 1.2
    slow.join()


def test_a_forked_child_has_its_own_helper():
    assert python("1 + 1") == "2"
    mine = {helper.process.pid for helper in module._helpers.all}
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        try:
            os.write(
                write, f"{python('20 + 3')} {mine.isdisjoint(h.process.pid for h in module._helpers.all)}".encode()
            )
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"23 True"
    os.close(read)
    os.close(write)
    assert python("2 + 2") == "4" and {helper.process.pid for helper in module._helpers.all} == mine
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(python, ["1", "1 + 1", "1 + 1 + 1"]) == ["1", "2", "3"]


def test_a_helper_that_dies_is_replaced():
    python("1")
    for helper in module._helpers.free:
        os.kill(helper.process.pid, signal.SIGKILL)
    texts = [python("1 + 1") for _ in range(8)]
    assert texts[-1] == "2" and set(texts) <= {"2", "MemoryError: the interpreter did not answer"}


def test_nothing_is_left_behind():
    code = (
        "import os, threading\nfrom eval.tools.python import python, _helpers\npython('1')\nprint(*[h.process.pid for"
        " h in _helpers.all])"
    )
    for end in ("", "\nos._exit(0)", "\nos.kill(os.getpid(), 9)"):
        done = subprocess.run(
            [sys.executable, "-c", code + "\nimport sys; sys.stdout.flush()" + end],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        pid, deadline = int(done.stdout), time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().split()[2] == "Z":  # nobody reaps it here
                        break
            except FileNotFoundError:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"the helper lives after {end or 'the end'}")


def test_from_another_folder_and_module_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_helpers", module._Helpers())
    assert python("1 + 1") == "2"
    module._helpers.end()


def test_without_monty(tmp_path, monkeypatch, capfd):
    (tmp_path / "pydantic_monty.py").write_text("raise ImportError('no monty')")
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(module, "_helpers", module._Helpers())
    with pytest.raises(UserError, match="pip install 'pydantic-monty"):
        python("1")
    assert "no monty" in capfd.readouterr().err


def test_the_schema_and_the_tokenizer_agree():
    from transformers.utils import get_json_schema

    from data_prep.tokenizer import RESPONSE_TEMPLATE

    function = get_json_schema(python)["function"]
    assert function["name"] == "python" and list(function["parameters"]["properties"]) == function["parameters"][
        "required"
    ] == ["query"]
    assert list(RESPONSE_TEMPLATE["fields"]["tool_calls"]["transform"]["function"]["arguments"]) == ["query"]


def test_the_command(capsys):
    module.main(["--query", "sum(range(10))"])
    assert capsys.readouterr().out == "45\n"


def test_cut_and_marks():
    assert cut("abc", 3) == "abc" and cut("abcdefgh", 4) == "ab\n[cut: 8 characters]\ngh"
    assert (
        as_result("<|im_end|> </think> <tool_call> a <b> c <html> |x|")
        == "<| im_end |> </ think > < tool_call > a <b> c <html> |x|"
    )
