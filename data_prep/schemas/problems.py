"""Problems with checkable answers as people publish them: numbers, LaTeX, programs with tests, constraints on the
form."""

import json
import re

from data_prep.problem_sets.published import BOXED, competition_math, gsm8k, humaneval, mbpp
from data_prep.schemas import LeftOut, Schema
from data_prep.schemas.conversations import system_of, turns
from data_prep.schemas.instructions import pattern_of
from eval.checking import answers
from eval.shared.messages import Malformed, conversation, text

NO_ANSWER = "it has no final answer"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
WORDS = ("proof", "notfound", "not found", "none", "n/a")  # NuminaMath-1.5's in place of an answer
# what DAPO-Math-17k says before and behind each problem, about a form that no verifier here reads
DAPO = re.compile(
    r"\ASolve the following math problem step by step\..*?\n\n"
    r"|\n\nRemember to put your answer on its own line after \"Answer:\"\.\s*\Z",
    re.DOTALL,
)
FUNCTION = "\nWrite the whole function in one block of Python."
MAIN = (
    "\nWrite a function `main()` that reads standard input and prints the answer, in one block of Python. "
    "Do not call it."
)
RUN = """import io, sys
def _lines(said):
    return [line.split() for line in said.strip().splitlines()]
def _run(given, wanted):
    before = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(given.encode())), io.StringIO()
    try:
        main()
        said = sys.stdout.getvalue()
    finally:
        sys.stdin, sys.stdout = before
    assert _lines(said) == _lines(wanted), (said, wanted)
"""
# LeetCode's starters use names that its judge imports
LEETCODE = "from typing import Any, Dict, List, Optional, Set, Tuple\n"
MOST = 10  # tests of a program: some sets have hundreds, and the first ones decide
SIZE = 20_000  # characters of a test


def problem(prompt: list[dict], **columns) -> list[dict]:
    return [{"prompt": prompt, **columns}]


def plain(answer) -> str:
    """The answer as a text; LeftOut where there is none."""
    if (
        isinstance(answer, bool)
        or not isinstance(answer, (str, int, float))
        or not str(answer).strip()
        or str(answer).strip().lower() in WORDS
    ):
        raise LeftOut(NO_ANSWER)
    return str(answer).strip()


def boxed(solution: str) -> str | None:
    r"""What the last \boxed{…} of a solution holds, with what is nested in it; None where there is none."""
    start = max(solution.rfind("\\boxed{"), solution.rfind("\\fbox{"))
    if start < 0:
        boxes = re.findall(r"\\boxed\s+(\S+?)(?=[$.,\s]|$)", solution)
        return boxes[-1] if boxes else None
    boxes = answers.boxed(solution, solution.index("{", start))
    return boxes[0] if boxes else None


def adapted(adapter, example: dict, suffix: str | None) -> list[dict]:
    return [adapter(example) if suffix is None else adapter(example, suffix)]


def own(row: dict, suffix: str | None = None) -> list[dict]:
    prompt = row["prompt"]
    messages = (
        conversation(prompt) if isinstance(prompt, list) else [*system_of(row), *turns(("user", text(prompt).strip()))]
    )
    if not messages[-1]["content"].strip():
        raise LeftOut("the prompt is empty")
    if suffix:
        messages[-1] = messages[-1] | {"content": messages[-1]["content"] + suffix}
    answer = row.get("answer")
    return problem(
        messages,
        **{k: v for k, v in row.items() if k in ("tests", "pattern", "verifier")},
        answer=str(answer) if isinstance(answer, (int, float)) else answer,
    )


def mathematics(ask: str, answer: str):
    """The form of a question and its final answer: what is a number is read by final_number where the set is GSM8K's,
    else by math."""

    def rows(row: dict, suffix: str | None = None) -> list[dict]:
        final = row[answer]
        if isinstance(final, list) and len(final) == 1:
            final = final[0]
        if row.get("problem_is_valid") not in (None, "Yes"):
            raise LeftOut("the set says that the problem is not valid")
        if not isinstance(row[ask], str) or not row[ask].strip():
            raise Malformed(f"{ask} is no text")
        body = row.get("body")  # SVAMP's
        asked = f"{body.strip()} {row[ask]}" if isinstance(body, str) else row[ask]
        if isinstance(final, str) and "####" in final:
            return adapted(gsm8k, {"question": asked, "answer": final}, suffix)
        final = plain(final)
        if final.startswith("$") and final.endswith("$") and len(final) > 2:
            final = final.strip("$").strip()
        if answer == "answer" and ask == "question" and NUMBER.fullmatch(final):
            return adapted(gsm8k, {"question": asked, "answer": final}, suffix)
        return adapted(competition_math, {"problem": asked, "answer": final}, suffix)

    others = dict if answer == "final_answer" else (list, dict)  # OlympiadBench lists its answers
    return Schema(f"{ask} and {answer}", (ask, answer), rows, lambda row: not isinstance(row[answer], others))


