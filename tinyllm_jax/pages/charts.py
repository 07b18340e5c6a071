"""Where the parts of a chart stand: curves over training steps, and histograms of lengths.

`templates/charts.svg` draws them.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

Points = Sequence[tuple[float, float]]

WIDTH = 460  # of a whole chart; this and all positions are in units of the SVG's view box
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 38  # margins around the area between the axes
MOST_POINTS = 200  # of a curve; longer ones are averaged
MOST_BINS = 24  # of a histogram


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
      label: what a screen reader says.
      height: of the whole chart.
      x_title: the text below the horizontal axis.
      x_ticks, y_ticks: the numbers beside the axes: (position, text).
      series: the index of the histogram's series, which gives its bars their colour.
      bars: of a histogram: (x, y, width, height, text).
      curves: of a line chart: (index of the series, name, placed points).
      width, left, right: the whole chart's width, and where the horizontal axis begins and ends.
    """

    width: ClassVar[int] = WIDTH
    left: ClassVar[int] = LEFT
    right: ClassVar[int] = WIDTH - RIGHT

    label: str
    height: int
    x_title: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    series: int = 0
    bars: Sequence[tuple[float, float, float, float, str]] = ()
    curves: Sequence[tuple[int, str, Points]] = ()


def curves(
    series: Mapping[str, Points], unit: str = "", x_title: str = "training steps"
) -> Chart | None:
    """A line chart over training steps or the like, whose upright axis includes 0.

    Args:
      series: name → (step, value) points in order. More than `MOST_POINTS` are averaged into that
        many.
      unit: written after the numbers of the upright axis, e.g. " %".
      x_title: the text below the horizontal axis.

    Returns:
      The chart, or None when no series has a point.
    """
    # A diverged run logs nan or inf, which has no place on an axis.
    finite = {
        name: _thin([point for point in points if math.isfinite(point[1])])
        for name, points in series.items()
    }
    points = [point for some in finite.values() for point in some]
    if not points:
        return None
    height = 220
    steps, values = zip(*points, strict=True)
    x_ticks, y_ticks = ticks(0, max(steps)), ticks(min(0, *values), max(values))

    def across(step: float) -> float:
        share = (step - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return height - BOTTOM - share * (height - TOP - BOTTOM)

    # A series without a point keeps its colour for the figures in which it has some.
    shown = [
        (index, name, [(across(step), down(value)) for step, value in some])
        for index, (name, some) in enumerate(finite.items())
        if some
    ]
    return Chart(
        label=f"Curves over {x_title}: {', '.join(name for _, name, _ in shown)}",
        height=height,
        x_title=x_title,
        x_ticks=[(across(step), _number(step)) for step in x_ticks],
        y_ticks=[(down(value), _number(value) + unit) for value in y_ticks],
        curves=shown,
    )


def histograms(lengths: Mapping[str, Sequence[int]]) -> dict[str, Chart]:
    """A histogram of each teacher's rationale lengths in words, all with the same bins.

    The last bin takes all longer ones, so that a few very long texts do not flatten the rest. A
    teacher without a rationale has no histogram.
    """
    pooled = sorted(length for some in lengths.values() for length in some)
    if not pooled:
        return {}
    # The bins reach to the length that 99 % of the rationales stay below.
    top = pooled[min(len(pooled) - 1, len(pooled) * 99 // 100)]
    gap = int(max(1, _round_gap(max(top, 1), MOST_BINS)))
    bins = top // gap + 1
    names = [f"{index * gap} to {(index + 1) * gap - 1}" for index in range(bins)]
    x_title = "words"
    if pooled[-1] >= bins * gap:
        names[-1] = f"{(bins - 1) * gap} or more"
        x_title += "; the last bar: that and longer"

    charts = {}
    for index, (teacher, some) in enumerate(lengths.items()):
        if some:
            counts = collections.Counter(min(length // gap, bins - 1) for length in some)
            label = f"Lengths of {teacher}'s {len(some):,} rationales in words"
            charts[teacher] = _histogram(index, label, x_title, names, counts, gap)
    return charts


def _histogram(
    series: int,
    label: str,
    x_title: str,
    names: Sequence[str],
    counts: collections.Counter[int],
    gap: int,
) -> Chart:
    """The histogram of one teacher, from the names of the bins and how many texts are in each."""
    height = 190
    bottom, tall = height - BOTTOM, height - TOP - BOTTOM
    slot = (WIDTH - LEFT - RIGHT) / len(names)
    total = counts.total()
    top = math.ceil(10 * max(counts.values()) / total) / 10  # the axis ends at a whole 10 %
    bars = []
    for index, name in enumerate(names):
        high = tall * counts[index] / total / top
        text = f"{name} words: {counts[index]:,}"
        bars.append((LEFT + index * slot + 0.5, bottom - high, max(slot - 1, 1), high, text))
    return Chart(
        label=label,
        height=height,
        x_title=x_title,
        x_ticks=[
            (LEFT + index * slot, f"{index * gap:,}")
            for index in range(0, len(names), math.ceil(len(names) / 6))
        ],
        y_ticks=[
            (bottom - tall * share / top, f"{100 * share:.3g} %") for share in (0, top / 2, top)
        ],
        series=series,
        bars=bars,
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`.

    Their steps from `low` to `high` are at most `about`.
    """
    gap = _round_gap(high - low or abs(high) or 1.0, about)
    first = math.floor(low / gap + 1e-9)
    last = max(math.ceil(high / gap - 1e-9), first + 1)
    return [k * gap for k in range(first, last + 1)]


def _round_gap(span: float, most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten of which `most` cover `span`."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)


def _thin(points: Points) -> Points:
    """At most `MOST_POINTS` points, each the mean of its neighbours."""
    if len(points) <= MOST_POINTS:
        return points
    edges = [round(index * len(points) / MOST_POINTS) for index in range(MOST_POINTS + 1)]
    thinned = []
    for begin, end in itertools.pairwise(edges):
        steps, values = zip(*points[begin:end], strict=True)
        thinned.append((sum(steps) / len(steps), sum(values) / len(values)))
    return thinned


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
