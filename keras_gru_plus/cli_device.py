"""The commands of a device: run, bench, watch. Their work is in `keras_gru_plus.runtime`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .cli_signals import exit_code

Model = Annotated[Path, typer.Argument(help="A .tflite file.")]
Runtime = Annotated[str, typer.Option(help="auto, litert, tflite-runtime, tflm, or one of the first two -reference.")]
Threads = Annotated[int, typer.Option(help="Threads of an invoke; small models are fastest with one.")]
Input = Annotated[
    str, typer.Option("--input", help="Rows of numbers: a .csv or .npy file, or - for lines of CSV on stdin.")
]
OnError = Annotated[str, typer.Option(help="At a bad line: stop, or skip it and say so on stderr.")]


def run(
    model: Model,
    source: Input,
    output: Annotated[str, typer.Option(help="A .npy file (.npz for several outputs), or - for stdout.")] = "-",
    stream: Annotated[bool, typer.Option("--stream", help="Answer each line at once, as in a pipe.")] = False,
    on_error: OnError = "stop",
    form: Annotated[str, typer.Option("--format", help="Of lines on stdout: json, or csv.")] = "json",
    runtime: Runtime = "auto",
    threads: Threads = 1,
) -> None:
    """Run a .tflite file over a table of numbers, or over lines as they come.

    A row has the features of a time step; several inputs stand side by side. A file of mode sequence takes windows,
    one after the other. The state goes on from row to row.
    """
    with _streaming() as console:
        from .runtime.model import load
        from .runtime.run import run as work

        skip = _skips(on_error)
        loaded = load(model, runtime, threads, trial=True)
        work(loaded, source, output, stream=stream, skip_bad_lines=skip, form=form, say=_say(console))


def bench(
    model: Model,
    rate: Annotated[float | None, typer.Option(help="Of the sensor in Hz, for the real-time factor.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 2.0,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    device: Annotated[
        str | None, typer.Option(help="cortex-m55: count instructions on an emulated one instead (needs QEMU).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Measure how long an invoke takes: percentiles, steps a second, memory."""
    from . import cli

    with cli._job("export" if device else "edge"):
        if device not in (None, "cortex-m55"):
            raise ValueError(f"Expected `--device` to be cortex-m55, got {device!r}.")
        found = _on_cortex_m55(model) if device else _here(model, runtime, threads, seconds, rate)
        if as_json:
            typer.echo(json.dumps(found, indent=2))
            return
        for name, value in found.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            if value is not None:
                typer.echo(f"{name.replace('_', ' '):>22}  {shown}")


def watch(
    model: Model,
    source: Input = "-",
    on_error: OnError = "skip",
    runtime: Runtime = "auto",
    threads: Threads = 1,
) -> None:
    """Draw the signal and the class probabilities live in the terminal."""
    with _streaming() as console:
        from .runtime.model import load
        from .runtime.watch import watch as work

        skip = _skips(on_error)
        work(load(model, runtime, threads, trial=True), source, Console(), _say(console), skip_bad_lines=skip)


def _here(model: Path, runtime: str, threads: int, seconds: float, rate: float | None) -> dict[str, Any]:
    from .runtime.bench import bench as work

    return work(str(model), runtime=runtime, threads=threads, seconds=seconds, rate=rate, trial=True).to_json()


def _on_cortex_m55(model: Path) -> dict[str, Any]:
    from keras_gru_plus_export.devices import cortex_m55

    from .runtime.file import read

    found = cortex_m55.run(read(model).content, {}, count=True)
    most = dict(list(found.functions.items())[:10])
    return {
        "model": str(model),
        "device": "cortex-m55 (emulated), TFLite Micro with CMSIS-NN",
        "instructions": found.instructions,
        "arena_bytes": found.arena,
        "functions": most,
    }


def _skips(on_error: str) -> bool:
    if on_error not in ("stop", "skip"):
        raise ValueError(f"Expected `--on-error` to be stop or skip, got {on_error!r}.")
    return on_error == "skip"


def _say(console: Console) -> Any:
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _streaming() -> Iterator[Console]:
    """A job in a pipe: a reader that went away, or an interrupt, ends it quietly."""
    from . import cli

    interrupted = False
    with cli._job("edge") as console:
        try:
            yield console
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more on its way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise typer.Exit(exit_code())