def worked(ask: str, solution: str):
    """The form of a question and a worked solution whose last box holds the answer (MATH, NuminaMath-CoT)."""

    def rows(row: dict, suffix: str | None = None) -> list[dict]:
        text_of_solution = row[solution]
        final = (
            boxed(text_of_solution)
            if isinstance(text_of_solution, str) and "boxed" in text_of_solution
            else text_of_solution
            if isinstance(text_of_solution, str) and len(text_of_solution) < 40 and "\n" not in text_of_solution
            else None
        )
        return adapted(competition_math, {"problem": text(row[ask]), "answer": plain(final)}, suffix)

    return Schema(
        f"{ask} and {solution} with the answer in a box", (ask, solution), rows, lambda row: isinstance(row[ask], str)
    )


def verl(row: dict, suffix: str | None = None) -> list[dict]:
    """The form of verl, DAPO-Math-17k's: the answer is `reward_model.ground_truth`."""
    messages, answer = conversation(row["prompt"]), plain((row["reward_model"] or {}).get("ground_truth"))
    asked = messages[-1]["content"]
    shorter = DAPO.sub("", asked).strip()
    if shorter != asked:
        messages[-1] = messages[-1] | {"content": shorter + (BOXED if suffix is None else suffix)}
    return problem(messages, answer=answer, verifier="math")


def rlvr(row: dict, suffix: str | None = None) -> list[dict]:
    """allenai/RLVR-GSM, -MATH and -IFeval: the task is the last turn."""
    messages, truth = conversation(row["messages"]), row["ground_truth"]
    if "constraint" in row:
        return problem(
            messages, pattern=pattern_of([json.loads(truth) if isinstance(truth, str) else truth]), verifier="matches"
        )
    if str(row.get("dataset", "")).lower().startswith("gsm"):
        return problem(messages, answer=plain(truth).replace(",", ""), verifier="final_number")
    return problem(messages, answer=plain(truth), verifier="math")


def constrained(row: dict, suffix: str | None = None) -> list[dict]:
    """google/IFEval: constraints that a regular expression can check; rows with others are left out."""
    kwargs = row["kwargs"] if isinstance(row["kwargs"], list) else json.loads(row["kwargs"])
    constraints = []
    for name, given in zip(row["instruction_id_list"], kwargs):
        constraints.append({"id": name, **{k: v for k, v in (given or {}).items() if v is not None}})
    messages = turns(("user", text(row["prompt"]).strip()))
    return problem(messages, pattern=pattern_of(constraints), verifier="matches")


# ---- Programs ----


def tests_of(cases: list[tuple], function: str | None) -> str:
    """Assertions about a function, or about what `main()` prints for an input."""
    cases = [case for case in cases if len(repr(case)) <= SIZE][:MOST]
    if not cases:
        raise LeftOut("it has no test of usual length")
    if not function:
        return RUN + "".join(
            f"_run({given!r}, {wanted!r})\n"
            for given, wanted in cases
            if isinstance(given, str) and isinstance(wanted, str)
        )
    lines = [
        "def _same(said, wanted):",
        "    said = list(said) if isinstance(said, tuple) else said",
        "    return said == wanted or (isinstance(wanted, list) and len(wanted) == 1 and said == wanted[0])",
    ]
    lines.append(f"_function = {function} if {function!r} in globals() else Solution().{function}")
    return "\n".join([*lines, *(f"assert _same(_function(*{given!r}), {wanted!r})" for given, wanted in cases)]) + "\n"


