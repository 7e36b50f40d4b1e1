r"""A number as people and models write it: `read("$\$1{,}234.50$ per month")` is `Value(Fraction(2469, 2))`.

    value     [prefix] [sign] [currency] NUMBER [scale] [%] [units] [", " and words]
    NUMBER    18   1.80   .5   1,234   1{,}234   1\,234   1 234 (any space)   1'234   1_234   12,34,567   1.234.567
              1.234,50   3 \times 10^{5}   1/2 \frac{1}{2}   ½   2\frac{1}{2}   2 1/2   2 and 1/2   2½   twenty-one
              one hundred and five
    prefix    x =   9 * 2 =   ≈   exactly   about   approximately   a total of … (`_PREFIX`)
    sign      + - − – minus negative; brackets around the whole are taken off: (18) is 18
              3,50 € (two digits and a currency)
    currency  any sign of Unicode's category Sc, before or behind; US$, R$, S/, Rs., USD, EUR … before
    scale     hundred, thousand, million, billion, trillion, k
    %         % \% percent "per cent"
    units     up to ten words without digits or reservations: dollars per day, m^2, km/h, °C, (apples); of single
              letters only those of units and behind a comma up to fifteen: ", in total, so that is what she earns";
              reasons: because …, since …; (eighteen) again

The digits are those of any script; a comma with less or more than three digits behind it, 7e0 and 7/1 for a whole
number are no number. LaTeX's wrappings ($…$, \(…\), \[…\], \boxed, \text, \mathrm, \displaystyle, \left …) and
Markdown's (bold, code) are taken off.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 300  # characters of a value with its units
MOST_UNITS = 10  # words that name what is counted
_MINUS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d\u207b"


class _Fold(dict):
    """For str.translate: every script's digits, minus signs, spaces and full-width forms as ASCII; no invisible
    characters.
    """

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        kind = unicodedata.category(char)
        if kind == "Nd":
            self[code] = str(unicodedata.digit(char))
        elif kind == "Cf":
            self[code] = None
        elif char in _MINUS:
            self[code] = "-"
        elif kind == "Zs":
            self[code] = " "
        elif unicodedata.decomposition(char).startswith(("<wide>", "<narrow>", "<compat>", "<small>", "<square>")):
            self[code] = unicodedata.normalize("NFKC", char)
        else:
            self[code] = {
                "٫": ".",
                "٬": ",",
                "٪": "%",
                "⁄": "/",
                "∕": "/",
                "。": ".",
                "’": "'",
                "‘": "'",
                "＇": "'",
            }.get(char, char)
        return self[code]


_FOLD = _Fold()


def fold(text: str) -> str:
    """The text with one form for what looks and means the same: NFC, ASCII digits, signs, spaces and widths; nothing
    invisible.
    """
    return unicodedata.normalize("NFC", text if text.isascii() else text.translate(_FOLD))


_SIGNS = {
    r"\times": "×",
    r"\cdot": "×",
    r"\approx": "≈",
    r"\pounds": "£",
    r"\euro": "€",
    r"\degree": "°",
    r"\div": "÷",
    r"\%": "%",
    r"\$": "$",
    r"\#": "#",
}
_WRAPPING = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|Large|large|big|bigl|bigr|boxed|fbox|framebox|bf|rm|text|textbf|textit"
    r"|textrm|texttt|mathrm|mathbf|mathit|mathsf|mbox|operatorname"
    r"|emph|underline|bm|boldsymbol|quad|qquad)\b\*?|\\[()\[\]]|\\begin\{array\}\{[lcr|]*\}|\\end\{array\}"
)


def _fractions(text: str) -> str:
    text = re.sub(
        r"\\(?:[dtcs]?frac|nicefrac)\s*(?:\{\s*([^{}]{1,40}?)\s*\}|([0-9]))\s*(?:\{\s*([^{}]{1,40}?)\s*\}|([0-9]))",
        lambda m: f" {m[1] or m[2]}/{m[3] or m[4]}",
        text,
    )
    return re.sub(
        r"[\u00bc-\u00be\u2150-\u215e\u2189]",
        lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"),
        text,
    )


def _power(found: re.Match) -> str:
    return "10^" + unicodedata.normalize("NFKC", found[1])


def unwrap(text: str) -> str:
    """The folded text without LaTeX's and Markdown's wrappings, spaces collapsed."""
    text = re.sub(r"(?<![0-9])10([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)", _power, _fractions(text))
    text = fold(text)
    text = re.sub(r"(?<=[0-9])(?:\{,\}|\\,|\\!|\\;|\\:|\\ |~)+(?=[0-9]{3})", ",", text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", "°", text)
    for command, sign in _SIGNS.items():
        text = text.replace(command, sign)
    text = (
        re.sub(r"\\[,;:> ]|~", " ", _WRAPPING.sub(" ", text))
        .replace(r"\!", "")
        .replace("**", "")
        .replace("__", "")
        .replace("`", "")
    )
    text = re.sub(r"\s*\^\s*\{?([^{}\s]*)\}?", r"^\1", text).replace("{", " ").replace("}", " ")
    return re.sub(r" (?=\^)", "", " ".join(text.split()))


@dataclass(frozen=True)
class Value:
    """`number`, whether it was written as percent, whether with a fraction bar, and what it was written as `about`:
    7/3 ≈ 2.33."""

    number: Fraction
    percent: bool = False
    bar: bool = False
    about: Fraction | None = None


_UNIT_NAMES = "one|two|three|four|five|six|seven|eight|nine"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_BELOW_100 = (
    rf"(?:(?:{_TENS})(?:[- ](?:{_UNIT_NAMES}))?|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    rf"|{_UNIT_NAMES})"
)
_BELOW_1000 = rf"(?:(?:{_UNIT_NAMES}|a) hundred(?: (?:and )?{_BELOW_100})?|{_BELOW_100})"
_WORDS = rf"zero|{_BELOW_1000}(?: (?:thousand|million|billion)(?:,? (?:and )?{_BELOW_1000})?){{0,3}}"
NUMERAL = (  # not \d, which takes digits of every script
    r"(?:[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}(?![0-9])|[0-9]+,[0-9]{2}(?= ?(?:€|EUR\b|zł|kr\b|Kč|₽))"
    r"|[0-9]{1,3}(?:\.[0-9]{3}){2,}"
    r"|[0-9]{1,3}(?:(?P<separator>[, '_])[0-9]{3}(?:(?P=separator)[0-9]{3})*)|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}"
    r"|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
)
_CURRENCY = (
    "(?:(?:US|CA|AU|NZ|HK|NT|MX|[CASR])?[$¢£¥€₣₤₦₩₪₫₭₮₱₲₴₵₸₹₺₽₾฿₿]|(?:USD|EUR|GBP|INR|JPY|CNY|RMB|CHF|CAD|AUD"
    "|Rs\\.?|PHP|NGN|PKR|KRW|SGD|HKD|NZD|MXN|BRL|SEK|NOK|DKK|PLN|ZAR|THB|IDR|MYR|VND|KES|RUB"
    "|RM|Rp\\.?|Fr\\.?|kr\\.?|Tk\\.?|KSh"
    "|S/\\.?)(?= ?[0-9]))"
)
_PREFIX = re.compile(
    r"(?:(?:[^\W\d_][^=≈<>]{0,40}|[0-9 ,.+*/×÷x^()%$€£-]{1,80})[=≈]|[=≈~:]|(?:exactly|about|around|roughly"
    r"|approximately|approx\.?|simply|just|only|indeed|clearly|thus|therefore"
    r"|equal to|a total of|in total|then|now)\b,?)\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-]|minus |negative )?\s*(?:{_CURRENCY}\s*){{0,3}}(?P<sign2>[+-])?"
    rf"(?:(?:(?P<whole>[0-9]{{1,9}})(?: "
    rf"| and ))?(?P<top>[0-9]{{1,9}}) ?/ ?(?P<bottom>[0-9]{{1,9}})(?![0-9]*[.,/]?[0-9])"
    rf"|(?P<plain>{NUMERAL})(?:\s*[×*x·⋅]\s*10\s*\^\s*(?P<power>[+-]?[0-9]{{1,2}}))?"
    rf"|(?P<words>(?i:{_WORDS}))\b)"
    r"(?P<scale>\s*(?i:hundred|thousand|million|billion|trillion)\b|[kK](?![^\W_]))?"
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "k": 1000}
_PERCENT = re.compile(r"\s*-?(?:%|(?:percent|per cent|pct)\b)(?:age points?\b|(?: points?\b))?", re.IGNORECASE)
_UNIT = re.compile(
    r"°?(?:[^\W\d_]{2,}|[mgshlLNJWVACF]|[\u3040-\u9fff\uac00-\ud7a3])(?:['.][^\W\d_]+)*(?:\^?[2-4²³⁴]|\^-[1-3])?\.?|°"
    r"|[⁻¹²³]+|[$¢£¥€₦₩₫₱₴₹₺₽฿]"
)
_RESERVED = re.compile(  # words that change what was said
    rf"(?:{_UNIT_NAMES}|{_TENS}|zero|ten|eleven|twelve|\w+teen|hundreds?|thousands?|[mb]illions?|trillions?|dozens?"
    rf"|or|nor|not|no|n't|\w+n't|never|but|if|unless|except|instead"
    r"|maybe|perhaps|possibly|either|between|versus|vs|minus|plus|divided|multiplied|squared|cubed|over|point|hal(?:f"
    r"|ves)|thirds?|fourths?|fifths?|sixths?|sevenths?"
    r"|eighths?|ninths?|tenths?|hundredths?|thousandths?|wrong|false|incorrect|wait|actually|doubt|unsure|unknown"
    r"|guess|infinity|e|and|is|are|was|isn|than)",
    re.IGNORECASE,
)


def reserved(words: str) -> bool:
    """Whether a word among them takes back, changes or doubts a number beside it."""
    return any(_RESERVED.fullmatch(word) for word in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", words))


def _units(rest: str) -> bool:
    """Whether what stands behind a number names what is counted, and no more."""
    units, comma, tail = rest.partition(",")
    if comma and not units.strip():
        units = "units"
    if comma:
        words = tail.replace(",", " ").split()
        allowed = " ".join(word for word in words if word not in ("and", "is", "are", "was"))
        if (
            not 0 < len(words) <= 15
            or reserved(allowed)
            or not re.fullmatch(r"[^\W\d_]['\w\s.-]*", " ".join(words))
            or re.search(r"\d|\. ", tail)
        ):
            return False
    parts = [part for part in re.split(r"(?:[\s/·×()]|(?<!\^)-)+", units) if part]
    capital = len(parts) > 1 and parts[0][0].isupper() and not parts[0].isupper()  # "7 Buy now" counts nothing
    known = (
        bool(parts) and all(_UNIT.fullmatch(part) for part in parts) and not re.fullmatch("[MB]n?|bn|mn|mio", parts[0])
    )
    counted = re.sub(r"(?<=\w) and (?=[A-Za-z])", " ", units)  # "clips in April and May"
    closed = units.count("(") == units.count(")")
    return known and len(parts) <= MOST_UNITS and not capital and not reserved(counted) and closed


def _magnitude(match: re.Match) -> tuple[Fraction, bool] | None:
    """The number without its sign, and whether it has a bar."""
    if match["top"]:
        if not int(match["bottom"]) or (match["whole"] and int(match["top"]) >= int(match["bottom"])):
            return None
        return int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"])), True
    if match["words"]:
        from word2number import w2n

        return Fraction(w2n.word_to_num(match["words"].lower().replace(",", ""))), False
    plain = match["plain"]
    if re.fullmatch(
        r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3}){2,}|[0-9]+,[0-9]{2}", plain
    ):  # 1.234,50
        plain = plain.replace(".", "").replace(",", ".")
    return Fraction(re.sub("[, '_]", "", plain)) * Fraction(10) ** int(match["power"] or 0), False


def leading(text: str) -> tuple[Value, str] | None:
    """The number that an unwrapped text begins with, and what follows it."""
    match = _NUMBER.match(text)
    if (
        not match
        or re.match(r"[0-9⁰¹²³⁴-⁹ⁿ]|[.,'_][0-9]", text[match.end() :])
        or (magnitude := _magnitude(match)) is None
    ):
        return None
    number, bar = magnitude
    signs = (match["sign"] or "") + (match["sign2"] or "")
    if len(signs) > 1 and match["sign2"]:
        return None
    number *= (-1 if signs.strip().lower() in ("-", "minus", "negative") else 1) * _SCALES.get(
        (match["scale"] or "").strip().lower(), 1
    )
    percent = _PERCENT.match(text, match.end())
    return Value(number, bool(percent), bar), text[percent.end() if percent else match.end() :]


def _exact(exact: str, rounded: str, units: bool) -> Value | None:
    """The number of "7/3 ≈ 2.33", where the one is about the other."""
    found = leading(exact.strip())
    about = read(rounded, units) if found and not found[1].strip() else None
    if about is None or abs(found[0].number - about.number) * 50 > abs(found[0].number):
        return None
    return Value(found[0].number, found[0].percent, found[0].bar, about.number)


def read(text: str, units: bool = True) -> Value | None:
    """The number that the text is, with `units` behind it or without; None where it is none, or more than one
    number.
    """
    text = unwrap(text)
    if len(text) > LONGEST:
        return None
    text = re.sub(r"[\s*_\"'.$]+$", "", text.lstrip("*_\"' "))
    text = re.sub(r"^\(([^()]+)\)$", r"\1", text)
    exact, _, rounded = text.partition("≈")
    if rounded and (both := _exact(exact, rounded, units)):
        return both
    for _ in range(3):
        if units and (prefix := _PREFIX.match(text)) and (rest := text[prefix.end() :].lstrip("*\"' ")):
            text = rest
    start = leading(text)
    if not start:
        return None
    value, rest = start
    rest = re.split(r",?\s+(?:because|since)\b", rest)[0] if units and not reserved(rest) else rest
    rest = rest.strip("*\"' ")
    again = re.fullmatch(rf"\(((?i:{_WORDS})|[0-9]+)\)", rest)
    rest = "" if units and again and read(again[1]) == value else rest
    if not rest or (not units and re.fullmatch(_CURRENCY, rest)):
        return value
    return value if units and not re.match(r"[a-z]+[0-9]", rest, re.IGNORECASE) and _units(rest) else None


def same(value: Value, gold: Value) -> bool:
    """Whether they are equal; a percentage also equals what it says without its sign (10 % is 10, and 0.1), and 7/1
    is no whole number.
    """
    if value.about is not None and value.about == gold.number:
        return True
    if value.bar and gold.number.denominator == 1 and not gold.percent:
        return False
    if value.percent == gold.percent:
        return value.number == gold.number
    percent, plain = (value, gold) if value.percent else (gold, value)
    return plain.number in (percent.number, percent.number / 100)
