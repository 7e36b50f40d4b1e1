r"""What a reply states as its answer: `statements(text)`, in the order in which they stand; the last one is final if
the reply ends on it.

A statement is one of

    is       [so | thus | …] the|my|our [final | correct | …] answer [to the question] is|was|would be|equals|= V the
             correct|right|best option|choice is V; the final result|value is V; "La réponse est V" and such
             (`_FOREIGN`)
    label    at the beginning of a line or sentence: [Final | Correct] Answer: V, Ans: V, "answer": V; in bold, as a
             heading, in a list, as a table's row (| Answer | V |); V may stand on the next line; Result: V, Total: V
             and Solution: V, if nothing is stated behind them
    hash     #### V on a line of its own
    box      \boxed{V}, \fbox{V}, \framebox{V} with nested braces, \boxed 7
    tag      <answer>V</answer>
    bold     where there is no other statement, a last line that is nothing but **V**, or that concludes with it: "So
             she makes **V** a day.", "Thus x = V."

Behind V may stand what closes brackets, mathematics, bold and quotations, a full stop or exclamation mark, and a
courtesy ("I hope it is correct.", "Let me know if …"). A statement of the kinds `is` and `label` whose sentence takes
it back ("I doubt that …", "If …") is not `meant`. A statement that only leads to the next one ("The answer is $x =
\boxed{7}$.") is that one.
"""

import re
from dataclasses import dataclass

from eval.checking.numbers import NUMERAL, Value, leading, read, reserved, same, unwrap

