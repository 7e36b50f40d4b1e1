"""Pictures and sounds as tokens in the report: what the model sees, draws and hears of combinations never shown.

Drawn from `experiments/senses.json` (`eval.senses`); a run without that file has no such chapter.
"""

import base64
import io

import numpy as np
from markupsafe import Markup

from eval.report.chapters import Story
from eval.senses.pictures import pixels
from eval.senses.sounds import SHADES

FILE = "experiments/senses.json"
MEASURES = {
    "captions": "pictures\ncaptioned",
    "melodies": "melodies\nnamed",
    "rules": "drawings,\nby rules",
    "captioner": "drawings,\nby itself",
    "codes": "pictures as\ncodes, by rules",
}
PARTS = {"played": "as it was played", "codes": "as its codes sound", "hummed": "as the model hums it"}


class Senses:
    """What the template asks for; `found`: what `eval.senses` wrote, {} without it."""

    def __init__(self, story: Story):
        self.story, self.found = story, story.run(FILE)
        self.there = bool(self.found)

    def numbers(self) -> dict:
        """For the summary: the measures."""
        return {key: self.found[key] for key in MEASURES}

    def bars(self, title: str) -> Markup:
        """The measures as columns."""
        row = {label: self.found[key] for key, label in MEASURES.items()}
        return self.story.compare(title, {"held out": row}, "held-out combinations", FILE)

    def verdict(self, example: dict) -> Markup:
        """Whether it was right, as a word."""
        css, word = ("good", "right") if example["right"] else ("bad", "not right")
        return Markup('<span class="{}">{}</span>').format(css, word)

    def pictures(self) -> list[dict]:
        """Pictures before and after they were codes, with the codes and what was said."""
        shown = []
        for example in self.found["pictures"]:
            images = [pixels(example["original"], "picture"), pixels(example["decoded"], "picture")]
            shown.append({**example, "images": images, "right": example["said"] == example["caption"]})
        return shown

    def drawings(self) -> list[dict]:
        """What was drawn for a caption (None where it was no picture), and what is read in it."""
        shown = []
        for example in self.found["drawings"]:
            image = example["decoded"] and pixels(example["decoded"], "picture")
            shown.append({**example, "image": image, "right": example["read"] == example["caption"]})
        return shown

    def sounds(self) -> list[dict]:
        """Melodies to listen to, with their spectrograms: played, as codes, and as the model hums them."""
        shown = []
        for example in self.found["sounds"]:
            heard = []
            for key, part in example["parts"].items():
                grey = np.array(part["seen"])[..., None].repeat(3, axis=2) * (255 // (SHADES - 1))
                image = pixels(grey.tolist(), "spectrogram")
                heard.append({"label": PARTS[key], "audio": wave(part["wave"], self.found["rate"]), "image": image})
            shown.append({**example, "heard": heard, "right": example["said"] == example["melody"]})
        return shown


def wave(samples: list[float], rate: int) -> str:
    """A waveform (-1 to 1) as the address of a WAV file in itself."""
    from scipy.io import wavfile

    file = io.BytesIO()
    wavfile.write(file, rate, (np.array(samples) * 32767).astype(np.int16))
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
