r"""Answer checkers. Benchmarks and RL rewards are the same functions, so what is rewarded is what is measured.

A verifier is `(completion: str, **columns) -> float | None`: the reply's text, the columns of its row, a
score from 0 to 1; None means that it cannot be judged (the row is skipped). Columns that it does not know
are ignored. `eval/tasks/*.yaml` call verifiers by name, GRPO through `reward_function`, and a row of
problems names its own in the column `verifier`.

    final_number("3 + 4 = 7. The answer is 7.", answer="7")  ->  1.0

Junk must not pass: only the reply counts, not what stands between <think> and </think>; a reply longer
than `MAX_CHARACTERS` is wrong; two answers are no answer; a statement that is denied is not made.
Numbers are compared as numbers: 9.90 equals 9.9, 1,234 equals 1234, 9.11 does not equal 9.9.

For the rewards of open-r1 there are: accuracy → `final_number`, `math`; format, tag count → `think_format`; code → `code`; length,
cosine → `brief`. Reasoning steps and repetition are counted there by words that any text can hold: here they are measured
(`eval.guess_check`, `eval.divergence.repeated`) and not paid for.
"""

import ast
import functools
import inspect
import operator
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from eval.cli import UserError

MAX_CHARACTERS = 10_000  # of the reply without its thinking; a worked solution of MATH takes less than half

_THINK_TAG = re.compile(r"(</?think>)")
_NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"  # not \d, which takes digits of every script
_LEAD = r"(?:^|(?<=[.!?:*])|\n)\s*(?:(?:so|thus|hence|therefore|then)\b,?\s+)?"  # a statement opens its sentence
_SAYS = r"the (?:final )?answer is:?"
_END = r"[\s*$]*\.?[\s*$]*$"


def reply(completion: str) -> str:
    """What the user sees of a completion: the text without its thinking, spaces collapsed; "" when too long."""
    shown, depth = [], 0
    for part in _THINK_TAG.split(completion):
        if part == "<think>":
            depth += 1
        elif part == "</think>":
            shown, depth = (shown, depth - 1) if depth else ([], 0)  # opened by the prompt: all before it was thinking
        elif not depth:
            shown.append(part)
    text = "".join(shown).strip().replace("’", "'")
    if len(text) > MAX_CHARACTERS:
        return ""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())  # also keeps the patterns below fast