_KINDS = r"(?:(?:final|correct|right|exact|numeric|numerical|overall|actual|best|required|desired|complete)\s+){0,3}"
_VERB = r"(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|becomes|equals|comes\s+(?:out\s+)?to|=)"
_IS = (
    rf"(?:\b(?:the|my|our|your)\s+)?\b{_KINDS}answer(?:\s+(?:to|for)\s+(?:the|this|your|our"
    rf"|part)\s+[\w ]{{1,40}}?)?(?:\s+{_VERB}|'s)"
    rf"|\bthe\s+(?:correct|right|best)\s+(?:answer\s+)?(?:option|choice)\s+{_VERB}|\bthe\s+final\s+(?:result|value"
    rf"|solution)\s+{_VERB}"
)
_FOREIGN = (
    r"(?:最终|正确)?答案(?:应该|应)?(?:是|为|為|选|選|[:：])|答[:：]|答え(?:は|[:：])|정답(?:은|[:：])|\b(?:die\s+)?(?:endgültige\s+"
    r"|richtige\s+)?antwort(?:\s+(?:ist|lautet)|:)|\bla\s+réponse(?:\s+finale)?(?:\s+est|\s*:)"
    r"|\bréponse(?:\s+finale)?\s*:"
    r"|\bla\s+respuesta(?:\s+(?:final|correcta))?(?:\s+es|\s*:)|\brespuesta(?:\s+final)?\s*:"
    r"|\bla\s+risposta(?:\s+(?:finale|corretta))?(?:\s+è|\s*:)|\ba\s+resposta(?:\s+(?:final|correta))?(?:\s+é|\s*:)"
    r"|\b(?:ответ|відповідь)\s*[:—–-]"
    r"|\b(?:jawaban|odpowiedź|odpověď|antwoord|cevap|svar|válasz|đáp án|vastaus)\s*[:：]"
    r"|(?:الإجابة|الجواب|پاسخ|उत्तर|คำตอบ|답)\s*[:：]"
)
_LABEL = (
    rf"\b(?:the\s+|my\s+)?{_KINDS}(?:answer|ans|(?P<weak>result|solution"
    rf"|total))\.?(?:\s*\([^()\n]{{1,30}}\))?[*_`\"']*\s*(?:[:：|=]|(?=\n))|\bans\.(?=\s)"
)
_MARKER = re.compile(
    rf"(?P<box>\\(?:boxed|fbox|framebox)\b)|(?P<hash>(?<![^\n])[>* \t]*####(?!\#))|(?P<tag><answer>)|(?P<is>{_IS})"
    rf"|(?P<label>{_LABEL})|(?P<foreign>{_FOREIGN})",
    re.IGNORECASE,
)
_KINDS_OF_MARKERS = ("box", "hash", "tag", "is", "label", "foreign")
_MARKUP = r"(?:[^\w\n]|\b[0-9]{1,2}[.)]\s)*"  # bold, heading, list, quotation, emoji
_LABEL_AS_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*[:：]\s*)\}")
_OPENS = re.compile(rf"(?:^|\n|[.!?:;。！？]|\*\*)\s*{_MARKUP}$")
_CONCLUSION = re.compile(  # a last line: "So she makes **$18** every day.", "Thus $x = 18$."
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?P<said>\S[^=\n]{0,39}?) is (?:the|my|our) (?:final |correct )?answer\W*"
    r"|(?:so|thus|therefore|hence|altogether|in total|in conclusion)\b[^*=0-9\n]{0,80}"
    r"(?:\*\*(?P<bold>[^*\n]{1,40})\*\*[^*=0-9\n]{0,60}|=(?P<value>[^=\n]{1,40}))",
    re.IGNORECASE,
)
_TURN = re.compile(r".*(?:[.!?:;\n。！？]|,)", re.DOTALL)
_DOUBT = re.compile(
    r"\b(?:not|never|no|nor|cannot|\w+n't|false|wrong|incorrect|doubt|deny|denies|unless|suppose|supposing|assume"
    r"|assuming|imagine|pretend|hardly|unlikely|perhaps|maybe|might"
    r"|could|instead\s+of|rather\s+than|unsure|what|nobody|no-one|none|nothing)\b|\b(?:if|whether)\s*$",
    re.IGNORECASE,
)
_LEADS_ON = re.compile(
    r"[\s$*_`:({\[\\|>-]*(?:\\(?:text|mathrm)\{[^{}\n]*)?(?:(?:[A-Za-z](?:_\{?\w\}?)?\s*)?(?:=|≈|\\approx)"
    r"|(?:therefore|thus|then|approximately|about|simply|exactly|equal to|that is|given by)\b[,:]?)?[\s$*_`:({\[\\"
    r"|>-]*"
)
_CLOSER = re.compile(
    r"(?:\\[\])!,;:. ]|</?answer>|\\end\{(?:align|aligned|equation|gather|gathered|multline|split|center)\*?\}"
    r"|\\(?:quad|square|blacksquare|qed)|\n[-=_* ]{3,}|[\s$*_`~.!|\])}>\"'”’»。✅✓☑🎉∎■□⬛])\Z"
)
_COURTESY = re.compile(
    r"(?:\b(?:I hope|hope) (?:it|this|that)\b[^.!?\n0-9]{0,60}|\b(?:please )?(?:let me know"
    r"|feel free to)\b[^.!?\n0-9]{0,80}|\bis there anything else[^.!?\n0-9]{0,60})[.!?]?[\s*]*\Z",
    re.IGNORECASE,
)


