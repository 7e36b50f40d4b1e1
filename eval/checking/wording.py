r"""What a reply says in words: which names it asserts (`named`), and whether it says that it does not know
(`declines`). English.

    named("Millbrook, not Ashford.", ["Millbrook", "Ashford"])       ->  ({"millbrook", "ashford"}, {"millbrook"})
    declines("The passage does not say who built it.")                ->  True
    declines("Nobody knows why, but it was built by Ada Holm.")       ->  False

A name counts as a whole word, in any letter case and any form of Unicode (NFC, NFD, full width, with invisible
characters); in scripts without spaces wherever it stands. It is asserted where its clause neither denies nor asks.
Clauses end at , ; : ! ? a line's end, a full stop before a space, and at but, however, though, although, and.

A reply declines where it says one of

    I don't know, cannot say, am not able to verify, was unable to find, couldn't confirm, am not sure, have no
    information …
    the passage (text, article, my training data …) does not say, mention, specify, contain …
    there is no information (mention, record, way to know …) about it; not enough information; it is not stated
    (known, clear, possible to say)
    it cannot be determined; nobody knows; I would be guessing; beyond my knowledge; I need more context
    or is nothing but "Unknown", "Not stated", "No idea", "N/A", or "I don't know" in another language …

outside quotation marks, and does not go on to answer: behind but, however, still, ; or : may stand another such
sentence, an offer, advice or a question, and what the passage does mention. "It is Bern, but I'm not sure" answers.
"The answer is" answers.
"""

import functools
import re
import unicodedata
from bisect import bisect_right

from eval.checking.numbers import fold

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)  # Thai … Han


def plain(text: str) -> str:
    """The form in which names are compared, letter case aside."""
    return " ".join(fold(text).split())


def _whole(value: str) -> str:
    before = "" if _UNSPACED.match(value[0]) else r"(?<![\w-])"
    after = "" if _UNSPACED.match(value[-1]) else r"(?![\w-])"
    return f"{before}{re.escape(value)}{after}"


@functools.lru_cache(maxsize=256)
def _any_of(values: tuple[str, ...]) -> re.Pattern:
    longest_first = sorted(
        filter(None, map(plain, values)), key=len, reverse=True
    )  # "New Millbrook" is no mention of "Millbrook"
    return re.compile("|".join(map(_whole, longest_first)) or r"(?!)", re.IGNORECASE)


_CLAUSE = re.compile(r"[,;:!?\n，；：！？。]|\.(?=\s|$)|\b(?:but|however|though|although|and)\b", re.IGNORECASE)
DENIAL = re.compile(
    r"\b(?:not(?! (?:only|just|surprisingly|least)\b)|never|neither|nor|no(?! (?:doubt|question|wonder)\b)"
    r"|cannot(?! but\b)|without(?! (?:a |any )?(?:doubt|question)\b)"
    r"|unsure|unable|unknown|false|wrong)\b|n't\b",
    re.IGNORECASE,
)


def named(text: str, values: list[str]) -> tuple[set[str], set[str]]:
    """Which of the values (case folded) the text mentions, and which of those it asserts: not denied in the clause,
    not asked.
    """
    text = "\n".join(map(plain, text.split("\n")))
    mentions = list(_any_of(tuple(values)).finditer(text))
    begins = [m.start() for m in mentions]

    def outside(found: re.Match) -> bool:  # "Bread and Salt" is one name, not two clauses
        at = bisect_right(begins, found.start()) - 1
        return at < 0 or found.start() >= mentions[at].end()

    cuts = [m for m in _CLAUSE.finditer(text) if outside(m)]
    clauses = [0, *(m.end() for m in cuts)]

    def clause_of(found: re.Match) -> int:
        return bisect_right(clauses, found.start()) - 1

    denied = {clause_of(m) for m in DENIAL.finditer(text) if outside(m)}
    asked, question = set(), False
    for clause, sign in reversed(list(enumerate(m.group() for m in cuts))):
        question = sign in "?？" or (question and sign not in ".!\n。！")
        if question:
            asked.add(clause)
    asserted = {m.group().casefold() for m in mentions if clause_of(m) not in denied | asked}
    return {m.group().casefold() for m in mentions}, asserted


class _Plain(dict):
    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code))[0] in "PS" else code
        return self[code]


_PLAIN = _Plain()  # for str.translate: no punctuation, no symbols


