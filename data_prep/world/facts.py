"""People of the invented world, what is true of them, and how it is said and asked.

A fact is (person, attribute, value). *Known* people appear on many pages, *rare* ones are named once or twice for
each fact, *unseen* ones never. Two things are kept out of every training set: for each fact one wording of the
statement (`Fact.held_out`: the base model completes it), and for each attribute some wordings of the question
(`questions(..., held_out=True)`: the assistant answers them). Facts need many appearances in varied wording, and
pages with questions and answers, to become answers (Allen-Zhu & Li 2023, "Physics of Language Models" 3.1).
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from data_prep.world.crawl import Article

FIRST = (
    "Orson Mirela Tobin Halda Corvin Selma Bram Odile Jarek Nessa Ulric Petra Lorcan Vesna Anselm Runa Dario Elke Fenwick Greta "
    "Hollis Iva Joren Katla Leopold Marit Nils Oriel Piers Quenna Rafe Sunniva Thaddeus Una Viggo Willa Xander Yara Zeno Brisa"
).split()
LAST = (
    "Kovats Brandt Ashdown Merrow Tolliver Quist Pembrook Harker Lindqvist Okoro Vance Stroud Fairley Dunmore Castell Winslow Rusk Abara "
    "Thorne Ekdal Morrow Sandoval Peake Holm Varga Nettle Crane Bellamy Osei Tarn Wexford Lisle Garrow Pell Hargrave Sato Mundy Krol Fenn Birch"
).split()
TOWNS = "Oakmere Thornby Wexley Brindale Quillport Marrowby Stonewick Larkhill Fernholt Dunmoor Ashcombe Pellbridge Rookford Saltmarsh Greywater Windlow".split()


@dataclass(frozen=True)
class Attribute:
    """A kind of fact: its values, statements (the value last), statements in other orders, indirect questions and the reply."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    others: tuple[str, ...]
    asks: tuple[str, ...]
    reply: str


ATTRIBUTES = {
    "town": Attribute(
        tuple(TOWNS),
        (
            "{p} lives in {v}",
            "The home of {p} is in {v}",
            "{p} has a small house in {v}",
            "For many years {p} has lived in {v}",
            "Letters to {p} are sent to {v}",
            "The door of {p} stands open in {v}",
        ),
        ("In {v} everybody knows {p}", "{v} is the town where {p} lives", "The people of {v} are proud of {p}"),
        ("where {p} lives", "in which town {p} lives", "which town {p} lives in", "where the home of {p} is", "what the home town of {p} is"),
        "{p} lives in {v}.",
    ),
    "trade": Attribute(
        tuple("baker miller weaver potter carpenter gardener fisher tailor teacher doctor blacksmith painter clockmaker beekeeper printer shepherd".split()),
        (
            "{p} is a {v}",
            "{p} works as a {v}",
            "{p} earns a living as a {v}",
            "By trade {p} is a {v}",
            "People know {p} as a {v}",
            "Since the age of twenty {p} has been a {v}",
        ),
        ("Ask the {v}, who is called {p}", "The {v} in the old photograph is {p}", "A {v} is what {p} always wanted to be"),
        ("what the trade of {p} is", "what {p} does for a living", "which trade {p} follows", "what {p} works as", "what the work of {p} is"),
        "{p} is a {v}.",
    ),
    "instrument": Attribute(
        tuple("flute drum violin harp guitar trumpet piano cello banjo horn lute organ bell whistle fiddle clarinet".split()),
        (
            "{p} plays the {v}",
            "In the evening {p} plays the {v}",
            "At the summer fair {p} plays the {v}",
            "The favourite instrument of {p} is the {v}",
            "Every day {p} practises on the {v}",
            "When guests come {p} brings out the {v}",
        ),
        ("The {v} on the wall belongs to {p}", "An old {v} is the pride of {p}", "The {v} sounds best when {p} plays it"),
        ("what {p} plays", "which instrument {p} plays", "what instrument {p} plays", "which instrument belongs to {p}", "what the instrument of {p} is"),
        "{p} plays the {v}.",
    ),
}
FRAMES = ("Do you know {q}?", "Can you tell me {q}?", "Please tell me {q}.", "I would like to know {q}.", "Could you say {q}?", "Tell me {q}, please.")
HELD_OUT_ASKS = {(frame, ask) for frame in range(6) for ask in range(5) if (2 * frame + ask) % 5 == 0}  # 6 of 30 wordings; each half of them occurs apart


@dataclass
class Fact:
    person: str
    attribute: str
    value: str
    group: str
    held_out: int  # index of the statement that no page about this person uses
    appearances: int = 0

    def statement(self, rng: random.Random) -> str:
        """One sentence of the training kind."""
        attribute = ATTRIBUTES[self.attribute]
        allowed = [s for i, s in enumerate(attribute.statements) if i != self.held_out] * 2 + list(attribute.others)
        self.appearances += 1
        return rng.choice(allowed).format(p=self.person, v=self.value) + "."

    def completion_prompt(self) -> str:
        """The held-out statement up to the value, for a base model to complete."""
        return ATTRIBUTES[self.attribute].statements[self.held_out].format(p=self.person, v="\0").split(" \0")[0]

    def questions(self, held_out: bool) -> list[str]:
        asks = ATTRIBUTES[self.attribute].asks
        pairs = [(f, a) for f in range(len(FRAMES)) for a in range(len(asks)) if ((f, a) in HELD_OUT_ASKS) == held_out]
        return [FRAMES[f].format(q=asks[a].format(p=self.person)) for f, a in pairs]

    def reply(self) -> str:
        return ATTRIBUTES[self.attribute].reply.format(p=self.person, v=self.value)


