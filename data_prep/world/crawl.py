"""Articles of the tiny internet as a crawl has them: gzipped WARC files of HTML pages, good and bad, and the truth
about each.

    from data_prep.world.crawl import Article, write_crawl
    write_crawl(articles, Path("runs/tiny/world"), seed=0)

Every article becomes one good page; bad pages are added in the shares of `BAD_SHARES`, so that about 80 % of the pages
are good. A few families of pages share a part of their text, and some good pages hold personal data, or numbers that
only look like it. One seed gives the same bytes. Hosts end in `.example` (RFC 2606), so that no real site is named;
the one banned domain is real, since a URL filter has to know it. The personal data belongs to nobody: see `PII`.
"""

import datetime
import html
import io
import ipaddress
import itertools
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FIRST_FETCH = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
BANNED_HOST = (  # on the block list (Université Toulouse Capitole) that datatrove's URLFilter ships
    "www.allcasinoreviews.com"
)

# How many bad pages of each kind for one good page, at least one each. Together 0.25: a fifth of all pages.
BAD_SHARES = {
    "url": 0.015,
    "extraction": 0.015,
    "language": 0.045,
    "repetition": 0.025,
    "quality": 0.03,
    "c4": 0.03,
    "fineweb": 0.025,
    "exact_duplicate": 0.03,
    "near_duplicate": 0.035,
}
# Good pages that are hard to read in some way, as shares of the good pages, at least one each.
PII_SHARE, NUMBERS_SHARE, BROKEN_HTML_SHARE, WRONG_CHARSET_SHARE = 0.06, 0.04, 0.04, 0.01

# Two pages are near duplicates from an overlap of `SAME` on, and two pages of their own up to `OTHER`; between them
# either may happen.
SAME, OTHER = 0.8, 0.5
FAMILY_SHARE = 0.005  # families of an original and pages that share a part of it, with these overlaps:
FAMILY = ((0.15, 0.3), (0.3, 0.45), (0.55, 0.75))
NEAR_DUPLICATE = (SAME, 0.97)


@dataclass
class Article:
    """A good page's own text, the paragraphs without line breaks. `slug` is the last part of its URL."""

    title: str
    paragraphs: list[str]
    slug: str


@dataclass
class Page:
    """One page of the crawl with what is true of it: columns of truth/pages.jsonl, then how it is written."""

    title: str
    paragraphs: list[str]
    slug: str
    group: int
    keep: bool | None = True
    step: str | None = None
    pii: list[dict] = field(default_factory=list)
    numbers: list[dict] = field(default_factory=list)
    source: int | None = None  # the good page that this one is a copy of, whole or in part
    body: str = ""  # HTML in place of the paragraphs
    host: str = ""
    broken: bool = False
    encoding: str = "utf-8"
    fault: str | None = None  # of the record: empty, not_html, truncated

    @property
    def text(self) -> str:
        return "\n".join(self.paragraphs)

    @property
    def url(self) -> str:
        return f"http://{self.host}/{self.slug}"


# ------------------------------------------------------------------------------------------------ text of bad pages

PRODUCTS = "lamps shoes watches phones mattresses curtains printers suitcases bicycles kettles".split()
TOWNS = "Aldermoor Brackwater Cindle Dunmere Estwick Farrowby Gelling Harrowgate".split()
GAMES = "roulette blackjack poker baccarat slots keno".split()

# Vocabulary of `prose`. Wide enough that a page hardly says five words twice: the repetition filter takes template
# text.
ADJECTIVES = """old young quiet narrow green heavy early broken clever plain distant warm bitter round hollow steep
    pale honest dusty busy gentle lonely crooked silver wooden famous hidden empty cheerful stubborn careful bright
    sudden ancient modern shallow simple""".split()
NOUNS = """bridge mill harbour market school chapel garden station library workshop orchard tower letter basket wagon
    ladder kitchen river window candle blanket hammer pocket compass meadow teacher farmer nurse painter sailor miller
    tailor hunter widow stranger cousin neighbour captain doctor singer rope barrel drawer feather mountain island
    cellar fence corner village journey winter supper story promise question answer secret morning picture needle
    button kettle saddle lantern stable chimney valley""".split()
VERBS = """found carried painted repaired followed watched remembered sold borrowed described measured opened counted
    forgot admired crossed cleaned hid mended praised visited avoided copied noticed moved protected searched studied
    trusted wanted""".split()
