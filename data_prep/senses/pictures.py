"""Pictures drawn from a caption: `draw(rng, "three", "red", "circle")`."""

import numpy as np

from eval.senses.pictures import COLOURS, COUNTS, QUARTER, SHAPES, SHIFTS, SIZE, THING

NOISE = 6.0  # standard deviation of each pixel, of 255


def draw(rng: np.random.Generator, count: str, colour: str, shape: str) -> np.ndarray:
    """A picture, uint8 of shape (16, 16, 3): the quarters, the places in them, the light and the noise are drawn by
    lot."""
    picture = np.zeros((SIZE, SIZE, 3))
    light = rng.uniform(0.8, 1.0)
    side = SIZE // QUARTER
    for quarter in rng.permutation(side * side)[: COUNTS.index(count) + 1]:
        top, left = QUARTER * np.array(divmod(int(quarter), side)) + rng.integers(SHIFTS, size=2)
        picture[top : top + THING, left : left + THING][SHAPES[shape]] = light * np.array(COLOURS[colour])
    picture += rng.normal(0, NOISE, picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8)
