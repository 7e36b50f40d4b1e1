"""People of the invented world, what is true of them, and how it is said and asked.

A fact is (person, attribute, value). *Known* people appear on many pages, *rare* ones are named once or twice for
each fact, *unseen* and *absent* ones never; the unseen stand in the library (`library`: what a search finds beside the
crawl), the absent nowhere. `listed` (in the library) and `unlisted` people are theirs in training: what refusals and
searches are practised on. Some wordings of the question (`questions(held_out=True)`) are kept out of every training
set: they are what the benchmarks ask. Facts need many appearances in varied wording, and pages with questions and
answers, to become answers (Allen-Zhu & Li 2023, "Physics of Language Models" 3.1).
"""

import random
from dataclasses import dataclass, field

from data_prep.world import wordings
from data_prep.world.crawl.page import Article

FIRST = (
    "Orson Mirela Tobin Halda Corvin Selma Bram Odile Jarek Nessa Ulric Petra Lorcan Vesna Anselm Runa Dario Elke"
    " Fenwick Greta Hollis Iva Joren Katla Leopold Marit Nils Oriel Piers Quenna Rafe Sunniva Thaddeus Una Viggo Willa"
    " Xander Yara Zeno Brisa Alaric Birgit Casimir Dorthe Emeric Freya Gideon Hedda"
    " Ivo Jolan Kester Lumi Magnus Tamsin"
).split()
LAST = (
    "Kovats Brandt Ashdown Merrow Tolliver Quist Pembrook Harker Lindqvist Okoro Vance Stroud Fairley Dunmore Castell"
    " Winslow Rusk Abara Thorne Ekdal Morrow Sandoval Peake Holm Varga Nettle Crane Bellamy Osei Tarn Wexford Lisle"
    " Garrow Pell Hargrave Sato Mundy Krol Fenn Birch Aldous Boyle Carrick Drummond Eklund"
    " Farrow Grieve Hollin Ibarra Jessop Lomax Norwood Yarrow Zeller"
).split()
TOWNS = (
    "Oakmere Thornby Wexley Brindale Quillport Marrowby Stonewick Larkhill Fernholt Dunmoor Ashcombe Pellbridge"
    " Rookford Saltmarsh Greywater Windlow".split()
)


@dataclass(frozen=True)
class Attribute:
    """A kind of fact: its values, statements about it, indirect questions and the reply."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    asks: tuple[str, ...]
    reply: str


ATTRIBUTES = {
    "town": Attribute(
        tuple(TOWNS),
        (
            "The home of {p} is in {v}",
            "{p} has a small house in {v}",
            "For many years {p} has lived in {v}",
            "Letters to {p} are sent to {v}",
            "The door of {p} stands open in {v}",
            "In {v} everybody knows {p}",
            "{v} is the town where {p} lives",
            "The people of {v} are proud of {p}",
        ),
        (
            "where {p} lives",
            "in which town {p} lives",
            "which town {p} lives in",
            "where the home of {p} is",
            "what the home town of {p} is",
        ),
        "{p} lives in {v}.",
    ),
    "trade": Attribute(
        tuple(
            "baker miller weaver potter carpenter gardener fisher tailor teacher doctor blacksmith painter clockmaker"
            " beekeeper printer shepherd".split()
        ),
        (
            "{p} works as a {v}",
            "{p} earns a living as a {v}",
            "By trade {p} is a {v}",
            "People know {p} as a {v}",
            "Since the age of twenty {p} has been a {v}",
            "Ask the {v}, who is called {p}",
            "The {v} in the old photograph is {p}",
            "A {v} is what {p} always wanted to be",
        ),
        (
            "what the trade of {p} is",
            "what {p} does for a living",
            "which trade {p} follows",
            "what {p} works as",
            "what the work of {p} is",
        ),
        "{p} is a {v}.",
    ),
    "instrument": Attribute(
        tuple(
            "flute drum violin harp guitar trumpet piano cello banjo horn lute organ"
            " bell whistle fiddle clarinet".split()
        ),
        (
            "In the evening {p} plays the {v}",
            "At the summer fair {p} plays the {v}",
            "The favourite instrument of {p} is the {v}",
            "Every day {p} practises on the {v}",
            "When guests come {p} brings out the {v}",
            "The {v} on the wall belongs to {p}",
            "An old {v} is the pride of {p}",
            "The {v} sounds best when {p} plays it",
        ),
        (
            "what {p} plays",
            "which instrument {p} plays",
            "what instrument {p} plays",
            "which instrument belongs to {p}",
            "what the instrument of {p} is",
        ),
        "{p} plays the {v}.",
    ),
}
FRAMES = (
    "Do you know {q}?",
    "Can you tell me {q}?",
    "Please tell me {q}.",
    "I would like to know {q}.",
    "Could you say {q}?",
    "Tell me {q}, please.",
)
HELD_OUT_ASKS = {
    (frame, ask) for frame in range(6) for ask in range(5) if (2 * frame + ask) % 5 == 0
}  # 6 of 30 wordings; each half of them occurs apart


GROUPS = ("known", "rare", "unseen", "absent", "listed", "unlisted")


@dataclass
class Fact:
    person: str
    attribute: str
    value: str
    group: str
    appearances: int = 0

    def write(self, rng: random.Random, count: int) -> list[str]:
        """`count` sentences for one page, each in another wording; the reply's own wording is left to `ask`."""
        self.appearances += count
        return [
            s.format(p=self.person, v=self.value) + "."
            for s in rng.sample(ATTRIBUTES[self.attribute].statements, count)
        ]

    def ask(self, rng: random.Random) -> str:
        """A question for training and its answer."""
        self.appearances += 1
        return f"{self.question(rng, p_frame=0.5)} {self.reply()}"

    def question(self, rng: random.Random, p_frame: float = 0.25) -> str:
        """A question for training: in the words of people (`wordings`), or with `p_frame` one of `questions`; never
        one that the benchmarks ask."""
        if rng.random() < p_frame:
            return rng.choice(self.questions(held_out=False))
        held_out = {wordings.plain(text) for text in self.questions(held_out=True)}
        return wordings.unlike(lambda: wordings.fact(rng, self.attribute, self.person), held_out)

    def questions(self, held_out: bool) -> list[str]:
        asks = ATTRIBUTES[self.attribute].asks
        pairs = [(f, a) for f in range(len(FRAMES)) for a in range(len(asks)) if ((f, a) in HELD_OUT_ASKS) == held_out]
        return [FRAMES[f].format(q=asks[a].format(p=self.person)) for f, a in pairs]

    def reply(self) -> str:
        return ATTRIBUTES[self.attribute].reply.format(p=self.person, v=self.value)

    def reply_opening(self) -> str:
        """The reply up to the value: what a base model is given to complete."""
        return self.reply().partition(f" {self.value}")[0]