PLACES = "near behind beside above below beyond across inside outside around".split()
TIMES = """before after during until since despite without""".split()
ADVERBS = (
    "unfortunately extraordinarily nevertheless simultaneously enthusiastically unquestionably comparatively"
    " uncomfortably".split()
)
SHAPES = (
    "the {a} {n} {v} a {n} {p} the {n}",
    "{t} the {n} a {a} {n} {v} every {n}",
    "nobody {v} that {n} because the {n} {v} it with a {a} {n}",
    "she {v} her {a} {n} and he {v} the {n} of a {n}",
    "{p} the {a} {n} they {v} some {n} that the {n} had {v}",
    "what the {n} {v} was a {a} {n}, or so the {n} and his {n} have to say",
    "when a {n} {v} the {a} {n}, its {n} {v} to be {p} our {n}",
    "it is said that {n} and {n} {v} one {a} {n} {t} the {n}",
)

FOREIGN = {
    "de": (
        (
            "Der {a} in {t} öffnet seine Tür jeden Morgen um {n} Uhr, und viele Nachbarn kommen schon vor der Arbeit"
            " vorbei."
        ),
        "Seit {n} Jahren arbeitet die Familie in diesem alten Haus am Fluss, das früher eine Mühle gewesen ist.",
        "Am Wochenende gibt es einen kleinen Markt, auf dem man frisches Gemüse, Käse und warmes Brot kaufen kann.",
        "Die Kinder der Stadt {t} lernen in der Schule, wie ein {a} früher ohne Maschinen gearbeitet hat.",
        "Wer mehr darüber wissen möchte, kann im Rathaus nach den {n} Büchern über die Geschichte des Ortes fragen.",
        "Im Winter wird es hier sehr still, weil der Schnee die Straßen bedeckt und nur wenige Gäste übernachten.",
        (
            "Der Bürgermeister sagte, dass die neue Brücke erst in {n} Monaten fertig werde und mehr kosten solle als"
            " geplant."
        ),
    ),
    "fr": (
        "Le {a} de {t} ouvre sa porte chaque matin à {n} heures, et beaucoup de voisins passent avant le travail.",
        (
            "Depuis {n} ans, la famille travaille dans cette vieille maison au bord de la rivière, qui était autrefois"
            " un moulin."
        ),
        (
            "Le samedi, il y a un petit marché où l'on peut acheter des légumes frais, du fromage et du pain encore"
            " chaud."
        ),
        "Les enfants de {t} apprennent à l'école comment un {a} travaillait autrefois sans aucune machine.",
        "Ceux qui veulent en savoir davantage peuvent demander à la mairie les {n} livres sur l'histoire du village.",
        (
            "En hiver, tout devient très calme, parce que la neige couvre les rues et que peu de visiteurs restent la"
            " nuit."
        ),
        (
            "Le maire a expliqué que le nouveau pont ne serait terminé que dans {n} mois et coûterait plus cher que"
            " prévu."
        ),
    ),
    "es": (
        "El {a} de {t} abre su puerta cada mañana a las {n}, y muchos vecinos pasan por allí antes de ir al trabajo.",
        "Desde hace {n} años la familia trabaja en esta casa vieja junto al río, que antes había sido un molino.",
        "Los sábados hay un pequeño mercado donde se pueden comprar verduras frescas, queso y pan todavía caliente.",
        "Los niños de {t} aprenden en la escuela cómo trabajaba antes un {a} sin ninguna máquina.",
        "Quien quiera saber más puede preguntar en el ayuntamiento por los {n} libros sobre la historia del pueblo.",
        (
            "En invierno todo queda muy tranquilo, porque la nieve cubre las calles y pocos visitantes pasan la noche"
            " aquí."
        ),
        (
            "El alcalde dijo que el puente nuevo no estará terminado hasta dentro de {n} meses y que costará más de lo"
            " previsto."
        ),
    ),
}
TRADES = {
    "de": ("Bäcker", "Schmied", "Tischler"),
    "fr": ("boulanger", "forgeron", "menuisier"),
    "es": ("panadero", "herrero", "carpintero"),
}

LOREM = (
    (
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore"
        " magna aliqua."
    ),
    (
        "Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip. So much for lorem ipsum"
        " until we have a text."
    ),
)


