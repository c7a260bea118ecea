"""A comparison as one HTML page that needs nothing else: style, pictures and the little script are inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ..html import Tile
from ..templating import environment
from .drawing import NAMES, colours, forest, picture
from .plan import Configuration
from .show import score_text, stock_lines
from .table import COSTS, Table, tie_text


def render(table: Table, plain: Mapping[str, Any]) -> str:
    """The page; the same table gives the same bytes, but for the latencies.

    Args:
        table: of a comparison.
        plain: what `compare.json` has: data, settings, space, budget, notes.
    """
    templates = environment(escape=True)
    places = {id(row): place for place, row in enumerate([*table.rows, *table.baselines])}
    budget = plain["budget"] or {}
    pictures = {"every model": forest(table, places)}
    pictures |= {NAMES[cost][0]: picture(table, cost, places, budget.get(cost)) for cost in COSTS}
    return templates.get_template("compare.html.j2").render(
        table=table,
        plain=plain,
        tiles=tiles(table),
        pictures={name: Markup(one) for name, one in pictures.items() if one is not None},
        colours=colours(table),
        activations={row.configuration.activation for row in table.rows},
        ranks=any(row.configuration.rank for row in table.rows),
        number=lambda row: places[id(row)],
        best=table.best,
        score=lambda score: score_text(score, table.metric),
        tie=lambda row: tie_text(row, table),
        count=lambda value: "–" if value is None else f"{value:,.0f}",
        stock_lines=stock_lines,
        sentences=sentences(table),
        name=lambda one: str(Configuration(one["variant"], one["units"], one["activation"], one["rank"])),
    )


def tiles(table: Table) -> list[Tile]:
    """The winner and its costs."""
    if table.winner is None:
        return []
    row = next(row for row in table.rows if row.configuration == table.winner.configuration)
    note = f"seed {table.winner.seed} of {row.seeds}; chosen on the validation part"
    figure, _, half = score_text(row.int8, table.metric).partition(" ± ")
    unit = "%" if table.metric == "accuracy" else "mae"
    interval = f"95 % interval ± {half}" if half else "one seed, no interval"
    found = [
        Tile("Winner", str(row.configuration), "", note),
        Tile("int8, test part", figure, unit, f"{interval}; float {score_text(row.float, table.metric)}"),
    ]
    for cost in COSTS:
        if row.costs.get(cost) is not None:
            name, unit, size = NAMES[cost]
            unit = "k" if cost == "insns" else unit
            found.append(Tile(name.capitalize(), f"{row.costs[cost] / size:.1f}", unit, _note(cost)))
    return found


def _note(cost: str) -> str:
    notes = {
        "flash": "the model only; the runtime comes on top",
        "ram": "tensor arena",
        "insns": "emulated Cortex-M55, not cycles",
    }
    return notes[cost]


def sentences(table: Table) -> list[str]:
    """What the intervals say."""
    found = []
    best = table.best
    if best is not None and best.int8 is not None and best.int8.half is not None:
        ties = [str(row.configuration) for row in table.rows if row.tie]
        others = sum(row.tie is False for row in table.rows)
        text = f"Best on the test part: {best.configuration}."
        if ties:
            text += f" Tied with it, since their intervals overlap: {', '.join(ties)}."
        found.append(text + (f" Worse: {others} of {len(table.rows) - 1}." if others else ""))
    elif best is not None:
        found.append("One seed each: without intervals differences between models may be chance.")
    found += _keras(table)
    return found


def _keras(table: Table) -> list[str]:
    """Keras' GRU against its LSTM, of the same units."""
    rows = {(row.configuration.variant, row.configuration.units): row for row in table.baselines}
    found = []
    for (name, units), row in sorted(rows.items()):
        other = rows.get(("keras.LSTM", units))
        if name != "keras.GRU" or other is None or row.float is None or other.float is None:
            continue
        overlap = row.float.overlaps(other.float)
        verdict = "a tie"
        if overlap is None:
            verdict = "one seed each, which does not tell"
        elif not overlap:
            more = row.float.mean > other.float.mean
            verdict = f"{'GRU' if more == (table.metric == 'accuracy') else 'LSTM'} is better"
        parameters = ""
        if row.parameters and other.parameters:
            parameters = f"; the LSTM has {other.parameters / row.parameters:.2f} times the parameters"
        scores = [score_text(score, table.metric) for score in (row.float, other.float)]
        found.append(
            f"Keras' GRU({units}) {scores[0]} against its LSTM({units}) {scores[1]}, in float: {verdict}{parameters}."
        )
    return found
