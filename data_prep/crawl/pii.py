"""Personal data is replaced by stand-ins: e-mail and public IP addresses as in FineWeb, and telephone, social
security, card and account numbers.

    from data_prep.crawl.pii import PII
    PII(phone_regions=["US", "GB"]).format("Call +44 20 7946 0123.")  # "Call 202-555-0104."

Regular expressions propose, well-kept validators decide: `phonenumbers` (Google's libphonenumber) and `python-stdnum`.
A number in prose is left alone, and so is one that is a part of something longer: of a path, a file name, a query
(`/4111111111111111`, `id=…`, `….jpg`).

What cannot be told apart: a 16-digit order number that begins as a card does and passes the check, as one in ten such
numbers does; a part number written 3-2-4; ten digits written 3-3-4 that begin with a US area code; a version or a
section of four parts where no word says that it is one (`LABEL`), which reads as an IP address.
"""

import contextlib
import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Iterator

from datatrove.pipeline.formatters.pii import PIIFormatter

from eval.cli import UserError

# Rotating, as FineWeb's own are, and nobody's: 555-0100 to 555-0199 are kept for fiction (NANPA); no social security
# number begins with 000
# (SSA, POMS RM 10201.035); these cards fail the Luhn check, and check digits of an IBAN lie between 02 and 98 (ISO
# 13616).
STAND_INS = {
    "phones": ("202-555-0104", "202-555-0147", "202-555-0172"),
    "ssns": ("000-12-3456", "000-45-6789"),
    "cards": ("4000 0000 0000 0000", "5100 0000 0000 0000"),
    "ibans": ("GB00 BANK 0000 0000 0000 00", "DE00 0000 0000 0000 0000 00"),
}

# stdnum checks the Luhn digit only. First digits and lengths in use (en.wikipedia.org/wiki/Payment_card_number); not
# the 13 digits of old
# Visa cards, which are bar codes today.
CARD = re.compile(
    r"""4\d{15}(?:\d{3})?  # Visa
    | (?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}  # Mastercard
    | 3[47]\d{13}  # American Express
    | 3(?:0[0-5]\d|095|[689]\d\d)\d{10}  # Diners Club
    | (?:6011|64[4-9]\d|65\d\d)\d{12}(?:\d{3})?  # Discover
    | 35(?:2[89]|[3-8]\d)\d{12}(?:\d{3})?  # JCB
    | 62\d{14,17}  # UnionPay
    | (?:5018|5020|5038|5893|6304|6759|676[1-3])\d{12,15}  # Maestro""",
    re.VERBOSE,
)

_SPACE = "[ \u00a0-]"  # between the groups of a number
# each begins with one character class, which Python's re looks for fast
_CARD = re.compile(
    rf"\d(?:\d{{13,18}}|\d{{3}}({_SPACE})\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?|\d{{3}}({_SPACE})\d{{6}}\2\d{{4,5}})"
)
# 3-2-4 only: there is no check digit, so that 88 % of all 9-digit numbers would be one.
_SSN = re.compile(rf"\d\d{{2}}({_SPACE})\d{{2}}\1\d{{4}}")
_IBAN = re.compile(rf"(?<!\w)[A-Za-z]{{2}}\d{{2}}(?:{_SPACE}?[A-Za-z0-9]{{1,30}}){{1,12}}")
_PHONE = re.compile(r"[+(\d](?:[-‐‑–./() \u00a0]{0,4}\d){6,}")  # seven digits: the shortest numbers worth a look
_MARK = re.compile(r"(?<![+(\d])(?:\+|\(\d{2,5}\))")

_BEFORE = re.compile(r"(?:[\w@/=&%]|\w[-.+])\Z")
_AFTER = re.compile(r"[\w@=]|[-.][0-9a-z]")


# What four numbers and three dots are a part of where they are no address: an object identifier, a section, a version
# (v1.2.3.4, lib-1.2.3.4,
# Browser/1.2.3.4), a longer number. An address may follow "//", "=" or "@", and be followed by a port, a mask or the
# end of a range.
_DOTTED_BEFORE = re.compile(r"(?:\w|\d\.|[=<>~!]=\s?|[A-Za-z][-_+]|(?:^|[\s(\[,;\"'])[A-Za-z][\w+-]*/)\Z")
_DOTTED_AFTER = re.compile(r"\w|\.\d|[-_+][A-Za-z]")
LABEL = re.compile(
    r"(?:\b(?:versions?|ver|v|releases?|builds?|revision|rev|firmware|sections?|sec|chapters?|ch|clauses?"
    r"|paragraphs?|para|articles?|art|appendix|annex|figures?|fig|tables?|rules?|requirements?|items?|oids?"
    r"|identifiers?|Abschnitt|Kapitel|Ziffer|Nr|secci[oó]n|cap[ií]tulo)"
    r"\b\.?|§§?|\b(?:rfc|iso|iec|nist)[\s-]?\d+,?)"
    r"[\s:=#]{0,3}(?:(?:is|no\.?|number)\s)?(?:\d[\d.]*(?:,| and| or| to|\s?[-–])\s){0,3}\Z",
    re.IGNORECASE,
)