def _clause(rng: random.Random) -> str:
    words = {"{a}": ADJECTIVES, "{n}": NOUNS, "{v}": VERBS, "{p}": PLACES, "{t}": TIMES}
    clause = re.sub(r"\{.\}", lambda slot: rng.choice(words[slot[0]]), rng.choice(SHAPES))
    return re.sub(r"\ba (?=[aeiou])", "an ", clause)


def sentence(rng: random.Random) -> str:
    """English in form, without meaning."""
    clause = _clause(rng)
    if rng.random() < 0.4:
        clause += rng.choice((", and ", ", but ", ", so ", "; ")) + _clause(rng)
    return clause[0].upper() + clause[1:] + "."


def prose(rng: random.Random, paragraphs: int) -> list[str]:
    """Paragraphs of three to six sentences that pass FineWeb's filters."""
    return [" ".join(sentence(rng) for _ in range(rng.randint(3, 6))) for _ in range(paragraphs)]


def _casino(rng, group):
    game = rng.choice(GAMES)
    paragraphs = [f"{p} That is why {game} has a bonus of {rng.randint(12, 98)} coins." for p in prose(rng, 4)]
    return Page(f"All about {game}", paragraphs, f"reviews/{group}.html", group, host=BANNED_HOST)


def _no_article(rng, group):
    """A page without any text of its own: an application that a browser has to run, or pictures only."""
    if rng.random() < 0.5:
        body = (
            '<div id="root"></div><script'
            f' src="/static/js/main.{group}.js"></script><script>window.start("root")</script>'
        )
    else:
        body = (
            '<div class="gallery">'
            + "".join(f'<a href="/photo/{i}"><img src="/img/{group}-{i}.jpg"></a>' for i in range(12))
            + "</div>"
        )
    return Page(
        "",
        [],
        f"app/{group}",
        group,
        body=f"<!DOCTYPE html><html><head><title>{group}</title></head><body>{body}</body></html>",
    )


def _foreign(rng, group):
    language = rng.choice(sorted(FOREIGN))
    paragraphs = []
    for _ in range(4):
        sentences = rng.sample(FOREIGN[language], 5)
        paragraphs.append(
            " ".join(
                s.format(a=rng.choice(TRADES[language]), t=rng.choice(TOWNS), n=rng.randint(4, 60)) for s in sentences
            )
        )
    return Page(f"{rng.choice(TOWNS)} {group}", paragraphs, f"{language}/{group}", group)


def _spam(rng, group):
    """Keyword stuffing."""
    product, town = rng.choice(PRODUCTS), rng.choice(TOWNS)
    phrase = f"the best cheap {product} in {town}"
    asks = (
        "Buy {}",
        "We have {}",
        "Look no further for {}",
        "This is where you find {}",
        "Order {}",
        "All your friends love {}",
    )
    paragraphs = [" ".join(rng.choice(asks).format(phrase) + "." for _ in range(rng.randint(6, 9))) for _ in range(5)]
    return Page(f"Cheap {product}", paragraphs, f"cheap-{product}-{group}", group)


def _poor(rng, group):
    """Too short, or full of hash tags."""
    if rng.random() < 0.6:
        # fewer than 50 words, but more than 250 characters: below that Trafilatura takes what else is on the page
        words = " ".join(prose(rng, 3)).split()[:26]
        text = " ".join(f"{word} {rng.choice(ADVERBS)}" if i % 2 else word for i, word in enumerate(words)) + "."
        paragraphs = [text]
    else:
        paragraphs = [
            f"{p} {' '.join('#' + noun for noun in rng.sample(NOUNS, len(p.split()) // 6 + 6))} and so on."
            for p in prose(rng, 4)
        ]
    return Page(f"{rng.choice(TOWNS)} {rng.choice(NOUNS)}", paragraphs, f"stub/{group}", group)


def _c4(rng, group):
    """Placeholder text, code with curly brackets, or hardly a full stop."""
    kind = rng.choice(("lorem", "code", "run_on"))
    paragraphs = prose(rng, 5)
    if kind == "lorem":
        paragraphs.insert(rng.randint(1, 3), rng.choice(LOREM))
    elif kind == "code":
        code = f"for (lamp = 0; lamp < {rng.randint(5, 99)}; lamp++) {{ turn_on(lamp); }}"
        paragraphs.insert(rng.randint(1, 3), f"{code} is the line that we need.")
    else:
        paragraphs = [", and then ".join(_clause(rng) for _ in range(9)) + "." for _ in range(3)]
    return Page(f"Lamps, part {group}", paragraphs, f"howto/lamps-{group}", group)


