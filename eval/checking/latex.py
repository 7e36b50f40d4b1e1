r"""Mathematics as people and models write it, in one spelling of LaTeX: `latex("x² ≤ ½")` is
`x^{2} \le \frac{1}{2}`."""

import re
import unicodedata

from eval.checking.numbers import fold

_SIGNS = str.maketrans(
    {
        "π": r"\pi ",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": "/",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∞": r"\infty ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "±": r"\pm ",
    }
    | {
        "°": r"^\circ ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "λ": r"\lambda ",
        "ℝ": r"\mathbb{R}",
        "⋅": r"\cdot ",
        "∗": "*",
    }
)
_SPELLINGS = {
    r"\!": "",
    r"\varnothing": r"\emptyset",
    r"\langle": "(",
    r"\rangle": ")",
    r"\lor": r"\text{ or }",
}
_REPEATING = re.compile(r"(-?)(?<![\d.])(\d{0,6})\.(\d{0,6})\\(?:overline|bar|dot)\s*\{?(\d{1,6})\}?")
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ"


def _repeating(found: re.Match) -> str:
    """A decimal whose last digits repeat as a fraction: 0.1\\overline{6} is 15/90."""
    sign, whole, before, again = found.groups()
    top = int(f"{whole or 0}{before}{again}") - int(f"{whole or 0}{before}")
    return rf"{sign}\frac{{{top}}}{{{(10 ** len(again) - 1) * 10 ** len(before)}}}"


def latex(text: str) -> str:
    """An expression as LaTeX: Unicode's signs spelt, wrappings and what names it ("x =", "f(x) =") left as they
    are.
    """
    for old, new in _SPELLINGS.items():
        text = text.replace(old, new)
    text = re.sub(r"\\(sin|cos|tan)\s*\^\s*\{\s*-1\s*\}", r"\\arc\1", text)
    text = re.sub(r"(?<![\w)}])\+\s*(?=\\infty)", "", text)
    text = re.sub(r"\\begin\{cases\}(.*?)\\end\{cases\}", lambda m: m[1].replace(r"\\", ","), text, flags=re.DOTALL)
    text = _REPEATING.sub(_repeating, text)
    text = re.sub(
        rf"[{_RAISED}]+",
        lambda m: "^{" + "".join(unicodedata.normalize("NFKC", c) for c in m[0]).replace("\u2212", "-") + "}",
        text,
    )
    text = re.sub(
        r"[\u00bc-\u00be\u2150-\u215e]",
        lambda m: r"\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", m[0]).split("⁄")),
        text,
    )
    text = re.sub(
        r"√\s*(?:\(([^()]*)\)|([0-9]+|[A-Za-z]))", lambda m: rf"\sqrt{{{m[1] or m[2]}}}", fold(text).translate(_SIGNS)
    )
    text = re.sub(r"\\(?:text|textrm|mathrm|mbox)\s*\{\s*(and|or)\s*\}", r" \1 ", text)
    return re.sub(r",?\s+(and|or)\s+", r" \\text{ \1 } ", text) if re.search(r"[0-9]", text) else text


def interval(inequality: str) -> str | None:
    """The interval of x > 2, 2 < x or 1 < x < 2; None of anything else."""
    sign = r"(\\leq?(?![a-z])|\\lt|<|\\geq?(?![a-z])|\\gt|>)"
    chain = re.fullmatch(rf"\s*([^<>=]+?)\s*{sign}\s*[A-Za-z]\s*{sign}\s*([^<>=]+?)\s*", inequality)
    if chain and "g" not in chain[2] + chain[3] and ">" not in chain[2] + chain[3]:
        opening, closing = ("[" if "le" in chain[2] else "("), ("]" if "le" in chain[3] else ")")
        return f"{opening}{chain[1]},{chain[4]}{closing}"
    single = re.fullmatch(rf"\s*[A-Za-z]\s*{sign}\s*([^<>=]+?)\s*", inequality)
    if not single:
        return None
    whole = "e" in single[1]
    if ">" in single[1] or "g" in single[1]:
        return f"{'[' if whole else '('}{single[2]},\\infty)"
    return f"(-\\infty,{single[2]}{']' if whole else ')'}"
