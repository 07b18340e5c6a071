"""Inline SVG for the corpus page: a share, an accuracy with its interval, and a histogram of lengths.

Colours are the classes `s0` … `s5` of the page's style sheet; every bar says its value in words
too.
"""

import collections
import html
import math
from collections.abc import Mapping, Sequence

SERIES = 6  # classes in the style sheet; a seventh teacher begins again at the first
WIDTH, HEIGHT = 460, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
MOST_BINS = 24


def share(fraction: float, series: int, label: str) -> str:
    """A bar on a 0–100 % scale; `label` is what a reader of the page hears."""
    width, height = 140, 8
    full = max(width * fraction, 1.5) if fraction else 0
    return (
        f'<svg class="bar" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'<rect class="track" width="{width}" height="{height}" rx="4"/>'
        f'<rect class="dot s{series % SERIES}" width="{full:.1f}" height="{height}" rx="{min(4, full / 2):.1f}"/></svg>'
    )


def interval(told: Mapping[str, float], series: int, label: str) -> str:
    """A dot at `correct / n` with the band from `low` to `high`, on a 0–100 % scale."""
    width, height = 200, 20
    low, high = width * told["low"], width * told["high"]
    at = width * told["correct"] / told["n"]
    return (
        f'<svg class="bar" viewBox="-6 0 {width + 12} {height}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'<rect class="track" x="0" y="8" width="{width}" height="4" rx="2"/>'
        f'<rect class="band s{series % SERIES}" x="{low:.1f}" y="6" width="{max(high - low, 1):.1f}" height="8" rx="4"/>'
        f'<circle class="dot s{series % SERIES}" cx="{at:.1f}" cy="10" r="5"/></svg>'
    )


def histograms(lengths: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """A histogram of each teacher's rationale lengths in words, all with the same bins.

    The last bin takes all longer ones, so that a few very long texts do not flatten the rest.
    """
    pooled = sorted(length for some in lengths.values() for length in some)
    if not pooled:
        return {}
    top = pooled[min(len(pooled) - 1, len(pooled) * 99 // 100)]
    gap = next(step for step in _steps() if top / step <= MOST_BINS)
    bins = top // gap + 1
    counts = {
        name: collections.Counter(min(length // gap, bins - 1) for length in some)
        for name, some in lengths.items()
    }
    longer = pooled[-1] >= bins * gap
    return {
        name: _histogram(index, name, counts[name], len(lengths[name]), bins, gap, longer)
        for index, name in enumerate(lengths)
        if lengths[name]
    }


def _steps():
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def _histogram(
    series: int, name: str, counts: Mapping[int, int], total: int, bins: int, gap: int, longer: bool
) -> str:
    slot, tall = (WIDTH - LEFT - RIGHT) / bins, HEIGHT - TOP - BOTTOM
    top = (
        math.ceil(10 * max(counts.values()) / total) / 10
    )  # of the upright axis: whole steps of 10 %
    parts = []
    for at in (0, top / 2, top):
        y = HEIGHT - BOTTOM - tall * at / top
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * at:.3g} %</text>'
        )
    for index in range(bins):
        count, x = counts.get(index, 0), LEFT + index * slot
        high = tall * count / total / top
        words = (
            f"{index * gap} or more"
            if longer and index == bins - 1
            else f"{index * gap} to {(index + 1) * gap - 1}"
        )
        parts.append(
            f'<rect class="dot s{series % SERIES}" x="{x + 0.5:.1f}" y="{HEIGHT - BOTTOM - high:.1f}" '
            f'width="{max(slot - 1, 1):.1f}" height="{high:.1f}"><title>{words} words: {count:,}</title></rect>'
        )
        if index % math.ceil(bins / 6) == 0:
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{index * gap:,}</text>'
            )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">words'
        f"{'; the last bar: that and longer' if longer else ''}</text>"
    )
    label = html.escape(f"Lengths of {name}'s {total:,} rationales in words", quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
