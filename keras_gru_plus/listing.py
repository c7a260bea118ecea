"""Variants in a terminal: a table of all, or one with its equations."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .catalogue import Facts


def show_table(variants: list[Facts], features: int, units: int, console: Console) -> None:
    """All variants with their costs."""
    table = Table(title=f"{len(variants)} variants, {features} features, {units} units", box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for name in ("parameters", "multiplies", "states", "bound"):
        table.add_column(name, justify="right")
    table.add_column("scan")
    table.add_column("source", no_wrap=True, overflow="ellipsis")
    for one in variants:
        table.add_row(
            Text(one.name, style="bold"),
            f"{one.parameters:,}",
            f"{one.multiplies:,}",
            "+".join(map(str, one.states)),
            bound(one),
            "yes" if one.scan else "",
            Text(one.source),
        )
    console.print(table)
    console.print("[dim]multiplies: in a step; scan: trains without a loop over time[/dim]")
    console.print("[dim]one in detail: keras-gru-plus variants NAME[/dim]")


def bound(one: Facts) -> str:
    """The bound of the states in words."""
    return "none" if one.bound is None else f"{one.bound:g}"


def show_variant(one: Facts, console: Console) -> None:
    """One variant with equations, options and costs."""
    console.print(Text(one.name, style="bold"), Text(one.summary), sep="  ")
    for equation in one.equations:
        console.print(Text(f"    {equation}"))
    console.print()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    options = ", ".join(f"{name}={default!r}" for name, default in one.options.items())
    rows = {
        "source": one.source,
        "options": options,
        "parameters": f"{one.parameters:,}",
        "multiplies a step": f"{one.multiplies:,}",
        "states": " + ".join(map(str, one.states)),
        "bound of the states": bound(one),
        "trains with a scan": "yes" if one.scan else "no",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