def _list(rng, group):
    """Lists: many short lines, or headlines without an end."""
    if rng.random() < 0.5:
        links = ("of", "and", "with", "to")
        lines = [
            f"{rng.choice(NOUNS).capitalize()} {rng.choice(links)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
            for _ in range(60)
        ]
        lines = [line for line in dict.fromkeys(lines) if len(line) <= 28]
    else:
        lines = [_clause(rng).capitalize() for _ in range(24)]
    body = "".join(f"<p>{line}</p>" for line in lines)
    return Page(f"Index {group}", lines, f"index/{group}", group, body=body)


MAKERS = {
    "url": _casino,
    "extraction": _no_article,
    "language": _foreign,
    "repetition": _spam,
    "quality": _poor,
    "c4": _c4,
    "fineweb": _list,
}


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """The n-grams of words that MinHash compares, words being what datatrove's normalised text (lower case, no
    punctuation, every number 0) has between spaces. datatrove then cuts a few of them in two ("dont"), which hardly
    matters to an overlap."""
    from datatrove.utils.text import ngrams, simplify_text

    return set(ngrams(simplify_text(text).split(), n))


def overlap(a: str, b: str) -> float:
    """Jaccard index of the two texts' shingles: what MinHash estimates."""
    ours, theirs = shingles(a), shingles(b)
    return 1.0 if ours == theirs else len(ours & theirs) / len(ours | theirs)


def _vary(rng: random.Random, paragraphs: list[str], lowest: float, highest: float) -> list[str]:
    """A version whose overlap with the paragraphs is drawn from the range: near duplicates have other words, names and
    numbers left alone; the rest have other sentences."""
    text, target = "\n".join(paragraphs), rng.uniform(lowest, highest)
    words = lowest >= SAME
    places = list(re.finditer(r"(?<!\S)[a-z]+(?!\S)" if words else r"[A-Z][^.]+\.", text))
    changes: list[tuple[re.Match, str]] = []
    best, distance = text, 1 - target
    for place in rng.sample(places, len(places)):
        changes.append((place, rng.choice(("indeed", "perhaps", "quite", "rather")) if words else sentence(rng)))
        new = text
        for old, other in sorted(changes, key=lambda change: -change[0].start()):
            new = new[: old.start()] + other + new[old.end() :]
        reached = overlap(text, new)
        if lowest <= reached <= highest and abs(reached - target) < distance:
            best, distance = new, abs(reached - target)
        if reached < target:
            break
    return best.split("\n")


# ------------------------------------------------------------------------------------------------ personal data, and
# other numbers


def _digits(rng: random.Random, count: int) -> str:
    """The first one is no zero."""
    return str(rng.randrange(10 ** (count - 1), 10**count))


def _email(rng: random.Random) -> str:
    name = rng.choice(("orla", "tamsin", "bram", "ivo", "petra", "lenny"))
    return f"{name}.{rng.choice(TOWNS).lower()}{rng.randint(1, 99)}@{rng.choice(HOSTS)[0].removeprefix('www.')}"


def _public_ip(rng: random.Random) -> str:
    while not (address := ipaddress.ip_address(rng.getrandbits(32))).is_global or address.is_multicast:
        pass
    return str(address)


# Numbers that a regulator keeps free for film and fiction, so far as they are valid to `phonenumbers`: NANPA (555-0100
# to 555-0199),
# Ofcom, Bundesnetzagentur, ARCEP, ACMA. "#" is any digit.
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

    while luhn.is_valid(number := _digits(rng, rng.randint(9, 16))):
        pass
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


def _add(rng: random.Random, page: Page, sentence: str) -> None:
    page.paragraphs[rng.randrange(len(page.paragraphs))] += " " + sentence


def _with_pii(rng: random.Random, page: Page, kinds: list[str]) -> None:
    for kind in kinds:
        draw, sentences = PII[kind]
        page.pii.append({"kind": kind, "text": draw(rng)})
        _add(rng, page, rng.choice(sentences).format(page.pii[-1]["text"]))


def _with_numbers(rng: random.Random, page: Page) -> None:
    for template in rng.sample(NUMBER_SENTENCES, 4):
        numbers = {kind: NUMBERS[kind](rng) for kind in re.findall(r"\{(\w+)\}", template)}
        page.numbers += [{"kind": kind, "text": text} for kind, text in numbers.items()]
        _add(rng, page, template.format(**numbers))


