"""`export`: converts, verifies and writes a directory with the file and its report."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_gru_plus.adopt import from_keras, has_keras_gru
from keras_gru_plus.quantization import QuantizedModel, Recipe, calibrate, quantize_aware

from . import contents, tflite
from .analyze import analyze
from .convert import ConversionError, check_options, convert, input_shapes
from .data import Data, DataError, batches_of, check_metric, data_sha256, input_names, joined, load_data, output_names
from .devices import host
from .directory import replaced_directory
from .extras import Context, Recording, check_extras, extra_files, recording_for
from .fingerprint import model_sha256
from .graph import MODES
from .passes.labels import labelled
from .report import File, Report, Stage, file_of, versions
from .streaming import check_steps, have_time
from .summary import checked_labels, describe, tap_ranges, warnings
from .verify import LACKING, verify

#: Samples of random numbers for a model that comes without any data.
RANDOM_SAMPLES = 32
#: Samples of the calibration data that are verified on where there is no evaluation data.
CALIBRATION_SAMPLES = 256

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Progress that nobody sees."""


def export(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    mode: str = "sequence",
    target: str = "litert",
    recipe: Any = "int8",
    calibration: Any = None,
    percentile: float | None = None,
    evaluation: Any = None,
    io: str = "int8",
    timesteps: int | None = None,
    extras: tuple[str, ...] = (),
    recording: str | os.PathLike[str] | None = None,
    force: bool = False,
    labels: list[str] | None = None,
    metric: Any = None,
    max_samples: int | None = None,
    keep_names: bool = False,
    steps_per_iteration: int = 1,
    runtime_python: str | None = None,
    progress: Progress = _silent,
) -> Report:
    """Writes `model.tflite`, `report.json`, `report.html` and sources that go with them into `directory`.

    The file is compared with the model on every runtime that is installed before anything is written;
    the directory appears whole or not at all.

    Args:
        model: a float model (then `calibration` is needed, but for recipes "none" and "float16"; Keras' own GRU
            layers are adopted) or one from `quantize_aware` with its ranges set.
        directory: created; if it exists and is not empty, `force` replaces it.
        mode, target, io, timesteps, keep_names, steps_per_iteration: see `convert`.
        recipe: for a float model, see `quantize_aware`.
        calibration: data that sets the ranges, in any form that `calibrate` takes; it is read batch by batch.
        percentile: of the samples' extremes that the ranges cover, instead of all (see `calibrate`).
        evaluation: data on which the float model and the file are scored, with targets: the same forms, all of it
            kept in memory. Targets are named as the outputs (or `y`), or are in the outputs' order; those of a
            sequence are `(samples, timesteps)`. Without targets agreement with Keras is all that is measured.
        extras: "c" (one time step as C99 without dependencies; mode "step"), and for target "tflm" "arduino" (a
            sketch) and "esphome" (a microWakeWord v2 manifest).
            "web" is a page that runs the file in a browser.
        recording: a signal for that page: `.npy` `(timesteps, features)`, or `.npz` with it as `x` and any of y (the
            class of each time step), rate, channels, units, mean and std (the model takes `(x - mean) / std`), title,
            note. By default the first samples of the data.
        force: replace a directory that is not empty.
        labels: class names in the order of the outputs, carried into the file and the report.
        metric: "accuracy" or "mae", or a dict of them by output name. By default accuracy for targets that are
            integers or truth values, one-hot rows for two columns or more, or zeros and ones for a single sigmoid;
            mae, the mean absolute error, for all others.
        max_samples: read no more than these of either data. By default all, but 10,000 where the length is unknown (a
            generator); the report says if there were more.
        runtime_python: Python of an environment with tflite-runtime, to be verified as well.
        progress: called with a line of text before each part.

    Returns:
        The report.

    Raises:
        ValueError: bad arguments or data, or a model that cannot be quantized.
        FileExistsError: `directory` is not empty and `force` was not given.
        ConversionError: the converter failed, or a file is not the model.
    """
    check_options(mode, target, io, steps_per_iteration)
    check_extras(extras, mode, target, io)
    check_metric(metric)
    played = recording_for(extras, recording, [tuple(tensor.shape) for tensor in model.inputs])
    with replaced_directory(directory, force) as folder:
        keep = CALIBRATION_SAMPLES if evaluation is None else 0
        sources = {"model": model_sha256(model)}
        quantized, float_model, kept, calibrated_on = prepare(
            model, recipe, calibration, percentile, max_samples=max_samples, keep=keep, progress=progress
        )
        check_metric(metric, output_names(quantized))
        data, source = samples_for(quantized, evaluation, kept, timesteps, max_samples)
        sources |= {} if calibrated_on is None else {"calibration": calibrated_on}
        sources |= {} if source != "evaluation" else {"evaluation": data_sha256(data)}
        progress("converting")
        report, files = build_report(
            quantized,
            [mode],
            data,
            source,
            target=target,
            io=io,
            float_model=float_model,
            labels=labels,
            metric=metric,
            keep_names=keep_names,
            steps_per_iteration=steps_per_iteration,
            runtime_python=runtime_python,
            names={mode: "model.tflite"},
            sources=sources,
            progress=progress,
        )
        beside = _beside(files["model.tflite"], report, data, extras, played)
        progress("writing the report")
        return contents.write(folder, report, files | beside)


