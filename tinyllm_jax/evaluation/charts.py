"""Inline SVG: an accuracy's interval on a 0–100 % scale, and curves over training steps.

Colours are the classes `s0` … `s5` and `currentColor`, which the page's style sheet sets for light
and dark; each series has its own dash pattern too, so that no reading depends on colour.
"""

import html
import math
from collections.abc import Mapping, Sequence

from tinyllm_jax.evaluation.stats import Accuracy

Points = Sequence[tuple[float, float]]

SERIES = 6  # classes in the style sheet; a seventh series begins again at the first
WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 38
MOST_POINTS = 200


def interval_bar(accuracy: Accuracy, series: int, marks: Mapping[str, float]) -> str:
    """A dot at the rate with its 95 % interval as a band; `marks` (name → fraction) are drawn as upright ticks."""
    width, height = 200, 20
    ticks = "".join(
        f'<line class="mark" x1="{width * at:.1f}" x2="{width * at:.1f}" y1="1" y2="{height - 1}">'
        f"<title>{html.escape(name)} {100 * at:.1f} %</title></line>"
        for name, at in marks.items()
    )
    low, high = width * accuracy.low, width * accuracy.high
    label = f"{100 * accuracy.rate:.1f} %, 95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}"
    return (
        f'<svg class="bar" viewBox="-6 0 {width + 12} {height}" role="img" aria-label="{label}">'
        f'<rect class="track" x="0" y="8" width="{width}" height="4" rx="2"/>'
        f'<rect class="band s{series % SERIES}" x="{low:.1f}" y="6" width="{max(high - low, 1):.1f}" height="8" rx="4"/>'
        f'{ticks}<circle class="dot s{series % SERIES}" cx="{width * accuracy.rate:.1f}" cy="10" r="5"/></svg>'
    )


def curves(series: Mapping[str, Points], unit: str = "", zero: bool = True) -> str:
    """A line chart over training steps with its legend; "" when no series has a point.

    Args:
      series: name → (step, value) points in order. More than `MOST_POINTS` are averaged into that
        many.
      unit: written after the numbers of the upright axis, e.g. " %".
      zero: whether the upright axis begins at 0.
    """
    # A diverged run logs nan or inf, which has no place on an axis.
    series = {
        name: _thin([p for p in points if math.isfinite(p[1])]) for name, points in series.items()
    }
    points = [point for some in series.values() for point in some]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks = ticks(0, max(xs))
    y_ticks = ticks(min(0, *ys) if zero else min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    # A series without a point keeps its colour for the figures in which it has some.
    shown = [(i, name, some) for i, (name, some) in enumerate(series.items()) if some]
    lines = "".join(_line(i, name, [place(*p) for p in some]) for i, name, some in shown)
    label = html.escape(", ".join(name for _, name, _ in shown), quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Curves over training steps: {label}">'
        f"{_axes(x_ticks, y_ticks, place, unit)}{lines}</svg>{_legend([(i, name) for i, name, _ in shown])}"
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    gap = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= about)
    first = math.floor(low / gap + 1e-9)
    last = max(math.ceil(high / gap - 1e-9), first + 1)
    return [k * gap for k in range(first, last + 1)]


def _thin(points: Points) -> Points:
    if len(points) <= MOST_POINTS:
        return points
    edges = [round(i * len(points) / MOST_POINTS) for i in range(MOST_POINTS + 1)]
    groups = [points[a:b] for a, b in zip(edges, edges[1:])]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _line(index: int, name: str, points: Points) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    title = f"<title>{html.escape(name)}</title>"
    # A curve of few points shows them: two validations are two facts, not a trend.
    dots = "".join(
        f'<circle class="dot s{index % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        for x, y in points
    )
    return f'<polyline class="line s{index % SERIES}" points="{path}">{title}</polyline>' + (
        dots if len(points) <= 20 else ""
    )


def _axes(x_ticks: Sequence[float], y_ticks: Sequence[float], place, unit: str) -> str:
    parts = []
    for y in y_ticks:
        left, at = place(x_ticks[0], y)
        parts.append(
            f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{left - 6:.1f}" y="{at + 4:.1f}" text-anchor="end">{_number(y)}{html.escape(unit)}</text>'
        )
    for x in x_ticks:
        at, bottom = place(x, y_ticks[0])
        anchor = "end" if x == x_ticks[-1] else "middle"
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 16:.1f}" text-anchor="{anchor}">{_number(x)}</text>'
        )
    return (
        "".join(parts)
        + f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">training steps</text>'
    )


def _legend(names: Sequence[tuple[int, str]]) -> str:
    keys = "".join(
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><line class="line s{i % SERIES}" x1="0" x2="28" y1="4" y2="4"/>'
        f"</svg>{html.escape(name)}</li>"
        for i, name in names
    )
    return f'<ul class="legend">{keys}</ul>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