# ------------------------------------------------------------------------------------------------ pages

ADS = (
    "Save up to 50 percent on winter coats", "Your neighbour pays less for his insurance",
    "Ten tricks your dentist will never tell", "Win a weekend for two by the sea", "New kettles from 19.99",
    "Sell your old car today", "Hot deals end tonight",

)  # fmt: skip
MENU = ("Home", "News", "People", "Towns", "Trades", "Recipes", "Shops", "Weather", "Contact", "Log in")
COOKIES = "We use cookies to improve your experience. By continuing you accept our cookie policy."


def _links(titles: list[str], item: str = "li") -> str:
    return "".join(f'<{item}><a href="/{i}">{html.escape(t)}</a></{item}>' for i, t in enumerate(titles))


def _newspaper(p):
    return f"""<!DOCTYPE html>
<html lang="en"><head>{p["head"]}<meta name="viewport" content="width=device-width">\
<link rel="stylesheet" href="/s.css">
<script>window.dataLayer=window.dataLayer||[];function gtag(){{dataLayer.push(arguments);}}\
gtag('config','UA-{p["n"]}');</script></head>
<body><div id="cookie-banner" class="cookie-consent" role="dialog"><p>{COOKIES}</p>
<button>Accept all</button><button>Settings</button></div>
<header class="site-header"><a class="logo" href="/">The {p["site"]}</a><nav class="main-nav"><ul>{_links(MENU)}</ul>\
</nav></header>
<div class="advertisement ad-banner"><a href="/ad/{p["n"]}">{p["ads"][0]}</a></div>
<main><article class="article"><h1>{p["title"]}</h1><div class="byline meta">By our own reporter</div>
<div class="article-body">
{p["body"]}
</div><div class="share-buttons"><a href="#">Share</a><a href="#">Tweet</a><a href="#">Print</a></div></article>
<aside class="sidebar"><h3>Most read</h3><ol>{_links(p["others"])}</ol><div class="ad">{p["ads"][1]}</div></aside>\
</main>
<footer class="site-footer"><p>Copyright The {p["site"]}. All rights reserved.
<a href="/terms">Terms of use</a> <a href="/privacy">Privacy policy</a></p></footer>
<script src="/js/app.js"></script></body></html>"""


def _blog(p):
    return f"""<!DOCTYPE html>
<html><head>{p["head"]}<meta name="generator" content="Press 5.2"><style>.widget{{margin:0}} .ad{{float:right}}\
</style></head>
<body class="single single-post"><div id="page"><div id="masthead" class="header"><p class="site-title">\
<a href="/">{p["site"]}</a></p>
<div class="menu"><ul>{_links(MENU[:6])}</ul></div></div>
<div id="content"><div id="primary"><div class="post hentry"><h1 class="entry-title">{p["title"]}</h1>
<div class="entry-meta">Posted by admin in <a href="/c/{p["n"]}">Stories</a></div>
<div class="entry-content">
{p["body"]}
</div><div class="entry-utility">Tags: <a href="/t/1">life</a>, <a href="/t/2">town</a></div></div>
<div id="comments"><h3>2 comments</h3><ol class="commentlist"><li>First!</li><li>Nice post, thank you for sharing.\
</li></ol></div></div>
<div id="secondary" class="widget-area"><div class="widget"><h3>Recent posts</h3><ul>{_links(p["others"])}</ul></div>
<div class="widget ad"><a href="/out">{p["ads"][0]}</a></div>
<div class="widget"><h3>Newsletter</h3><form><input name="email"><input type="submit" value="Subscribe"></form></div>\
</div></div>
<div id="footer">Proudly powered by Press. {p["site"]}.</div></div></body></html>"""