def _beside(
    file: bytes, report: Report, data: Data, extras: tuple[str, ...], recording: Recording | None
) -> dict[str, bytes]:
    """Sources that go with the file, by their path in the bundle."""
    entry = report.files[0]
    context = Context(file, entry.mode, report.title, report.labels, data.inputs, entry.arena, recording)
    texts = extra_files(context, extras, report.target)
    return {name: text.encode() if isinstance(text, str) else text for name, text in texts.items()}


def prepare(
    model: keras.Model,
    recipe: Any,
    calibration: Any,
    percentile: float | None = None,
    *,
    max_samples: int | None = None,
    keep: int = 0,
    progress: Progress = _silent,
) -> tuple[QuantizedModel, keras.Model, Data | None, str | None]:
    """A quantized model with ranges, the float model it stands for, the first `keep` samples, the SHA-256 of all.

    Raises:
        ValueError: no calibration data for a model without ranges.
    """
    if isinstance(model, QuantizedModel):
        if Recipe.get(recipe) not in (Recipe.get("int8"), model.recipe):
            raise ValueError(
                f"Expected `recipe` to be the quantized model's own, {model.recipe.name!r}, got "
                f"{Recipe.get(recipe).name!r}; quantize the float model again for another."
            )
        quantized, float_model = model, model.float_model()
    else:
        adopted = from_keras(model) if has_keras_gru(model) else model
        quantized, float_model = quantize_aware(adopted, recipe), model
    if not quantized.recipe.quantized:
        return quantized, float_model, None, None
    kept = found = None
    if calibration is not None:
        progress("calibrating")
        batches = batches_of(quantized, calibration, max_samples=max_samples, keep=keep)
        calibrate(quantized, batches, percentile=percentile)
        kept, found = joined(batches.kept) if batches.kept else None, batches.sha256.hexdigest()
    elif not isinstance(model, QuantizedModel):
        raise ValueError(
            f"Expected calibration data for the float model {model.name!r}, got none; pass samples of its inputs "
            "(--calibrate DATA.npz, or .npy)."
        )
    quantized.require_ranges()
    return quantized, float_model, kept, found


def samples_for(
    model: QuantizedModel,
    evaluation: Any,
    calibration: Data | None,
    timesteps: int | None,
    max_samples: int | None = None,
) -> tuple[Data, str]:
    """The samples to verify on, and where they came from.

    Raises:
        DataError: samples of another length than `timesteps`, or of several.
    """
    if timesteps is not None:
        input_shapes(model, "sequence", timesteps)  # refuses what contradicts the model
    if evaluation is not None:
        return _of_one_length(model, load_data(model, evaluation, max_samples), timesteps), "evaluation"
    if calibration is not None:
        return _of_one_length(model, calibration, timesteps), "calibration"
    generator = np.random.default_rng(0)
    shapes = input_shapes(model, "sequence", timesteps)
    inputs = {
        name: _random(model, name, identity, (RANDOM_SAMPLES, *shape[1:]), generator)
        for (name, identity), shape in zip(model._graph.inputs, shapes)
    }
    return Data(inputs), "random"


def _random(model: QuantizedModel, name: str, identity: int, shape: tuple[int, ...], generator: Any) -> np.ndarray:
    """Numbers that fill the range of an input; indices that all tables have."""
    graph = model._graph
    if graph.reads_indices(identity):
        rows = min(node.layer.input_dim for node in graph.readers(identity))
        return generator.integers(0, rows, shape).astype(np.int32)
    if not model.recipe.quantized:
        return generator.normal(0, 1, shape).astype(np.float32)
    bound = float(model.taps.all()[f"{name}/input"].bound())
    scaling, values = graph.scalings().get(identity), generator.normal(0, bound / 3, shape)
    return (values if scaling is None else values / scaling.scale + scaling.center).astype(np.float32)


def open_inputs(model: QuantizedModel) -> list[str]:
    """Inputs whose time dimension is open."""
    ends = zip(input_names(model), model.inputs, have_time(model), strict=True)
    return [name for name, tensor, timed in ends if timed and tensor.shape[1] is None]


def _of_one_length(model: QuantizedModel, data: Data, timesteps: int | None) -> Data:
    lengths = sorted({data.inputs[name].shape[1] for name in open_inputs(model)})
    wanted = lengths[:1] if timesteps is None or not lengths else [timesteps]
    if lengths != wanted:
        got = ", ".join(map(str, lengths)) or "none"
        raise DataError(f"Expected samples of {wanted[0]} time steps for every input, got {got}.")
    return data