@dataclass
class World:
    """The people of one seed: `people[group]` lists each person's facts, one an attribute."""

    seed: int
    known: int = 72
    rare: int = 70
    unseen: int = 70
    absent: int = 70
    listed: int = 1700
    unlisted: int = 800
    people: dict[str, list[list[Fact]]] = field(init=False)

    def __post_init__(self):
        rng = random.Random(f"people-{self.seed}")
        # Every first and every last name stands among the known: an unseen person is a new pair of names, not a word
        # never met.
        names = [
            f"{first} {last}"
            for first, last in zip(rng.sample(FIRST, len(FIRST)), rng.sample(LAST, len(LAST)), strict=True)
        ]
        others = [f"{first} {last}" for first in FIRST for last in LAST if f"{first} {last}" not in names]
        groups = [group for group in GROUPS for _ in range(getattr(self, group))]
        names = (names + rng.sample(others, len(others)))[: len(groups)]
        self.people = {group: [] for group in GROUPS}
        for name, group in zip(names, groups, strict=True):
            facts = [Fact(name, a, rng.choice(ATTRIBUTES[a].values), group) for a in ATTRIBUTES]
            self.people[group].append(facts)

    def facts(self, group: str) -> list[Fact]:
        return [fact for facts in self.people[group] for fact in facts]

    def strangers(self) -> list[str]:
        """Names of whom neither pages nor benchmarks speak."""
        spoken_of = {
            facts[0].person for group in ("known", "rare", "unseen", "absent") for facts in self.people[group]
        }
        names = [f"{first} {last}" for first in FIRST for last in LAST]
        return [name for name in names if name not in spoken_of]


# Sentences about nobody: what pages are padded with, and what the base model learns plain English from.
_SLOTS = {
    "t": TOWNS,
    "food": "bread honey cheese apples plums soup cakes butter fish onions walnuts pears".split(),
    "beast": "horse goat dog cat goose hen sheep donkey crow owl".split(),
    "adj": "quiet bright narrow old wooden busy cold pleasant muddy green".split(),
    "place": (
        "market square,old bridge,river bank,mill,church hill,harbour,village school,north road,orchard,"
        "town hall".split(",")
    ),
    "time": (
        "in spring,in the autumn,at noon,before the rain,on Sundays,after the harvest,in the early morning,late at"
        " night".split(",")
    ),
    "act": (
        "sing,argue about the weather,sell what they have made,rest in the shade,tell stories,wait for the ferry,mend"
        " their nets".split(",")
    ),
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
    "Children are told not to climb the wall behind the {place} {time}",
    "A letter from {t2} to {t} takes two days, and three when the river is high",
    "In the kitchen of the inn they prepare {food} with {food2}, which is better than it sounds",
    "Whoever loses a {beast} should ask first at the {place}",
    "The mayor wants a new roof for the {place}, but nobody wants to pay for it",
    "Last year a {adj} {beast} won the prize at the fair of {t}",
    "From the hill you see the {place}, the fields and, on clear days, {t2}",
    "It has been years since anybody saw so many visitors in {t} {time}",
    "They trade {food} for {food2} and nobody counts very carefully",
    "The school teaches singing {time}, and the {adj} windows shake",
)


