r"""Answer checkers. Benchmarks and RL rewards are the same functions, so what is rewarded is what is measured.

A verifier is `(completion: str, **columns) -> float | None`: the reply's text, the columns of its row, a
score from 0 to 1; None means that it cannot be judged (the row is skipped). Columns that it does not know
are ignored. `eval/tasks/*.yaml` call verifiers by name, GRPO through `reward_function`, and a row of
problems names its own in the column `verifier`.

    final_number("3 + 4 = 7. The answer is 7.", answer="7")  ->  1.0

Junk must not pass: only the reply counts, not its thinking; a reply longer than `MAX_CHARACTERS` is wrong; two
answers are no
answer; a statement that is denied is not made. Numbers are compared as numbers: 9.90 equals 9.9, 1,234 equals 1234,
9.11 does not equal 9.9.
What is read, exactly, stands where it is read:

    eval.checking.thinking   which thinking is left out
    eval.checking.answers    how a reply states its answer
    eval.checking.numbers    what a number is
    eval.checking.latex      one spelling of mathematics
    eval.checking.math_code  when two expressions are equal
    eval.checking.programs   which program a reply gives
    eval.checking.wording    what is asserted, and what is a refusal

For the rewards of open-r1 there are: accuracy → `final_number`, `math`; format, tag count → `think_format`; code →
`code`; length,
cosine → `brief`. Reasoning steps and repetition are counted there by words that any text can hold: here they are
measured (`eval.guess_check`, `eval.generation.divergence.repeated`) and not paid for.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence

from eval.checking.answers import Statement, mentioned_number, number, statements, strip
from eval.checking.countdown import expression, makes
from eval.checking.numbers import Value, read, same, unwrap
from eval.checking.visible_reply import reply
from eval.checking.wording import DENIAL, declines, named, normal_words, plain
from eval.cli import UserError

# The files of `eval` that decide a verdict.
MODULES = [
    "verifiers",
    *(
        f"checking/{name}"
        for name in (
            "answers numbers thinking wording latex math_code countdown programs tampering visible_reply".split()
        )
    ),
]


# ---- Final answers ----


def _gold(answer) -> Value | None:
    """A reference that is a number in digits, without units."""
    return read(str(answer), units=False) if any(map(str.isnumeric, str(answer))) else None


def _numbers(completion: str) -> list[Value] | None:
    """The number that a reply ends on, and before it those that it states as the answer; None where it ends on
    none.
    """
    stated = statements(reply(completion))
    last = number(stated[-1]) if stated else None
    if last is None:
        return None
    before = (mentioned_number(statement) for statement in stated[:-1] if statement.meant)
    return [*(value for value in before if value), last]


def final_answer(completion: str) -> str | None:
    """The number that a reply ends on, in one form for equal numbers (9.90 and 9.9; 1/3); None where it ends on none,
    or states two.
    """
    numbers = {value.number for value in _numbers(completion) or ()}
    if len(numbers) != 1:
        return None
    (value,) = numbers
    places = next((n for n in range(31) if 10**n % value.denominator == 0), None)
    if not places:
        return str(value)
    sign, digits = "-" if value < 0 else "", str(int(abs(value) * 10**places)).zfill(places + 1)
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def final_number(completion: str, answer, **_) -> float | None:
    r"""1 if the reply ends on a statement of a number that equals `answer`, and states no other before; None where
    `answer` is no number.

    Statements are "The answer is N.", "**Answer:** N", "#### N", "\boxed{N}", "<answer>N</answer>" and the others of
    `eval.checking.answers`, N is what
    `eval.checking.numbers` reads. Of percentages and fractions see `eval.checking.numbers.same`.
    """
    gold = _gold(answer)
    if gold is None:
        return None
    stated = _numbers(completion)
    return float(bool(stated) and all(same(value, gold) for value in stated))


def brief(completion: str, answer, characters: int | None = None, **_) -> float | None:
    """From 1 to 0.5 for a right answer (of `final_number` or `math`), less with each character, thinking included, up
    to `characters` (2,000); 0 for a wrong one.

    Unlike open-r1's cosine reward it never rises again with the length, and no wrong answer is worth anything.
    """
    right = final_number(completion, answer) if _gold(answer) is not None else math(completion, answer)
    return right and right * (1 - 0.5 * min(1.0, len(completion) / max(1, characters or 2000)))


def _normal(text: str) -> str:
    """The form in which final words are compared: without wrappings, quotation marks and letter case."""
    return unwrap(text).strip("\"'“”‘’«»„*_$. ").casefold()


def final_text(completion: str, answer: str, **_) -> float | None:
    r"""`final_number` for words: the whole statement must equal `answer`, letter case, spaces, quotes, wrappings
    (\text, bold) and the form of Unicode aside.
    """
    gold = _normal(str(answer or ""))
    if not gold:
        return None
    stated = statements(reply(completion))
    if not stated or not stated[-1].meant:
        return 0.0
    *before, last = stated
    return float(
        _normal(strip(last.whole)) == gold
        and all(_begins_with(statement, gold) for statement in before if statement.meant)
    )


def _begins_with(statement: Statement, gold: str) -> bool:
    """Whether a statement that others follow says `gold`, to its sentence's end."""
    text = unwrap(statement.text).lstrip("\"'“‘«„*_$ ").casefold()
    return text.startswith(gold) and bool(re.match(r"[\s*_$}\"'”’»]*(?:[.!?](?:\s|$)|\n|$)", text[len(gold) :]))


