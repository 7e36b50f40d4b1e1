"""Short sounds: their slices (a spectrogram), and the waveform that sounds like some slices.

    waveform_of(slices(waveform))

A waveform is float32 of shape (samples,), 4,000 a second, from -1 to 1. A slice is the loudness of 257 frequencies
within 128 ms; slices begin 64 ms after each other.
"""

import numpy as np

RATE, WINDOW, HOP = 4000, 512, 256  # samples a second; samples of a slice, and from one to the next
FLOOR = 20.0  # loudness is log(1 + FLOOR * magnitude)
ROUNDS = 32  # of Griffin and Lim's algorithm
SLICES = 34  # of a melody of `data_prep.senses`
BANDS, SHADES = 64, 8  # of a spectrogram that is shown


def slices(waveform: np.ndarray) -> np.ndarray:
    """The (n, 257) slices of a waveform that lie wholly in it, as logarithms."""
    from scipy.signal.windows import hann

    window = hann(WINDOW, sym=False)
    cut = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    magnitude = np.abs(np.fft.rfft(cut * window)) / window.sum()
    return np.log1p(FLOOR * magnitude).astype(np.float32)


def waveform_of(pieces: np.ndarray) -> np.ndarray:
    """A waveform whose slices are near the given ones: their phases, which slices do not hold, are found by turns
    (Griffin and Lim 1984, "Signal Estimation from Modified Short-Time Fourier Transform")."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    transform = ShortTimeFFT(hann(WINDOW, sym=False), HOP, RATE, scale_to="magnitude")
    magnitude = np.expm1(pieces.astype(float)).clip(0).T / FLOOR
    magnitude = np.pad(magnitude, ((0, 0), (1, 1)), mode="edge")  # the slices at the edges, which hang over
    samples = (magnitude.shape[1] - 1) * HOP
    phases = np.exp(2j * np.pi * np.random.default_rng(0).random(magnitude.shape))
    for _ in range(ROUNDS):
        waveform = transform.istft(magnitude * phases, k1=samples)
        phases = np.exp(1j * np.angle(transform.stft(waveform)))[:, : magnitude.shape[1]]
    return waveform.clip(-1, 1).astype(np.float32)


def spectrogram(pieces: np.ndarray) -> list[list[int]]:
    """Slices (n, 257) to be looked at: 64 rows of n shades, 0 silent to 7 the loudest; the highest frequency first."""
    bands = pieces[:, :-1].reshape(len(pieces), BANDS, -1).max(axis=2)
    shades = (SHADES - 1) * bands / max(float(bands.max()), 1e-6)
    return shades.round().astype(int).T[::-1].tolist()
