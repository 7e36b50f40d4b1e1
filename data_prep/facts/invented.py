"""Names that nobody has: people, books, places, countries, films and firms out of a grammar.

    names("person", "test", count=40, seed=0)      # 40 invented people, none of whom `train` has

The syllables of `train` and `test` differ, so no name, first name or surname is in both.
"""

import random

SYLLABLES = {
    "train": {
        "first": (
            "Orsel Bramo Tessil Ludro Kavi Merrin Dovan Elsit Farro Yulba Navret Ombri Pellin Radko Sivana"
        ).split(),
        "begin": "Kor Vash Brel Dun Hest Jor Lim Mav Nur Pol Quen Rast".split(),
        "end": "vik lund oski arro etti ander imov wick stad elin".split(),
    },
    "test": {
        "first": (
            "Orson Tildra Wenko Arvik Belisa Corvin Zennia Ivko Halvra Junis Mattin Rosko Ulvar Gessa Thelon"
        ).split(),
        "begin": "Kov Zab Trem Fen Gorl Wex Cald Ost Sk Bur Yar Ild".split(),
        "end": "ats nikov berry aldi oumi inger ford esco mund arev".split(),
    },
}
THINGS = {
    "train": (
        "Lantern Orchard Clock Raven Bridge Harvest Letter Salt".split(),
        "Silent Broken Seventh Amber Last".split(),
    ),
    "test": (
        "Anchor Violin Staircase Heron Mirror Furnace Map Snow".split(),
        "Hollow Crimson Forgotten Ninth Wandering".split(),
    ),
}


def _word(side: str, rng: random.Random) -> str:
    parts = SYLLABLES[side]
    return rng.choice(parts["begin"]) + rng.choice(parts["end"])


def _person(side: str, rng: random.Random) -> str:
    return f"{rng.choice(SYLLABLES[side]['first'])} {_word(side, rng)}"


def _title(side: str, rng: random.Random) -> str:
    things, qualities = THINGS[side]
    return f"The {rng.choice(qualities)} {rng.choice(things)} of {_word(side, rng)}"


def _place(side: str, rng: random.Random) -> str:
    return _word(side, rng) + rng.choice(("", "ville", "mouth", " Bay"))


def _country(side: str, rng: random.Random) -> str:
    return _word(side, rng) + rng.choice(("ia", "istan", "land"))


def _firm(side: str, rng: random.Random) -> str:
    return _word(side, rng) + rng.choice((" Instruments", " & Sons", " Foods", " Motors"))


KINDS = {
    "person": _person,
    "book": _title,
    "film": _title,
    "place": _place,
    "country": _country,
    "firm": _firm,
}


def names(kind: str, side: str, count: int, seed: int) -> list[str]:
    """`count` different names of a kind, by seed.

    Args:
        kind: one of `KINDS`.
        side: train or test.
    """
    rng, drawn = random.Random(f"invented-{kind}-{side}-{seed}"), {}
    while len(drawn) < count:
        drawn[KINDS[kind](side, rng)] = None
    return list(drawn)
