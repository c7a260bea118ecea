"""Scores against a cost as inline SVG: a point a model with its interval, the Pareto front, limits, Keras' layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.ticker import MaxNLocator

from .show import score_text
from .table import Row, Table

#: Of a picture, in its own units, and its margins: left, right, top, bottom.
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 92, 14, 46
#: For up to eight variants, readable on light and dark pages; more have hues of equal distance.
PALETTE = ("#2f7fc1", "#d9772b", "#3b9c62", "#b04fa3", "#c9443f", "#8a7a22", "#5b62c9", "#4aa3a8")
NAMES = {
    "flash": ("file size", "kB", 1000.0),
    "ram": ("arena", "kB", 1000.0),
    "insns": ("instructions a time step", "thousand", 1000.0),
}


def colours(table: Table) -> dict[str, str]:
    """A colour for each variant."""
    variants = sorted({row.configuration.variant for row in table.rows})
    if len(variants) <= len(PALETTE):
        return dict(zip(variants, PALETTE))
    return {name: f"hsl({round(360 * i / len(variants))} 58% 48%)" for i, name in enumerate(variants)}


@dataclasses.dataclass(frozen=True)
class _Axis:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        found = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(value) for value in found if self.low <= value <= self.high]


def picture(table: Table, cost: str, places: Mapping[int, int], limit: float | None) -> str | None:
    """The picture for one cost, None where no model has it.

    Args:
        table: of the comparison.
        cost: "flash", "ram" or "insns".
        places: number of each row by its id, by which a page knows a model in several pictures.
        limit: of the device, if any.
    """
    rows = [row for row in table.rows if row.int8 is not None and row.costs.get(cost) is not None]
    if not rows:
        return None
    scale = 100.0 if table.metric == "accuracy" else 1.0
    name, unit, size = NAMES[cost]
    x = _x_axis([row.costs[cost] / size for row in rows], None if limit is None else limit / size)
    y = _y_axis(rows, table.baselines, scale)
    parts = [_frame(x, y, f"{name}, {unit}", "accuracy, %" if table.metric == "accuracy" else "mean absolute error")]
    across, names = _references(table, y, scale)
    parts.append(across)
    if limit is not None:
        place = x(limit / size)
        parts.append(
            f'<rect class="outside" x="{place}" y="{TOP}" width="{WIDTH - RIGHT - place:.1f}" '
            f'height="{HEIGHT - BOTTOM - TOP}"/><line class="limit" x1="{place}" x2="{place}" y1="{TOP}" '
            f'y2="{HEIGHT - BOTTOM}"/><text class="limit" x="{place + 5:.1f}" y="{TOP + 13}">limit</text>'
        )
    on_front = sorted((row for row in rows if cost in row.fronts), key=lambda row: row.costs[cost])
    corners = [(x(row.costs[cost] / size), y(scale * _mean(row))) for row in on_front]
    parts.append(_steps(corners))
    colour = colours(table)
    marks = [_mark(row, x(row.costs[cost] / size), y, scale, colour, places[id(row)], table) for row in rows]
    # What is best stands in front.
    parts += list(reversed(marks))
    parts += _labels([str(row.configuration) for row in on_front], corners)
    label = f"{name} against {table.metric}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><defs><clipPath id="box-{cost}">'
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"/></clipPath>'
        "</defs>"
        f'{parts[0]}<g clip-path="url(#box-{cost})">{"".join(parts[1:])}</g>{names}</svg>'
    )


def _mean(row: Row) -> float:
    assert row.int8 is not None
    return row.int8.mean


def _x_axis(values: Sequence[float], limit: float | None) -> _Axis:
    low, high = min(values), max(values)
    if limit is not None:
        high = max(high, min(limit, 1.5 * high))
    spread = (high - low) or high or 1.0
    return _Axis(max(0.0, low - 0.06 * spread), high + 0.14 * spread, LEFT, WIDTH - RIGHT)


def _y_axis(rows: Sequence[Row], baselines: Sequence[Row], scale: float) -> _Axis:
    """All means, and of the intervals what does not squeeze these."""
    scores = [row.int8 for row in rows if row.int8 is not None]
    means = [score.mean for score in scores] + [row.float.mean for row in baselines if row.float is not None]
    low, high = scale * min(means), scale * max(means)
    spread = (high - low) or 0.05 * abs(high) or 1.0
    ends = [scale * (score.mean + sign * (score.half or 0)) for score in scores for sign in (-1, 1)]
    return _Axis(
        max(min([low, *ends]), low - 0.5 * spread) - 0.08 * spread,
        min(max([high, *ends]), high + 0.5 * spread) + 0.08 * spread,
        HEIGHT - BOTTOM,
        TOP,
    )


def _frame(x: _Axis, y: _Axis, below: str, beside: str) -> str:
    parts = []
    for value in y.ticks(6):
        place = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{place + 4}" text-anchor="end">{value:g}</text>')
    for value in x.ticks(8):
        place = x(value)
        parts.append(f'<line class="grid" x1="{place}" x2="{place}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{place}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{below}</text>')
    parts.append(
        f'<text class="axis" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{beside}</text>'
    )
    return "".join(parts)


def _references(table: Table, y: _Axis, scale: float) -> tuple[str, str]:
    """Keras' layers as lines across, and their names in the right margin."""
    lines, names, last = [], [], -99.0
    known = [(scale * row.float.mean, row) for row in table.baselines if row.float is not None]
    for value, row in sorted(known, key=lambda pair: -pair[0]):
        place = y(value)
        last = max(place + 4, last + 13)
        lines.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
        name = str(row.configuration).removeprefix("keras.")
        names.append(
            f'<text class="reference" x="{WIDTH - RIGHT + 6}" y="{last:.1f}">'
            f"<title>{row.configuration} in float: {score_text(row.float, table.metric)}</title>{name}</text>"
        )
    return "".join(lines), "".join(names)