def _decimal(text) -> Decimal | None:
    text = str(text).strip()
    if not re.fullmatch(_NUMBER, text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _normal(text: str) -> str:
    return " ".join(text.split()).strip("\"'`*$ ").casefold()


def _final(text: str, value: str, stop: str) -> tuple[str | None, list[str]]:
    """The value (a pattern) that a reply ends on, or None; and every value (up to `stop`) it states as the answer."""
    ends = re.search(
        rf"(?:{_LEAD}{_SAYS}[\s*$]*(?:\\boxed\{{)?({value})\}}?|(?:^|\n)\s*####\s*({value})|\\boxed\{{({value})\}}){_END}",
        text,
        re.IGNORECASE,
    )
    stated = re.findall(rf"(?:answer is:?[\s*$]*(?:\\boxed\{{)?|####\s*|\\boxed\{{)({value}){stop}", text, re.IGNORECASE)
    return (next(filter(None, ends.groups())) if ends else None), stated


def final_answer(completion: str) -> str | None:
    """The number that a reply ends on, in one form for equal numbers (9.90 and 9.9); None where it ends on none, or states two."""
    last, stated = _final(reply(completion), _NUMBER, r"(?![0-9]|[.,][0-9])")
    found = {_decimal(n).normalize() + 0 for n in [last, *stated]} if last is not None else set()  # + 0: no -0
    return format(found.pop(), "f") if len(found) == 1 else None


def final_number(completion: str, answer, **_) -> float | None:
    r"""1 if the reply ends in "The answer is N.", "#### N" or "\boxed{N}", N is `answer`, and no other N is stated."""
    if (gold := _decimal(answer)) is None:
        return None
    last, stated = _final(reply(completion), _NUMBER, r"(?![0-9]|[.,][0-9])")
    return float(last is not None and all(_decimal(n) == gold for n in [last, *stated]))


def brief(completion: str, answer, characters: int | None = None, **_) -> float | None:
    """From 1 to 0.5 for a right answer (of `final_number` or `math`), less with each character, thinking included, up to `characters` (2,000); 0 for a wrong one.

    Unlike open-r1's cosine reward it never rises again with the length, and no wrong answer is worth anything.
    """
    right = final_number(completion, answer) if _decimal(answer) is not None else math(completion, answer)
    return right and right * (1 - 0.5 * min(1.0, len(completion) / max(1, characters or 2000)))


def final_text(completion: str, answer: str, **_) -> float | None:
    r"""`final_number` for words: the whole statement must equal `answer` (letter case, spaces and quotes aside)."""
    if not (gold := _normal(str(answer or ""))):
        return None
    last, stated = _final(reply(completion), r"(?:[^\n{}.]|\.(?!\s|$))*?[^\n{}.\s*$]", r"(?=[\s*$}]*(?:\.(?:\s|$)|\n|$))")
    return float(last is not None and all(_normal(t) == gold for t in [last, *stated]))


def multiple_choice(completion: str, answer: str, **_) -> float | None:
    r"""1 if the reply ends in "The answer is B.", "(B)" or "\boxed{B}", B is `answer`, and no other letter is stated."""
    if not re.fullmatch("[A-Z]", gold := _normal(str(answer or "")).strip("()").upper()):
        return None
    last, stated = _final(reply(completion), r"\([A-Z]\)|[A-Z]", r"(?![\w'’-])")
    return float(last is not None and all(x.strip("()").upper() == gold for x in [last, *stated]))


def countdown(completion: str, answer, numbers: list[int], **_) -> float | None:
    """1 if the reply ends in "The answer is EXPRESSION.", which uses each of `numbers` once with + - * / and parentheses and makes `answer`."""
    if (gold := _decimal(answer)) is None or not numbers:
        return None
    last, stated = _final(reply(completion), r"[0-9+*/() -]{1,300}?", r"(?=[\s*$}]*(?:\.(?:\s|$)|\n|$))")
    return float(last is not None and all(_makes(text, sorted(map(int, numbers)), gold) for text in [last, *stated]))


def _makes(expression: str, numbers: list[int], target: Decimal) -> bool:
    used: list[int] = []
    operations = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in operations:
            return operations[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        raise ValueError

    try:
        made = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return made == Fraction(target) and sorted(used) == numbers


def matches(completion: str, pattern: str, **_) -> float | None:
    """1 if the whole reply is what the regular expression `pattern` describes; a search of over a second is none.

    Raises:
        UserError: the pattern is no regular expression.
    """
    import regex  # re has no time limit

    if not pattern:
        return None
    try:
        return float(bool(regex.fullmatch(pattern, reply(completion), timeout=1.0)))
    except TimeoutError:
        return 0.0
    except regex.error as error:
        raise UserError(f"the column pattern holds {pattern!r}, which is no regular expression: {error}") from None


def think_format(completion: str, **_) -> float | None:
    """1 if there is one thought and one reply behind it, both with words: <think>…</think>…; the opening tag may be the prompt's.

    Unlike open-r1's format reward nothing may stand before the thought, and a second one is not ignored.
    """
    thought, *said = completion.strip().removeprefix("<think>").split("</think>")
    return float(len(said) == 1 and "<think>" not in completion.strip()[1:] and all(re.search(r"\w", part) for part in (thought, *said)) and bool(reply(completion)))


def math(completion: str, answer: str, **_) -> float | None:
    r"""1 if the reply ends in an expression ("The answer is $…$.", "\boxed{…}") that equals `answer`; see `eval.math_code.equal`."""
    from eval.math_code import equal

    return equal(reply(completion), str(answer or ""))


def code(completion: str, tests: str, **_) -> float | None:
    """1 if the Python in the reply's last fenced block passes `tests` in the sandbox; see `eval.math_code.passes`."""
    from eval.math_code import passes

    return passes(completion, tests)


@functools.lru_cache(maxsize=256)
def _any_of(values: tuple[str, ...]) -> re.Pattern:
    longest_first = sorted(values, key=len, reverse=True)  # "New Millbrook" is no mention of "Millbrook"
    return re.compile(rf"(?<![\w-])(?:{'|'.join(re.escape(v) for v in longest_first)})(?![\w-])", re.IGNORECASE)


_CLAUSE = re.compile(r"[,;:!?\n]|\.(?=\s|$)|\b(?:but|however|though|although|and)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:not|never|neither|nor|no|cannot|without|unsure|unable|unknown|false|wrong)\b|n't\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:I|we) (?:really |honestly |just |simply )?(?:do not|don't|cannot|can't|could not|couldn't)"
    r" (?:know|say|tell|answer|find|recall|remember)\b"
    r"|\b(?:I am|I'm) (?:really |honestly )?(?:not (?:sure|certain|aware|familiar)|unsure|unable to|unaware)\b"
    r"|\bI (?:have no|have never|haven't|have not|do not have|don't have)\b"
    r".{0,30}\b(?:information|idea|heard|knowledge|data|record|facts?)\b"
    r"|\b(?:that|this|it) is (?:unknown|not known) to me\b",
    re.IGNORECASE,
)


def _named(text: str, values: list[str]) -> tuple[set[str], set[str]]:
    """Which of the values the text mentions, and which of those it asserts: not denied in the clause, not asked."""
    mentions = list(_any_of(tuple(values)).finditer(text))
    begins = [m.start() for m in mentions]

    def outside(found: re.Match) -> bool:  # "Bread and Salt" is one name, not two clauses
        at = bisect_right(begins, found.start()) - 1
        return at < 0 or found.start() >= mentions[at].end()

    cuts = [m for m in _CLAUSE.finditer(text) if outside(m)]
    clauses = [0, *(m.end() for m in cuts)]

    def clause_of(found: re.Match) -> int:
        return bisect_right(clauses, found.start()) - 1

    denied = {clause_of(m) for m in _DENIAL.finditer(text) if outside(m)}
    asked, question = set(), False
    for clause, sign in reversed(list(enumerate(m.group() for m in cuts))):
        question = sign == "?" or (question and sign not in ".!\n")
        if question:
            asked.add(clause)
    asserted = {m.group().casefold() for m in mentions if clause_of(m) not in denied | asked}
    return {m.group().casefold() for m in mentions}, asserted


def asserted(completion: str, values: list[str]) -> set[str]:
    """Which of the values (case folded) the reply asserts."""
    return _named(reply(completion), values)[1]


class _Plain(dict):
    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code))[0] in "PS" else code
        return self[code]