def fillers(rng: random.Random, count: int) -> list[str]:
    """`count` sentences, each in another wording: pages that repeat themselves do not pass the quality filters."""
    out = []
    for template in rng.sample(_FILLERS, count):
        fill = {}
        for slot, values in _SLOTS.items():
            fill[slot], fill[slot + "2"] = rng.sample(values, 2)
        sentence = template.format(**fill) + "."
        out.append(sentence[0].upper() + sentence[1:])
    return out


def _paragraphs(sentences: list[str], rng: random.Random) -> list[str]:
    out, at = [], 0
    while at < len(sentences):
        size = rng.randint(3, 5)
        out.append(" ".join(sentences[at : at + size]))
        at += size
    return out


def articles(world: World, pages_per_person: int = 8, statements: int = 3) -> list[Article]:
    """Pages about the known people, two a page, each in `pages_per_person`; the rare ones stand once or twice on pages
    about places."""
    rng = random.Random(f"articles-{world.seed}")
    pages: list[Article] = []
    for round_ in range(pages_per_person):
        order = rng.sample(world.people["known"], len(world.people["known"]))
        for pair in zip(order[::2], order[1::2]):
            facts = [fact for person in pair for fact in person]
            sentences = [sentence for fact in facts for sentence in fact.write(rng, statements)]
            sentences += [fact.ask(rng) for fact in facts] + fillers(rng, 5)
            rng.shuffle(sentences)
            names = [person[0].person for person in pair]
            title = rng.choice(
                ["{} and {}", "A visit to {} and {}", "What we know about {} and {}", "Neighbours: {} and {}"]
            ).format(*names)
            pages.append(Article(title, _paragraphs(sentences, rng), f"people-{round_}-{len(pages)}"))
    mentions = [sentence for fact in world.facts("rare") for sentence in fact.write(rng, rng.randint(1, 2))]
    rng.shuffle(mentions)
    size = max(1, -(-len(mentions) // max(12, len(pages) // 8)))
    for start in range(0, len(mentions), size):
        sentences = mentions[start : start + size] + fillers(rng, 15)
        rng.shuffle(sentences)
        town = rng.choice(TOWNS)
        title = rng.choice(["Around {}", "News from {}", "A walk through {}", "The seasons in {}"]).format(town)
        pages.append(Article(title, _paragraphs(sentences, rng), f"places-{len(pages)}"))
    rng.shuffle(pages)
    return pages


def library(world: World) -> list[dict]:
    """A page on everybody but the absent and the unlisted: a reference work that only the search tool reads."""
    rng = random.Random(f"library-{world.seed}")
    pages = []
    for person in (person for group in ("known", "rare", "unseen", "listed") for person in world.people[group]):
        name = person[0].person
        sentences = [f.reply() for f in person] + fillers(rng, 1)
        rng.shuffle(sentences)
        pages.append({"id": f"library-{name}", "text": " ".join(sentences), "metadata": {"title": name}})
    rng.shuffle(pages)
    return pages


def statement_questions(world: World, count: int = 250, statements: int = 16) -> list[dict]:
    """Questions about names of nobody in particular, whose facts are made up here, and in `context` what a text might
    say of them: what `eval.probes.in_context` asks.

    Nothing but the context can answer. It states the fact in as many wordings as there are, then again."""
    rng, rows = random.Random(f"told-{world.seed}"), []
    for name in rng.choices(world.strangers(), k=count):
        attribute = rng.choice(list(ATTRIBUTES))
        fact = Fact(name, attribute, rng.choice(ATTRIBUTES[attribute].values), "")
        sentences = [s.format(p=name, v=fact.value) + "." for s in ATTRIBUTES[attribute].statements]
        rng.shuffle(sentences)
        context = [sentences[i % len(sentences)] for i in range(statements)]
        context[0] = f"Read: {context[0]}"  # as the exercise books have it
        rows.append(
            {
                "question": rng.choice(fact.questions(held_out=True)),
                "answer": fact.value,
                "choices": list(ATTRIBUTES[attribute].values),
                "context": context,
            }
        )
    return rows