# Of the range that is given to hosts, 2000::/3; what is shorter may be a name in code (a::b)
_LONG_ADDRESS = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_NUMBERS = re.compile(r"@[0-9.]+\Z")  # numpy@1.26.4, bob@8.8.8.8


def addresses(text: str, found: Iterator[re.Match]) -> Iterator[tuple[int, int]]:
    """Spans of those IP addresses that stand alone, and that no word before them calls a version, a section or an
    identifier."""
    for match in found:
        before = text[max(0, match.start() - 60) : match.start()]
        if not (_DOTTED_BEFORE.search(before) or _DOTTED_AFTER.match(text, match.end()) or LABEL.search(before)):
            yield match.span()


def long_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Spans of public IPv6 addresses."""
    for match in _LONG_ADDRESS.finditer(text):
        with contextlib.suppress(ValueError):  # times, ratios and names of code look alike
            if ipaddress.IPv6Address(match[0]).is_global:
                yield match.span()


def _free(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] stands alone, instead of being a part of something longer."""
    return not _BEFORE.search(text[max(0, start - 2) : start]) and not _AFTER.match(text, end)


def _matches(pattern: re.Pattern, text: str) -> Iterator[re.Match]:
    """All matches that stand alone, overlapping ones too: "2004 4111 1111 1111 1111" holds a card from its second
    group on."""
    match = pattern.search(text)
    while match:
        if _free(text, *match.span()):
            yield match
        match = pattern.search(text, match.start() + 1)


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Spans of payment card numbers: first digits, length and grouping of an issuer, and the Luhn check."""
    from stdnum import luhn

    for match in _matches(_CARD, text):
        digits = re.sub(_SPACE, "", match[0])
        if CARD.fullmatch(digits) and luhn.is_valid(digits):
            yield match.span()


def ssns(text: str) -> Iterator[tuple[int, int]]:
    """Spans of US social security numbers. With spaces only where no other number is near: three columns of a table
    look the same."""
    from stdnum.us import ssn

    for match in _matches(_SSN, text):
        around = text[max(0, match.start() - 2) : match.start()], text[match.end() : match.end() + 2]
        crowded = match[1] != "-" and (re.search(r"\d \Z", around[0]) or re.match(r" \d", around[1]))
        if not crowded and ssn.is_valid(re.sub(_SPACE, "-", match[0])):
            yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of International Bank Account Numbers, in groups or whole, in capitals or not: check digits and the
    country's format, but not whether there is such a bank, which stdnum knows for some countries and some years."""
    from stdnum import iban

    match = _IBAN.search(text)
    while match:
        start = match.start()
        at = start + 1  # "At 12 GB29 NWBK" holds another beginning
        groups = list(re.finditer("[A-Za-z0-9]+", match[0]))
        for group in reversed(groups):  # the words after it look like groups, too
            number, end = re.sub(_SPACE, "", match[0][: group.end()]), start + group.end()
            if 15 <= len(number) <= 34 and iban.is_valid(number, check_country=False) and _free(text, start, end):
                yield start, end
                at = end
                break
        match = _IBAN.search(text, at)


def _national(written: str, region: str) -> bool:
    """Whether the number is written as in the region: with the 0 that most begin with, if it does, or else with some
    separator."""
    from phonenumbers import ndd_prefix_for_region

    if ndd_prefix_for_region(region, True) == "0":
        return written.lstrip("([")[:1] in ("0", "+")
    return not written.isdigit()


