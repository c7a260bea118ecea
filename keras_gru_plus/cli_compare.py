"""The command `compare`. Its work is in `keras_gru_plus_export.compare`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .cli_signals import exit_code

#: What is compared unless the command says otherwise.
VARIANTS = "gru,mgu,ligru,coupled,fastgrnn0,mingru"
MOST_WORKERS = 4


def compare(
    data: Annotated[
        str,
        typer.Argument(
            help="digits, watch, spoken, mnist, ecg, keywords, demand, or a .npz file with x_train, y_train, x_test, "
            "y_test (x_validation, y_validation), or with x, y and --split."
        ),
    ] = "digits",
    out: Annotated[Path, typer.Option(help="Directory for the results; an earlier comparison in it goes on.")] = Path(
        "compare-output"
    ),
    variants: Annotated[
        str, typer.Option(help="GRU variants, or all; keras.GRU, keras.LSTM and keras.SimpleRNN as well.")
    ] = VARIANTS,
    units: Annotated[
        str | None,
        typer.Option(help="Such as 16,32 or 8..64:8. [default: 32; 16 with --quick; 4..64:4 with --budget]"),
    ] = None,
    activations: Annotated[
        str | None, typer.Option(help="smooth, saturating or both. [default: both; smooth with --quick]")
    ] = None,
    ranks: Annotated[str, typer.Option(help="Of the recurrent kernel, where a variant takes one; 0 is full.")] = "0",
    seeds: Annotated[int | None, typer.Option(help="Runs of each model. [default: 5; 2 with --quick]")] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Keras' GRU, LSTM and SimpleRNN in float, and their stock export. [default: yes, not with --budget]",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Search inside a device's limits instead of doing all: flash=16k,ram=4k,insns=20k (bytes of the "
            "file and the arena, instructions a time step)."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Models that a search trains. [default: 24; 6 with --quick]")
    ] = None,
    sampler: Annotated[str, typer.Option(help="Of a search: tpe or nsga2.")] = "tpe",
    epochs: Annotated[int | None, typer.Option(help="Of float training; each data set has its default.")] = None,
    fine_tuning: Annotated[int | None, typer.Option(help="Epochs of quantization-aware training.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate of float training, at the start.")] = None,
    percentile: Annotated[
        float | None, typer.Option(help="Of the windows' extremes that calibration covers.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Train, validation and test in percent: 70,15,15.")] = None,
    standardize: Annotated[
        bool, typer.Option("--standardize/--no-standardize", help="Inputs of a file, by channel.")
    ] = True,
    mode: Annotated[str, typer.Option(help="Of the measured file: step, sequence or stateful.")] = "step",
    target: Annotated[str, typer.Option(help="tflm or litert.")] = "tflm",
    recipe: Annotated[str, typer.Option(help="int8 or int8_per_channel.")] = "int8",
    device: Annotated[
        str, typer.Option(help="cortex-m55 (emulated: arena and instructions), host (its larger arena), or auto.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help=f"Processes, one thread each. [default: one a core, at most {MOST_WORKERS}]")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where results are shared: a .db file, a .journal file (on a network drive), a database's URL. "
            "[default: study.db in --out]"
        ),
    ] = None,
    study: Annotated[str, typer.Option(help="Name in the storage.")] = "compare",
    quick: Annotated[bool, typer.Option("--quick", help="Few epochs, to see it work.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Train, quantize, export and measure variants on a data set: which is best, and which fits the device.

    Stopped or killed, the same command goes on where it was. Ctrl-C writes the table of what is done.
    """
    from . import cli

    interrupted = False
    with cli._job("compare") as console:
        from keras_gru_plus_export.compare.run import compare as work
        from keras_gru_plus_export.compare.run import prepare
        from keras_gru_plus_export.compare.show import Screen, show

        options = {key: value for key, value in locals().items() if key in compare.__annotations__}
        prepare(out, force=False)
        job, task, notes = _job_of(**options)
        prepare(out, force)
        screen = Screen(console)
        for note in notes:
            screen.say(note)
        count = workers or min(os.cpu_count() or 1, MOST_WORKERS)
        outcome = work(job, task, out, count, screen, notes)
        interrupted = outcome.interrupted
        if as_json:
            typer.echo(json.dumps(outcome.json, indent=2))
        else:
            show(outcome.table, Console())
        names = "compare.html, compare.csv, compare.json" + (", winner" if outcome.bundled else "")
        screen.say(f"wrote {out}: {names}")
        if interrupted:
            screen.say(
                f"interrupted after {outcome.table.done} of {outcome.table.total} runs; the same command goes on"
            )
    if interrupted:
        raise typer.Exit(exit_code())