_OPTION = r"(?:(?:option|choice|answer)\s+)?(?:[(\[]([A-Z])[)\]]|([A-Z])(?![\w'’-]))"
_OTHER = r"(?:(?<![\w'])(?-i:[B-HJ-Z])(?![\w'])|\([A-Z]\)|\b(?:or|not)\b|(?-i:\bA\W*\Z))"  # "A" and "I" are words, too
_ONE_OPTION = re.compile(rf"{_OPTION}(?:\W*|(?:(?<=\))|\s*[):–-])\s*(?:(?!{_OTHER}).)+)", re.IGNORECASE)
_LAST_CHOICE = re.compile(  # "Therefore, option D is correct."
    r"(?:\b(?:so|thus|therefore|hence),?\s+)?(?<!\w)(?:the\s+)?(?:(?:option|choice|answer)\s+\**|\**\()"
    r"(?-i:([A-Z]))\)?\**\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice|one))?[.!*\s]*\Z",
    re.IGNORECASE,
)
_LABELLED_OPTION = re.compile(rf"{_OPTION}\s*[.):–-]?\s*(?:(?!{_OTHER}).)+", re.IGNORECASE)


def _letter(text: str) -> str:
    """The option that a statement begins with, or ""."""
    match = re.match(_OPTION, unwrap(text).lstrip("*_\"' "), re.IGNORECASE)
    return (match[1] or match[2]).upper() if match else ""


def multiple_choice(completion: str, answer: str, **_) -> float | None:
    r"""1 if the reply ends in "The answer is B.", "Answer: (B) Paris", "\boxed{B}" or such (`eval.checking.answers`),
    B is `answer`, and no other letter is stated.

    Behind the letter may stand what it is the letter of, after ), : or a dash, if that names no other letter.
    """
    gold = _normal(str(answer or "")).strip("()").upper()
    if not re.fullmatch("[A-Z]", gold):
        return None
    stated = statements(_LAST_CHOICE.sub(r"The answer is \1.", reply(completion)))
    if not stated or not stated[-1].meant:
        return 0.0
    last = strip(re.split(r",\s+(?:because|since|as)\b", stated[-1].whole)[0])
    before = {_letter(statement.text) for statement in stated[:-1] if statement.meant} - {"", gold}
    labelled = stated[-1].kind in ("label", "tag") or stated[-1].text.startswith("\n")
    form = _LABELLED_OPTION if labelled else _ONE_OPTION
    bare = unwrap(last).lstrip("*_\"' ")
    alone = _ONE_OPTION.fullmatch(bare) or form.fullmatch(bare)
    return float(_letter(last) == gold and not before and bool(alone))


def countdown(completion: str, answer, numbers: list[int], **_) -> float | None:
    """1 if the reply ends in "The answer is EXPRESSION." or another statement of `eval.checking.answers`, which uses
    each of `numbers` once with + - * / (× ÷ \\times \\div, fractions)
    and parentheses and makes `answer`; "= answer" may stand behind it."""
    gold = _gold(answer)
    if gold is None or not numbers:
        return None
    stated = statements(reply(completion))
    if not stated or not stated[-1].meant:
        return 0.0
    expressions = [expression(strip(s.text if s.kind == "box" else s.sentence), gold) for s in stated[:-1] if s.meant]
    expressions = [text for text in expressions if re.fullmatch(r"[0-9+*/() .-]+", text)] + [
        expression(strip(stated[-1].whole), gold)
    ]
    return float(all(makes(text, sorted(map(int, numbers)), gold.number) for text in expressions))


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
    """1 if there is one thought and one reply behind it, both with words: <think>…</think>…; the opening tag may be
    the prompt's.

    Unlike open-r1's format reward nothing may stand before the thought, and a second one is not ignored.
    """
    thought, *replies = completion.strip().removeprefix("<think>").split("</think>")
    return float(
        len(replies) == 1
        and "<think>" not in completion.strip()[1:]
        and all(re.search(r"\w", part) for part in (thought, *replies))
        and bool(reply(completion))
    )