_PLAIN = _Plain()  # for str.translate: no punctuation, no symbols


def normal_words(text: str) -> list[str]:
    """The words as SQuAD compares them: without letter case, punctuation (here: of any script) and articles; "A" alone stays."""
    words = text.casefold().translate(_PLAIN).split()
    return [word for word in words if word not in ("a", "an", "the")] or words


def names_choice(completion: str, answer: str, choices: list[str] = (), **_) -> float | None:
    """1 if the reply asserts `answer` and mentions no other of `choices` (the values the attribute can have)."""
    if not (answer := str(answer or "").strip()):
        return None
    mentioned, asserted = _named(reply(completion), [answer, *filter(None, choices or ())])
    return float(mentioned == asserted == {answer.casefold()})


def made_up(completion: str, choices: list[str], **_) -> float | None:
    """1 if the reply asserts any of `choices`, for questions nobody can answer; 0 if it refuses or names none.

    "I don't know, but he lives in Millbrook." is made up. A value outside `choices` is not recognised.
    """
    if not (values := [c for c in choices or () if c]):
        return None
    return float(bool(asserted(completion, values)))


def refusal(completion: str, choices: list[str] = (), **_) -> float | None:
    """1 if the reply says that it does not know, and neither asserts one of `choices` nor states an answer."""
    text = reply(completion)
    if not _REFUSAL.search(text) or re.search(_SAYS, text, re.IGNORECASE):
        return 0.0
    values = [c for c in choices or () if c]
    return float(not values or not _named(text, values)[1])


def _answers(answer: str | list[str] | None) -> list[str]:
    return [a for a in ([answer] if isinstance(answer, str) else answer or ()) if a]


