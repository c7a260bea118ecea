"""The command `keras-gru-plus`: each job is imported only when it is asked for.

Exit codes: 0 done, 2 bad input or a job that cannot be done (one message on stderr, no traceback),
130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. Set KGP_DEBUG=1 for tracebacks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import cli_compare, cli_device, cli_signals

app = typer.Typer(
    name="keras-gru-plus",
    help="GRU variants for Keras that survive the trip to int8.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output directory if it is not empty.")]
RuntimePython = Annotated[
    str | None,
    typer.Option(help="Python of an environment with tflite-runtime (numpy < 2), to verify on it as well."),
]


def _version(value: bool) -> None:
    if value:
        import keras_gru_plus

        typer.echo(keras_gru_plus.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("demo-output"),
    variant: Annotated[str, typer.Option(help="GRU variant; see `keras-gru-plus variants`.")] = "mgu",
    units: Annotated[int, typer.Option(help="Units of the recurrent layer.")] = 32,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few epochs, to see it work; accuracies mean nothing.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    runtime_python: RuntimePython = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Do the whole job on real data: train, fine-tune, export, verify on every runtime, report."""
    with _job("export", "demo") as console:
        from keras_gru_plus_export.demo import run
        from keras_gru_plus_export.progress import TerminalProgress

        report = run(
            out,
            variant=variant,
            units=units,
            quick=quick,
            seed=seed,
            force=force,
            runtime_python=runtime_python,
            progress=TerminalProgress(console),
        )
        _show(report, out, console, as_json)


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(help="A .keras or .h5 file with GRU or GRUPlus layers, float or quantized.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the results.")],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Samples of the inputs that set the ranges: .npz (keys: input names or x) or .npy (one input)."
        ),
    ] = None,
    percentile: Annotated[
        float | None, typer.Option(help="Cover this percentile of the samples' extremes instead of all, say 99.")
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            help="Samples that score float and int8: .npz (keys: input names or x, for targets output names or y); "
            ".npy has inputs only and compares float and int8 with each other."
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="sequence (a window an invoke), step, or stateful.")] = "sequence",
    target: Annotated[str, typer.Option(help="litert, or tflm: fast on TFLite Micro with CMSIS-NN.")] = "litert",
    recipe: Annotated[
        str,
        typer.Option(
            help="int8, int8_per_channel, int16x8, or in floating point float16 or none; or a .json file of one."
        ),
    ] = "int8",
    io: Annotated[
        str,
        typer.Option(help="Inputs and outputs: int8 (int16 with recipe int16x8) or float (as float recipes have)."),
    ] = "int8",
    timesteps: Annotated[int | None, typer.Option(help="Window length, for a model with open time.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class names: a,b,c or a text file with one a line.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="accuracy or mae, or OUTPUT=mae,OUTPUT=accuracy; by default accuracy for targets that are integers, "
            "one-hot rows, or 0 and 1 for a sigmoid, else mae (mean absolute error)."
        ),
    ] = None,
    steps_per_iteration: Annotated[
        int,
        typer.Option(
            help="Time steps of a loop's iteration, a divisor of the window's: more take fewer instructions and more "
            "memory (mode sequence)."
        ),
    ] = 1,
    keep_names: Annotated[bool, typer.Option("--keep-names", help="Name internal tensors by their taps.")] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import a module with layers of your own first, from the current directory too; may be repeated.",
        ),
    ] = None,
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Also write c (a step as C99), arduino, esphome or web (a page that runs it); repeatable."
        ),
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(
            help="A signal for --with web: .npy, or .npz with x and any of y, rate, channels, units, mean, std."
        ),
    ] = None,
    runtime_python: RuntimePython = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a Keras model into a verified .tflite file, of integers unless the recipe says otherwise."""
    with _job("export") as console:
        from keras_gru_plus_export.bundle import export as run
        from keras_gru_plus_export.models import import_modules, load_model, load_recipe
        from keras_gru_plus_export.progress import TerminalProgress

        import_modules(imports or [])
        report = run(
            load_model(model),
            out,
            mode=mode,
            target=target,
            recipe=load_recipe(recipe),
            calibration=calibrate,
            percentile=percentile,
            evaluation=evaluate,
            io=io,
            timesteps=timesteps,
            labels=_labels(labels),
            metric=metric,
            keep_names=keep_names,
            steps_per_iteration=steps_per_iteration,
            extras=tuple(extras or ()),
            recording=recording,
            runtime_python=runtime_python,
            force=force,
            progress=TerminalProgress(console).say,
        )
        _show(report, out, console, as_json)


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite file, or a directory that export wrote.")],
    operators: Annotated[bool, typer.Option("--operators", help="List every operator in order.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a .tflite file: bytes, operators and types, multiplies, inputs and outputs.

    Of a directory that `export` wrote it checks that every file is there with the SHA-256 in report.json.
    """
    with _job("edge"):
        if model.is_dir():
            _check_bundle(model, as_json)
            return
        if not model.is_file():
            raise ValueError(f"Expected a .tflite file, got {str(model)!r}, which is no file.")
        from keras_gru_plus_export.analyze import analyze

        analysis = analyze(model)
        if as_json:
            typer.echo(json.dumps(analysis.to_json(), indent=2))
        else:
            from keras_gru_plus_export.terminal import show_analysis

            show_analysis(model.name, analysis, Console(), operators=operators)