def _wiki(p):
    return f"""<!DOCTYPE html>
<html class="client-nojs" lang="en"><head>{p["head"]}</head>
<body class="skin-plain"><div id="mw-page-base"></div><div id="content" class="mw-body" role="main">
<h1 id="firstHeading" class="firstHeading">{p["title"]}</h1>
<div id="bodyContent"><div id="siteSub">From {p["site"]}, the open book of the valley</div>
<div id="jump-to-nav">Jump to: <a href="#nav">navigation</a></div>
<div id="mw-content-text"><div class="mw-parser-output">
{p["body"]}
<div class="navbox" role="navigation"><ul>{_links(p["others"])}</ul></div></div></div>
<div id="catlinks" class="catlinks">Categories: <a href="/c1">People</a> <a href="/c2">Towns</a></div></div></div>
<div id="mw-navigation"><h2>Navigation menu</h2><div id="p-personal"><ul><li>Not logged in</li><li>\
<a href="/talk">Talk</a></li></ul></div>
<div id="p-navigation" class="portal"><ul>{_links(MENU[:7])}</ul></div></div>
<div id="footer" role="contentinfo"><ul><li>This page was last edited by a visitor.</li>
<li><a href="/about">About {p["site"]}</a></li></ul></div></body></html>"""


def _homepage(p):
    return f"""<HTML><HEAD>{p["head"]}</HEAD><BODY BGCOLOR="#FFFFFF" TEXT="#000000">
<TABLE WIDTH="100%" BORDER=0><TR><TD><IMG SRC="/logo.gif"></TD>
<TD><CENTER><FONT SIZE=5><B>Welcome to {p["site"]}</B></FONT></CENTER></TD></TR></TABLE>
<UL>{_links(MENU[:8])}</UL><IMG SRC="/counter{p["n"]}.gif"><HR>
<H1>{p["title"]}</H1>
{p["body"]}
<HR><CENTER><FONT SIZE=1><A HREF="/">Home</A> | <A HREF="/guestbook">Guestbook</A> |
Best viewed at 800 x 600</FONT></CENTER></BODY></HTML>"""


def _community(p):
    return f"""<!DOCTYPE html>
<html lang="en"><head>{p["head"]}<script type="application/json">{{"page":{p["n"]},"user":null}}</script></head>
<body><nav class="navbar"><a class="brand" href="/">{p["site"]}</a><div class="nav-links">{_links(MENU[:5], "span")}\
</div></nav>
<div class="breadcrumbs"><a href="/">Home</a> &raquo; <a href="/all">All pages</a></div>
<section class="hero ad-slot"><p>{p["ads"][0]}</p></section>
<div class="container"><div class="content main-content"><h2 class="page-title">{p["title"]}</h2>
<div class="text">
{p["body"]}
</div></div><div class="related"><h4>You may also like</h4>{_links(p["others"], "div")}</div></div>
<div class="popup newsletter-modal"><p>Subscribe to our newsletter and never miss a story.</p><button>No thanks\
</button></div>
<footer><div class="columns">{_links(MENU, "div")}</div><small>{p["site"]}: terms, imprint, {p["ads"][1]}</small>\
</footer></body></html>"""


HOSTS = (
    ("www.valley-gazette.example", "Valley Gazette", _newspaper),
    ("news.hillside-post.example", "Hillside Post", _newspaper),
    ("kettle-and-spoon.example", "Kettle and Spoon", _blog),
    ("blog.quietlane.example", "Quiet Lane", _blog),
    ("wiki.valleybook.example", "Valleybook", _wiki),
    ("home.oldmill.example", "Old Mill Pages", _homepage),
    ("www.townsquare.example", "Town Square", _community),
    ("people.riverside.example", "Riverside People", _community),
)


def _body(rng: random.Random, page: Page) -> str:
    parts = []
    for paragraph in page.paragraphs:
        text = html.escape(paragraph, quote=False)
        if rng.random() < 0.3:  # a link or an emphasis inside the prose
            words = text.split(" ")
            at = rng.randrange(len(words))
            if re.fullmatch(r"\w+", words[at]):
                words[at] = rng.choice(
                    (f'<a href="/see/{at}">{words[at]}</a>', f"<em>{words[at]}</em>", f"<b>{words[at]}</b>")
                )
            text = " ".join(words)
        parts.append(f"<p>{text}" if page.broken else f"<p>{text}</p>")
    return "\n".join(parts)