_HTML = re.compile(r"</?(?:b|strong|i|em|u|p|span|mark|br ?/?)>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<(/?)(?:final[_-]?answer|ans)>", re.IGNORECASE)
_EXPLAINS = re.compile(
    r"[\s.*_#]*(?:note|check|checking|verif\w+|explanation|recap|because|since|here|where"
    r"|this (?:is|means|matches|follows))\b",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"\b(?:is|are|was|and|than|plus|minus|over|e)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """`kind`; `text` as written; `after`: what stands between it and the next one (boxes, tags; else it belongs to
    `text`); `meant`.
    """

    kind: str
    text: str
    after: str = ""
    meant: bool = True

    @property
    def whole(self) -> str:
        return f"{self.text} {self.after}".strip()

    @property
    def sentence(self) -> str:
        """The first sentence, or line, of a statement that others follow."""
        return re.split(r"[.!?](?:\s|$)|\n|。", self.text.lstrip("\n* "), maxsplit=1)[0].strip()


def boxed(text: str, at: int) -> tuple[str, int] | None:
    """The contents of the box whose command ends at `at`, and where it ends; None for one that is not closed."""
    opening = re.compile(r"\s*\{").match(text, at)
    if not opening:
        token = re.compile(r"\s*(-?[0-9][0-9,.]*[0-9]|-?[0-9]|\w)").match(text, at)
        return (token[1], token.end()) if token else None
    depth, end = 1, opening.end()
    while end < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
        end += 1
    return None if depth else (text[opening.end() : end - 1], end)


def _own(text: str) -> bool:
    """Whether the bracket that the text ends on closes one that it opens: those of an interval may differ."""
    bare = re.sub(r"\\[()\[\]]", "", text)
    return text[-2:] not in (r"\)", r"\]") and sum(map(bare.count, "([{")) >= sum(map(bare.count, ")]}"))


def strip(text: str) -> str:
    """Without the marks around it, and what closes behind it; the brackets that it opens itself stay."""
    text = re.sub(r"^(?:[\s$*_`\"'“‘«:|]|\\[\[(])+", "", text.rstrip())
    while closer := _CLOSER.search(text, max(0, len(text) - 30)):
        if closer[0] in ")]}" and _own(text):
            break
        text = text[: closer.start()]
    return text


def closes(text: str) -> bool:
    """Whether nothing but closing marks is there."""
    return not strip(text)


def _meant(text: str, start: int) -> bool:
    before = text[max(0, start - 300) : start]
    turn = _TURN.match(before)
    clause = before[turn.end() :] if turn else before
    if re.search(r"\bthat\s*$", clause):  # "It is false, however, that the answer is 7."
        clause = re.split(r"[.!?\n]", before)[-1]
    return not _DOUBT.search(clause)


def _label_opens(text: str, match: re.Match) -> bool:
    before = text[max(0, match.start() - 40) : match.start()]
    key = re.search(r"[,{]\s*\"$", before) and re.search(r"\"\s*:$", match[0])  # of JSON
    return bool(key or _OPENS.search(before))


def _markers(text: str) -> list[tuple[str, int, int, str | None]]:
    """(kind, beginning, end, what a box or tag holds) of each marker, none within another's box."""
    markers, at = [], 0
    while marker := _MARKER.search(text, at):
        kind, start, end, held = (
            next(name for name in _KINDS_OF_MARKERS if marker[name]),
            marker.start(),
            marker.end(),
            None,
        )
        at = max(end, at + 1)
        if kind == "box":
            held, end = boxed(text, end) or ("", len(text))
        elif kind == "tag":
            close = text.find("</answer>", end)
            held, end = (text[end:close], close + 9) if close >= 0 else (None, end)
            if held is not None and _MARKER.search(held):  # the markers in it speak for it
                continue
        elif kind == "label" and not _label_opens(text, marker):
            continue
        elif marker["weak"] and "final" not in marker[0].lower():
            kind = "weak"
        at = max(end, at) if held is not None else at
        markers.append(({"foreign": "is"}.get(kind, kind), start, end, held))
    return markers


def statements(text: str) -> list[Statement]:
    """All statements of a reply (see `eval.verifiers.reply`)."""
    text = _ANSWER_TAG.sub(r"<\1answer>", _HTML.sub("", text))
    while shorter := _COURTESY.search(text, max(0, len(text) - 150)):
        text = text[: shorter.start()].rstrip()
    markers, stated, denied = _markers(text), [], False
    markers = [
        (kind if kind != "weak" else "label", *rest)
        for place, (kind, *rest) in enumerate(markers, 1)
        if kind != "weak" or place == len(markers)
    ]
    for place, (kind, start, end, held) in enumerate(markers):
        last = place + 1 == len(markers)
        rest = text[end : len(text) if last else markers[place + 1][1]]
        meant = not denied and (kind not in ("is", "label") or _meant(text, start))
        denied = False
        if held is not None:
            nested = kind == "box" and re.search(r"answer|\\boxed|\\fbox", held, re.IGNORECASE)
            inner = statements(_LABEL_AS_TEXT.sub(r"\1", held)) if nested else []
            stated.append(Statement(kind, inner[-1].text if inner else held, rest, meant))
        elif last or not _LEADS_ON.fullmatch(rest):
            stated.append(Statement(kind, rest.lstrip(": "), meant=meant))
        else:
            denied = not meant
    last = text.rpartition("\n")[2]
    if not markers and (bold := re.fullmatch(r"(?:\*\*|__)([^*_\n]{1,80})(?:\*\*|__)[.!]?", last.strip())):
        stated.append(Statement("bold", bold[1]))
    elif not markers and (concluded := _CONCLUSION.fullmatch(last.strip())) and not _DOUBT.search(last):
        stated.append(Statement("bold", concluded["said"] or concluded["bold"] or concluded["value"]))
    return stated


def number(statement: Statement) -> Value | None:
    """The number that the last statement of a reply is; that of the one sentence behind a label, where it holds no
    other.
    """
    if not statement.meant:
        return None
    if statement.kind == "box":
        value = read(statement.text)
        return (
            value
            if value
            and (read(strip(statement.whole)) or _only_words(value, statement.after) or explains(statement.after))
            else read(strip(statement.whole))
        )
    text = strip(statement.whole)
    value = read(text)
    if value or statement.kind not in ("label", "tag"):
        return value
    sentence = unwrap(text)
    numerals = list(re.finditer(rf"(?<![\w.,/^-])-?[$£€¥₹]?{NUMERAL}(?![\w/^]|[.,][0-9])", sentence))
    if (
        len(numerals) != 1
        or len(re.findall(r"[0-9]+", sentence)) != len(re.findall("[0-9]+", numerals[0][0]))
        or re.search(r"[.!?]\s|\n", sentence)
        or reserved(re.sub(r"\b(?:is|are|was|and|than)\b", "", sentence))
    ):
        return None
    return read(re.match(r"\S*(?:\s?(?:%|percent\b))?", sentence[numerals[0].start() :])[0])


# "= 0.375", "(37.5%)", "or 37.5%": the same number in another form
_AGAIN = re.compile(
    r"^[\s,]*(?:(?:or|i\.?e\.?|that is|which is|equivalently|about|approximately)\b[\s,]*)?[(=≈\s]*|\)$"
)


def explains(after: str) -> bool:
    """Whether what stands behind a box only says why, or checks it, and takes nothing back."""
    said = unwrap(after)
    return bool(_EXPLAINS.match(said)) and not reserved(_HARMLESS.sub(" ", said))


def _only_words(value: Value, after: str) -> bool:
    """Whether words behind a box go on with its sentence, or say the number again: "\\boxed{18}$ every day (18
    dollars)".
    """
    stated = unwrap(strip(after))
    again = read(_AGAIN.sub("", stated))
    words = stated.split()
    return bool(again and same(again, Value(value.number, value.percent))) or (
        0 < len(words) <= 15
        and stated[0].islower()
        and not re.search(r"[0-9]|[.!?:;]\s", stated)
        and not reserved(stated)
    )


def mentioned_number(statement: Statement) -> Value | None:
    """The number that a statement which others follow names; None where it names none at once, or begins with a
    calculation.
    """
    text = statement.text if statement.kind in ("box", "tag") else statement.sentence
    value = read(strip(text))
    if value or statement.kind == "box":
        return value
    leading_number = leading(re.sub(r"^[*_\"' ]+", "", unwrap(text)))
    if not leading_number:
        return None
    follows = r"\s*(?:[,;(]|or\b|$)" if statement.kind == "label" else r"(?!\s*[-+*/×÷=^])"
    return leading_number[0] if re.match(follows, leading_number[1]) else None
