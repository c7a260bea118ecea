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

from .table import Row, Score, Table, tie_text


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
    grid = Grid(title=f"{table.done} of {table.total} runs", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, side in (
        ("model", "left"),
        (f"float {unit}", "right"),
        (f"int8 {unit}", "right"),
        ("to best", "left"),
        ("file B", "right"),
        ("arena B", "right"),
        ("insns/step", "right"),
        ("µs", "right"),
        ("front of", "left"),
    ):
        grid.add_column(name, justify="right" if side == "right" else "left")
    for row in table.rows:
        costs = [_number(row.costs.get(cost)) for cost in ("flash", "ram", "insns")]
        last = Text(row.failed[:40], style="yellow") if row.failed else Text(" ".join(row.fronts))
        mark = "" if row.fits is not False else " (too large)"
        grid.add_row(
            Text(f"{row.configuration}{mark}"),
            score_text(row.float, table.metric),
            score_text(row.int8, table.metric),
            tie_text(row, table),
            *costs,
            "" if row.latency_us is None else f"{row.latency_us:.0f}",
            last,
        )
    if table.rows:
        console.print(grid)
    if table.baselines:
        _baselines(table, console)


def _baselines(table: Table, console: Console) -> None:
    unit = "%" if table.metric == "accuracy" else "mae"
    grid = Grid(title="Keras' own layers, in float", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", f"float {unit}", "to best", "parameters", "MACs/step", "stock export"):
        grid.add_column(name, justify="left" if name in ("layer", "to best", "stock export") else "right")
    for row in table.baselines:
        numbers = (_number(row.parameters), _number(row.costs.get("macs")))
        scores = (score_text(row.float, table.metric), tie_text(row, table))
        grid.add_row(str(row.configuration), *scores, *numbers, Text("\n".join(stock_lines(row))))
    console.print(grid)


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
