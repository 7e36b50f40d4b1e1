"""Personal data that belongs to nobody, numbers that only look like it, and sentences that both stand in."""

import datetime
import ipaddress
import random
import re
from collections.abc import Callable

from data_prep.world.crawl.layouts import HOSTS
from data_prep.world.crawl.page import Page
from data_prep.world.crawl.vocabulary import TOWNS


def _digits(rng: random.Random, count: int) -> str:
    """The first one is no zero."""
    return str(rng.randrange(10 ** (count - 1), 10**count))


def _email(rng: random.Random) -> str:
    name = rng.choice(("orla", "tamsin", "bram", "ivo", "petra", "lenny"))
    return f"{name}.{rng.choice(TOWNS).lower()}{rng.randint(1, 99)}@{rng.choice(HOSTS)[0].removeprefix('www.')}"


def _public_ip(rng: random.Random) -> str:
    while True:
        address = ipaddress.ip_address(rng.getrandbits(32))
        if address.is_global and not address.is_multicast:
            return str(address)


# Numbers that a regulator keeps free for film and fiction, so far as they are valid to `phonenumbers`: NANPA (555-0100
# to 555-0199), Ofcom, Bundesnetzagentur, ARCEP, ACMA. "#" is any digit.
PHONES = (
    "(212) 555-01##", "312-555-01##", "415.555.01##", "+1 503-555-01##", "1-617-555-01##", "+44 20 7946 0###",
    "+44 (0)121 496 0###", "+44 131 496 0###", "+49 30 23125 ###", "+49 (0)89 99998 ###", "+49 221 4710###",
    "+33 1 99 00 ## ##", "+33 4 65 71 ## ##", "+61 3 7010 ####", "+61 491 570 156",

)  # fmt: skip
# Withdrawn by the Social Security Administration, since they were printed in advertisements and on sample cards.
SSNS = """042-10-3580 062-36-0749 095-07-3645 128-03-6045 135-01-6629 141-18-6941 165-16-7999 165-18-7999 165-20-7999
    165-22-7999 165-24-7999 189-09-2294 212-09-7694 306-30-2348 308-12-5070 468-28-8779 549-24-1889""".split()
# What payment services publish for tests (PayPal, Stripe).
CARDS = """4242424242424242 4111111111111111 4012888888881881 5555555555554444 5105105105105100 2223003122003222
    378282246310005 371449635398431 6011111111111117 6011000990139424 30569309025904 38520000023237 3530111333300000
    3566002020360505""".split()
# The examples of the IBAN registry (SWIFT).
IBANS = """GB29NWBK60161331926819 DE89370400440532013000 FR1420041010050500013M02606 NL91ABNA0417164300
    ES9121000418450200051332 IT60X0542811101000000123456 BE68539007547034 CH9300762011623852957 AT611904300234573201
    SE4550000000058398257466 NO9386011117947 PL61109010140000071219812874 IE29AIBK93115212345678 DK5000400440116243
    FI2112345600000785 PT50000201231234567890154""".split()


def _phone(rng: random.Random) -> str:
    return re.sub("#", lambda _: str(rng.randint(0, 9)), rng.choice(PHONES))


def _ssn(rng: random.Random) -> str:
    return rng.choice(SSNS).replace("-", rng.choice("--- "))


