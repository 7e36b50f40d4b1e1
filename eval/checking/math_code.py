r"""The two verifiers that need more than a look at the words: mathematics by `math-verify`, code by its tests in the
sandbox.

    equal(r"So x is \boxed{\frac{1}{2}}", "0.5")  ->  1.0
    passes("```python\ndef f(x): return x + 1\n```", "assert f(1) == 2")  ->  1.0

They are `math` and `code` of `eval.verifiers`. How `equal` compares a stated expression (`eval.checking.answers`) with
the answer:

    numbers        both are numbers (`eval.checking.numbers`): by value; units in \text{…} or words behind them are
                   left out
    words          the answer is \text{…} or one word: letter by letter, case aside; (C) is C
    bases, times   2516_8, 12:30: digit by digit; the base may be left out
    all else       by math-verify: fractions, roots, π, intervals, unions, sets in any order ("1, 2", "1 and 2", x = 1
                   or x = 2), pairs, matrices, equations, inequalities, polynomials

Unicode's mathematics (½ √ π × ≤ ∞ ∪ x² −) is read as LaTeX. Boxes that stand together, "\boxed{1} and \boxed{2}", are
one list.
"""

import logging
import math
import re

from eval.checking.answers import Statement, explains, statements, strip
from eval.checking.answers import number as stated_number
from eval.checking.latex import interval, latex
from eval.checking.numbers import Value, read, reserved, same, unwrap
from eval.checking.programs import program, with_imports
from eval.checking.thinking import visible

LONGEST = 200  # characters of a final expression
# What a final answer may be written with. Others (sums, products, limits) could compute for ever, and stand only
# where the reference has them.
COMMANDS = set(
    "frac dfrac tfrac sqrt pi cdot times div left right text textbf textit textrm mbox operatorname mathrm mathbf "
    "mathit mathbb mathcal boldsymbol displaystyle infty pm mp le ge leq geq neq ne lt gt"
    " leqslant geqslant circ degree in notin cup cap setminus emptyset varnothing begin end pmatrix bmatrix matrix "
    "quad qquad sin cos tan cot sec csc arcsin arccos arctan log ln angle triangle"
    " overline alpha beta gamma delta epsilon theta lambda mu phi varphi omega sigma rho tau psi"
    " big Big bigl bigr mid vert lvert rvert approx".split()
)
# Of the wall clock, which math-verify counts: its own 5 are not enough for the first expression on a busy machine.
SECONDS = 30
LARGEST = 10_000  # product of the exponents: what stands in parentheses can be raised again
_EXPONENT = re.compile(
    r"\^\s*(?:\{\s*-?\s*([A-Za-z]{1,2}|[0-9.]{1,4})(?:/[0-9]{1,2})?\s*\}|\{?(\\circ"
    r"|\\frac\{[0-9]{1,2}\}\{[0-9]{1,2}\})\}?|([A-Za-z0-9]))(?!\s*\^)"
)
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_BASES |= {"ten": "10", "twelve": "12", "sixteen": "16"}
_UNIT_OF_EXPRESSION = re.compile(
    r"(?:\\[,;:! ]|~|\s)*\\(?:text|textrm|mathrm|mbox)\s*\{(?P<unit>[^{}]*)\}(?:\^\s*\{?[2-4]\}?)?\s*$"
)
_WORDS_BEHIND = re.compile(
    r"(?<=[0-9}])\s*(?:\\[,;: ]|~)*\s*(?:\\(?:text|textrm|mathrm|mbox"
    r"|operatorname)\s*\{(?P<text>[^{}]*)\}(?:\^\s*\{?[2-4]\}?)?|(?P<words>(?<=\s)[a-z]{3,}(?:\s+[a-z]+){0,4}))\s*$"
)
_TOGETHER = re.compile(r"[\s$*]*(?:,|;|and|or|\\text\{\s*(?:and|or)\s*\}|\\quad|&)*[\s$*]*")


def _tidied(expression: str) -> str:
    """Without mathematics' delimiters, a full stop, and the one letter that it is the value of."""
    expression = re.sub(r"(?<!\\)\$|\\displaystyle\b|\\[()]|(?<!\\)\\[\[\]]", " ", strip(expression))
    named = r"^\s*[A-Za-z]\s*=\s*|" if expression.count("=") == 1 else ""
    return re.sub(named + r"[.;,\s]+$", "", expression).strip()


def _final(text: str) -> list[str]:
    """The expressions that a reply states as its answer, if it ends on one: of a reply that is right all are the
    same.
    """
    found = statements(text)
    if not found or not found[-1].meant:
        return []
    boxes = _last_boxes(found)
    behind = strip(found[-1].after)
    if found[-1].kind == "box" and explains(behind):
        behind = ""
    if (
        behind
        and not re.fullmatch(r"(?:[A-Za-z°%$€£²³/^]+\s*){1,6}", unwrap(behind))
        and not (found[-1].kind == "box" and stated_number(found[-1]))
        or reserved(unwrap(behind))
    ):
        return [""]
    last = ", ".join(s.text for s in boxes) if boxes else found[-1].whole
    before = [s.text if s.kind == "box" else s.sentence for s in found[: len(found) - max(1, len(boxes))] if s.meant]
    stated = [_tidied(latex(said)) for said in before if said and _is_expression(said)]
    return [*stated, _tidied(latex(last))]


