"""`keras-gru-plus run`: a table of numbers or a stream of lines through a model."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import read
from ..atomic import replaced_file
from .model import Model
from .rows import LONGEST_LINE, Layout, blocks, parsed, signals

Array = np.ndarray[Any, Any]
Say = Callable[[str], None]


def run(
    model: Model,
    source: str,
    output: str,
    *,
    stream: bool = False,
    skip_bad_lines: bool = False,
    form: str = "json",
    say: Say,
) -> None:
    """Runs `source` (.npy, .csv or "-") through a model, to `output` (.npy, .npz or "-").

    A line on stdout has the outputs of an invoke. With `stream` it is there as soon as the invoke is done; without,
    all of the input is read and checked first.

    Args:
        model: of any mode; a `sequence` file takes windows, one after the other.
        source, output: paths or "-".
        skip_bad_lines: goes on after a bad line, which `say` is told.
        form: "json" or "csv", of lines on stdout.
        say: takes remarks.

    Raises:
        ValueError: bad input, names the line.
        OSError: a file that cannot be read or written.
    """
    layout = Layout.of(model)
    if form not in ("json", "csv"):
        raise ValueError(f"Expected `--format` to be json or csv, got {form!r}.")
    if output != "-" and (stream or Path(output).suffix not in (".npy", ".npz")):
        wanted = "- (stdout) with --stream" if stream else "a .npy or .npz file or - (stdout)"
        raise ValueError(f"Expected `--output` to be {wanted}, got {output!r}.")
    if Path(output).suffix == ".npy" and len(model.info.outputs) > 1:
        names = ", ".join(tensor.name for tensor in model.info.outputs)
        raise ValueError(f"Expected a .npz file for several outputs ({names}), got {output!r}.")
    on_error = (lambda text: say(f"{text} Skipped.")) if skip_bad_lines else None
    if Path(source).suffix == ".npy":
        array = _loaded(source)
        results = [
            [(line, invoked(model, layout, block)) for line, block in _blocks_of(signal, layout)]
            for signal in _reset_between(model, signals(array, layout, model.mode))
        ]
        _finish(model, results, output, form, nested=array.ndim == 3)
        return
    with lines_of(source) as lines:
        rows = parsed(lines, layout.columns, on_error)
        if not stream:
            rows = iter(list(rows))
        found = results_of(model, layout, rows, say)
        if output == "-":
            for line, values in found:
                sys.stdout.write(formatted(model, line, values, form) + "\n")
                if stream:
                    sys.stdout.flush()
            sys.stdout.flush()
        else:
            _finish(model, [list(found)], output, form, nested=False)


def results_of(model: Model, layout: Layout, rows: Any, say: Say) -> Iterator[tuple[int, dict[str, Array]]]:
    """Outputs by name with the number of the last line that they saw."""

    def left_over(count: int) -> None:
        say(f"{count} lines at the end are less than the {layout.height} of an invoke and were left out.")

    for line, block in blocks(rows, layout.height, left_over):
        yield line, invoked(model, layout, block)


def invoked(model: Model, layout: Layout, block: Array) -> dict[str, Array]:
    """Outputs of one invoke by name."""
    call = model.predict if model.mode == "sequence" else model.step
    found = call(layout.feed(block))
    return found if isinstance(found, dict) else {model.outputs[0]: found}


@contextlib.contextmanager
def lines_of(source: str) -> Iterator[Any]:
    """Lines of a text file, or of stdin as they come."""
    if source == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(
                encoding="utf-8", errors="replace"
            )  # noise on a serial line is a bad line, no crash
        yield _limited(sys.stdin)
        return
    _is_file(source)
    with open(source, encoding="utf-8-sig", errors="replace") as file:  # spreadsheets write a byte order mark
        yield _limited(file)


def _limited(file: Any) -> Iterator[str]:
    """Lines as they come; of one that is too long its beginning, and no more is kept."""
    while line := file.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
            rest = file.readline(LONGEST_LINE)
        yield line


def formatted(model: Model, line: int, values: dict[str, Array], form: str) -> str:
    """One line of JSON or CSV."""
    if form == "csv":
        return ",".join(str(value) for array in values.values() for value in array.ravel())
    record: dict[str, Any] = {"line": line, **{name: _plain(array) for name, array in values.items()}}
    label = label_of(model, values)
    return json.dumps(record if label is None else {**record, "label": label}, ensure_ascii=False)


def label_of(model: Model, values: dict[str, Array]) -> str | None:
    """The class of the first output, None where the labels are not its classes."""
    first = next(iter(values.values()))
    return model.labels[int(first.argmax())] if model.labels and first.shape == (len(model.labels),) else None


def _plain(array: Array) -> Any:
    if array.ndim:
        return [_plain(part) for part in array]
    # The shortest text that is this float32 again, instead of the digits of its float64.
    return float(str(array[()])) if array.dtype.kind == "f" else array.item()


def _is_file(source: str) -> None:
    if not Path(source).is_file():
        raise ValueError(
            f"Expected `--input` to be a .csv or .npy file or - (stdin), got {source!r}, which is no file."
        )


def _loaded(source: str) -> Array:
    _is_file(source)
    try:
        array = read(Path(source))
    except ValueError as error:
        raise ValueError(f"Expected a .npy file with an array of numbers, got {source!r}. {error}") from None
    if isinstance(array, dict):
        raise ValueError(f"Expected a .npy file with one array of numbers, got {source!r}, an archive of several.")
    return np.asarray(array)


def _reset_between(model: Model, samples: list[Array]) -> Iterator[Array]:
    for sample in samples:
        model.reset()
        yield sample


def _blocks_of(signal: Array, layout: Layout) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(signal), layout.height):
        yield start + layout.height, signal[start : start + layout.height]


def _finish(model: Model, results: list[Any], output: str, form: str, nested: bool) -> None:
    """All results at once: lines, or a file that appears whole."""
    if output == "-":
        for sample in results:
            for line, values in sample:
                sys.stdout.write(formatted(model, line, values, form) + "\n")
        sys.stdout.flush()
        return
    if not any(results):
        raise ValueError("Expected at least the rows of one invoke, got fewer.")
    arrays: dict[str, Any] = {}
    for name in results[0][0][1]:
        stacked = np.array([[values[name] for _, values in sample] for sample in results])
        if nested and model.mode == "sequence":  # one window a sample
            arrays[name] = stacked[:, 0]
        else:
            arrays[name] = stacked if nested else stacked[0]
    final = Path(output)
    if not final.parent.is_dir():
        raise ValueError(f"Expected `--output` in a directory that exists, got {output!r}.")
    with replaced_file(final) as new, new.open("wb") as file:
        if final.suffix == ".npy":
            np.save(file, next(iter(arrays.values())))
        else:
            np.savez(file, **arrays)
