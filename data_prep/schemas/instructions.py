"""IFEval's constraints (Zhou et al. 2023) as one regular expression, for the verifier `matches`.

    pattern_of([{"id": "punctuation:no_comma"}, {"id": "length_constraints:number_words", "relation": "at least",
    "num_words": 20}])

What cannot be told from the text as `eval.verifiers.reply` gives it (blank lines are gone), or needs a language
detector, has no pattern.
"""

import re
from collections.abc import Callable

from data_prep.schemas import LeftOut

FUNCTIONS = {  # allenai/RLVR-IFeval names the same constraints by functions
    "validate_no_commas": "punctuation:no_comma", "verify_keywords": "keywords:existence",
    "validate_forbidden_words": "keywords:forbidden_words",
    "verify_keyword_frequency": "keywords:frequency", "verify_letter_frequency": "keywords:letter_frequency",
    "validate_lowercase": "change_case:english_lowercase",
    "validate_uppercase": "change_case:english_capital", "validate_title": "detectable_format:title",
    "validate_quotation": "startend:quotation",
    "validate_end": "startend:end_checker", "validate_placeholders": "detectable_content:number_placeholders",
    "verify_postscript": "detectable_content:postscript",
    "validate_word_constraint": "length_constraints:number_words",
}  # fmt: skip


def times(found: str, count: int, relation: str) -> str:
    """That something is found so often: at least, at most, or less than `count` times."""
    if relation in ("less than", "at most"):
        return rf"(?!(?:.*?{found}){{{count + (relation == 'at most')}}})"
    if relation in ("around", "exactly"):
        return rf"(?=(?:.*?{found}){{{count}}})(?!(?:.*?{found}){{{count + 1}}})"
    return rf"(?=(?:.*?{found}){{{count}}})"


def word(given: str) -> str:
    return rf"\b{re.escape(given)}\b"


def words(given: dict) -> str:
    count, relation = int(given.get("num_words") or given["N"]), given.get("relation") or given["quantifier"]
    found = r"(?:\W*+\w++)"
    if relation in ("less than", "at most"):
        return rf"(?!{found}{{{count + (relation == 'at most')}}})"
    if relation == "around":
        return rf"(?={found}{{{round(count * 0.9)}}})(?!{found}{{{round(count * 1.1) + 1}}})"
    return rf"(?={found}{{{count}}})"


PATTERNS: dict[str, Callable[[dict], str]] = {
    "punctuation:no_comma": lambda given: r"(?![^,]*,)",
    "keywords:existence": lambda given: "".join(
        rf"(?=.*{word(k)})" for k in given.get("keywords") or given["keyword_list"]
    ),
    "keywords:forbidden_words": lambda given: "".join(rf"(?!.*{word(k)})" for k in given["forbidden_words"]),
    "keywords:frequency": lambda given: times(
        word(given.get("keyword") or given["word"]),
        int(given.get("frequency") or given["N"]),
        given.get("relation", "at least"),
    ),
    "keywords:letter_frequency": lambda given: times(
        re.escape(given["letter"]),
        int(given.get("let_frequency") or given["N"]),
        given.get("let_relation", "at least"),
    ),
    "length_constraints:number_words": words,
    "change_case:english_lowercase": lambda given: r"(?-i:(?!.*\p{Lu}))",
    "change_case:english_capital": lambda given: r"(?-i:(?!.*\p{Ll}))",
    "detectable_format:title": lambda given: r"(?=.*<<[^\n<>]+>>)",
    "detectable_format:constrained_response": lambda given: r"(?=.*My answer is (?:yes|no|maybe)\.)",
    "detectable_content:number_placeholders": lambda given: times(
        r"\[[^\[\]]+\]", int(given.get("num_placeholders") or given["N"]), "at least"
    ),
    "detectable_content:postscript": lambda given: (
        r"(?=.*P\.\s?P\.\s?S)"
        if (given.get("postscript_marker") or "").upper().startswith("P.P")
        else r"(?=.*P\.\s?S\.)"
    ),
    "startend:quotation": lambda given: r'(?=".*"\Z)',
    "startend:end_checker": lambda given: rf'(?=.*{re.escape(given.get("end_phrase") or given["end_phrase"])}"?\Z)',
}


def pattern_of(constraints: list[dict]) -> str:
    """One pattern that a whole reply matches where it keeps to all of the constraints.

    Args:
        constraints: each with its `id` (or `func_name`) and what it takes.

    Raises:
        LeftOut: one of them has no pattern.
    """
    patterns = []
    for given in constraints:
        name = given.get("id") or FUNCTIONS.get(given.get("func_name"), given.get("func_name"))
        if name not in PATTERNS:
            raise LeftOut(f"no pattern can check the constraint {name}")
        try:
            patterns.append(PATTERNS[name](given))
        except (KeyError, TypeError, ValueError):
            raise LeftOut(f"the constraint {name} lacks what it is about") from None
    if not patterns:
        raise LeftOut("it has no constraint")
    return f"(?is){''.join(patterns)}.+"