def _job_of(
    *,
    data: str,
    out: Path,
    variants: str,
    units: str | None,
    activations: str | None,
    ranks: str,
    seeds: int | None,
    baselines: bool | None,
    budget: str | None,
    trials: int | None,
    sampler: str,
    split: str | None,
    standardize: bool,
    mode: str,
    target: str,
    recipe: str,
    device: str,
    workers: int | None,
    storage: str | None,
    study: str,
    quick: bool,
    **training: Any,
) -> tuple[Any, Any, list[str]]:
    """The job, its data, and notes for the reader; refuses what is no comparison."""
    from keras_gru_plus_export.compare import plan, tasks
    from keras_gru_plus_export.compare.job import Job
    from keras_gru_plus_export.compare.search import SAMPLERS

    choices = {
        "--mode": (mode, ("step", "sequence", "stateful")),
        "--target": (target, ("tflm", "litert")),
        "--recipe": (recipe, ("int8", "int8_per_channel")),
        "--sampler": (sampler, SAMPLERS),
        "--device": (device, ("auto", "cortex-m55", "host")),
    }
    for option, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"Expected `{option}` to be one of {', '.join(known)}, got {value!r}.")
    for option, number in (("--seeds", seeds), ("--trials", trials), ("--workers", workers)):
        if number is not None and number < 1:
            raise ValueError(f"Expected `{option}` to be 1 or more, got {number}.")
    limits = None if budget is None else plan.Limits.parse(budget)
    sizes = plan.numbers("--units", units or ("4..64:4" if limits else "16" if quick else "32"), 1)
    gates = plan.activations_of(activations or ("smooth" if quick and limits is None else "smooth,saturating"))
    low = plan.numbers("--ranks", ranks, 0)
    task = tasks.load(data, split=split, standardize=standardize)
    names, notes = plan.variants_of(variants, task.data.train.x.shape[2], sizes)
    own = tuple(name for name in names if name not in plan.BASELINES)
    given = tuple(name for name in names if name in plan.BASELINES)
    if limits is not None and (given or baselines):
        raise ValueError("Expected GRU variants for --budget, got a layer of Keras', which has no int8 file.")
    more = plan.BASELINES if (limits is None if baselines is None else baselines) and own else given
    space = plan.Space((*own, *more), sizes, gates, low, seeds or (2 if quick else 5))
    task = dataclasses.replace(task, training=_training(task.training, quick, **training))
    job = Job(
        source=data,
        split=split,
        standardize=standardize,
        training=task.training,
        space=space,
        mode=mode,
        target=target,
        recipe=recipe,
        device=_device(device, limits, notes),
        storage=storage or str(out / "study.db"),
        study=study,
        limits=limits,
        trials=trials or (6 if quick else 24),
        sampler=sampler,
        models=str(out / "models"),
    )
    if target == "tflm" and importlib.util.find_spec("tflite_micro") is None:
        raise ValueError(
            "Expected tflite-micro for target 'tflm', got none; try pip install 'keras-gru-plus[tflm]' "
            "or --target litert."
        )
    return job, task, notes


def _training(default: Any, quick: bool, **given: Any) -> Any:
    """How long and how fast: the data set's own unless the command says otherwise."""
    names = {"epochs": "epochs", "fine_tuning": "fine_tuning", "rate": "learning_rate", "percentile": "percentile"}
    least = {"epochs": 1, "fine_tuning": 0}
    found = {}
    for option, name in names.items():
        value = given[option]
        if value is None:
            continue
        low = least.get(option)
        if value < low if low is not None else not value > 0 or (option == "percentile" and value > 100):
            wanted = f"{low} or more" if low is not None else "above 0" + (", up to 100" * (option == "percentile"))
            raise ValueError(f"Expected `--{option.replace('_', '-')}` to be {wanted}, got {value}.")
        found[name] = value
    return dataclasses.replace(default.quick() if quick else default, **found)


def _device(asked: str, limits: Any, notes: list[str]) -> str:
    """Where files are measured."""
    from keras_gru_plus_export.devices import cortex_m55

    reason = None if asked == "host" else cortex_m55.unavailable()
    if asked == "cortex-m55" and reason:
        raise ValueError(reason)
    if asked != "host" and not reason:
        return "cortex-m55"
    if limits is not None and limits.insns is not None:
        reason = reason or "it was turned off by --device host"
        raise ValueError(f"Expected the emulated Cortex-M55 for a budget of insns, got none: {reason}")
    if reason:
        notes.append(f"Instructions are not counted, and the arena is that of a 64-bit host: {reason}")
    return "host"