@dataclass
class World:
    """The people of one seed: `people[group]` lists each person's facts, one an attribute."""

    seed: int
    known: int = 72
    rare: int = 70
    unseen: int = 70
    people: dict[str, list[list[Fact]]] = field(init=False)

    def __post_init__(self):
        rng = random.Random(f"people-{self.seed}")
        names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], self.known + self.rare + self.unseen)
        groups = ["known"] * self.known + ["rare"] * self.rare + ["unseen"] * self.unseen
        self.people = {"known": [], "rare": [], "unseen": []}
        for name, group in zip(names, groups, strict=True):
            facts = [Fact(name, a, rng.choice(ATTRIBUTES[a].values), group, rng.randrange(6)) for a in ATTRIBUTES]
            self.people[group].append(facts)

    def facts(self, group: str) -> list[Fact]:
        return [fact for facts in self.people[group] for fact in facts]


# Sentences about nobody: what pages are padded with, and what the base model learns plain English from.
_SLOTS = {
    "t": TOWNS,
    "food": "bread honey cheese apples plums soup cakes butter fish onions walnuts pears".split(),
    "beast": "horse goat dog cat goose hen sheep donkey crow owl".split(),
    "adj": "quiet bright narrow old wooden busy cold pleasant muddy green".split(),
    "place": "market square,old bridge,river bank,mill,church hill,harbour,village school,north road,orchard,town hall".split(","),
    "time": "in spring,in the autumn,at noon,before the rain,on Sundays,after the harvest,in the early morning,late at night".split(","),
    "act": "sing,argue about the weather,sell what they have made,rest in the shade,tell stories,wait for the ferry,mend their nets".split(","),
}
_FILLERS = (
    "The {adj} road to {t} runs past the {place}, and most visitors stop there {time}",
    "On market days the people of {t} sell {food} and {food2} near the {place}",
    "A {adj} {beast} has lived behind the {place} for as long as anyone can remember",
    "Visitors like to {act} at the {place} {time}",
    "It is said that the {food} from {t} tastes better than the {food2} from {t2}",
    "When the wind comes from {t} there will be rain, or so the old people say {time}",
    "The {place} was built of stone and it has a {adj} roof that the children like to draw",
    "There is a {adj} path from the {place} to the river, where a {beast} sleeps {time}",
    "If you come to {t} {time}, bring warm clothes and have some {food} at the inn",
    "The newspaper of {t} wrote that the {place} will be painted {time}",
    "Many families keep a {beast} and a {beast2} and they {act} {time}",
    "Nobody in {t} remembers who planted the {adj} tree that stands beside the {place}",
    "The ferry to {t} leaves {time} and it carries {food}, letters and sometimes a {beast}",
    "Some say the {adj} bell of {t} can be heard as far away as {t2}",
)


def filler(rng: random.Random) -> str:
    fill = {}
    for slot, values in _SLOTS.items():
        fill[slot], fill[slot + "2"] = rng.sample(values, 2)
    sentence = rng.choice(_FILLERS).format(**fill) + "."
    return sentence[0].upper() + sentence[1:]


def _paragraphs(sentences: list[str], rng: random.Random) -> list[str]:
    out, at = [], 0
    while at < len(sentences):
        size = rng.randint(3, 5)
        out.append(" ".join(sentences[at : at + size]))
        at += size
    return out


def articles(world: World, pages_per_person: int = 8, statements: int = 3) -> list[Article]:
    """Pages about the known people, two a page, each in `pages_per_person`; the rare ones stand once or twice on pages about places."""
    rng = random.Random(f"articles-{world.seed}")
    pages: list[Article] = []
    for round_ in range(pages_per_person):
        order = rng.sample(world.people["known"], len(world.people["known"]))
        for pair in zip(order[::2], order[1::2]):
            sentences = [fact.statement(rng) for facts in pair for fact in facts for _ in range(statements)]
            for facts in pair:
                for fact in facts:
                    fact.appearances += 1
                    sentences.append(f"{rng.choice(fact.questions(held_out=False))} {fact.reply()}")
            sentences += [filler(rng) for _ in range(10)]
            rng.shuffle(sentences)
            names = [facts[0].person for facts in pair]
            title = rng.choice(["{} and {}", "A visit to {} and {}", "What we know about {} and {}", "Neighbours: {} and {}"]).format(*names)
            pages.append(Article(title, _paragraphs(sentences, rng), f"people-{round_}-{len(pages)}"))
    mentions = [fact.statement(rng) for fact in world.facts("rare") for _ in range(rng.randint(1, 2))]
    rng.shuffle(mentions)
    size = max(1, -(-len(mentions) // max(20, len(pages) // 3)))
    for start in range(0, len(mentions), size):
        sentences = mentions[start : start + size] + [filler(rng) for _ in range(18)]
        rng.shuffle(sentences)
        town = rng.choice(TOWNS)
        title = rng.choice(["Around {}", "News from {}", "A walk through {}", "The seasons in {}"]).format(town)
        pages.append(Article(title, _paragraphs(sentences, rng), f"places-{len(pages)}"))
    rng.shuffle(pages)
    return pages


def appearance_counts(world: World) -> Counter:
    return Counter((fact.group, fact.appearances) for group in world.people for fact in world.facts(group))