def _steps(places: Sequence[tuple[float, float]]) -> str:
    """The front: what is as good needs as much, up to the next better one."""
    if not places:
        return ""
    path = f"M{places[0][0]} {HEIGHT - BOTTOM}V{places[0][1]}"
    path += "".join(f"H{across}V{up}" for across, up in places[1:]) + f"H{WIDTH - RIGHT}"
    return f'<path class="front" d="{path}"/>'


def _mark(
    row: Row, across: float, y: _Axis, scale: float, colour: Mapping[str, str], number: int, table: Table
) -> str:
    assert row.int8 is not None
    own, up = row.configuration, y(scale * row.int8.mean)
    shape = _shape(row, across, up)
    bar = ""
    if row.int8.half is not None:
        ends = [y(scale * (row.int8.mean + sign * row.int8.half)) for sign in (1, -1)]
        bar = f'<line x1="{across}" x2="{across}" y1="{ends[0]}" y2="{ends[1]}"/>'
    paint = colour[own.variant]
    return (
        f'<g class="model" data-model="{number}" style="fill:{paint};stroke:{paint}" tabindex="0">'
        f"<title>{escape(tip(row, table))}</title>{bar}{shape}</g>"
    )


def _shape(row: Row, across: float, up: float) -> str:
    """A circle, a square for saturating gates, a diamond for a low rank."""
    if row.configuration.rank:
        return f'<path d="M{across} {up - 7:.1f}l7 7l-7 7l-7 -7z"/>'
    if row.configuration.activation == "saturating":
        return f'<rect x="{across - 5:.1f}" y="{up - 5:.1f}" width="10" height="10"/>'
    return f'<circle cx="{across}" cy="{up}" r="5.5"/>'


