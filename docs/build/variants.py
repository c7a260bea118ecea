"""The page of variants: equations and text from their docstrings, costs from the catalogue and the benchmarks."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_gru_plus import cells
from keras_gru_plus.catalogue import Facts, facts
from keras_gru_plus_export import pictures
from keras_gru_plus_export.pictures import FAINT, FIXED, LINE, SEEN

ROOT = Path(__file__).parents[2]
FEATURES, UNITS = 28, 32
#: What a variant costs, its name on the axis and how it is written.
COSTS: tuple[tuple[str, str], ...] = (
    ("parameters", "weights"),
    ("multiplies", "multiplications a step"),
    ("instructions", "instructions a step"),
)


def every() -> dict[str, Facts]:
    """Facts by variant, at the size of the benchmark."""
    return {name: facts(cells.get(name), FEATURES + (name == "grud"), UNITS) for name in cells.VARIANTS}


def instructions() -> dict[str, int]:
    """Measured instructions of a step by variant."""
    content = json.loads((ROOT / "benchmarks/results/variant_costs.json").read_text(encoding="utf-8"))
    return {name: entry["instructions"] for name, entry in content["values"].items()}


def costs(one: Facts, measured: dict[str, int]) -> dict[str, int | None]:
    """The three costs of a variant; None where it was not measured."""
    return {"parameters": one.parameters, "multiplies": one.multiplies, "instructions": measured.get(one.name)}


def overview() -> str:
    """A picture and a table of all variants, those with the fewest instructions first."""
    found, measured = every(), instructions()
    names = sorted(found, key=lambda name: measured.get(name, sys.maxsize))
    lines = [
        "| variant | weights | multiplications a step | instructions a step | states | bound | scan |",
        "|---|--:|--:|--:|---|--:|---|",
    ]
    for name in names:
        one = found[name]
        count = f"{measured[name]:,}" if name in measured else ""
        bound = "–" if one.bound is None else f"{one.bound:g}"
        states = " + ".join(map(str, one.states))
        cells_ = [f"[{name}](#{name})", f"{one.parameters:,}", f"{one.multiplies:,}", count, states, bound]
        lines.append(f"| {' | '.join([*cells_, 'yes' if one.scan else ''])} |")
    return f"{_figure(_all(names, measured), 'costs')}\n\n" + "\n".join(lines)


def page() -> str:
    """Each variant, in families."""
    found, measured = every(), instructions()
    families: dict[str, list[str]] = {}
    for name, cell in cells.VARIANTS.items():
        families.setdefault(cell.__module__, []).append(name)
    parts = []
    for module, names in families.items():
        heading = (inspect.getdoc(sys.modules[module]) or "").split("\n\n")[0].replace("\n", " ")
        title, _, members = heading.rstrip(".").partition(": ")
        parts += [f"## {title}", *([f"{members[0].upper()}{members[1:]}."] if members else [])]
        parts += [_section(name, found, measured) for name in names]
    return "\n\n".join(parts)


def _section(name: str, found: dict[str, Facts], measured: dict[str, int]) -> str:
    cell = cells.VARIANTS[name]
    reference = {"show_root_heading": False, "show_root_toc_entry": False, "members": False, "heading_level": 4}
    options = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in reference.items())
    use = f'`GRUPlus(units, variant="{name}")`'
    if taken := found[name].options:
        arguments = ", ".join(f"{option}={default!r}" for option, default in taken.items())
        use += f" or, with options, `variants.{cell.__name__}({arguments})`"
    picture = _figure(_bars(found[name], found["gru"], measured), f"cost of {name}")
    document = f"::: {cell.__module__}.{cell.__qualname__}\n    options:\n{options}"
    return f"### {name} {{#{name}}}\n\n{document}\n\n{use}\n\n{picture}"


def _figure(svg: str, label: str) -> str:
    return f'<figure class="costs" data-search-exclude aria-label="{label}">{svg}</figure>'


def _bars(one: Facts, gru: Facts, measured: dict[str, int]) -> str:
    """Weights, multiplications and instructions against those of `gru`."""
    own, theirs = costs(one, measured), costs(gru, measured)

    def draw(axes: Any) -> None:
        for place, (key, _) in enumerate(COSTS):
            value, reference = own[key], theirs[key]
            if value is None or reference is None:
                axes.text(0, place, "not measured", va="center", color=FAINT)
                continue
            share = 100 * value / reference
            axes.barh(place, share, height=0.6, color=SEEN if key == "instructions" else FIXED, edgecolor="none")
            axes.text(share + 2, place, f"{value:,}", va="center")
        axes.axvline(100, color=LINE, lw=1, ls=(0, (4, 3)))
        axes.set_xlim(0, 165)
        axes.set_ylim(2.5, -0.5)
        axes.set_yticks(range(3), [label for _, label in COSTS])
        axes.set_xticks([0, 50, 100, 150], ["0", "50 %", "gru", "150 %"])
        axes.tick_params(axis="y", length=0)

    return _svg(draw, 1.25, f"cost-{one.name}")


def _all(names: list[str], measured: dict[str, int]) -> str:
    """Instructions of a step of all variants."""

    def draw(axes: Any) -> None:
        for place, name in enumerate(names):
            count = measured.get(name, 0) / 1000
            axes.barh(place, count, height=0.66, color=SEEN if name in ("gru", "mgu") else FIXED, edgecolor="none")
            axes.text(count + 0.2, place, f"{count:.1f}k" if count else "not measured", va="center", size=8.5)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("instructions a step on a Cortex-M55, thousands")

    return _svg(draw, 0.8 + 0.2 * len(names), "cost-all")


def _svg(draw: Callable[[Any], None], height: float, name: str) -> str:
    return pictures._svg(draw, height, name)
