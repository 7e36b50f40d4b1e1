"""Small pictures of the invented world: what they may show, their patches, and the rules that read them back.

    read(picture)    # "three red circles", or None where it shows no such thing

A picture is uint8 of shape (16, 16, 3): up to four things of one shape and one colour on black, each in a quarter of
its own.
"""

import itertools

import numpy as np
from markupsafe import Markup

SIZE, PATCH, QUARTER, THING, SHIFTS = 16, 4, 8, 6, 2  # pixels; a thing has SHIFTS x SHIFTS places in its quarter
PATCHES = (SIZE // PATCH) ** 2
COUNTS = ("one", "two", "three", "four")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 215, 50),
    "purple": (170, 60, 200),
    "white": (240, 240, 240),
}
DRAWN = {
    "circle": "..##.. .####. ###### ###### .####. ..##..",
    "square": "###### ###### ###### ###### ###### ######",
    "triangle": "..##.. ..##.. .####. .####. ###### ######",
    "cross": "##..## .####. ..##.. ..##.. .####. ##..##",
    "ring": ".####. ##..## #....# #....# ##..## .####.",
}
SHAPES = {name: np.array([[dot == "#" for dot in line] for line in rows.split()]) for name, rows in DRAWN.items()}
ALIKE = 0.75  # the pixels that both hold among those that either holds; of two shapes 0.72 at most


def caption(count: str, colour: str, shape: str) -> str:
    """one, red, cross -> 'one red cross'; two, red, cross -> 'two red crosses'."""
    ending = "" if count == "one" else "es" if shape.endswith("s") else "s"
    return f"{count} {colour} {shape}{ending}"


def patches(picture: np.ndarray) -> np.ndarray:
    """The (16, 48) patches of a picture, row by row; 0 to 1."""
    side = SIZE // PATCH
    cut = picture.reshape(side, PATCH, side, PATCH, 3).swapaxes(1, 2)
    return cut.reshape(side * side, -1).astype(np.float32) / 255


def picture_of(pieces: np.ndarray) -> np.ndarray:
    """The picture of 16 patches; what `patches` is undone by."""
    side = SIZE // PATCH
    cut = pieces.reshape(side, side, PATCH, PATCH, 3).swapaxes(1, 2)
    return (cut.reshape(SIZE, SIZE, 3).clip(0, 1) * 255).round().astype(np.uint8)


def read(picture: np.ndarray) -> str | None:
    """The caption of a picture by the rules that it is drawn by; None where the things are not of one known shape and
    one colour."""
    things = set()
    count = 0
    for top in range(0, SIZE, QUARTER):
        for left in range(0, SIZE, QUARTER):
            quarter = picture[top : top + QUARTER, left : left + QUARTER].astype(float)
            lit = quarter.max(axis=2) > 100
            if lit.sum() > 2:
                count += 1
                things.add((_colour(quarter[lit].mean(axis=0)), _shape(lit)))
    if len(things) != 1:
        return None
    (colour, shape) = things.pop()
    return caption(COUNTS[count - 1], colour, shape) if shape else None


def _colour(mean: np.ndarray) -> str:
    """The nearest colour in hue: things may be darker or lighter."""

    def distance(name: str) -> float:
        known = np.array(COLOURS[name])
        return float(np.linalg.norm(known / known.max() - mean / mean.max()))

    return min(COLOURS, key=distance)


def _shape(lit: np.ndarray) -> str | None:
    """The shape that covers the lit pixels of a quarter best, at any of its places; None where none fits."""
    fits = {}
    for name, mask in SHAPES.items():
        for down, right in np.ndindex(SHIFTS, SHIFTS):
            placed = np.zeros_like(lit)
            placed[down : down + THING, right : right + THING] = mask
            share = (placed & lit).sum() / (placed | lit).sum()
            fits[name] = max(share, fits.get(name, 0.0))
    best = max(fits, key=lambda name: fits[name])
    return best if fits[best] >= ALIKE else None


def pixels(rows: list, label: str) -> Markup:
    """A picture as SVG, in 16 steps of each colour: neighbours of one colour in a row are one piece.

    Args:
        rows: red, green and blue (0 to 255) of each pixel.
        label: what it is, for those who do not see it.
    """
    parts = []
    for y, row in enumerate(rows):
        x = 0
        for colour, run in itertools.groupby(f"#{r >> 4:x}{g >> 4:x}{b >> 4:x}" for r, g, b in row):
            width = len(list(run))
            parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="1" fill="{colour}"/>')
            x += width
    box = f'viewBox="0 0 {len(rows[0])} {len(rows)}"'
    return Markup(f'<svg {box} role="img" aria-label="{label}">{"".join(parts)}</svg>')