def _render(rng: random.Random, page: Page, titles: list[str]) -> bytes:
    """The page as its host serves it."""
    others = rng.sample(titles, min(6, len(titles)))
    ads = rng.sample(ADS, 2)
    number = rng.randint(1000, 9999)
    if page.body.startswith("<!DOCTYPE"):
        return page.body.encode()
    site, layout = next(((site, layout) for host, site, layout in HOSTS if host == page.host), ("Best Games", _blog))
    body = page.body or _body(rng, page)
    title = html.escape(page.title)
    head = f'<meta charset="utf-8"><title>{title} - {site}</title>'
    text = layout(
        {"head": head, "title": title, "body": body, "site": site, "others": others, "ads": ads, "n": number}
    )
    # as people write it by hand: paragraphs and list items never closed, stray end tags, the end of the page missing
    if page.broken:
        text = (
            text.replace("</li>", "")
            .replace("</LI>", "")
            .replace("</em>", "</i>")
            .replace("<div class=", "<div  class=", 1)
        )
        text = text.replace("</body>", "").replace("</html>", "").replace("</h1>", "</h1></font>")
    return text.encode(page.encoding, errors="xmlcharrefreplace")


# ------------------------------------------------------------------------------------------------ the crawl


def _pages(articles: list[Article], rng: random.Random) -> list[Page]:
    """All pages but the truncated one, in crawl order."""

    def count(share: float) -> int:
        return max(1, round(share * len(articles)))

    def some(share: float) -> list[int]:
        return rng.sample(range(len(articles)), min(count(share), len(articles)))

    layouts = {host: layout for host, _, layout in HOSTS}
    seen = Counter()
    good = []
    for i, article in enumerate(articles):
        seen[article.slug] += 1
        slug = article.slug if seen[article.slug] == 1 else f"{article.slug}-{seen[article.slug]}"
        good.append(Page(article.title, list(article.paragraphs), slug, group=i))
    kinds = []  # as many of one as of another
    for i in some(PII_SHARE):
        kinds = kinds or rng.sample(sorted(PII), len(PII))
        _with_pii(rng, good[i], [kinds.pop() for _ in range(3)])
    for i in some(NUMBERS_SHARE):
        _with_numbers(rng, good[i])
    for i in some(BROKEN_HTML_SHARE):
        good[i].broken = True
    for i in some(WRONG_CHARSET_SHARE):  # says UTF-8, but is not
        good[i].encoding = "cp1252"
        good[i].paragraphs.append(
            "In the café next door they call it “naïve”, but Zoë and André like the façade of the old hôtel."
        )
    sources = rng.sample(good, len(good))
    for _ in range(count(FAMILY_SHARE)):
        number = len(good)
        original = Page(f"Papers {number}", prose(rng, rng.randint(5, 8)), f"papers/{number}", number, source=number)
        good.append(original)
        for lowest, highest in FAMILY:
            page = Page(
                original.title,
                _vary(rng, original.paragraphs, lowest, highest),
                f"papers/{len(good)}",
                len(good),
                source=number,
            )
            page.keep = True if highest <= OTHER else None
            good.append(page)
    for page in good:
        page.host = rng.choice(HOSTS)[0]

    bad = []
    for kind, share in BAD_SHARES.items():
        for _ in range(count(share)):
            group = len(good) + len(bad)
            if kind in MAKERS:
                page = MAKERS[kind](rng, group)
                page.step = kind
                page.host = page.host or rng.choice(HOSTS)[0]
            else:
                source = sources[len(bad) % len(sources)]
                paragraphs = (
                    list(source.paragraphs)
                    if kind == "exact_duplicate"
                    else _vary(rng, source.paragraphs, *NEAR_DUPLICATE)
                )
                source.source = source.group
                page = Page(
                    source.title,
                    paragraphs,
                    f"copy/{source.slug}-{group}",
                    source.group,
                    step="dedup",
                    source=source.group,
                )
                page.pii, page.numbers = list(source.pii), list(source.numbers)
                page.host = rng.choice([host for host in layouts if layouts[host] is not layouts[source.host]])
            page.keep = False
            bad.append(page)
    for fault in ("empty", "not_html"):
        bad.append(
            Page(
                "",
                [],
                f"{fault}-{len(bad)}",
                len(good) + len(bad),
                keep=False,
                step="warc",
                fault=fault,
                host=HOSTS[0][0],
            )
        )
    pages = good + bad
    rng.shuffle(pages)
    return pages


