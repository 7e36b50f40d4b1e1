"""Articles of the tiny internet as a crawl has them: gzipped WARC files of HTML pages, good and bad, and the truth about each.

    from data_prep.world.crawl import Article, write_crawl
    write_crawl(articles, Path("runs/tiny/world"), seed=0)

Every article becomes one good page; bad pages are added in the shares of `BAD_SHARES`, so that about 80 % of the pages are good.
One seed gives the same bytes. Hosts end in `.example` (RFC 2606), so that no real site is named; the one banned domain is real, since
a URL filter has to know it.
"""

import datetime
import html
import io
import ipaddress
import json
import random
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

FIRST_FETCH = datetime.datetime(2025, 3, 1, tzinfo=datetime.timezone.utc)
BANNED_HOST = "www.allcasinoreviews.com"  # on the block list (Université Toulouse Capitole) that datatrove's URLFilter ships

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
PII_SHARE, BROKEN_HTML_SHARE, WRONG_CHARSET_SHARE = 0.05, 0.04, 0.01


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
    keep: bool = True
    step: str | None = None
    pii: list[dict] = field(default_factory=list)
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

# Vocabulary of `prose`. Wide enough that a page hardly says five words twice: the repetition filter takes template text.
ADJECTIVES = """old young quiet narrow green heavy early broken clever plain distant warm bitter round hollow steep pale honest dusty busy
    gentle lonely crooked silver wooden famous hidden empty cheerful stubborn careful bright sudden ancient modern shallow simple""".split()
NOUNS = """bridge mill harbour market school chapel garden station library workshop orchard tower letter basket wagon ladder kitchen river
    window candle blanket hammer pocket compass meadow teacher farmer nurse painter sailor miller tailor hunter widow stranger cousin
    neighbour captain doctor singer rope barrel drawer feather mountain island cellar fence corner village journey winter supper story
    promise question answer secret morning picture needle button kettle saddle lantern stable chimney valley""".split()
VERBS = """found carried painted repaired followed watched remembered sold borrowed described measured opened counted forgot admired
    crossed cleaned hid mended praised visited avoided copied noticed moved protected searched studied trusted wanted""".split()
PLACES = "near behind beside above below beyond across inside outside around".split()
TIMES = """before after during until since despite without""".split()
ADVERBS = "unfortunately extraordinarily nevertheless simultaneously enthusiastically unquestionably comparatively uncomfortably".split()
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
        "Der {a} in {t} öffnet seine Tür jeden Morgen um {n} Uhr, und viele Nachbarn kommen schon vor der Arbeit vorbei.",
        "Seit {n} Jahren arbeitet die Familie in diesem alten Haus am Fluss, das früher eine Mühle gewesen ist.",
        "Am Wochenende gibt es einen kleinen Markt, auf dem man frisches Gemüse, Käse und warmes Brot kaufen kann.",
        "Die Kinder der Stadt {t} lernen in der Schule, wie ein {a} früher ohne Maschinen gearbeitet hat.",
        "Wer mehr darüber wissen möchte, kann im Rathaus nach den {n} Büchern über die Geschichte des Ortes fragen.",
        "Im Winter wird es hier sehr still, weil der Schnee die Straßen bedeckt und nur wenige Gäste übernachten.",
        "Der Bürgermeister sagte, dass die neue Brücke erst in {n} Monaten fertig werde und mehr kosten solle als geplant.",
    ),
    "fr": (
        "Le {a} de {t} ouvre sa porte chaque matin à {n} heures, et beaucoup de voisins passent avant le travail.",
        "Depuis {n} ans, la famille travaille dans cette vieille maison au bord de la rivière, qui était autrefois un moulin.",
        "Le samedi, il y a un petit marché où l'on peut acheter des légumes frais, du fromage et du pain encore chaud.",
        "Les enfants de {t} apprennent à l'école comment un {a} travaillait autrefois sans aucune machine.",
        "Ceux qui veulent en savoir davantage peuvent demander à la mairie les {n} livres sur l'histoire du village.",
        "En hiver, tout devient très calme, parce que la neige couvre les rues et que peu de visiteurs restent la nuit.",
        "Le maire a expliqué que le nouveau pont ne serait terminé que dans {n} mois et coûterait plus cher que prévu.",
    ),
    "es": (
        "El {a} de {t} abre su puerta cada mañana a las {n}, y muchos vecinos pasan por allí antes de ir al trabajo.",
        "Desde hace {n} años la familia trabaja en esta casa vieja junto al río, que antes había sido un molino.",
        "Los sábados hay un pequeño mercado donde se pueden comprar verduras frescas, queso y pan todavía caliente.",
        "Los niños de {t} aprenden en la escuela cómo trabajaba antes un {a} sin ninguna máquina.",
        "Quien quiera saber más puede preguntar en el ayuntamiento por los {n} libros sobre la historia del pueblo.",
        "En invierno todo queda muy tranquilo, porque la nieve cubre las calles y pocos visitantes pasan la noche aquí.",
        "El alcalde dijo que el puente nuevo no estará terminado hasta dentro de {n} meses y que costará más de lo previsto.",
    ),
}
TRADES = {
    "de": ("Bäcker", "Schmied", "Tischler"),
    "fr": ("boulanger", "forgeron", "menuisier"),
    "es": ("panadero", "herrero", "carpintero"),
}

LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua.",
    "Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip. So much for lorem ipsum until we have a text.",
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
        body = f'<div id="root"></div><script src="/static/js/main.{group}.js"></script><script>window.start("root")</script>'
    else:
        body = '<div class="gallery">' + "".join(f'<a href="/photo/{i}"><img src="/img/{group}-{i}.jpg"></a>' for i in range(12)) + "</div>"
    return Page("", [], f"app/{group}", group, body=f"<!DOCTYPE html><html><head><title>{group}</title></head><body>{body}</body></html>")


def _foreign(rng, group):
    language = rng.choice(sorted(FOREIGN))
    paragraphs = []
    for _ in range(4):
        sentences = rng.sample(FOREIGN[language], 5)
        paragraphs.append(" ".join(s.format(a=rng.choice(TRADES[language]), t=rng.choice(TOWNS), n=rng.randint(4, 60)) for s in sentences))
    return Page(f"{rng.choice(TOWNS)} {group}", paragraphs, f"{language}/{group}", group)


def _spam(rng, group):
    """Keyword stuffing."""
    product, town = rng.choice(PRODUCTS), rng.choice(TOWNS)
    phrase = f"the best cheap {product} in {town}"
    asks = ("Buy {}", "We have {}", "Look no further for {}", "This is where you find {}", "Order {}", "All your friends love {}")
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
        paragraphs = [f"{p} {' '.join('#' + noun for noun in rng.sample(NOUNS, 16))} and so on." for p in prose(rng, 4)]
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
        lines = [f"{rng.choice(NOUNS).capitalize()} {rng.choice(links)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}" for _ in range(60)]
        lines = [line for line in dict.fromkeys(lines) if len(line) <= 28]
    else:
        lines = [_clause(rng).capitalize() for _ in range(24)]
    body = "".join(f"<p>{line}</p>" for line in lines)
    return Page(f"Index {group}", lines, f"index/{group}", group, body=body)


MAKERS = {
    "url": _casino, "extraction": _no_article, "language": _foreign, "repetition": _spam, "quality": _poor, "c4": _c4, "fineweb": _list,
}  # fmt: skip