def _last_boxes(stated: list[Statement]) -> list[Statement]:
    """The different boxes at the end that nothing but a comma, "and" or "or" parts."""
    if stated[-1].kind != "box":
        return []
    first = len(stated) - 1
    while (
        first
        and stated[first - 1].kind == "box"
        and _TOGETHER.fullmatch(stated[first - 1].after)
        and stated[first - 1].after.strip(" $*\n")
    ):
        first -= 1
    return list({s.text: s for s in stated[first:]}.values())


def _is_expression(stated: str) -> bool:
    """Whether a statement that others follow states mathematics, and not what is done next."""
    words = re.findall(r"[A-Za-z]{3,}", re.sub(r"\\(?:text|mathrm|textbf|mbox)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", stated))
    return len(words) < 3 and bool(re.search(r"[0-9$\\]|^\W*\w\W*$", stated))


def _worked_out(expression: str, reference: str) -> bool:
    """Whether no operation is left to do that the reference does not leave: "3 * 4 + 2" repeats a question, and is no
    answer to it.
    """

    def operations(text: str) -> set[str]:
        text = re.sub(r"\\(?:cdot|times)(?![A-Za-z])", "*", text).replace(r"\pm", "+ a - ")
        text = re.sub(r"\^\s*\{?\s*(?:-?[0-9]+/[0-9]+|-?\\[dt]?frac\{?[0-9]+\}?\{?[0-9]+\}?)\s*\}?", r"\\sqrt ", text)
        return set(re.findall(r"[+*^]|\\(?:sqrt|sin|cos|tan|log|ln)", text)) | (
            {"-"} if re.search(r"[\w)}]\s*-", text) else set()
        )

    whole = re.fullmatch(r"-?[0-9,]+", reference.strip())
    return operations(expression) <= operations(reference) and not (whole and re.search(r"/|\\[dt]?frac", expression))


def _harmless(expression: str, reference: str) -> bool:
    """Whether it can be computed: short, only exponents that are a sign, a word or a number, not too large together,
    commands of an answer.
    """
    exponents = [next(filter(None, groups)) for groups in _EXPONENT.findall(expression)]
    return (
        0 < len(expression) <= max(LONGEST, 2 * len(reference))
        and len(exponents) == expression.count("^")
        and math.prod(int(n) for n in exponents if n.isdigit() and n != "0") <= LARGEST
        and not any(mark in expression and mark not in reference for mark in ("**", "!"))
        and set(re.findall(r"\\([A-Za-z]+)", expression)) <= COMMANDS | set(re.findall(r"\\([A-Za-z]+)", reference))
    )


def _bare_words(expression: str) -> str:
    """The words of an answer that is words: letter case, brackets around a letter, spaces and quotation marks
    aside.
    """
    words = unwrap(expression).strip("\"'“”. ").casefold()
    return re.sub(r"^\((\w)\)$", r"\1", words)


def _in_words(answer: str) -> bool:
    """Whether the answer is \\text{…} alone, or one word of letters that is no command."""
    return bool(
        re.fullmatch(
            r"\s*\\(?:text|textbf|textit|mathrm|mbox)\s*\{[^{}]*[^\W\d_][^{}]*\}\s*|\s*[^\W\d_]{3,}\s*", answer
        )
    ) and bool(_bare_words(answer))


def _number(expression: str) -> Value | None:
    """The number that an expression is, without the units behind it."""
    units = _WORDS_BEHIND.search(expression)
    if units and not reserved(units["text"] or units["words"] or ""):
        expression = expression[: units.start()]
    return read(expression.replace(r"^\circ", "").replace(r"^{\circ}", "").replace("°", ""), units=False)


def _digits(expression: str) -> tuple[str, str] | None:
    """A number in a base, or a time of day: its digits, and the base or what is behind; None where it is neither."""
    bare = (
        re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}|[\s{}()]", lambda m: m[1] or "", expression).lower().replace(".", "")
    )
    match = re.fullmatch(rf"(-?[0-9a-f]+)_\\?(?:text)?([0-9]+|{'|'.join(_BASES)})", bare) or re.fullmatch(
        r"([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)([ap]m)?", bare
    )
    return (match[1], _BASES.get(match[2], match[2] or "")) if match else None


def _parsed(expression: str) -> list:
    """What math-verify makes of it as LaTeX: not of a part of it, where the whole cannot be read."""
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return parse(
        f"${expression}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=SECONDS,
    )


def _exactly(gold: list, stated: list) -> bool:
    """False where both are fractions that differ: math-verify rounds, and 2^{-98} is 2^{-99} to it."""
    import sympy

    exact = [
        part
        for parts in (gold, stated)
        for part in parts[:1]
        if isinstance(part, sympy.Expr) and part.is_rational and not part.atoms(sympy.Float)
    ]
    return len(exact) < 2 or sympy.simplify(exact[0] - exact[1]) == 0