def build_report(
    model: QuantizedModel,
    modes: list[str],
    data: Data,
    source: str,
    *,
    target: str,
    io: str,
    float_model: keras.Model,
    labels: list[str] | None,
    metric: Any,
    keep_names: bool,
    runtime_python: str | None,
    names: dict[str, str],
    steps_per_iteration: int = 1,
    title: str | None = None,
    stages: list[Stage] | None = None,
    sources: dict[str, str] | None = None,
    progress: Progress = _silent,
) -> tuple[Report, dict[str, bytes]]:
    """Converts `modes`, verifies them, and returns the report and the bytes by file name."""
    labels = checked_labels(model, labels)
    if not model.recipe.quantized:
        io = "float"
    window = next((data.inputs[name].shape[1] for name in open_inputs(model)), None)
    compared = list(modes)
    if all(m != "sequence" for m in modes):
        compared.append("sequence")  # what the others must equal
    elif modes == ["sequence"] and _can_step(model):
        compared.append("step")

    several = {"sequence": steps_per_iteration} if "sequence" in modes else {}

    def converted(mode: str, io: str = "int8") -> bytes:
        options: dict[str, Any] = {"target": target, "io": io, "timesteps": window, "keep_names": keep_names}
        return convert(model, mode=mode, steps_per_iteration=several.get(mode, 1), **options)

    plain = {m: converted(m) for m in compared}
    progress("verifying on every runtime")
    verification = verify(
        model,
        plain,
        data,
        mode=modes[0],
        float_model=float_model,
        source=source,
        metric=metric,
        runtime_python=runtime_python,
    )
    if any(row.runtime == target and row.reason == LACKING for row in verification.results):
        raise ConversionError(f"Expected a file that {target} runs, got an operator that it does not have.")
    again = io == "float" and model.recipe.quantized
    written = {m: converted(m, io) for m in modes} if again else plain
    if again:
        _check_float(plain[modes[0]], written[modes[0]], modes[0], data)
    written = {m: labelled(content, labels) for m, content in written.items()}
    progress("measuring the arena")
    entries, files = [], {}
    for m in modes:
        files[names[m]] = written[m]
        arena = None if model.recipe.bits == 16 else _arena(written[m], m, data)
        entries.append(file_of(names[m], m, written[m], analyze(written[m]), arena, several.get(m, 1)))
    taps = tap_ranges(model, data)
    report = Report(
        title=title or model.name,
        model=describe(model),
        recipe=model.recipe.get_config(),
        target=target,
        io="int16" if io == "int8" and model.recipe.activation_bits == 16 else io,
        files=entries,
        verification=verification,
        taps=taps,
        labels=labels,
        stages=stages or [],
        warnings=warnings(verification, taps, model, data),
        versions=versions(),
        sources=sources or {},
    )
    return report, files


def _can_step(model: QuantizedModel) -> bool:
    try:
        check_steps(model)
    except ValueError:
        return False
    return True


def _arena(data: bytes, mode: str, samples: Data) -> int | None:
    if not host.available("tflm"):
        return None
    return host.smallest_arena(data, _fed(data, samples.head(1)), mode)


def _fed(data: bytes, samples: Data) -> dict[str, np.ndarray]:
    """Samples in the types of a file's inputs."""
    model = tflite.load(data)
    fed = {}
    for name, array in samples.inputs.items():
        tensor = model.subgraphs[0].tensors[tflite.signature(model).inputs[name]]
        grid = tflite.grid(tensor)
        fed[name] = (
            array.astype(tflite.dtype(tensor)) if grid is None else host.quantize(array, grid, tflite.dtype(tensor))
        )
    return fed


def _check_float(plain: bytes, written: bytes, mode: str, data: Data) -> None:
    """The file with float ends must give exactly what the file with integer ends gives."""
    integers = _fed(plain, data.head(8))
    wanted = host.run(plain, integers, runtime="litert", mode=mode)
    model = tflite.load(plain)
    ends = tflite.signature(model).inputs
    grids = {name: tflite.grid(model.subgraphs[0].tensors[ends[name]]) for name in integers}
    # What the integers stand for: anything else may be rounded to another one, since runtimes scale in another order.
    real = {name: a if (grid := grids[name]) is None else host.dequantize(a, grid) for name, a in integers.items()}
    got = host.run(written, real, runtime="litert", mode=mode)
    for name, index in tflite.signature(model).outputs.items():
        grid = tflite.grid(model.subgraphs[0].tensors[index])
        assert grid is not None
        if not np.allclose(host.dequantize(wanted[name], grid), got[name], rtol=1e-6, atol=0):
            raise ConversionError(f"Expected output {name!r} with float ends to equal the integer ones, got others.")


__all__ = ["MODES", "ConversionError", "File", "export"]