def _card(rng: random.Random) -> str:
    number = rng.choice(CARDS)
    sizes = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[len(number)]
    groups = [number[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    return rng.choice(("", " ", " ", "-")).join(groups)


def _iban(rng: random.Random) -> str:
    number = rng.choice(IBANS)
    form = rng.choice(("whole", "groups", "groups", "lower"))
    if form == "groups":
        return " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    return number.lower() if form == "lower" else number


# Of each kind: how one is drawn, and the sentences it stands in. Nothing here belongs to anybody, but for the
# addresses of machines.
PII: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "email": (_email, ("Whoever knows more about it may write to {} before the end of the month.",)),
    "ip": (_public_ip, ("The old machine with the address {} has kept a copy of this story for years.",)),
    "phone": (
        _phone,
        (
            "Call {} after lunch and ask for the owner.",
            "The office (telephone {}) opens on market days.",
            "Their number is {}.",
        ),
    ),
    "ssn": (
        _ssn,
        (
            "On the lost card the clerk could read the number {} and a name.",
            "The form asks for the social security number, here {}.",
        ),
    ),
    "card": (
        _card,
        ("She paid with the card {} and never saw it again.", "The receipt still shows the card number: {}."),
    ),
    "iban": (
        _iban,
        ("Gifts for the new roof go to the account {} of the parish.", "The rent is paid to {} every month."),
    ),
}


def _date(rng: random.Random) -> str:
    form = rng.choice(("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y"))
    return datetime.date(rng.randint(1900, 2024), rng.randint(1, 12), rng.randint(1, 28)).strftime(form)


def _order(rng: random.Random) -> str:
    """9 to 16 digits that are no card: one in ten such numbers passes the check, and nobody could tell it from
    a card."""
    from stdnum import luhn

    while True:
        number = _digits(rng, rng.randint(9, 16))
        if not luhn.is_valid(number):
            return number


# Numbers that are nobody's secret, of each kind.
NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "year": lambda rng: str(rng.randint(1750, 2024)),
    "years": lambda rng: f"{rng.randint(1750, 1899)}{rng.choice('-–')}{rng.randint(1900, 2024)}",
    "date": _date,
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
    "price": lambda rng: f"{rng.randint(1, 9999):,}.{rng.randint(0, 99):02}",
    "count": lambda rng: f"{rng.randint(10_000, 9_999_999_999):,}".replace(",", rng.choice(", ")),
    "share": lambda rng: f"{rng.uniform(0, 100):.{rng.randint(1, 5)}f}",
    "score": lambda rng: f"{rng.randint(0, 120)}{rng.choice('-:')}{rng.randint(0, 120)}",
    "order": _order,
    "isbn": lambda rng: (
        rng.choice(("978-", "979-", ""))
        + f"{rng.randint(0, 9)}-{_digits(rng, 3)}-{_digits(rng, 5)}-{rng.randint(0, 9)}"
    ),
    "coordinates": lambda rng: f"{rng.uniform(-90, 90):.4f}, {rng.uniform(-180, 180):.4f}",
    "version": lambda rng: f"{rng.randint(0, 12)}.{rng.randint(0, 40)}.{rng.randint(0, 300)}",
    "private_ip": lambda rng: rng.choice(("192.168.{}.{}", "10.0.{}.{}", "172.16.{}.{}")).format(
        rng.randint(0, 255), rng.randint(1, 254)
    ),
    "part": lambda rng: rng.choice(("{}-{}-{}", "X{}-{}/{}", "{}.{}.{}")).format(
        _digits(rng, 4), _digits(rng, 2), _digits(rng, 3)
    ),
    # as a telephone number is written, but no exchange begins with 0 or 1
    "article": lambda rng: rng.choice(("{}-0{}-{}", "{} 1{} {}", "{}.0{}.{}")).format(
        _digits(rng, 3), _digits(rng, 2), _digits(rng, 4)
    ),
}
NUMBER_SENTENCES = (
    "The first one was built in {year}, the second one {years}, and its roof alone cost {price} dollars.",
    "Order {order} left the house on {date} at {time} and came back after two days.",
    "The book about it has the ISBN {isbn} and costs {price} dollars, as it did in {year}.",
    "On the map the place lies at {coordinates}, and {count} visitors have seen it since {date}.",
    "The match ended {score} before {count} people, and nobody was content.",
    (
        "Version {version} of the program runs on the machine {private_ip} in the cellar, where it starts at {time}"
        " every day."
    ),
    "The spare part {part} stands for the article {article} in the catalogue of {year}.",
    "About {share} percent of the {count} letters had been stamped before {time} that day.",
    "Invoice {order} names the article {article} at {price} dollars, and part {part} for nothing.",
    "Whoever looks for parcel {order} finds it under {private_ip} or in the book {isbn} on the shelf.",
)


def _add_sentence(rng: random.Random, page: Page, sentence: str) -> None:
    page.paragraphs[rng.randrange(len(page.paragraphs))] += " " + sentence


def add_pii(rng: random.Random, page: Page, kinds: list[str]) -> None:
    """Put personal data of these kinds on the page, a sentence each."""
    for kind in kinds:
        draw, sentences = PII[kind]
        secret = draw(rng)
        page.pii.append({"kind": kind, "text": secret})
        _add_sentence(rng, page, rng.choice(sentences).format(secret))


def add_numbers(rng: random.Random, page: Page) -> None:
    """Put four sentences with numbers on the page."""
    for template in rng.sample(NUMBER_SENTENCES, 4):
        numbers = {kind: NUMBERS[kind](rng) for kind in re.findall(r"\{(\w+)\}", template)}
        page.numbers += [{"kind": kind, "text": text} for kind, text in numbers.items()]
        _add_sentence(rng, page, template.format(**numbers))