def _inequality(parsed: list) -> bool:
    """x > 5, which `verify` takes for an interval only where it is the reference."""
    from sympy.core.relational import Equality, Relational

    return isinstance(parsed[0], Relational) and not isinstance(parsed[0], Equality)


def _unreadable(answer: str) -> bool:
    """Whether the answer is sentences, that would be read as a product."""
    bare = re.sub(
        r"\\(?:begin|end)\s*\{\w+\*?\}(?:\{\w+\})?|\\(?:text|mathrm|mbox|textbf)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", answer
    )
    return len(re.findall(r"[A-Za-z]{3,}", bare)) > 1 or not answer.strip()


def _choice(expression: str) -> str | None:
    """The letter of a choice, alone or in brackets before what it stands for: C, (C), (C) 5."""
    match = re.fullmatch(r"\(([A-Z])\)(?:[\s.:].*)?|([A-Z])[.)]?(?:(?<=[.)])\s.*)?", unwrap(expression))
    return (match[1] or match[2]) if match else None


def _in_the_form_of(answer: str, stated: str) -> str:
    r"""A chain such as 5 \le x < 7 as an interval where the answer is one, inequalities with "or" between them as a
    union, and \pm as its two values where the answer lists them; without a unit where the answer has none.
    """
    unit = _UNIT_OF_EXPRESSION.search(stated)
    if (
        unit
        and stated[: unit.start()].strip()
        and not reserved(unit["unit"])
        and not re.search(r"\\(?:text|mathrm|mbox)", answer)
    ):
        stated = stated[: unit.start()]
    if re.fullmatch(r"\s*(?:\\left)?[\[(][^,]+,[^,]+[\])]\s*", answer) or r"\cup" in answer:
        intervals = [interval(part) for part in re.split(r",?\s*\\text\s*\{\s*or\s*\}\s*", stated)]
        if all(intervals):
            return r" \cup ".join(intervals)
    both = re.fullmatch(r"([^,]*)\\pm([^,]+)", stated)
    if both and "," in answer and r"\pm" not in answer:
        begin = both[1].strip()
        return f"{begin} + {both[2]}, {begin} - {both[2]}" if begin else f"{both[2]}, -{both[2]}"
    return stated


def _verdict(stated: str, answer: str, gold: list) -> bool:
    from math_verify import verify

    stated = _in_the_form_of(answer, stated)
    if re.fullmatch(r"\(?[A-Z]\)?", unwrap(answer)) and (letter := _choice(stated)):
        return letter == _choice(answer)
    if digits := _digits(answer):
        said = _digits(stated) or (re.sub(r"\s", "", stated).lower(), "")
        return said[0] == digits[0] and said[1] in ("", digits[1])
    number, expected = _number(stated), _number(answer)
    if number and expected:
        return same(number, expected)
    if not any(getattr(part, "free_symbols", ()) for part in gold) and not _worked_out(stated, answer):
        return False
    found = _parsed(stated)
    return (
        bool(found)
        and _exactly(gold, found)
        and (
            verify(gold, found, timeout_seconds=SECONDS)
            or _inequality(found)
            and verify(found, gold, timeout_seconds=SECONDS)
        )
    )


def equal(text: str, answer: str) -> float | None:
    """1.0 if the reply (see `eval.verifiers.reply`) states one final expression, and it equals `answer`; None where
    the answer itself cannot be read.

    A number must be worked out as far as the answer is. `verify` takes the reference first: it is not symmetric
    (Kydlíček 2025, math-verify).
    """
    if _in_words(answer):
        stated = _final(text)
        letter = _choice(_bare_words(answer).upper()) if re.search(r"\([A-Z]\)", answer) else None
        if letter and stated:
            return float(all(_choice(s) == letter for s in stated))
        if (
            answer.strip().isupper()
            and _parsed(answer.strip())
            and not all(_bare_words(s) == _bare_words(answer) for s in stated)
        ):
            return float(
                bool(stated)
                and all(_harmless(s, answer) and _verdict(s, answer, _parsed(answer.strip())) for s in stated)
            )
        return float(bool(stated) and all(_bare_words(s) == _bare_words(answer) for s in stated))
    if _unreadable(answer):
        return None
    answer = _tidied(latex(answer))
    gold = _parsed(answer)
    if not gold and not _digits(answer):
        return None
    stated = _final(text)
    return float(
        bool(stated) and all(_harmless(s, answer) and _verdict(s, answer, gold) for s in dict.fromkeys(stated))
    )


def passes(completion: str, tests: str, cpu_seconds: float = 5) -> float | None:
    """1.0 if the reply's program (see `eval.checking.programs`; not its thinking) passes the tests and does not tamper
    with them; None without tests. What the tests import at their beginning is there for the program, too.

    Raises:
        SandboxUnavailable: nothing here can run foreign code safely.
    """
    from eval.checking.tampering import tampers
    from eval.tools.sandbox import run_program

    if not tests or not tests.strip():
        return None
    code = program(visible(completion), tests)
    if not code.strip() or tampers(code, tests):
        return 0.0
    return float(run_program(with_imports(code, tests), tests, cpu_seconds=cpu_seconds).passed)