@app.command()
def variants(
    name: Annotated[
        str | None, typer.Argument(help="One variant, with its equations; all in a table without.")
    ] = None,
    features: Annotated[int, typer.Option(help="Columns of the input.")] = 41,
    units: Annotated[int, typer.Option(help="Units of the layer.")] = 64,
    as_json: Json = False,
) -> None:
    """List the GRU variants: what they cost for given sizes, and where they come from."""
    with _job("train"):
        from . import cells
        from .catalogue import facts
        from .listing import show_table, show_variant

        if name is not None:
            one = facts(cells.get(name), features, units)
            if as_json:
                typer.echo(json.dumps(one.to_json(), indent=2))
            else:
                show_variant(one, Console())
            return
        every = [facts(cells.get(each), _columns(each, features), units) for each in cells.VARIANTS]
        if as_json:
            typer.echo(json.dumps([one.to_json() for one in every], indent=2))
        else:
            show_table(every, features, units, Console())


for _command in (cli_compare.compare, cli_device.run, cli_device.bench, cli_device.watch):
    app.command()(_command)


def _check_bundle(directory: Path, as_json: bool) -> None:
    from keras_gru_plus_export.contents import check

    report, wrong = check(directory)
    if wrong:
        raise ValueError(
            f"Expected {str(directory)!r} to be as it was written, got: {'; '.join(wrong)}; export it again."
        )
    if as_json:
        typer.echo(json.dumps({key: report.get(key) for key in ("sources", "outputs", "versions")}, indent=2))
        return
    for name, digest in report["outputs"].items():
        typer.echo(f"{digest}  {name}")
    typer.echo(f"All {len(report['outputs'])} files are as report.json says.")


def _columns(variant: str, features: int) -> int:
    """The input of a variant that wants an odd number of columns (values, masks, a time)."""
    return features if variant != "grud" or features % 2 else features + 1


def _labels(text: str | None) -> list[str] | None:
    if text is None:
        return None
    path = Path(text)
    # Many labels are too long for a file's name, which is an error of its own.
    if len(text) < 256 and path.is_file():
        try:
            return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f"Expected `--labels` to be a text file in UTF-8, got {text!r}: {error}.") from None
    return [label.strip() for label in text.split(",")]


def _show(report: Any, out: Path, console: Console, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    from keras_gru_plus_export.terminal import show_report

    show_report(report, Console())
    names = ", ".join([file.name for file in report.files] + ["report.json", "report.html"])
    console.print(f"[dim]•[/dim] wrote {_escaped(str(out))}: {_escaped(names)}")


@contextlib.contextmanager
def _job(*extras: str) -> Iterator[Console]:
    """Runs a command's body: native libraries' chatter goes to a log, known errors become one line.

    Yields a console on the real stderr.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    debug = bool(os.environ.get("KGP_DEBUG"))
    with contextlib.ExitStack() as stack:
        if not debug:
            warnings.simplefilter("ignore")
            stack.enter_context(_quiet_stderr())
            stack.enter_context(_quiet_loggers())
        console = Console(file=sys.stderr)
        stack.enter_context(cli_signals.interrupts())
        try:
            yield console
        except KeyboardInterrupt as interrupt:
            what = "".join(f"; {word}" for word in interrupt.args)
            console.print(f"Interrupted{_escaped(what)}.", soft_wrap=True, highlight=False)
            raise typer.Exit(cli_signals.exit_code()) from None
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            if debug:
                raise
            message = _words(error)
            if isinstance(error, ModuleNotFoundError):
                message = f"This command needs {error.name}: pip install 'keras-gru-plus[{','.join(extras)}]'"
            console.print(f"[bold red]error:[/bold red] {_escaped(message)}", soft_wrap=True, highlight=False)
            raise typer.Exit(2) from None


def _words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"Expected enough memory, got too little{f': {error}' if str(error) else ''}."
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror  # without the number in front
    return str(error)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Sends what C++ code writes to file descriptor 2 to a temporary file; Python's stderr stays."""
    sys.stderr.flush()
    saved = os.dup(2)
    python_stderr = sys.stderr
    with tempfile.TemporaryFile() as log, os.fdopen(os.dup(saved), "w", errors="backslashreplace") as stderr:
        os.dup2(log.fileno(), 2)
        sys.stderr = stderr
        try:
            yield
        finally:
            stderr.flush()
            sys.stderr = python_stderr
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Nothing below an error from TensorFlow's Python side."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
