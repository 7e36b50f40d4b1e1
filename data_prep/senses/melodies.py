"""Melodies played and hummed by numpy: `play(rng, "the ferry song", 2, "lute")`."""

import numpy as np

from eval.senses.sounds import RATE

MELODIES = {  # semitones above the key's first note
    "the ferry song": (0, 4, 7, 4, 0, 4, 7, 12),
    "the mill song": (0, 2, 4, 5, 7, 5, 4, 2),
    "the river song": (7, 5, 4, 2, 0, 2, 4, 7),
    "the bell song": (12, 7, 4, 0, 12, 7, 4, 0),
    "the market song": (0, 0, 7, 7, 9, 9, 7, 5),
    "the garden song": (4, 2, 0, 2, 4, 4, 4, 0),
    "the winter song": (9, 7, 5, 4, 2, 0, 2, 4),
    "the harbour song": (0, 2, 4, 0, 0, 2, 4, 0),
}
KEYS = (0, 2, 4, 5, 7, 9)  # semitones above LOWEST
INSTRUMENTS = {  # (multiple of the note's frequency, loudness) of each partial; how fast a note dies away, a second
    "flute": (((1, 1.0), (2, 0.2)), 0.0),
    "fiddle": (((1, 0.6), (2, 0.5), (3, 0.4), (4, 0.3)), 0.0),
    "lute": (((1, 1.0), (2, 0.5), (3, 0.3)), 6.0),
    "bell": (((1, 0.8), (2.4, 0.6)), 12.0),
}
HUM, HUM_LOUDNESS = "hum", 0.4
VOICES = {**INSTRUMENTS, HUM: (((1, 1.0),), 0.0)}
LOWEST = 262.0  # Hz
NOTE_SECONDS = (0.20, 0.24, 0.28)  # slow or fast
SAMPLES = 9200  # of every sound: the longest melody and the latest beginning
NOISE, ATTACK = 0.003, 0.01


def play(rng: np.random.Generator, melody: str, key: int, instrument: str) -> tuple[np.ndarray, np.ndarray]:
    """A melody, and the same hummed at the same pace: float32 of shape (9200,) each, see `eval.senses.sounds`. The
    pace, when it begins, how loud it is and the noise are drawn by lot; a hum is always as loud and without noise.

    Args:
        key: semitones above `LOWEST`.
    """
    seconds, start, loudness = rng.choice(NOTE_SECONDS), rng.uniform(0, 0.05), rng.uniform(0.3, 0.5)
    played, hummed = np.zeros(SAMPLES), np.zeros(SAMPLES)
    for number, step in enumerate(MELODIES[melody]):
        first = int((start + number * seconds) * RATE)
        frequency = LOWEST * 2 ** ((key + step) / 12)
        sound, hum = note(frequency, instrument, seconds), note(frequency, HUM, seconds)
        played[first : first + len(sound)] += loudness * sound
        hummed[first : first + len(hum)] += HUM_LOUDNESS * hum
    played += rng.normal(0, NOISE, SAMPLES)
    return played.clip(-1, 1).astype(np.float32), hummed.astype(np.float32)


def note(frequency: float, voice: str, seconds: float) -> np.ndarray:
    """One note; partials above half the sampling rate cannot be heard."""
    partials, fading = VOICES[voice]
    time = np.arange(int(seconds * RATE)) / RATE
    envelope = np.exp(-fading * time) * np.minimum(1, time / ATTACK) * np.minimum(1, (seconds - time) / ATTACK)
    sound = np.zeros_like(time)
    for multiple, loudness in partials:
        if multiple * frequency < RATE / 2:
            sound += loudness * np.sin(2 * np.pi * multiple * frequency * time)
    return envelope * sound