def phones(text: str, regions: list[str]) -> Iterator[tuple[int, int]]:
    """Spans of telephone numbers: international ones (+…) if they are valid; national ones of the regions if they are
    grouped as there, too.

    With validity alone, 2.5 % of the numbers in a crawl's prose become telephone numbers (written 3,331,739,669 or
    979-7-425-24174-7); with the grouping 0.02 %, and exact grouping would lose numbers such as +49 30 23125 123.
    """
    from phonenumbers import Leniency, PhoneNumberMatcher

    def inside(first: int, last: int, behind: int) -> list[tuple[int, int]]:
        """What the matcher finds there; it looks at what stands around, too, and behind it for an extension."""
        written, spans, shift = text[first:last], [], max(0, first - 2)
        ways = [(None, Leniency.VALID)] if "+" in written else []
        if (
            not written.isdigit() or written[0] == "0" and len(written) >= 10
        ):  # else ten digits in a row, as in any number
            ways += [(region, Leniency.STRICT_GROUPING) for region in regions]
        for region, leniency in ways:
            for match in PhoneNumberMatcher(text[shift : last + behind], region, leniency):
                start, end = shift + match.start, shift + match.end
                start += text.count("(", start, end) > text.count(")", start, end)  # the bracket around the number
                if _free(text, start, end) and (region is None or _national(text[start:end], region)):
                    spans.append((start, end))
        return spans

    for candidate in _PHONE.finditer(text):
        first, last = candidate.span()
        spans = inside(first, last, 20)
        if spans:
            yield from spans
            continue
        # Other numbers around it: from its + or (area code) on, and without one group after the other at the end.
        for start in (match.start() for match in _MARK.finditer(text, first, last)):
            spaces = [
                match.start() for match in re.compile(r"[ \u00a0]").finditer(text, start + 8, min(last, start + 25))
            ]
            for end in reversed(spaces):
                if max(text.count(mark, start, end) for mark in "+(") >= 2:
                    continue
                spans = [span for span in inside(start, end, 0) if span[0] == start]
                if spans:
                    yield from spans
                    break


class PII(PIIFormatter):
    """datatrove's formatter with more kinds, each of which can be left out; it counts what it replaced
    (`replaced_<kind>`).

    The stand-ins begin anew in every document, so that the outcome does not hang on how the work is split, and are
    left alone, so that a second run changes nothing.

    Args:
        phone_regions: ISO 3166 regions ("US", "GB") whose national formats count. International numbers always do.

    Raises:
        UserError: an unknown region.
    """

    def __init__(
        self,
        remove_emails: bool = True,
        remove_ips: bool = True,
        remove_phones: bool = True,
        remove_ssns: bool = True,
        remove_cards: bool = True,
        remove_ibans: bool = True,
        phone_regions: list[str] | tuple[str, ...] = ("US",),
    ):
        from phonenumbers import SUPPORTED_REGIONS

        super().__init__(remove_emails=remove_emails, remove_ips=remove_ips)
        unknown = [region for region in phone_regions if region not in SUPPORTED_REGIONS]
        if unknown:
            raise UserError(
                f"phone_regions: {unknown[0]} is no region with telephone numbers of its own; give ISO 3166 codes such"
                " as US or GB"
            )
        self.phone_regions = list(phone_regions)
        # an e-mail address owns its digits; an account number may hold what passes for a card, and so on
        wanted = {
            "emails": remove_emails,
            "ibans": remove_ibans,
            "cards": remove_cards,
            "ssns": remove_ssns,
            "phones": remove_phones,
            "ips": remove_ips,
        }
        self.kinds = [kind for kind, wanted in wanted.items() if wanted]
        self.stand_ins = {
            "emails": self.emails_replacer.replacements,
            "ips": self.ip_replacer.replacements,
            **STAND_INS,
        }
        self.ours = re.compile(
            "|".join(re.escape(stand_in) for stand_ins in self.stand_ins.values() for stand_in in stand_ins)
        )

    def _spans(self, kind: str, text: str) -> Iterator[tuple[int, int]]:
        if kind == "emails":
            found = self.emails_replacer.regex.finditer(text) if "@" in text else iter(())
            return (match.span() for match in found if not _NUMBERS.search(match[0]))
        if kind == "ips":
            replacer = self.ip_replacer
            found = (match for match in replacer.regex.finditer(text) if replacer.validator(match[0]))
            return itertools.chain(addresses(text, found), long_addresses(text))
        if kind == "phones":
            return phones(text, self.phone_regions)
        return {"ibans": ibans, "cards": cards, "ssns": ssns}[kind](text)

    def _once(self, text: str, used: Counter) -> str:
        numbers = _PHONE.search(text)  # no number of any kind is shorter
        for kind in self.kinds:
            if kind in STAND_INS and not numbers:
                continue
            parts, done = [], 0
            for start, end in sorted(self._spans(kind, text)):
                if start >= done and not self.ours.search(text[start:end]):
                    parts += text[done:start], self.stand_ins[kind][used[kind] % len(self.stand_ins[kind])]
                    done = end
                    used[kind] += 1
            text = "".join(parts) + text[done:]
        return text

    def format(self, text: str) -> str:
        used = Counter()
        new = self._once(text, used)
        while new != text:  # numbers glued together: one becomes visible when the other is gone
            text, new = new, self._once(new, used)
        for kind, count in used.items():
            self.stat_update(f"replaced_{kind}", value=count)
        return text