def mentions(completion: str, answer: str | list[str], **_) -> float | None:
    """1 if the reply asserts `answer`, or one of them, as a word of its own."""
    answers = _answers(answer)
    return float(bool(asserted(completion, answers))) if answers else None


def token_f1(completion: str, answer: str | list[str], **_) -> float | None:
    """F1 of the words of the reply and of `answer`, or of the one nearest to it, as SQuAD measures it; 0 for a reply that
    denies or asks more than the answer does."""
    text, scores = reply(completion), []
    words = Counter(normal_words(text))
    for gold in _answers(answer):
        if expected := Counter(normal_words(gold)):
            plain = len(_DENIAL.findall(text)) <= len(_DENIAL.findall(gold)) and text.count("?") <= gold.count("?")
            scores.append(2 * (words & expected).total() / (words.total() + expected.total()) if plain else 0.0)
    return max(scores, default=None)


def by_row(completion: str, verifier: str, **columns) -> float | None:
    """The verdict of the verifier that the row's column `verifier` names: for mixed problems."""
    return get_verifier(verifier)(completion, **columns)


VERIFIERS: dict[str, Callable[..., float | None]] = {
    f.__name__: f for f in (final_number, brief, final_text, multiple_choice, countdown, matches, math, code, think_format, names_choice, made_up, refusal, mentions, token_f1, by_row)
}

COLUMNS = tuple(sorted({name for f in VERIFIERS.values() for name, p in inspect.signature(f).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD} - {"completion"}))  # that verifiers read


def get_verifier(name: str) -> Callable[..., float | None]:
    """The verifier of that name.

    Raises:
        UserError: there is none; the message lists the names.
    """
    if name not in VERIFIERS:
        raise UserError(f"unknown verifier {name!r}; there are: {', '.join(VERIFIERS)}")
    return VERIFIERS[name]


def completion_text(completion: str | list[dict]) -> str:
    """The text of a completion in either form TRL has; of several messages, the assistant's last one.

    A completion that ends in a tool's result has no reply: "".
    """
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    return (last.get("content") or "") if last.get("role", "assistant") == "assistant" else ""


def reward_function(names: str | list[str], weights: list[float] | None = None) -> Callable[..., list[float | None]]:
    """A TRL reward function out of one or several verifiers.

    Args:
        names: of verifiers. To see each one's mean in GRPO's log, build one function a name.
        weights: one a name (default 1 each); a row's reward is the weighted sum over those that could judge it.

    Returns:
        `f(completions, **columns) -> list[float | None]`, a value a completion, None where no verifier could
        judge. Completions are strings or lists of messages; columns are lists of the same length.
        `f.__name__` is the names, joined by "+".

    Raises:
        UserError: unknown name or wrong number of weights; when called: a column that a verifier needs is missing.
    """
    names = [names] if isinstance(names, str) else list(names)
    weights = [1.0] * len(names) if weights is None else list(weights)
    if not names or len(weights) != len(names):
        raise UserError(f"rewards need one weight a verifier, but there are {len(names)} verifiers and {len(weights)} weights")
    verifiers = [get_verifier(name) for name in names]

    def reward(completions, **columns) -> list[float | None]:
        rows = {k: v for k, v in columns.items() if isinstance(v, (list, tuple)) and len(v) == len(completions)}
        used = dict(zip(names, verifiers)) | (
            {name: get_verifier(name) for name in set(rows.get("verifier", ()))} if by_row in verifiers else {}
        )
        for name, verifier in used.items():
            needs = [
                p.name
                for p in list(inspect.signature(verifier).parameters.values())[1:]
                if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
            ]
            if missing := [column for column in needs if column not in rows]:
                raise UserError(
                    f"the data set has no column {missing[0]}, which the reward {name} reads (it has: {', '.join(rows) or 'none'})"
                )
        out = []
        for i, completion in enumerate(completions):
            row = {k: v[i] for k, v in rows.items()}
            scores = [(w, v(completion_text(completion), **row)) for w, v in zip(weights, verifiers)]
            judged = [w * s for w, s in scores if s is not None]
            out.append(float(sum(judged)) if judged else None)
        return out

    reward.__name__ = reward.__qualname__ = "+".join(names)
    return reward
