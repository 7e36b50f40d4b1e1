"""Pages that one of FineWeb's steps has to take, a function for each step."""

from data_prep.world.crawl.page import Page
from data_prep.world.crawl.prose import clause, prose
from data_prep.world.crawl.vocabulary import (
    ADJECTIVES,
    ADVERBS,
    FOREIGN,
    GAMES,
    LOREM,
    NOUNS,
    PRODUCTS,
    TOWNS,
    TRADES,
)

BANNED_HOST = (  # on the block list (Université Toulouse Capitole) that datatrove's URLFilter ships
    "www.allcasinoreviews.com"
)


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
    paragraphs = [_praise(rng, phrase) for _ in range(5)]
    return Page(f"Cheap {product}", paragraphs, f"cheap-{product}-{group}", group)


def _praise(rng, phrase: str) -> str:
    asks = (
        "Buy {}",
        "We have {}",
        "Look no further for {}",
        "This is where you find {}",
        "Order {}",
        "All your friends love {}",
    )
    return " ".join(rng.choice(asks).format(phrase) + "." for _ in range(rng.randint(6, 9)))


def _poor(rng, group):
    """Too short, or full of hash tags."""
    if rng.random() < 0.6:
        # fewer than 50 words, but more than 250 characters: below that Trafilatura takes what else is on the page
        words = " ".join(prose(rng, 3)).split()[:26]
        text = " ".join(f"{word} {rng.choice(ADVERBS)}" if i % 2 else word for i, word in enumerate(words)) + "."
        paragraphs = [text]
    else:
        paragraphs = [_with_hash_tags(rng, paragraph) for paragraph in prose(rng, 4)]
    return Page(f"{rng.choice(TOWNS)} {rng.choice(NOUNS)}", paragraphs, f"stub/{group}", group)


def _with_hash_tags(rng, paragraph: str) -> str:
    tags = rng.sample(NOUNS, len(paragraph.split()) // 6 + 6)
    return f"{paragraph} {' '.join('#' + tag for tag in tags)} and so on."


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
        paragraphs = [_run_on(rng) for _ in range(3)]
    return Page(f"Lamps, part {group}", paragraphs, f"howto/lamps-{group}", group)


def _run_on(rng) -> str:
    return ", and then ".join(clause(rng) for _ in range(9)) + "."


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
        lines = [clause(rng).capitalize() for _ in range(24)]
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
