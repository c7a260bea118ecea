"""Reports and analyses as tables for the terminal: readable at 80 columns and in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import _report_rows as rows
from . import _report_text as text

if TYPE_CHECKING:
    from .analyze import Analysis, GraphInfo, TensorInfo
    from .report import Report

#: Narrower terminals wrap the lines themselves; a number is never cut.
WIDTH = 80

Side = Literal["left", "right"]


def show_report(report: Report, console: Console) -> None:
    """Prints what was exported, how it scores on every runtime, and what is in the files.

    Args:
        report: of an export.
        console: where to print.
    """
    _print(console, Text(report.title, style="bold"))
    facts = {
        "layers": rows.variants(report),
        "parameters": text.plain(report.model.get("parameters")),
        "recipe": rows.recipe_text(report),
        "target": f"{report.target}, {report.io} inputs and outputs",
    }
    _print(console, _pairs(facts))
    metric = text.METRICS.get(report.verification.metric, "Score")
    if report.stages:
        table = _table("Way", ("stage", "left"), (metric, "right"), ("change", "right"), ("", "left"))
        for name, score, change, detail in rows.stage_rows(report):
            table.add_row(*_texts(name, score, change, detail))
        _print(console, table)
    _print(console, _results(report, metric))
    outputs = rows.output_rows(report)
    if outputs:
        _print(console, _outputs(outputs))
    _print(console, _files(report))
    for number, (line, equal) in enumerate(rows.equality_lines(report)):
        _print(console, Text(line if number else f"\n{line}", style="green" if equal else "bold red"))
    for warning in report.warnings:
        _print(console, Padding(Text(f"Warning: {warning}", style="yellow"), (1, 0, 0, 0)))


def _results(report: Report, metric: str) -> Table:
    floating = text.is_float(report.recipe)
    table = _table(
        f"Results on {rows.sample_text(report)}",
        ("runs on", "left"),
        (metric, "right"),
        ("to float\npoints" if report.verification.metric == "accuracy" else "to float", "right"),
        ("agree with\nKeras" if floating else "agree with\nfake-quant", "right"),
        ("largest\ndifference" if floating else "largest\nLSB", "right"),
        ("version", "left"),
    )
    found = rows.result_rows(report)
    # A version is not broken, a long reason may be.
    table.columns[-1].min_width = max((len(row.version) for row in found), default=0)
    for row in found:
        if row.reason is not None:
            table.add_row(*_texts(row.runtime, text.NONE, text.NONE, text.NONE, text.NONE, row.reason), style="dim")
            continue
        cells = _texts(row.runtime, row.score, row.change, row.agreement, row.largest, row.version)
        if row.worse:
            cells[2].stylize("yellow")
        cells[5].stylize("dim")
        table.add_row(*cells)
    return table


def _outputs(outputs: list[rows.OutputRow]) -> Table:
    table = _table(
        "Results by output",
        ("output", "left"),
        ("runs on", "left"),
        ("metric", "left"),
        ("score", "right"),
        ("to float", "right"),
        ("agree with\nfake-quant", "right"),
        ("largest\nLSB", "right"),
    )
    for row in outputs:
        cells = _texts(row.output, row.runtime, row.metric, row.score, row.change, row.agreement, row.largest)
        if row.worse:
            cells[4].stylize("yellow")
        table.add_row(*cells)
    return table


def _files(report: Report) -> Table:
    table = _table(
        "Files (1 kB = 1000 bytes; the arena is that of a 64-bit host)",
        ("name", "left"),
        ("mode", "left"),
        ("file\nkB", "right"),
        ("weights\nkB", "right"),
        ("rest\nkB", "right"),
        ("MACs per\ninvoke", "right"),
        ("arena\nkB", "right"),
        ("ops", "right"),
    )
    for row in rows.file_rows(report):
        sizes = (row.size, row.weights, row.rest)
        table.add_row(*_texts(row.name, row.mode, *sizes, row.macs, row.arena, row.operators))
    return table


def show_analysis(name: str, analysis: Analysis, console: Console, *, operators: bool = False) -> None:
    """Prints what is in a file: ends, bytes, multiply-accumulates, loops, operators and float remains.

    Args:
        name: of the file.
        analysis: from `analyze`.
        console: where to print.
        operators: also list every operator in order, with the grids of its tensors.
    """
    _print(console, Text(name, style="bold"))
    facts = {
        "file": f"{text.count(analysis.file_bytes)} bytes = {text.count(analysis.weight_bytes)} weights"
        f" + {text.count(analysis.table_bytes)} tables + {text.count(analysis.other_bytes)} rest",
        "MACs": f"{text.count(analysis.macs)} per invoke",
    }
    for number, loop in enumerate(analysis.loops, 1):
        trips = "unknown number of" if loop.trip_count is None else text.count(loop.trip_count)
        label = "loop" if len(analysis.loops) == 1 else f"loop {number}"
        facts[label] = f"{trips} iterations of subgraph {loop.body}, {text.count(loop.macs_per_iteration)} MACs each"
    facts["variables"] = f"{analysis.resource_variables} kept between invokes"
    _print(console, _pairs(facts))
    _print(console, _ends(analysis))
    for role, found in rows.operator_tables(analysis):
        table = _table(role, ("operator", "left"), ("inputs", "left"), ("outputs", "left"), ("count", "right"))
        for row in found:
            table.add_row(*_texts(row.name, row.inputs, row.outputs, row.count))
        _print(console, table)
    if analysis.float_tensors:
        _print(console, Text("\nFloat tensors inside", style="bold yellow"))
        for info in analysis.float_tensors:
            _print(console, Text(f"  subgraph {info.subgraph}: {info.name} {info}", style="yellow"))
    else:
        _print(console, Text("\nno float tensors inside", style="green"))
    if operators:
        for graph in analysis.graphs:
            _list_operators(graph, console)


def _ends(analysis: Analysis) -> Table:
    table = _table(
        "Inputs and outputs",
        ("", "left"),
        ("name", "left"),
        ("type", "left"),
        ("shape", "left"),
        ("scale", "right"),
        ("zero point", "right"),
    )
    floats = {(info.name, info.type) for info in analysis.float_io}
    for end, infos in (("in", analysis.inputs), ("out", analysis.outputs)):
        for info in infos:
            cells = _texts(end, info.name, info.type, text.shape_text(info), *text.grid_text(info.grid))
            if (info.name, info.type) in floats:
                cells[2].stylize("yellow")
            table.add_row(*cells)
    return table


def _list_operators(graph: GraphInfo, console: Console) -> None:
    _print(console, Text(f"\nSubgraph {graph.subgraph}: {graph.role}", style="bold"))
    for number, operator in enumerate(graph.operators):
        macs = f"  {text.count(operator.macs)} MACs" if operator.macs else ""
        _print(console, Text(f"{number:4d} ").append(operator.name, style="cyan").append(macs, style="dim"))
        for end, infos in (("in ", operator.inputs), ("out", operator.outputs)):
            for info in infos:
                _print(console, Text(f"       {end} ", style="dim").append_text(_tensor(info)))


def _tensor(info: TensorInfo | None) -> Text:
    if info is None:
        return Text("not given", style="dim")
    line = Text(str(info), style="yellow" if "float" in info.type else "")
    return line.append(f"{'  constant' if info.constant else ''}  {info.name}".rstrip(), style="dim")


def _table(title: str, *columns: tuple[str, Side]) -> Table:
    """A table whose numbers, the columns to the right, are never cut; text wraps."""
    table = Table(
        title=Text(f"\n{title}", style="bold"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for name, side in columns:
        right = side == "right"
        table.add_column(
            name, justify="right" if right else "left", no_wrap=right, overflow="fold", vertical="bottom"
        )
    return table


def _pairs(facts: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(Text(f"  {key}"), Text(value))
    return table


def _texts(*cells: str) -> list[Text]:
    """Cells that say what they say: names of users are no markup."""
    return [Text(cell) for cell in cells]


class _Wide:
    """Laid out for `WIDTH` columns even where the terminal has fewer."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.inner, options.update(max_width=max(options.max_width, WIDTH)))


def _print(console: Console, part: RenderableType) -> None:
    console.print(_Wide(part), crop=False, highlight=False)


__all__ = ["show_analysis", "show_report"]
