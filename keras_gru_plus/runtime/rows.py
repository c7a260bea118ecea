"""Signals as text or arrays, cut into what a model takes at an invoke."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .file import TensorInfo
from .model import Model

Array = np.ndarray[Any, Any]
#: Number of a line (from 1) and its values.
Row = tuple[int, list[float]]
#: A line of so many characters is too long: it would be thousands of numbers.
LONGEST_LINE = 1 << 18
#: The largest number of float32, which models take.
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a table of rows is cut for a model.

    Attributes:
        height: rows of an invoke: the window, the hop or 1.
        columns: of a row; several inputs stand side by side in the file's order.
        inputs: of the model.
    """

    height: int
    columns: int
    inputs: tuple[TensorInfo, ...]

    @classmethod
    def of(cls, model: Model) -> Layout:
        """The layout of a model's inputs.

        Raises:
            ValueError: inputs that a table cannot hold.
        """
        inputs = model.info.inputs
        heights = {tensor.shape[1] if len(tensor.shape) == 3 else 1 for tensor in inputs}
        if len(heights) > 1 or any(len(tensor.shape) not in (2, 3) for tensor in inputs):
            shapes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
            raise ValueError(f"Expected inputs that rows of a table fill, got {shapes}; try keras_gru_plus.runtime.")
        return cls(heights.pop(), sum(tensor.shape[-1] for tensor in inputs), inputs)

    def feed(self, block: Array) -> Any:
        """A block of rows as `Model.step` and `Model.predict` take it."""
        found, start = {}, 0
        for tensor in self.inputs:
            part = block[:, start : start + tensor.shape[-1]]
            found[tensor.name] = part if len(tensor.shape) == 3 else part[0]
            start += tensor.shape[-1]
        return found if len(found) > 1 else next(iter(found.values()))


def parsed(lines: Iterable[str], columns: int, on_error: Callable[[str], None] | None) -> Iterator[Row]:
    """Lines of CSV as numbers; empty lines and a header are passed over.

    Args:
        lines: of text, with or without their ends.
        columns: wanted in each.
        on_error: is told of a bad line, which is then skipped; None raises.

    Raises:
        ValueError: names the first bad line.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if number == 1 and len(line) < LONGEST_LINE and not any(map(_is_number, cells)):
            continue
        try:
            if len(line) >= LONGEST_LINE:
                raise ValueError(f"Expected less than {LONGEST_LINE} characters in line {number}, got more.")
            yield number, _numbers(cells, columns, number)
        except ValueError as error:
            if on_error is None:
                raise
            on_error(str(error))


def _numbers(cells: list[str], columns: int, line: int) -> list[float]:
    if len(cells) != columns:
        raise ValueError(f"Expected {columns} columns in line {line}, got {len(cells)}.")
    for position, cell in enumerate(cells, start=1):
        if not _is_number(cell) or not abs(float(cell)) <= _LARGEST:
            raise ValueError(f"Expected a finite number in line {line}, column {position}, got {cell[:40]!r}.")
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def blocks(rows: Iterable[Row], height: int, left_over: Callable[[int], None]) -> Iterator[tuple[int, Array]]:
    """Every `height` rows as an array, with the number of the last one; `left_over` is told of rows at the end."""
    held: list[list[float]] = []
    for number, values in rows:
        held.append(values)
        if len(held) == height:
            yield number, np.array(held, np.float32)
            held = []
    if held:
        left_over(len(held))


def signals(array: Array, layout: Layout, mode: str) -> list[Array]:
    """The signals in an array: `(rows, columns)` is one, `(samples, rows, columns)` several.

    Raises:
        ValueError: another shape or type, NaN, or rows that do not come out even.
    """
    several = array.ndim == 3
    if (
        array.dtype.kind not in "fiu"
        or array.ndim not in (2, 3)
        or array.shape[-1] != layout.columns
        or not array.size
    ):
        raise ValueError(
            f"Expected numbers of shape (rows, {layout.columns}) or (samples, rows, {layout.columns}), got "
            f"{array.dtype} {array.shape}."
        )
    rows = array.shape[-2]
    if rows % layout.height or (several and mode == "sequence" and rows != layout.height):
        times = "" if several and mode == "sequence" else "a multiple of "
        raise ValueError(f"Expected {times}{layout.height} rows for each invoke, got {rows}.")
    with np.errstate(over="ignore"):  # too large for float32 is infinite
        real = array.astype(np.float32)
    if not np.isfinite(real).all():
        where = np.argwhere(~np.isfinite(real))[0].tolist()
        raise ValueError(f"Expected finite numbers, got {array[tuple(where)]} at {where}.")
    return list(real) if several else [real]
