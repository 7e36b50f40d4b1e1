"""All pages of the crawl: the articles, some of them hard to read, and bad pages in their shares."""

import random
from collections import Counter

from data_prep.world.crawl.bad_pages import MAKERS
from data_prep.world.crawl.layouts import HOSTS
from data_prep.world.crawl.page import Article, Page
from data_prep.world.crawl.personal_data import PII, add_numbers, add_pii
from data_prep.world.crawl.prose import OTHER, SAME, prose, vary

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
FAMILY_SHARE = 0.005  # families of an original and pages that share a part of it, with these overlaps:
FAMILY = ((0.15, 0.3), (0.3, 0.45), (0.55, 0.75))
NEAR_DUPLICATE = (SAME, 0.97)


def all_pages(articles: list[Article], rng: random.Random) -> list[Page]:
    """All pages but the truncated one, in crawl order."""
    good = article_pages(articles)
    make_hard(good, rng)
    sources = rng.sample(good, len(good))
    for _ in range(_count(FAMILY_SHARE, articles)):
        add_family(good, rng)
    for page in good:
        page.host = rng.choice(HOSTS)[0]

    bad: list[Page] = []
    for kind, share in BAD_SHARES.items():
        for _ in range(_count(share, articles)):
            group = len(good) + len(bad)
            if kind in MAKERS:
                page = bad_page(kind, group, rng)
            else:
                page = duplicate(kind, group, sources[len(bad) % len(sources)], rng)
            bad.append(page)
    for fault in ("empty", "not_html"):
        group, host = len(good) + len(bad), HOSTS[0][0]
        page = Page("", [], f"{fault}-{len(bad)}", group, keep=False, step="warc", fault=fault, host=host)
        bad.append(page)
    pages = good + bad
    rng.shuffle(pages)
    return pages


def _count(share: float, pages: list) -> int:
    return max(1, round(share * len(pages)))


def article_pages(articles: list[Article]) -> list[Page]:
    """A page for each article; a slug that comes again gets a number."""
    slugs = Counter()
    pages = []
    for group, article in enumerate(articles):
        slugs[article.slug] += 1
        slug = article.slug if slugs[article.slug] == 1 else f"{article.slug}-{slugs[article.slug]}"
        pages.append(Page(article.title, list(article.paragraphs), slug, group))
    return pages


def make_hard(pages: list[Page], rng: random.Random) -> None:
    """Make some of the good pages hard to read, or to leave alone."""

    def some(share: float) -> list[Page]:
        places = rng.sample(range(len(pages)), min(_count(share, pages), len(pages)))
        return [pages[place] for place in places]

    kinds = []  # as many of one as of another
    for page in some(PII_SHARE):
        kinds = kinds or rng.sample(sorted(PII), len(PII))
        add_pii(rng, page, [kinds.pop() for _ in range(3)])
    for page in some(NUMBERS_SHARE):
        add_numbers(rng, page)
    for page in some(BROKEN_HTML_SHARE):
        page.broken = True
    for page in some(WRONG_CHARSET_SHARE):  # says UTF-8, but is not
        page.encoding = "cp1252"
        page.paragraphs.append(
            "In the café next door they call it “naïve”, but Zoë and André like the façade of the old hôtel."
        )


def add_family(pages: list[Page], rng: random.Random) -> None:
    """Add an original and pages that share a part of it."""
    number = len(pages)
    original = Page(f"Papers {number}", prose(rng, rng.randint(5, 8)), f"papers/{number}", number, source=number)
    pages.append(original)
    for lowest, highest in FAMILY:
        paragraphs = vary(rng, original.paragraphs, lowest, highest)
        page = Page(original.title, paragraphs, f"papers/{len(pages)}", len(pages), source=number)
        page.keep = True if highest <= OTHER else None
        pages.append(page)


def bad_page(step: str, group: int, rng: random.Random) -> Page:
    """A page that the step has to take."""
    page = MAKERS[step](rng, group)
    page.step = step
    page.host = page.host or rng.choice(HOSTS)[0]
    page.keep = False
    return page


def duplicate(kind: str, group: int, source: Page, rng: random.Random) -> Page:
    """A copy of a good page, or one with some other words, on a host of another layout."""
    if kind == "exact_duplicate":
        paragraphs = list(source.paragraphs)
    else:
        paragraphs = vary(rng, source.paragraphs, *NEAR_DUPLICATE)
    source.source = source.group
    slug = f"copy/{source.slug}-{group}"
    page = Page(source.title, paragraphs, slug, source.group, keep=False, step="dedup", source=source.group)
    page.pii, page.numbers = list(source.pii), list(source.numbers)
    layouts = {host: layout for host, _, layout in HOSTS}
    page.host = rng.choice([host for host in layouts if layouts[host] is not layouts[source.host]])
    return page