def program(
    question: str, cases: list[tuple], function: str | None, starter: str | None, suffix: str | None
) -> list[dict]:
    shown = (
        f"\n\nBegin with:\n```python\n{starter.strip()}\n```"
        if starter and starter.strip()
        else f"\nThe function is called `{function}`."
        if function
        else ""
    )
    ask = (FUNCTION if function else MAIN) if suffix is None else suffix
    tests = tests_of(cases, function)
    if tests == RUN:
        raise LeftOut("its tests are no texts")
    if function and re.search(r"\b(?:Any|Dict|List|Optional|Set|Tuple)\b", starter or ""):
        tests = LEETCODE + tests
    return problem(turns(("user", question.strip() + shown + ask)), tests=tests, verifier="code")


def listed(given) -> list:
    """The arguments of a call: a list in JSON, a line each, or given as such."""
    if isinstance(given, list):
        return given
    return [json.loads(line) for line in str(given).strip().splitlines()]


def in_lines(part):
    """A list as a text of lines; what is no list stays."""
    return "\n".join(map(str, part)) if isinstance(part, list) else part


def apps(row: dict, suffix: str | None = None) -> list[dict]:
    """codeparrot/apps, BAAI/TACO: `input_output` in JSON."""
    held = held_in(row["input_output"])
    if not held.get("inputs"):
        raise LeftOut("it has no tests")
    function = held.get("fn_name")
    cases = list(zip(held["inputs"], held["outputs"]))
    if function:
        cases = [(listed(given), wanted) for given, wanted in cases]
    else:
        cases = [(in_lines(given), in_lines(wanted)) for given, wanted in cases]
    return program(text(row["question"]), cases, function, row.get("starter_code"), suffix)


def held_in(value) -> dict:
    """A mapping, or one in JSON; {} where it is neither."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def verifiable(row: dict, suffix: str | None = None) -> list[dict]:
    """open-r1/verifiable-coding-problems-python: `verification_info` with a list of test cases; PrimeIntellect's with
    inputs and outputs in JSON, or with a final answer."""
    held, question = held_in(row["verification_info"]), text(row["prompt"])
    if held.get("ground_truth") is not None:
        return adapted(competition_math, {"problem": question, "answer": plain(held["ground_truth"])}, suffix)
    tests = held.get("test_cases")
    if isinstance(tests, str):
        tests = json.loads(tests)
    if held.get("language", "python") != "python" or not tests:
        raise LeftOut("it has no tests in Python")
    if isinstance(tests, dict):
        tests = [{"input": a, "output": b} for a, b in zip(tests.get("inputs") or [], tests.get("outputs") or [])]
    function = held.get("fn_name") or next((case["fn_name"] for case in tests if case.get("fn_name")), None)
    try:
        cases = [
            tested(case["input"], case["output"]) if function else (case["input"], case["output"]) for case in tests
        ]
    except ValueError:
        raise LeftOut("its tests cannot be read") from None
    return program(question, cases, function, None, suffix)


def tested(given, wanted) -> tuple:
    """The arguments of a call, and what it returns."""
    return listed(given), json.loads(wanted) if isinstance(wanted, str) else wanted


def known(adapter):
    return lambda row, suffix=None: adapted(adapter, row, suffix)


FORMS = (
    Schema("HumanEval", ("prompt", "test", "entry_point"), known(humaneval)),
    Schema("MBPP", ("test_list",), known(mbpp)),
    Schema("verifiable coding problems", ("prompt", "verification_info"), verifiable),
    Schema("APPS", ("question", "input_output"), apps),
    Schema("IFEval", ("prompt", "instruction_id_list", "kwargs"), constrained),
    Schema("RLVR", ("messages", "ground_truth", "dataset"), rlvr),
    Schema(
        "verl",
        ("prompt", "reward_model"),
        verl,
        lambda row: isinstance(row["prompt"], list) and isinstance(row["reward_model"], dict),
    ),
    Schema(
        "a prompt as text and its solution",
        ("prompt", "solution"),
        worked("prompt", "solution").rows,
        lambda row: isinstance(row["prompt"], str) and "answer" not in row,
    ),
    Schema("prompts", ("prompt",), own, lambda row: isinstance(row["prompt"], (str, list)), keeps=True),
    mathematics("question", "final_answer"),
    mathematics("problem", "answer"),
    mathematics("problem", "expected_answer"),
    mathematics("problem", "final_answer"),
    mathematics("question", "answer"),
    worked("problem", "solution"),
    worked("question", "solution"),
)
