"""The picture of README and home page from the benchmarks' results: python docs/build/overview.py OUT.svg."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
#: Readable on white and on black.
INK, FLOAT, INT8, LINE = "#7d8590", "#8aa3b5", "#159488", "#7d859055"
RUNTIMES = {"litert": "LiteRT", "tflm": "TFLite Micro", "tflite-runtime": "tflite-runtime"}
STYLE: Any = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "keras-gru-plus",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def rows(name: str) -> list[dict[str, Any]]:
    """A table of the benchmarks."""
    found: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return found


def accuracy(axes: Axes) -> None:
    """Mean and deviation over seeds: float, and int8 on each runtime."""
    table = {row["trained"]: row for row in rows("accuracy")}
    entries = [("keras.layers.GRU, float", table["keras.layers.GRU"]["float"], FLOAT)]
    for variant in ("gru", "mgu"):
        entries.append((f"{variant}, float", table[variant]["float"], FLOAT))
        tuned = table[f"{variant}, fine-tuned"]
        entries += [
            (f"{variant}, int8, {name}", tuned[key], INT8) for key, name in RUNTIMES.items() if tuned.get(key)
        ]
    for place, (_, text, colour) in enumerate(entries):
        mean, deviation = map(float, re.match(r"([\d.]+) ± ([\d.]+)", text).groups())  # type: ignore[union-attr]
        axes.errorbar(mean, place, xerr=deviation, fmt="o", ms=7, color=colour, elinewidth=2)
        axes.text(1.02, place, f"{mean:.1f}", transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(entries)), [name for name, _, _ in entries])
    axes.set_title("Accuracy, %: smartwatch, 5 seeds")
    _finish(axes, len(entries))


def instructions(axes: Axes) -> None:
    """Of a step on a Cortex-M55, by variant and gates."""
    table = [row for row in rows("cortex_m55") if row["mode"] == "step"]
    for place, row in enumerate(table):
        count = float(row["instructions a step"].removesuffix("k"))
        axes.barh(place, count, height=0.62, color=INT8)
        axes.text(count + 0.3, place, f"{count}k", va="center")
    names = [
        f"{row['variant']}, {row['gates']}\nfile {row['file, kB']}, arena {row['arena, kB']} kB" for row in table
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set_xlim(0, 22)
    axes.set_title("Instructions a step, Cortex-M55", loc="right")
    _finish(axes, len(table))


def _finish(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.grid(axis="x", color=LINE, lw=0.6)
    axes.set_axisbelow(True)


def main(path: str) -> None:
    """Draws it."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.15, 1], "wspace": 0.12})
        accuracy(left)
        instructions(right)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