def normal_words(text: str) -> list[str]:
    """The words as SQuAD compares them: without letter case, punctuation (here: of any script) and articles; "A"
    alone stays. Equal for every form of Unicode.
    """
    words = fold(text).casefold().translate(_PLAIN).split()
    return [word for word in words if word not in ("a", "an", "the")] or words


# ---- Refusals ----

_ADVERB = (
    r"(?:(?:really|honestly|just|simply|actually|currently|still|also|personally|genuinely|definitively|confidently"
    r"|reliably|accurately|afraid|quite|entirely|completely|fully|100 ?%)\s+)*"
)
_KNOW = (
    r"(?:know(?!\s+(?:about you|of (?:a|any) (?:better|other|more)|(?:a|any) better|anyone|any other|a single))"
    r"|say(?!\s+enough)|tell(?!\s+you how (?:much|happy|glad))|answer|find(?!\s+a (?:better|more|single))"
    r"|recall|remember|verify|confirm|determine|identify|provide|give|offer|name|specify|locate|access|look (?:that"
    r"|this|it) up|retrieve|establish|ascertain|guess|speculate|comment"
    r"|help (?:you )?with|assist|be (?:sure|certain)|recogni[sz]e|pinpoint|figure|infer|deduce|share|disclose"
    r"|make (?:a|that|this))\b"
)
_NOT_ABLE = (
    r"(?:do not|don't|did not|didn't|cannot|can't|can not|could not|couldn't|would not be able to|wouldn't be able to"
    r"|won't be able to|will not be able to|(?:am|'m|was|were|are|'re) (?:not able|unable) to|wasn't able to"
    r"|(?:have not|haven't) been able to|(?:am|'m) not in a position to|(?:'d|would) (?:rather|prefer) not(?: to)?"
    r"|(?:won't|will not|refuse to|must decline to|decline to|have to decline to))"
)
_SOURCE = (
    r"(?:passage|text|context|article|document|documents|paragraph|excerpt|question|story|information|source|sources"
    r"|material|materials|snippet|results?|page|table|data|dataset|knowledge|records?|report|transcript|letter"
    r"|book|chapter|conversation|prompt|notes?|files?|description|abstract|paper|email|post)"
)
_TELL = (
    r"(?:say|mention|state|specify|provide|contain|include|give|indicate|reveal|tell|name|identify|disclose|cover"
    r"|explain|describe|discuss|list|offer|address|answer|show|clarify|make (?:it |that |this )?clear|refer|have"
    r"|go into)"
)
_TOLD = (
    r"(?:mentioned|stated|specified|provided|given|disclosed|indicated|named|explained|recorded|documented|listed"
    r"|available|discussed|addressed|found|described|covered)"
)
_THE_SOURCE = rf"(?:the|this|that|your|my|any)(?:\s+[\w'-]+){{0,3}}?\s+{_SOURCE}"
_ASKED = r"(?:who|what|when|where|why|how|whether|if|which|exactly)"
_FACTS = (
    r"(?:information|idea|heard|knowledge|data|records?|facts?|details?|access|context|clue|way (?:of|to)|memory"
    r"|recollection|answer|means to|specifics)"
)
_HEDGE = (
    rf"(?:(?:\bI|\bwe)\s*(?:am|'m|are|'re)\s+{_ADVERB}(?:not\s+{_ADVERB}(?:sure|certain|confident)|unsure|uncertain)"
    rf"|(?:\bI|\bwe)\s+{_ADVERB}(?:cannot|can't|could not|couldn't|have not|haven't) (?:been able to "
    rf")?{_ADVERB}(?:verify|confirm|verified|confirmed|be (?:sure|certain)))"
)
_DECLINES = re.compile(
    rf"(?P<hedge>{_HEDGE}\b)"
    rf"|(?:\bI|\bwe)\s*{_ADVERB}{_NOT_ABLE}\s+{_ADVERB}{_KNOW}"
    rf"|(?:\bI|\bwe)\s*(?:am|'m|are|'re)\s+{_ADVERB}(?:not\s+{_ADVERB}(?:aware|familiar|clear)|unable to|unaware"
    rf"|not able to)\b"
    rf"|(?:\bI|\bwe)\s+{_ADVERB}(?:have no|have never|haven't|have not|do not {_ADVERB}have|don't {_ADVERB}have"
    rf"|lack)\b[^.!?\n]{{0,40}}?\b{_FACTS}\b"
    r"|(?:\bI|\bwe) (?:don't|do not) (?:believe|think) (?:that )?(?:I|we)"
    r" (?:know|have|can|could|recall|recogni[sz]e)\b"
    r"|(?:\bI|\bwe) (?:(?:was|were)(?: not|n't)|have(?: not|n't) been) trained on\b|\bdrawing a blank\b"
    r"|(?:\bI|\bwe) (?:have not|haven't) (?:come across|encountered)\b"
    rf"|\binformation (?:is|was)(?: not|n't) (?:in|part of) {_THE_SOURCE}\b"
    r"|\b(?:doesn't|does not|don't|do not) ring (?:a|any) bells?\b"
    r"|\b(?:that|this|it) is (?:unknown|not known) to me\b"
    r"|\b(?:I|we) (?:do not|don't|can't|cannot) (?:see|find) (?:any|that|the|a)\b[^.!?\n]{0,30}\b(?:mention"
    r"|information|reference|details?|name|answer)\b"
    rf"|\b(?:the|this|that|your|my|these|those|any|provided|given"
    rf"|available)\b(?:\s+[\w'-]+){{0,4}}?\s+{_SOURCE}(?:\s+[\w'-]+){{0,5}}?\s+(?:{_ADVERB}(?:do(?:es)? not"
    rf"|do(?:es)?n't|did not|didn't|never|fails? to|nowhere)\s+{_ADVERB}{_TELL}s?|(?:is|are) (?:silent|not (?:clear"
    rf"|specific|explicit))|(?:makes?|gives?|provides?|contains?|has|have|offers?"
    rf"|includes?) no\s+(?:\w+\s+)?(?:information|mention|details?|indication|answer|data|clue|reference|hint))\b"
    rf"|\b(?:none of|neither) {_THE_SOURCE}s?\b(?:\s+nor\s+[^.!?\n]{{1,40}}?)?\s+(?:{_TELL}s?|mentions?|says?)\b"
    rf"|\b(?:we|you) (?:are|were) (?:not|never) (?:told|given|informed)\b"
    r"|\bno (?:\w+ )?(?:information|details?|mention|data|records?|answer|source)\b[^.!?\n]{0,50}?\b(?:is|are|was"
    r"|were) (?:\w+ly )?(?:given|provided|available|found|made|mentioned|included)\b"
    r"|\b(?:is not|'s not|isn't) something (?:that )?(?:I|we)(?:'m| am| are|'re)? (?:know|can|have|aware|familiar)\b"
    rf"|\bthere(?:'s|'re|\s+(?:is|was|are|were))(?:\s+(?:no|not|insufficient|simply|currently|isn't)"
    rf"|n't)\b[^.!?\n,]{{0,40}}?\b(?:information(?! (?:desk|office|cent(?:er|re)|booth|board)\b)|mention"
    rf"|records?|indication|data|details?|reference|way (?:to|of"
    rf"|for)|answer|context|documentation)\b"
    rf"|\b(?:is|are|was|were)(?: not|n't)\s+(?:\w+ly\s+)?(?:{_TOLD}|included)(?:\s+(?:anywhere\b|(?:in"
    rf"|by)\s+{_THE_SOURCE}\b)|\s*(?=[.,;!?]|$)(?<!included))"
    rf"|\b(?:is|(?<=\bit)'s|(?<=\bthat)'s|are|was|were|isn't|aren't|wasn't|remains?)"
    rf"\s+(?:still\s+)?(?:not known|unknown|unclear|uncertain"
    rf"|not clear|(?<=n't )(?:known|clear|certain|available)|not available|a mystery)(?:\s+(?:{_ASKED}|to (?:me|us)"
    rf"|from the|for (?:certain|sure))\b|\s*(?=[.,;!?]|$))"
    r"|\b(?:cannot|can't|can not|could not|couldn't) be (?:\w+ly )?(?:determined|answered|known|verified|confirmed"
    r"|established|inferred|identified|deduced|found|ascertained)\b"
    r"|\b(?:impossible|not possible|isn't possible|no way|hard|difficult)\s+(?:for me\s+)?to (?:say|tell|know"
    r"|determine|answer|verify|confirm|identify|infer|be (?:sure|certain))\b"
    r"|\b(?:insufficient|not enough|too little)\s+(?:\w+ )?(?:information|context|data|details?)\b"
    r"|\b(?:beyond|outside)(?: of)?(?: the scope of)? my (?:knowledge|training|data)\b|\bmy (?:knowledge"
    r"|training(?: data)?) (?:only goes|ends|stops|was cut|cuts off|has a cutoff|does not (?:extend|reach)"
    r"|doesn't (?:extend|reach))"
    r"|\b(?:nobody|no one|no-one) (?:really |actually |quite )?(?:knows(?! \w+ (?:better|more)\b)"
    r"|can (?:say|tell|know))\b"
    # what comes of a search
    r"|\bnothing (?:(?:relevant|useful|more|else|certain) )?(?:(?:about|on|for) [^.!?\n,;:]{1,40} )?(?:was|is|has been"
    r"|could be|can be) (?:\w+ly )?(?:found|known|recorded|said|written|returned|there)\b(?! (?:but|except|besides)\b)"
    r"|\bnothing (?:came|turned|comes|turns) up\b"
    r"|\b(?:I|we|search(?: tool)?|searches|query|lookup|index|library|database|it|but|and)(?: (?:has|have))? (?:find"
    r"|found|finds|returned|returns|gave|gives|brought up|turned up|yielded|yields|produced) (?:me )?(?:nothing"
    r"|no (?:relevant |useful |matching )?(?:results?|match(?:es)?|entry|entries|trace|hits?))\b"
    r"(?=\s*(?:[.,;:!?]|$)|\s+(?:about|on|for)\b)"
    r"|\bno (?:relevant |useful |matching )?(?:results?|match(?:es)?|entry|entries|trace|hits?)\b"
    r"(?=[^.!?\n]{0,40}(?:[.!?]|$))"
    r"|\bthere(?:'s| is| was) nothing (?:about|on|there|known|to be found)\b"
    r"|\byour guess is as good as mine\b|\bbeats me\b|\b(?:no (?:idea|clue)|not sure|don't know|dunno"
    r"|who knows)\b(?=\s*(?:[.!?,;]|$))(?<!I know)"
    r"|\bI(?:'d| would) (?:only |just )?be (?:guessing|speculating|making (?:it|that|something) up)\b|\b(?:I|I'd"
    r"|I would|we|we'd|we would) (?:need|require) (?:some )?(?:more|additional|further)\b"
    r"|\b(?:could|can|would) you (?:please )?(?:provide|give|share|clarify|specify|tell)\b[^.!?\n]{0,60}\?",
    re.IGNORECASE,
)
_NOTHING_ELSE = re.compile(
    r"(?:(?:sorry|unfortunately|apologies|hmm|well)[,.!]?\s+)?(?:(?:the|this|that|it)?\s*(?:answer|information|name"
    r"|date)?(?: is)?:?\s*)?(?:unknown|unanswerable|undetermined|no answer|not answerable|n/a|not applicable"
    r"|no (?:idea|clue|information(?: available)?)"
    r"|not (?:sure|certain|enough information|in the (?:text|passage|context|document)|(?:stated|given|mentioned"
    r"|specified|available|known|provided|disclosed|found)(?: (?:in|by) (?:the|this|your) [\w ]{1,30})?)"
    r"|(?:i )?(?:can't|cannot) (?:say|tell)|(?:i )?don't know|idk|dunno|unsure|who knows|pass)[.!?]*",
    re.IGNORECASE,
)
# Replies in other languages that are nothing else
_ELSEWHERE = re.compile(
    r"(?:(?:es tut mir leid|tut mir leid|leider|désolée?|je suis désolée?|lo siento|mi dispiace|desculpe|извините"
    r"|抱歉|对不起|很抱歉|すみません|申し訳ありません|죄송합니다)[,.，。、]?\s*(?:(?:aber|mais|pero|ma|mas|但|但是|но)\s*)?)?"
    r"(?:(?:ich weiß|weiß ich)(?: es| das)?(?: leider)? nicht|das weiß ich(?: leider)? nicht|keine ahnung"
    r"|je (?:ne )?(?:le )?sais pas|no (?:lo )?sé|no tengo (?:esa )?información|non (?:lo )?so|(?:eu )?não sei"
    r"|я не знаю|не знаю|我不知道|我不清楚|不知道|わかりません|分かりません|知りません|모르겠습니다)[.!。！]*",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"(?:[,.;:—–-]\s*|\s)(?:but|however|though|although|that said|nevertheless|nonetheless|still|yet)\b,?|[;:]"
    r"|\s[—–-]\s",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(  # what may follow: offers, advice, questions, what else there is
    r"\b(?:I|we)(?:'d|'ll|'m| would| will| can| could| am| may| might) (?:be )?(?:\w+ly )?(?:happy|glad|help|suggest"
    r"|recommend|try|look|check|share|tell you (?:about|what)|explain|offer|assist|search|point|need|advise|encourage"
    r"|do my best|sorry|certainly|definitely|gladly)"
    r"|\byou(?:'ll| can| could| may| might| should|'d| would| will)\b|\b(?:if you|please|feel free|let me know"
    r"|(?:perhaps|maybe) you|try|check|consult|contact|refer to|see|ask|search|visit|look)\b"
    r"|\b(?:it|this|that|which) (?:may|might|could|would) be (?:worth|helpful|useful|found|available|best)\b|\b(?:it"
    r"|which|they) (?:does|do|did|only|simply)\b|\b(?:it|which|they|passage|text|article|document) (?:only |simply "
    r"|just )?(?:mentions?|describes?|discusses|focus(?:es)?)\b"
    r"|\bI (?:hope|wish|apologi[sz]e)\b|\?\s*$|\bhappy to\b|\b(?:looked|checked|searched|found|verified) (?:up|in|at"
    r"|elsewhere)\b|\bbest guess\b(?=[^.]{0,20}\bwould be to\b)",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"\b(?:sorry|apolog\w+|unfortunately|question|thanks?|thank you|i'd (?:love|like)|i would (?:love|like)|i wish"
    r"|i (?:tried|searched|looked|checked|understand|see|appreciate))\b|^\W*(?:well|hmm|hm|ah|oh|no|yes|hi"
    r"|hello)?\W*$",
    re.IGNORECASE,
)
_CONCEDES = re.compile(r"\b(?:although|though|while|even if)\s+$", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“«][^\"“”«»\n]{1,300}[\"”»]")


def _unquoted(text: str) -> str:
    """Without what others are quoted with; a reply that is one quotation speaks for itself."""
    bare = _QUOTED.sub('""', text)
    return bare if re.search(r"\w", bare) else text


def _answers_behind(text: str, concedes: bool) -> bool:
    """Whether what follows a refusal goes on to answer, or what stands behind the comma of "Although I can't verify
    it, …".
    """
    sentence = re.split(r"(?<=[.!?])\s|\n", text, maxsplit=1)
    if concedes and "," in sentence[0]:
        return not _DECLINES.search(sentence[0].partition(",")[2])
    turns = [turn for turn in _GOES_ON.finditer(sentence[0])]
    rest = sentence[0][turns[0].end() :] if turns else ""
    if (
        not rest
        and len(sentence) > 1
        and re.match(r"(?:but|however|that said|nevertheless|nonetheless|still|yet)\b", sentence[1], re.IGNORECASE)
    ):
        rest = re.split(r"(?<=[.!?])\s|\n", sentence[1], maxsplit=1)[0]
    return len(re.findall(r"\w+", rest)) > 1 and not _NO_ANSWER.search(rest) and not _DECLINES.search(rest)


def _answers_before(text: str, found: re.Match) -> bool:
    """Whether it is a hedge on an answer: "It is Bern, but I'm not sure"."""
    before = re.split(r"(?<=[.!?])\s|\n", text[: found.start()])[-1]
    hedged = (
        re.fullmatch(
            r"(?P<said>.*?)(?:[,;(—–-]\s*|\s)(?:but|though|although|however)\b,?(?:\s+\w+,)?\s*",
            before,
            re.IGNORECASE | re.DOTALL,
        )
        if found["hedge"]
        else None
    )
    return bool(hedged) and not _POLITE.search(hedged["said"]) and not _DECLINES.search(hedged["said"])


_STATES = re.compile(
    r"\bthe (?:final )?answer is:?(?! (?:not|unknown|unclear|uncertain|nowhere|beyond|missing)\b)", re.IGNORECASE
)


@functools.lru_cache(maxsize=1024)  # several verdicts ask of the same reply
def declines(text: str) -> bool:
    """Whether the reply (see `eval.verifiers.reply`) says that it does not know, and answers nothing."""
    bare = text.strip("\"'*` ")
    if _NOTHING_ELSE.fullmatch(bare) or _ELSEWHERE.fullmatch(bare):
        return True
    text = _unquoted(text)
    if _STATES.search(text):
        return False
    refusals = list(_DECLINES.finditer(text))
    return (
        bool(refusals)
        and not _answers_before(text, refusals[0])
        and not _answers_behind(text[refusals[-1].end() :], bool(_CONCEDES.search(text[: refusals[-1].start()][-40:])))
    )