def math(completion: str, answer: str, **_) -> float | None:
    r"""1 if the reply ends on an expression ("The answer is $…$.", "\boxed{…}" and the others of
    `eval.checking.answers`) that equals `answer`, and states no other; see `eval.checking.math_code.equal`.
    """
    from eval.checking.math_code import equal

    return equal(reply(completion), str(answer or ""))


def code(completion: str, tests: str, **_) -> float | None:
    """1 if the reply's program (`eval.checking.programs` says which block it is) passes `tests` in the sandbox; see
    `eval.checking.math_code.passes`.
    """
    from eval.checking.math_code import passes

    return passes(completion, tests)


# ---- Words ----


def asserted(completion: str, values: list[str]) -> set[str]:
    """Which of the values (case folded) the reply asserts."""
    names = named(reply(completion), values)[1]
    return {value.casefold() for value in values if plain(value).casefold() in names}


def names_choice(completion: str, answer: str, choices: Sequence[str] = (), **_) -> float | None:
    """1 if the reply asserts `answer` and mentions no other of `choices` (the values the attribute can have)."""
    answer = str(answer or "").strip()
    if not answer:
        return None
    mentioned, asserted = named(reply(completion), [answer, *filter(None, choices or ())])
    return float(mentioned == asserted == {plain(answer).casefold()})


def made_up(completion: str, choices: list[str], **_) -> float | None:
    """1 if the reply asserts any of `choices`, for questions nobody can answer; 0 if it refuses or names none.

    "I don't know, but he lives in Millbrook." is made up. A value outside `choices` is not recognised.
    """
    values = [c for c in choices or () if c]
    if not values:
        return None
    return float(bool(asserted(completion, values)))


def refusal(completion: str, choices: Sequence[str] = (), **_) -> float | None:
    """1 if the reply says that it does not know (`eval.checking.wording` lists the ways), and neither asserts one of
    `choices` nor goes on to an answer.
    """
    text = reply(completion)
    if not declines(text):
        return 0.0
    values = [c for c in choices or () if c]
    return float(not values or not named(text, values)[1])


def _answers(answer: str | list[str] | None) -> list[str]:
    return [a for a in ([answer] if isinstance(answer, str) else answer or ()) if a]


def mentions(completion: str, answer: str | list[str], **_) -> float | None:
    """1 if the reply asserts `answer`, or one of them, as a word of its own."""
    answers = _answers(answer)
    return float(bool(asserted(completion, answers))) if answers else None


def token_f1(completion: str, answer: str | list[str], **_) -> float | None:
    """F1 of the words of the reply and of `answer`, or of the one nearest to it, as SQuAD measures it; 0 for a reply
    that
    denies or asks more than the answer does."""
    text, scores = reply(completion), []
    words = Counter(normal_words(text))
    for gold in _answers(answer):
        expected = Counter(normal_words(gold))
        if expected:
            plain = len(DENIAL.findall(text)) <= len(DENIAL.findall(gold)) and text.count("?") <= gold.count("?")
            scores.append(2 * (words & expected).total() / (words.total() + expected.total()) if plain else 0.0)
    return max(scores, default=None)


def by_row(completion: str, verifier: str, **columns) -> float | None:
    """The verdict of the verifier that the row's column `verifier` names: for mixed problems."""
    return get_verifier(verifier)(completion, **columns)


_ANSWERS = (final_number, brief, final_text, multiple_choice, countdown, matches, math, code, think_format)
_NAMES = (names_choice, made_up, refusal, mentions, token_f1, by_row)
VERIFIERS: dict[str, Callable[..., float | None]] = {f.__name__: f for f in (*_ANSWERS, *_NAMES)}
_READ = {
    name
    for verifier in VERIFIERS.values()
    for name, parameter in inspect.signature(verifier).parameters.items()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
}
COLUMNS = tuple(sorted(_READ - {"completion"}))  # that verifiers read


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
        raise UserError(
            f"rewards need one weight a verifier, but there are {len(names)} verifiers and {len(weights)} weights"
        )
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
            missing = [column for column in needs if column not in rows]
            if missing:
                raise UserError(
                    f"the data set has no column {missing[0]}, which the reward {name} reads (it has: "
                    f"{', '.join(rows) or 'none'})"
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