def _change_words(rng: random.Random, paragraphs: list[str]) -> list[str]:
    """One word in 120 replaced (the order of the paragraphs kept): the overlap of 5-word shingles stays above 0.85."""
    words = " ".join(paragraphs).split()
    count = max(1, len(words) // 120)
    chosen = dict.fromkeys(rng.sample(range(len(words)), count))
    new, at = [], 0
    for paragraph in paragraphs:
        out = []
        for word in paragraph.split():
            out.append(rng.choice(("indeed", "perhaps", "quite", "rather")) if at in chosen else word)
            at += 1
        new.append(" ".join(out))
    return new


# ------------------------------------------------------------------------------------------------ pages

ADS = (
    "Save up to 50 percent on winter coats", "Your neighbour pays less for his insurance", "Ten tricks your dentist will never tell",
    "Win a weekend for two by the sea", "New kettles from 19.99", "Sell your old car today", "Hot deals end tonight",
)  # fmt: skip
MENU = ("Home", "News", "People", "Towns", "Trades", "Recipes", "Shops", "Weather", "Contact", "Log in")
COOKIES = "We use cookies to improve your experience. By continuing you accept our cookie policy."


def _links(titles: list[str], item: str = "li") -> str:
    return "".join(f'<{item}><a href="/{i}">{html.escape(t)}</a></{item}>' for i, t in enumerate(titles))


def _newspaper(p):
    return f"""<!DOCTYPE html>
<html lang="en"><head>{p["head"]}<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/s.css">
<script>window.dataLayer=window.dataLayer||[];function gtag(){{dataLayer.push(arguments);}}gtag('config','UA-{p["n"]}');</script></head>
<body><div id="cookie-banner" class="cookie-consent" role="dialog"><p>{COOKIES}</p>
<button>Accept all</button><button>Settings</button></div>
<header class="site-header"><a class="logo" href="/">The {p["site"]}</a><nav class="main-nav"><ul>{_links(MENU)}</ul></nav></header>
<div class="advertisement ad-banner"><a href="/ad/{p["n"]}">{p["ads"][0]}</a></div>
<main><article class="article"><h1>{p["title"]}</h1><div class="byline meta">By our own reporter</div>
<div class="article-body">
{p["body"]}
</div><div class="share-buttons"><a href="#">Share</a><a href="#">Tweet</a><a href="#">Print</a></div></article>
<aside class="sidebar"><h3>Most read</h3><ol>{_links(p["others"])}</ol><div class="ad">{p["ads"][1]}</div></aside></main>
<footer class="site-footer"><p>Copyright The {p["site"]}. All rights reserved.
<a href="/terms">Terms of use</a> <a href="/privacy">Privacy policy</a></p></footer>
<script src="/js/app.js"></script></body></html>"""


def _blog(p):
    return f"""<!DOCTYPE html>
<html><head>{p["head"]}<meta name="generator" content="Press 5.2"><style>.widget{{margin:0}} .ad{{float:right}}</style></head>
<body class="single single-post"><div id="page"><div id="masthead" class="header"><p class="site-title"><a href="/">{p["site"]}</a></p>
<div class="menu"><ul>{_links(MENU[:6])}</ul></div></div>
<div id="content"><div id="primary"><div class="post hentry"><h1 class="entry-title">{p["title"]}</h1>
<div class="entry-meta">Posted by admin in <a href="/c/{p["n"]}">Stories</a></div>
<div class="entry-content">
{p["body"]}
</div><div class="entry-utility">Tags: <a href="/t/1">life</a>, <a href="/t/2">town</a></div></div>
<div id="comments"><h3>2 comments</h3><ol class="commentlist"><li>First!</li><li>Nice post, thank you for sharing.</li></ol></div></div>
<div id="secondary" class="widget-area"><div class="widget"><h3>Recent posts</h3><ul>{_links(p["others"])}</ul></div>
<div class="widget ad"><a href="/out">{p["ads"][0]}</a></div>
<div class="widget"><h3>Newsletter</h3><form><input name="email"><input type="submit" value="Subscribe"></form></div></div></div>
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
<div id="mw-navigation"><h2>Navigation menu</h2><div id="p-personal"><ul><li>Not logged in</li><li><a href="/talk">Talk</a></li></ul></div>
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
<body><nav class="navbar"><a class="brand" href="/">{p["site"]}</a><div class="nav-links">{_links(MENU[:5], "span")}</div></nav>
<div class="breadcrumbs"><a href="/">Home</a> &raquo; <a href="/all">All pages</a></div>
<section class="hero ad-slot"><p>{p["ads"][0]}</p></section>
<div class="container"><div class="content main-content"><h2 class="page-title">{p["title"]}</h2>
<div class="text">
{p["body"]}
</div></div><div class="related"><h4>You may also like</h4>{_links(p["others"], "div")}</div></div>
<div class="popup newsletter-modal"><p>Subscribe to our newsletter and never miss a story.</p><button>No thanks</button></div>
<footer><div class="columns">{_links(MENU, "div")}</div><small>{p["site"]}: terms, imprint, {p["ads"][1]}</small></footer></body></html>"""


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
                words[at] = rng.choice((f'<a href="/see/{at}">{words[at]}</a>', f"<em>{words[at]}</em>", f"<b>{words[at]}</b>"))
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
    text = layout({"head": head, "title": title, "body": body, "site": site, "others": others, "ads": ads, "n": number})
    if page.broken:  # as people write it by hand: paragraphs and list items never closed, stray end tags, the end of the page missing
        text = text.replace("</li>", "").replace("</LI>", "").replace("</em>", "</i>").replace("<div class=", "<div  class=", 1)
        text = text.replace("</body>", "").replace("</html>", "").replace("</h1>", "</h1></font>")
    return text.encode(page.encoding, errors="xmlcharrefreplace")


# ------------------------------------------------------------------------------------------------ the crawl


def _with_pii(rng: random.Random, page: Page) -> None:
    """Put an e-mail address or a public IP address, sometimes both, into the prose."""
    kinds = rng.choice((("email",), ("ip",), ("email", "ip")))
    for kind in kinds:
        if kind == "email":
            name = rng.choice(("orla", "tamsin", "bram", "ivo", "petra", "lenny"))
            text = f"{name}.{rng.choice(TOWNS).lower()}{rng.randint(1, 99)}@{rng.choice(HOSTS)[0].removeprefix('www.')}"
            sentence = f"Whoever knows more about it may write to {text} before the end of the month."
        else:
            while not (address := ipaddress.ip_address(rng.getrandbits(32))).is_global or address.is_multicast:
                pass
            text, sentence = str(address), f"The old machine with the address {address} has kept a copy of this story for years."
        page.pii.append({"kind": kind, "text": text})
        at = rng.randrange(len(page.paragraphs))
        page.paragraphs[at] += " " + sentence


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
    for i in some(PII_SHARE):
        _with_pii(rng, good[i])
    for i in some(BROKEN_HTML_SHARE):
        good[i].broken = True
    for i in some(WRONG_CHARSET_SHARE):  # says UTF-8, but is not
        good[i].encoding = "cp1252"
        good[i].paragraphs.append("In the café next door they call it “naïve”, but Zoë and André like the façade of the old hôtel.")
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
                source = rng.choice(good)
                paragraphs = list(source.paragraphs) if kind == "exact_duplicate" else _change_words(rng, source.paragraphs)
                page = Page(source.title, paragraphs, f"copy/{source.slug}-{group}", source.group, step="dedup")
                page.pii = [secret for secret in source.pii if secret["text"] in page.text]
                page.host = rng.choice([host for host in layouts if layouts[host] is not layouts[source.host]])
            page.keep = False
            bad.append(page)
    for fault in ("empty", "not_html"):
        bad.append(Page("", [], f"{fault}-{len(bad)}", len(good) + len(bad), keep=False, step="warc", fault=fault, host=HOSTS[0][0]))
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
    """Write `output_dir`/warc/*.warc.gz and `output_dir`/truth/pages.jsonl; the same bytes for the same arguments.

    Args:
        articles: the good pages, at least one. A slug that comes again gets a number.
        files: number of WARC files. The last record of the last one is truncated.

    Columns of the truth: url; keep (bool; of a group of duplicates the original is marked, but any one may stay); step (null, or what
    must take the page: warc, url, extraction, language, repetition, quality, c4, fineweb, dedup); text (the article, one paragraph a
    line); group (int, duplicates share it); pii (list of {kind: email or ip, text}); file.
    """
    from warcio.warcwriter import WARCWriter

    rng = random.Random(seed)
    pages = _pages(articles, rng)
    titles = sorted(a.title for a in articles)
    cut = Page(articles[0].title, list(articles[0].paragraphs), "cut-off", len(pages), keep=False, step="warc", fault="truncated")
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
                    row |= {"group": page.group, "pii": page.pii, "file": name}
                    truth.write(json.dumps(row, ensure_ascii=False) + "\n")
