"""A comparison in the terminal: bars while it runs, tables when it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from .table import COSTS, Row, Score, Table, tie_text


class Screen:
    """Bars on a terminal; a line for each finished run where it is none."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Progress | None = None
        self._all: TaskID | None = None
        self._own: dict[int, TaskID] = {}
        self._runs: dict[int, str] = {}
        self._counts = (0, 0)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(Text("• ", style="dim").append(text), highlight=False)

    @contextlib.contextmanager
    def live(self, done: int, total: int) -> Iterator[None]:
        """Shows bars while the block runs."""
        self._counts, self._own, self._runs = (done, total), {}, {}
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as self._bars:
            self._all = self._bars.add_task("runs", total=total, completed=done)
            yield
        self._bars = None

    def count(self, done: int, total: int) -> None:
        """How many runs are done, here and elsewhere."""
        self._counts = (done, total)
        if self._bars is not None and self._all is not None:
            self._bars.update(self._all, completed=done, total=total)

    def tell(self, worker: int, message: dict[str, Any]) -> None:
        """What a worker said."""
        if "done" in message:
            outcome = f"failed: {message['failed']}" if message.get("failed") else "done"
            if self._bars is None or message.get("failed"):
                self.say(f"{message['done']}: {outcome}")
        self._runs[worker] = message.get("run", message.get("done", self._runs.get(worker, "")))
        if self._bars is None:
            return
        if worker not in self._own:
            self._own[worker] = self._bars.add_task("", total=None)
        text = f"[dim]{worker + 1}[/dim] {self._runs[worker]}: {message.get('say', 'done')}"
        self._bars.update(self._own[worker], description=text[:90])


def show(table: Table, console: Console) -> None:
    """Prints the int8 models, best first, and Keras' own layers."""
    unit = "%" if table.metric == "accuracy" else "mae"
    grid = _grid(f"{table.done} of {table.total} runs", "model")
    for head in (f"float {unit}", f"int8 {unit}", "to best", "file B", "arena B", "insns", "µs"):
        grid.add_column(head, justify="left" if head == "to best" else "right", no_wrap=True)
    for row in table.rows:
        if row.int8 is None:
            grid.add_row(Text(str(row.configuration)), "–", "–")
            continue
        costs = [_number(row.costs.get(cost)) + ("*" if cost in row.fronts else " ") for cost in COSTS]
        grid.add_row(
            Text(f"{row.configuration}{' (too large)' if row.fits is False else ''}"),
            score_text(row.float, table.metric).partition(" ±")[0],
            score_text(row.int8, table.metric),
            tie_text(row, table),
            *costs,
            "" if row.latency_us is None else f"{row.latency_us:.0f}",
        )
    if table.rows:
        console.print(grid)
        console.print("[dim]± 95 % interval over seeds; tie: intervals overlap; * on the Pareto front of int8[/dim]")
        console.print("[dim]insns: of a time step on a Cortex-M55; µs: an invoke on LiteRT, this machine[/dim]")
    for row in table.rows:
        if row.failed:
            console.print(Text(f"{row.configuration} failed: {row.failed}", style="yellow"))
    if table.baselines:
        _baselines(table, console)


def _grid(title: str, first: str) -> Grid:
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    grid.add_column(first, no_wrap=True)
    return grid


def _baselines(table: Table, console: Console) -> None:
    unit = "%" if table.metric == "accuracy" else "mae"
    grid = _grid("Keras' own layers, in float", "layer")
    for head in (f"float {unit}", "to best", "parameters", "MACs a step"):
        grid.add_column(head, justify="left" if head == "to best" else "right", no_wrap=True)
    for row in table.baselines:
        numbers = (_number(row.parameters), _number(row.costs.get("macs")))
        grid.add_row(str(row.configuration), score_text(row.float, table.metric), tie_text(row, table), *numbers)
    console.print()
    console.print(grid)
    for row in table.baselines:
        for line in stock_lines(row):
            console.print(Text(f"{row.configuration} by {line}", style="dim"))


def score_text(score: Score | None, metric: str) -> str:
    """Mean ± half width; accuracy in percent."""
    if score is None:
        return "–"
    scale, digits = (100, 1) if metric == "accuracy" else (1, 4)
    mean = f"{scale * score.mean:.{digits}f}"
    return mean if score.half is None else f"{mean} ± {scale * score.half:.{digits}f}"


def stock_lines(row: Row) -> list[str]:
    """What each stock converter came to, in a few words."""
    lines = []
    for way, found in (row.stock or {}).items():
        if "failed" in found:
            lines.append(f"{way}: {found['failed'][:60]}")
            continue
        text = f"{found['bytes'] / 1000:.1f} kB, {found['float operators']} of {found['operators']} operators float"
        custom = ", needs Flex" if found["custom operators"] else ""
        micro = f", arena {found['arena'] / 1000:.1f} kB" if "arena" in found else ", not on TFLM"
        lines.append(f"{way}: {text}{custom}{micro}")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
