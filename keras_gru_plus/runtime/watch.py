"""`keras-gru-plus watch`: signal and class probabilities live in a terminal."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .model import Model
from .rows import Layout, blocks, parsed
from .run import Say, invoked, label_of, lines_of

_BARS = "▁▂▃▄▅▆▇█"
#: Rows of a table that fit on a screen.
_MOST = 16


class Screen:
    """What is drawn: the last rows of the signal and the last outputs."""

    def __init__(self, model: Model, layout: Layout, width: int) -> None:
        self._model = model
        self._history: collections.deque[list[float]] = collections.deque(maxlen=max(10, width - 36))
        self._values: dict[str, np.ndarray[Any, Any]] = {}
        self._invokes, self._busy = 0, 0.0
        self._names = [
            tensor.name if tensor.shape[-1] == 1 else f"{tensor.name}[{column}]"
            for tensor in layout.inputs
            for column in range(tensor.shape[-1])
        ]

    def add_row(self, row: list[float]) -> None:
        """The next line of the signal."""
        self._history.append(row)

    def add_values(self, values: dict[str, np.ndarray[Any, Any]], seconds: float) -> None:
        """The outputs of an invoke, and what it took."""
        self._values, self._invokes, self._busy = values, self._invokes + 1, self._busy + seconds

    def __rich__(self) -> Group:
        columns = list(zip(*tuple(self._history)))
        table = Table.grid(padding=(0, 1))
        for name, column in list(zip(self._names, columns))[:_MOST]:
            table.add_row(Text(name, style="bold"), f"{column[-1]:9.3g}", Text(sparkline(column), style="cyan"))
        bars = Table.grid(padding=(0, 1))
        label = label_of(self._model, self._values) if self._values else None
        for name, array in self._values.items():
            flat = array.ravel()
            classes = self._model.labels if label is not None and array.shape == (len(self._model.labels),) else None
            for index, value in list(enumerate(flat))[:_MOST]:
                text = classes[index] if classes else name if flat.size == 1 else f"{name}[{index}]"
                style = "bold green" if flat.size > 1 and index == flat.argmax() else "dim"
                bar = "█" * round(30 * min(max(float(value), 0), 1))
                bars.add_row(Text(text, style=style), f"{value:7.3f}", Text(bar, style=style))
        took = f", {1e6 * self._busy / self._invokes:.0f} µs each" if self._invokes else ""
        status = Text(f"{self._model.mode} on {self._model.runtime}: {self._invokes} invokes{took}", style="dim")
        return Group(table, Text(), bars, status)


def sparkline(values: Any) -> str:
    """Numbers as a line of bars between their least and their greatest."""
    array = np.asarray(values, float)
    low, span = array.min(), np.ptp(array)
    places = np.zeros(len(array), int) if span == 0 else np.rint((array - low) / span * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[place] for place in places)


def watch(model: Model, source: str, console: Console, say: Say, *, skip_bad_lines: bool = True) -> None:
    """Draws until the input ends.

    Raises:
        ValueError: a bad line, where they are not skipped.
        OSError: the input cannot be read.
    """
    layout = Layout.of(model)
    screen = Screen(model, layout, console.width)
    bad = 0

    def on_error(_: str) -> None:
        nonlocal bad
        bad += 1

    def shown(rows: Any) -> Iterator[Any]:
        for number, row in rows:
            screen.add_row(row)
            yield number, row

    with lines_of(source) as lines, Live(screen, console=console, refresh_per_second=10):
        rows = shown(parsed(lines, layout.columns, on_error if skip_bad_lines else None))
        for _, block in blocks(rows, layout.height, lambda _: None):
            start = time.perf_counter()
            values = invoked(model, layout, block)
            screen.add_values(values, time.perf_counter() - start)
    if bad:
        say(f"{bad} bad lines were skipped; `keras-gru-plus run` names them.")