def _write_record(writer, page: Page, payload: bytes, rng: random.Random, date: datetime.datetime) -> None:
    from warcio.statusandheaders import StatusAndHeaders

    media_type = "text/plain" if page.fault == "not_html" else "text/html"
    http_headers = StatusAndHeaders(
        "200 OK",
        [
            ("Date", date.strftime("%a, %d %b %Y %H:%M:%S GMT")),
            ("Server", rng.choice(("nginx", "Apache/2.4.41", "cloudfront"))),
            ("Content-Type", f"{media_type}; charset=utf-8"),
            ("Content-Length", str(len(payload))),
        ],
        protocol="HTTP/1.1",
    )
    record = writer.create_warc_record(
        page.url,
        "response",
        payload=io.BytesIO(payload),
        http_headers=http_headers,
        warc_headers_dict={
            "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>",
            "WARC-Date": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Identified-Payload-Type": media_type,
        },
    )
    writer.write_record(record)


def _write_warcinfo(writer, name: str, rng: random.Random) -> None:
    record = writer.create_warc_record(
        "",
        "warcinfo",
        payload=io.BytesIO(b"software: a tiny internet\r\nformat: WARC File Format 1.0\r\n"),
        warc_content_type="application/warc-fields",
        warc_headers_dict={
            "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>",
            "WARC-Date": FIRST_FETCH.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Filename": name,
        },
    )
    writer.write_record(record)


def write_crawl(articles: list[Article], output_dir: Path, seed: int, files: int = 2) -> None:
    """Write `output_dir`/warc/*.warc.gz and `output_dir`/truth; the same bytes for the same arguments.

    Args:
        articles: the good pages, at least one. A slug that comes again gets a number.
        files: number of WARC files. The last record of the last one is truncated.

    Columns of truth/pages.jsonl: url; keep (bool; of a group of duplicates the original is marked, but any one may
    stay; null where either may happen, for two pages that share more than `OTHER` and less than `SAME`); step (null,
    or what must take the page: warc, url, extraction, language, repetition, quality, c4, fineweb, dedup); text (the
    article, one paragraph a line); group (int, duplicates share it); pii (list of {kind: one of `PII`, text}); numbers
    (list of {kind: one of `NUMBERS`, text}: to be left alone); file.

    Columns of truth/near_duplicates.jsonl, a row for each pair of pages with a common source: a, b (URLs), overlap
    (see `overlap`; 1.0 is an exact duplicate, to that comparison).
    """
    from warcio.warcwriter import WARCWriter

    rng = random.Random(seed)
    pages = _pages(articles, rng)
    titles = sorted(a.title for a in articles)
    cut = Page(
        articles[0].title,
        list(articles[0].paragraphs),
        "cut-off",
        len(pages),
        keep=False,
        step="warc",
        fault="truncated",
    )
    cut.host = HOSTS[0][0]
    shards = [pages[i * len(pages) // files : (i + 1) * len(pages) // files] for i in range(files)]
    shards[-1].append(cut)

    output_dir = Path(output_dir)
    (output_dir / "warc").mkdir(parents=True, exist_ok=True)
    (output_dir / "truth").mkdir(parents=True, exist_ok=True)
    date = FIRST_FETCH
    with open(output_dir / "truth" / "pages.jsonl", "w", encoding="utf-8") as truth:
        for number, shard in enumerate(shards):
            name = f"crawl-{number:05d}.warc.gz"
            with open(output_dir / "warc" / name, "wb") as file:
                writer = WARCWriter(file, gzip=True)
                _write_warcinfo(writer, name, rng)
                for page in shard:
                    date += datetime.timedelta(seconds=rng.randint(1, 9))
                    start = file.tell()
                    payload = {"empty": b"", "not_html": b"User-agent: *\n"}.get(page.fault)
                    _write_record(writer, page, _render(rng, page, titles) if payload is None else payload, rng, date)
                    if page.fault == "truncated":
                        file.truncate(start + (file.tell() - start) * 2 // 3)
                    row = {"url": page.url, "keep": page.keep, "step": page.step, "text": page.text}
                    row |= {"group": page.group, "pii": page.pii, "numbers": page.numbers, "file": name}
                    truth.write(json.dumps(row, ensure_ascii=False) + "\n")
    families: dict[int, list[Page]] = {}
    for page in pages:
        if page.source is not None:
            families.setdefault(page.source, []).append(page)
    pairs = [
        {"a": a.url, "b": b.url, "overlap": overlap(a.text, b.text)}
        for f in families.values()
        for a, b in itertools.combinations(f, 2)
    ]
    with open(output_dir / "truth" / "near_duplicates.jsonl", "w", encoding="utf-8") as truth:
        truth.writelines(json.dumps(pair) + "\n" for pair in pairs)
