"""Pictures of a report as inline SVG, coloured by the page's style sheet so that they suit light and dark mode."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from . import _report_rows as rows
from . import _report_text as text

if TYPE_CHECKING:
    from .report import File, Report, TapRange

#: Colours to draw with, and the page's variables that take their place in the SVG.
INK, FAINT, LINE = "#010101", "#010102", "#010103"
FIXED, LEARNED, SEEN, BAD = "#010104", "#010105", "#010106", "#010107"
_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    LINE: "--line",
    FIXED: "--fixed",
    LEARNED: "--learned",
    SEEN: "--accent",
    BAD: "--warn",
}
#: Inches.
WIDTH = 5.2
_STYLE: Any = {
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "keras-gru-plus",
    # A name with a dollar sign is a name, not a formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "xtick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
}


def stages(report: Report) -> str:
    """Score at each stage of the way, as dots on a line."""
    metric = report.verification.metric
    scale = 100 if metric == "accuracy" else 1
    values = [scale * stage.score for stage in report.stages]

    def draw(axes: Axes) -> None:
        places = range(len(values))
        axes.axvline(values[0], color=LINE, lw=1, ls=(0, (4, 3)))
        axes.plot(values, places, color=LEARNED, lw=1.5)
        axes.plot(values, places, "o", color=SEEN, ms=8)
        for place, stage in enumerate(report.stages):
            axes.text(1.02, place, text.score(metric, stage.score), transform=axes.get_yaxis_transform(), va="center")
        spread = (max(values) - min(values)) or abs(values[0]) or 1.0
        axes.set_xlim(min(values) - 0.12 * spread, max(values) + 0.12 * spread)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_yticks(places, [stage.name for stage in report.stages])
        axes.set_xlabel("accuracy in %" if metric == "accuracy" else "mean absolute error")
        axes.grid(axis="x", lw=0.5)

    return _svg(draw, 0.75 + 0.36 * len(values), "stages")


def sizes(files: Sequence[File]) -> str:
    """Bytes of each file: weights, lookup tables, all the rest."""

    def draw(axes: Axes) -> None:
        largest = max(file.analysis.file_bytes for file in files)
        for place, file in enumerate(files):
            start = 0
            for label, size, colour in (
                ("weights", file.analysis.weight_bytes, SEEN),
                ("tables", file.analysis.table_bytes, FIXED),
                ("rest", file.analysis.other_bytes, LEARNED),
            ):
                axes.barh(place, size / 1000, left=start / 1000, height=0.62, color=colour, edgecolor="none")
                if size > 0.13 * largest:
                    words = f"{label} {text.kilobytes(size)}"
                    axes.text((start + size / 2) / 1000, place, words, ha="center", va="center", size=9.5)
                start += size
            axes.text(start / 1000 + 0.01 * largest / 1000, place, f"{text.kilobytes(start)} kB", va="center")
        axes.set_xlim(0, 1.16 * largest / 1000)
        axes.set_ylim(len(files) - 0.5, -0.5)
        axes.set_yticks(range(len(files)), [file.name for file in files])
        axes.set_xlabel("kB")

    return _svg(draw, 0.7 + 0.42 * len(files), "sizes")


def ranges(taps: Sequence[TapRange]) -> str:
    """Every quantization point: its grid as a wide bar, what data did there as a narrow one, clipping as a mark.

    The axis is linear around zero and logarithmic beyond, so that a grid of ±0.01 is seen beside one of ±20.
    """
    entries: list[str | TapRange] = []
    for layer, own in rows.taps_by_layer(taps).items():
        entries += [layer, *own]

    def draw(axes: Axes) -> None:
        reach = [max(abs(tap.low), abs(tap.high)) for tap in taps]
        seen = [abs(end) for tap in taps for end in (tap.observed_low, tap.observed_high) if end is not None]
        _symmetric_axis(axes, min(reach), max(reach + seen))
        labels = []
        for place, entry in enumerate(entries):
            if isinstance(entry, str):
                labels.append(entry)
                if place:
                    axes.axhline(place - 0.5, color=LINE, lw=0.6)
                continue
            labels.append(text.split_key(entry.key)[1])
            _tap_bars(axes, place, entry)
        axes.set_ylim(len(entries) - 0.4, -0.6)
        axes.set_yticks(range(len(entries)), labels)
        for entry, label in zip(entries, axes.get_yticklabels()):
            if isinstance(entry, str):
                label.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)

    return _svg(draw, 0.75 + 0.245 * len(entries), "ranges")


def _tap_bars(axes: Axes, place: int, tap: TapRange) -> None:
    colour = FIXED if tap.grid in rows.FIXED else LEARNED
    axes.barh(place, tap.high - tap.low, left=tap.low, height=0.68, color=colour, edgecolor="none")
    if tap.observed_low is None or tap.observed_high is None:
        return
    axes.barh(place, tap.observed_high - tap.observed_low, left=tap.observed_low, height=0.26, color=SEEN)
    if rows.is_clipped(tap):
        for end, beyond in ((tap.observed_low, tap.low), (tap.observed_high, tap.high)):
            if abs(end) > abs(beyond) + tap.scale / 2:
                axes.plot([beyond, end], [place, place], color=BAD, lw=4, solid_capstyle="butt")
                axes.plot(end, place, "<" if end < beyond else ">", color=BAD, ms=6)


def _symmetric_axis(axes: Axes, smallest: float, largest: float) -> None:
    """Powers of ten to both sides, linear from the power below `smallest`."""
    decades = [10.0**n for n in range(-9, 10)]
    inner = max([d for d in decades if d <= smallest / 2 and d < 0.5], default=decades[0])
    axes.set_xscale("symlog", linthresh=inner, linscale=0.7)
    axes.set_xlim(-1.25 * largest, 1.25 * largest)
    shown = [d for d in decades if inner <= d <= 1.25 * largest]
    step = 1 + len(shown) // 5
    # From the outermost; with many decades the innermost label would touch the zero.
    shown = [d for d in shown[::-step][::-1] if step == 1 or d > inner]
    axes.xaxis.set_major_locator(FixedLocator([-d for d in reversed(shown)] + [0.0, *shown]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", lw=0.5)
    axes.axvline(0, color=LINE, lw=1)
    axes.set_axisbelow(True)


def _svg(draw: Callable[[Axes], None], height: float, name: str) -> str:
    """An SVG element without fixed size; the same figures give the same bytes."""
    with warnings.catch_warnings(), style.context("default"), matplotlib.rc_context(_STYLE):
        # The browser has fonts of its own for letters that matplotlib's lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """The SVG for inside a page: no header, metadata, size or styles of its own; ids are this picture's."""
    svg = svg[svg.index("<svg ") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"(font-family:|font: [^;\"]*?px) [^;\"]*", r"\1 var(--font)", svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
