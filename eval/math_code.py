r"""The two verifiers that need more than a look at the words: mathematics by `math-verify`, code by its tests in the sandbox.

    equal(r"So x is \boxed{\frac{1}{2}}", "0.5")  ->  1.0
    passes("```python\ndef f(x): return x + 1\n```", "assert f(1) == 2")  ->  1.0

They are `math` and `code` of `eval.verifiers`.
"""

import logging
import math
import re

LONGEST = 200  # characters of a final expression
# What a final answer may be written with. Others (sums, products, limits) could compute for ever, and stand only where the reference has them.
COMMANDS = set("frac dfrac tfrac sqrt pi cdot times left right text mathrm mathbf infty pm le ge leq geq neq lt gt circ in cup cap begin end pmatrix quad ldots sin cos tan log ln".split())
SECONDS = 30  # of the wall clock, which math-verify counts: its own 5 are not enough for the first expression on a busy machine
LARGEST = 10_000  # product of the exponents: what stands in parentheses can be raised again
_EXPONENT = re.compile(r"\^\s*(?:\{\s*-?\s*([A-Za-z]{1,2}|[0-9.]{1,4})(?:/[0-9]{1,2})?\s*\}|\{?(\\circ|\\frac\{[0-9]{1,2}\}\{[0-9]{1,2}\})\}?|([A-Za-z0-9]))(?!\s*\^)")
_BOX = re.compile(r"\\boxed\s*\{")
_STATED = re.compile(r"(?:^|(?<=[.!?:*\n]))\s*(?:(?:so|thus|hence|therefore),?\s+)?the (?:final )?answer is:?\s*(.+?)\.?\s*$", re.IGNORECASE)


def _boxes(text: str) -> list[str]:
    """The contents of each \\boxed{…}, with what is nested in it; [""] where one is not closed, or words follow the last."""
    found, end = [], 0
    for opening in _BOX.finditer(text):
        depth, end = 1, opening.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            return [""]
        found.append(text[opening.end() : end - 1])
    return found if re.fullmatch(r"[\s$.*\\\])]*", text[end:]) or not found else [""]


def _final(text: str) -> list[str]:
    """The expressions that a reply states as its answer, if it ends on one: of a reply that is right all are the same."""
    boxes = _boxes(text)
    said = [m[1] if (m := _STATED.search(line)) else "" for line in text.splitlines()]
    if not boxes and not (said and said[-1]):
        return []
    for box in boxes:  # "The answer is $x = \\boxed{7}$." states one answer, "The answer is 8. \\boxed{7}" two
        said = [re.sub(r"^[\s$]*[A-Za-z]\s*=\s*|[.;,\s]+$", "", line.replace(f"\\boxed{{{box}}}", "")) for line in said]
    return boxes + [stated for line in said if (stated := line.strip().strip("$").strip())]


def _worked_out(expression: str, reference: str) -> bool:
    """Whether no operation is left to do that the reference does not leave: "3 * 4 + 2" repeats a question, and is no answer to it."""

    def operations(text: str) -> set[str]:
        text = re.sub(r"\\(?:cdot|times)", "*", text)
        return set(re.findall(r"[+*^]|\\(?:sqrt|sin|cos|tan|log|ln)", text)) | ({"-"} if re.search(r"[\w)}]\s*-", text) else set())

    whole = re.fullmatch(r"-?[0-9,]+", reference.strip())
    return operations(expression) <= operations(reference) and not (whole and re.search(r"/|\\[dt]?frac", expression))


def _harmless(expression: str, reference: str) -> bool:
    """Whether it can be computed: short, only exponents that are a sign, a word or a number, not too large together, commands of an answer."""
    exponents = [next(filter(None, found)) for found in _EXPONENT.findall(expression)]
    return (
        len(expression) <= LONGEST
        and len(exponents) == expression.count("^")
        and math.prod(int(n) for n in exponents if n.isdigit() and n != "0") <= LARGEST
        and not any(mark in expression and mark not in reference for mark in ("**", "!"))
        and set(re.findall(r"\\([A-Za-z]+)", expression)) <= COMMANDS | set(re.findall(r"\\([A-Za-z]+)", reference))
    )


def equal(text: str, answer: str) -> float | None:
    """1.0 if the reply states one final expression, and it equals `answer`; None where the answer itself cannot be read.

    A number must be worked out as far as the answer is. `verify` takes the reference first: it is not symmetric (Kydlíček 2025, math-verify).
    """
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    if not answer.strip() or re.search(r"[A-Za-z]{3}", re.sub(r"\\(?:text|mathrm)\{[^}]*\}|\\[A-Za-z]+", " ", answer)):  # words, that would be read as a product
        return None
    gold = parse(f"${answer}$", parsing_timeout=SECONDS)
    if all(isinstance(part, str) for part in gold):
        return None
    stated = _final(text)
    if not stated or not all(_harmless(s, answer) for s in stated):
        return 0.0
    if not any(getattr(part, "free_symbols", ()) for part in gold) and not all(_worked_out(s, answer) for s in stated):
        return 0.0
    return float(all(verify(gold, parse(f"${s}$", fallback_mode="no_fallback", parsing_timeout=SECONDS), timeout_seconds=SECONDS) for s in dict.fromkeys(stated)))


_FENCE = re.compile(r"^```[ \t]*(?:python|py)?[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)


def passes(completion: str, tests: str, cpu_seconds: float = 5) -> float | None:
    """1.0 if the last fenced block of the reply (not of its thinking) passes the tests and does not tamper with them; None without tests.

    Raises:
        SandboxUnavailable: nothing here can run foreign code safely.
    """
    from eval.tampering import tampers
    from eval.tools.sandbox import run_program

    if not tests or not tests.strip():
        return None
    said = completion.rpartition("</think>")[2]
    blocks = [] if "<think>" in said else _FENCE.findall(said)
    return float(bool(blocks) and len(blocks[-1]) <= 100_000 and not tampers(blocks[-1], tests) and run_program(blocks[-1], tests, cpu_seconds=cpu_seconds).passed)