def _labels(texts: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Names beside the points of the front, left out where they would cover one another."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for text, (across, up) in reversed(list(zip(texts, places))):
        width = 6.6 * len(text)
        right = across + 10 + width < WIDTH - RIGHT
        start = across + 10 if right else across - 10 - width
        place = up - 9
        if any(abs(place - other) < 13 and start < end and begin < start + width for other, begin, end in taken):
            continue
        taken.append((place, start, start + width))
        anchor = "start" if right else "end"
        at = across + 10 if right else across - 10
        parts.append(f'<text class="name" x="{at:.1f}" y="{place:.1f}" text-anchor="{anchor}">{escape(text)}</text>')
    return parts


def tip(row: Row, table: Table) -> str:
    """What a reader who points at a model is told."""
    lines = [str(row.configuration)]
    int8 = "" if row.int8 is None else f"int8 {score_text(row.int8, table.metric)}, "
    lines.append(f"{int8}float {score_text(row.float, table.metric)}")
    seeds = "1 seed, no interval" if row.seeds == 1 else f"{row.seeds} seeds, 95 % interval"
    lines.append(seeds)
    for cost, (name, _, _) in NAMES.items():
        if row.costs.get(cost) is not None:
            lines.append(f"{name} {row.costs[cost]:,.0f}{'' if cost == 'insns' else ' bytes'}")
    if row.latency_us is not None:
        lines.append(f"LiteRT {row.latency_us:.0f} µs")
    return "\n".join(lines)


def forest(table: Table, places: Mapping[int, int]) -> str | None:
    """Every model's interval, best first, Keras' layers in float below; None where there is nothing."""
    rows = [row for row in table.rows if row.int8 is not None]
    others = [row for row in table.baselines if row.float is not None]
    if not rows:
        return None
    scale = 100.0 if table.metric == "accuracy" else 1.0
    left, step = 172, 21
    bottom = TOP + step * (len(rows) + len(others)) + 6
    axis = _y_axis(rows, others, scale)
    x = _Axis(axis.low, axis.high, left, WIDTH - 14)
    parts = []
    for value in x.ticks(7):
        across = x(value)
        parts.append(f'<line class="grid" x1="{across}" x2="{across}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{across}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    label = "accuracy, %" if table.metric == "accuracy" else "mean absolute error"
    parts.append(f'<text class="axis" x="{WIDTH - 14}" y="{bottom + 38}" text-anchor="end">{label}</text>')
    parts.append(_band(rows[0], x, scale, TOP, TOP + step * len(rows) + 2))
    colour = colours(table)
    for number, row in enumerate([*rows, *others]):
        score = row.int8 or row.float
        assert score is not None
        up, middle = round(TOP + step * (number + 0.6), 1), x(scale * score.mean)
        paint = colour.get(row.configuration.variant, "var(--faint)")
        half = scale * (score.half or 0.0)
        ends = [min(max(x(scale * score.mean + sign * half), left), WIDTH - 14) for sign in (-1, 1)]
        bar = f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{up}" y2="{up}"/>' if half else ""
        name = escape(str(row.configuration))
        parts.append(
            f'<g class="model" data-model="{places[id(row)]}" style="fill:{paint};stroke:{paint}" tabindex="0">'
            f"<title>{escape(tip(row, table))}</title>{bar}{_shape(row, middle, up)}</g>"
            f'<text class="row" x="{left - 10}" y="{up + 4}" text-anchor="end">{name}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + 44}" role="img" aria-label="{table.metric} of every model">'
        f"{''.join(parts)}</svg>"
    )


def _band(best: Row, x: _Axis, scale: float, top: float, bottom: float) -> str:
    """The interval of the best model: what reaches into it ties."""
    assert best.int8 is not None
    if best.int8.half is None:
        return ""
    ends = [x(scale * (best.int8.mean + sign * best.int8.half)) for sign in (-1, 1)]
    low, high = max(ends[0], x.start), min(ends[1], x.end)
    return f'<rect class="band" x="{low}" y="{top}" width="{high - low:.1f}" height="{bottom - top}"/>'
