"""Small SVG figures with real text, and how numbers are printed.

Five kinds are all that the report needs: `lines`, `columns` (with intervals), `dots`, `bars` and `cells` (a map). They
are drawn by hand: a plotting library is one more dependency, and its SVG follows neither the page's dark mode nor the
width of a phone. A figure is 360 units wide, so that its text is about as large as the page's; colours are classes
(`s0`, `s1`, ...) that the style sheet fills.
"""

import itertools
import math
import textwrap
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT, RIGHT, BOTTOM, TOP = 360, 220, 10, 36, 20
LETTER = 6.2  # about the width of a letter at the figures' font size


def compact(value: float) -> str:
    """1234567 -> '1.23M', 0.5 -> '0.5'."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def duration(seconds: float) -> str:
    """75.2 -> '1 min 15 s', 3.21 -> '3.2 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def score(value: float) -> str:
    """Three decimals, as everywhere in the report; a true minus sign."""
    return f"{value:.3f}".replace("-", "−")


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that cover [low, high]."""
    raw = (high - low) / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999)
    return [i * step for i in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


class Panel:
    """One set of axes. `x` and `y` map data to the drawing."""

    def __init__(self, y_values: list[float], x_range: tuple[float, float], whole: bool = False):
        low, high = min(y_values), max(y_values)
        if whole:
            low, high = min(0, low), max(1, high)
        if high - low < 1e-9 * max(1, abs(high)):
            low, high = low - 0.5, high + 0.5
        self.marks = ticks(low, high)
        self.low, self.high = self.marks[0], self.marks[-1]
        self.left = 10 + LETTER * max(len(compact(mark)) for mark in self.marks)
        self.x_low, self.x_high = x_range
        self.parts = []
        for mark in self.marks:
            y = self.y(mark)
            self.line(self.left, y, WIDTH - RIGHT, y, "grid")
            self.text(self.left - 5, y + 4, compact(mark), "end")

    def x(self, value: float) -> float:
        return self.left + (WIDTH - RIGHT - self.left) * (value - self.x_low) / ((self.x_high - self.x_low) or 1)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - self.low) / (self.high - self.low)

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def text(self, x: float, y: float, words: str, anchor: str = "middle", css: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>')


class Figure(Markup):
    """A drawing as HTML, and in `data` what is drawn."""

    data: dict


def _figure(
    title: str, parts: list[str], note: str, data: dict, legend: Sequence[str] = (), height: float = HEIGHT
) -> Figure:
    """Wrap drawing parts. `note` says n and where the data lie."""
    keys = Markup("").join(
        Markup('<span class="s{}"><i></i>{}</span>').format(i, name)
        for i, name in enumerate(legend if len(legend) > 1 else [])
    )
    drawing = Markup("".join(parts))
    html = Markup(
        "<figure><figcaption><b>{0}</b> {1}</figcaption>"
        '<svg viewBox="0 0 {2} {3:.0f}" role="img" aria-label="{0}">{4}</svg><small>{5}</small></figure>'
    ).format(title, keys, WIDTH, height, drawing, note)
    figure = Figure(html)
    figure.data = data | {"note": note}
    return figure


def lines(title: str, series: dict[str, list], x_label: str, note: str, whole: bool = False) -> Figure | None:
    """Curves. Noisy ones (over 40 points) are drawn thin, with their running mean over a tenth of the points on top.

    Args:
        series: name -> (x, y) points in order of x; empty series are left out.
        whole: the y axis is 0 to 1 (more where the data are).

    Returns:
        the figure, or None when there is no point to draw.
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    everything = [point for points in series.values() for point in points]
    xs = [x for x, _ in everything]
    panel = Panel([y for _, y in everything], (min(xs), max(xs)), whole)
    for mark in ticks(min(xs), max(xs)) if max(xs) > min(xs) else [xs[0]]:
        if min(xs) <= mark <= max(xs):
            panel.text(min(panel.x(mark), WIDTH - 14), HEIGHT - BOTTOM + 15, compact(mark))
    panel.text((panel.left + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, css="label")
    averaged, drawn = "", {}
    for i, (name, points) in enumerate(series.items()):
        drawn[name] = points[:: len(points) // 400 + 1]
        half = len(points) // 20
        curves = [(points, "line")]
        if half >= 2:
            reach = [min(half, k, len(points) - 1 - k) for k in range(len(points))]
            sums = [0.0, *itertools.accumulate(y for _, y in points)]
            means = [(points[k][0], (sums[k + r + 1] - sums[k - r]) / (2 * r + 1)) for k, r in enumerate(reach)]
            curves = [(points, "line faint"), (means, "line")]
            averaged = "; bold: running mean"
        for curve, css in curves:
            curve = curve[:: len(curve) // 400 + 1]
            path = " ".join(f"{panel.x(x):.1f},{panel.y(y):.1f}" for x, y in curve)
            panel.parts.append(f'<polyline points="{path}" class="{css} s{i}"/>')
        x, y = points[-1]
        panel.parts.append(
            f'<circle cx="{panel.x(x):.1f}" cy="{panel.y(y):.1f}" r="2.5" class="s{i}"><title>{compact(x)}:'
            f" {compact(y)}</title></circle>"
        )
    return _figure(title, panel.parts, note + averaged, {"x": x_label, "lines": drawn}, list(series))


def columns(
    title: str, groups: list[str], series: dict[str, list[tuple[float, float] | None]], note: str, whole: bool = True
) -> Figure | None:
    """Upright bars with intervals, a cluster for each group.

    Args:
        groups: their labels; what follows a line break stands below, smaller.
        series: name -> one (value, half-width of the interval) or None for each group.
        whole: the y axis is 0 to 1.
    """
    present = [bar for bars_ in series.values() for bar in bars_ if bar]
    if not present:
        return None
    ends = [v for v, _ in present] if whole else [v + sign * h for v, h in present for sign in (1, -1)]
    panel = Panel([0.0, *ends], (0, len(groups)), whole)
    width = min(34.0, (panel.x(1) - panel.x(0)) * 0.84 / len(series))
    for g, group in enumerate(groups):
        middle = panel.x(g + 0.5)
        for row, words in enumerate(group.split("\n")):
            panel.text(middle, HEIGHT - BOTTOM + 16 + 12 * row, words, css="label small" if row else "label")
        for i, (name, bars_) in enumerate(series.items()):
            if not bars_[g]:
                continue
            value, half = bars_[g]
            left, zero, top = middle + (i - len(series) / 2) * width, panel.y(0), panel.y(value)
            tip = f"{escape(group.replace(chr(10), ' '))}, {escape(name)}: {score(value)} ± {score(half)}"
            box = f'x="{left + 1:.1f}" y="{min(zero, top):.1f}" width="{width - 2:.1f}" height="{abs(zero - top):.1f}"'
            panel.parts.append(f'<rect {box} class="s{i}"><title>{tip}</title></rect>')
            high, low = (max(TOP - 6, min(HEIGHT - BOTTOM, panel.y(value + sign * half))) for sign in (1, -1))
            panel.line(left + width / 2, high, left + width / 2, low, "whisker")
            words = compact(value) if abs(value) >= 100 else f"{value:.2f}".replace("-", "−")
            panel.text(left + width / 2, high - 4 if value >= 0 else low + 10, words, css="small")
    drawn = {}
    for name, bars_ in series.items():
        drawn[name] = [bar and _with_half(*bar) for bar in bars_]
    data = {"groups": groups, "columns": drawn}
    return _figure(
        title, panel.parts, note, data, list(series), HEIGHT - 14 + 12 * any("\n" in group for group in groups)
    )


def dots(title: str, series: dict[str, list[tuple[str, float, float]]], x_label: str, note: str) -> Figure | None:
    """Points from 0 to 1 against a positive cost on a logarithmic axis, each with its name as a tip.

    Args:
        series: name -> (label, x, y) of its points; empty series are left out.
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    costs = [math.log10(x) for points in series.values() for _, x, _ in points]
    low, high = min(costs), max(costs)
    margin = 0.05 * (high - low) or 0.1
    panel = Panel([0.0, 1.0], (low - margin, high + margin), whole=True)
    for mark in sorted({10**power * part for power in range(-6, 7) for part in (1, 2, 5)}):
        if low - margin <= math.log10(mark) <= high + margin:
            panel.text(panel.x(math.log10(mark)), HEIGHT - BOTTOM + 15, compact(mark))
    panel.text((panel.left + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, css="label")
    for i, (name, points) in enumerate(series.items()):
        for label, x, y in points:
            tip = f"{escape(label)}, {escape(name)}: {score(y)} at {compact(x)}"
            at = f'cx="{panel.x(math.log10(x)):.1f}" cy="{panel.y(y):.1f}"'
            panel.parts.append(f'<circle {at} r="4.5" fill-opacity="0.75" class="s{i}"><title>{tip}</title></circle>')
    drawn = {}
    for name, points in series.items():
        drawn[name] = [{"label": label, "x": x, "y": y} for label, x, y in points]
    return _figure(title, panel.parts, note, {"x": x_label, "dots": drawn}, list(series))


def _with_half(value: float, half: float) -> dict:
    return {"value": value, "half_width": half}


def bars(title: str, rows: list[tuple], note: str) -> Figure | None:
    """Lying bars with their value written beside them: (label, value, value as text), where wanted a line of details
    below."""
    if not rows:
        return None
    left = 8 + LETTER * max(len(row[0]) for row in rows)
    room = max(40, WIDTH - left - 8 - LETTER * max(len(row[2]) for row in rows))
    top = max(row[1] for row in rows) or 1
    parts, y = [], 2
    for label, value, text, *details in rows:
        length = max(0.5, room * value / top)
        parts.append(f'<text x="{left - 5:.1f}" y="{y + 11}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{length:.1f}" height="14" class="s0"/>')
        parts.append(f'<text x="{left + length + 5:.1f}" y="{y + 11}">{escape(text)}</text>')
        y += 18
        for line in filter(None, details):
            line = textwrap.shorten(line, int((WIDTH - left) / 5.5), placeholder=" …")
            parts.append(f'<text x="{left:.1f}" y="{y + 7}" class="label small">{escape(line)}</text>')
            y += 13
    return _figure(title, parts, note, {"bars": {label: value for label, value, *_ in rows}}, height=y + 2)


def cells(
    title: str, rows: list[str], columns_: list[str], values: list[list[tuple[float, float]]], note: str
) -> Figure | None:
    """A map of shares, darker where they are greater: (value, half-width of the interval) of each row and column."""
    if not values:
        return None
    left, high = 12 + LETTER * max(map(len, rows)), 30
    width = (WIDTH - left - RIGHT) / len(columns_)
    parts = [
        f'<text x="{left + (at + 0.5) * width:.1f}" y="12" text-anchor="middle" class="label">{escape(name)}</text>'
        for at, name in enumerate(columns_)
    ]
    for place, (name, row) in enumerate(zip(rows, values)):
        y = TOP + place * high
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 19}" text-anchor="end" class="label">{escape(name)}</text>')
        for at, (value, half) in enumerate(row):
            tip = f"{escape(name)}, {escape(columns_[at])}: {score(value)} ± {score(half)}"
            parts.append(
                f'<rect x="{left + at * width + 1:.1f}" y="{y + 1}" width="{width - 2:.1f}" height="{high - 2}"'
                f' class="cell" fill-opacity="{0.05 + 0.5 * value:.2f}"><title>{tip}</title></rect>'
            )
            parts.append(
                f'<text x="{left + (at + 0.5) * width:.1f}" y="{y + 19}" text-anchor="middle">{value:.2f}</text>'
            )
    shares = []
    for row in values:
        shares.append([_with_half(value, half) for value, half in row])
    data = {"rows": rows, "groups": columns_, "cells": shares}
    return _figure(title, parts, note, data, height=TOP + high * len(rows) + 2)
