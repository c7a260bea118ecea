"""Runs the same samples through Keras and through real runtimes, and compares.

Float Keras, fake-quant Keras, LiteRT (XNNPACK and reference kernels), TFLite Micro and, from another
environment, tflite-runtime. Within a runtime `step` and `stateful` must give what `sequence` gives,
bit for bit; against the fake-quant model a recurrent state may be some LSB away (runtimes round at
most 1 LSB apart in each operator, and a state feeds that back). A file in floating point must give what
the Keras model gives, within `TOLERANCES`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_gru_plus.quantization import QuantizedModel

from . import tflite
from .convert import ConversionError
from .data import (
    Data,
    check_metric,
    checked_target,
    classes,
    input_names,
    is_sigmoid,
    metric_for,
    output_names,
    score,
)
from .devices import host
from .results import Equality, OutputResult, Result, Verification
from .streaming import is_timed

RUNTIMES = ("litert", "litert-reference", "tflm", "tflite-runtime", "tflite-runtime-reference")
#: What a result has of each output.
FIGURES = ("score", "agreement", "largest_lsb", "mean_lsb", "largest_difference")
#: Samples on which the modes are compared with each other.
COMPARED = 16
#: Why a file of floats was not run somewhere.
LACKING = "does not have an operator of the file"
#: Bits of the weights of a file in floating point → by how much of its largest output (at least 1) it may differ
#: from Keras. Runtimes add in another order and have other exponentials: some 2^-24 for each of the operators, which
#: a state feeds back. Weights in float16 are rounded by 2^-12 of themselves.
TOLERANCES = {32: 1e-5, 16: 1e-2}


def verify(
    model: QuantizedModel,
    files: dict[str, bytes],
    data: Data,
    *,
    mode: str,
    float_model: keras.Model | None = None,
    source: str = "evaluation",
    metric: Any = None,
    runtime_python: str | None = None,
) -> Verification:
    """Compares the file of `mode` with the models it came from, and the other files with it.

    Args:
        model: the fake-quant model.
        files: mode → file with integer inputs and outputs, or floats where the recipe quantizes nothing.
        data: samples, with targets for a score.
        mode: the file whose results are reported.
        float_model: scored as "float"; by default the quantized model's layers without quantization.
        source: where `data` came from, for the report.
        metric: overrides the one that the targets imply (see `metric_for`), for all outputs or, as a dict, by their
            names; without targets it says what agreement means.
        runtime_python: Python interpreter of an environment with tflite-runtime.

    Raises:
        DataError: targets that do not fit the outputs, or an unknown metric.
        ConversionError: a file fails on a runtime that is there, modes differ within a runtime, or a file in floating
            point differs from the model.
    """
    names = output_names(model)
    check_metric(metric, names)
    float_model = float_model or model.float_model()
    fed = [data.inputs[key] for key in input_names(model)]
    reference = _outputs(names, model.predict(_packed(model, fed), verbose=0, batch_size=256))
    truth = _outputs(names, float_model.predict(_packed(float_model, fed), verbose=0, batch_size=256))
    metrics, targets = _judged(model, data.targets, metric, reference)
    main = next((name for name in names if name in targets), names[0])
    flat = tflite.load(files[mode])
    signature, tensors = tflite.signature(flat), flat.subgraphs[0].tensors
    grids = {name: tflite.grid(tensors[signature.outputs[name]]) for name in names}
    integers = {key: _integers(array, tensors[signature.inputs[key]]) for key, array in data.inputs.items()}
    size = max(1.0, *(float(np.abs(array).max()) for array in reference.values()))
    floats = 0 if model.recipe.quantized else model.recipe.bits or 32
    tolerance = TOLERANCES[floats] * size if floats else 0.0

    def result(runtime: str, version: str, predictions: dict[str, np.ndarray], **found: Any) -> Result:
        """Scores and, but for the reference itself, differences from it."""
        rows = {}
        for name, prediction in predictions.items():
            judge, target = metrics[name], targets.get(name)
            value = None if judge is None or target is None else score(judge, prediction, target)
            against = {}
            if predictions is not reference:
                against = _against(prediction, reference[name], grids[name], judge, tolerance)
            rows[name] = OutputResult(name, judge, value, **against)
        figures = dataclasses.asdict(rows[main])
        figures = {key: figures[key] for key in FIGURES}
        several = list(rows.values()) if len(names) > 1 else []
        return Result(runtime, version, len(data), **figures, **found, outputs=several)

    results = [result("float", keras.__version__, reference if floats else truth)]
    if not floats:
        results.append(result("fake_quant", keras.__version__, reference))
    equalities: list[Equality] = []
    confusion = {}
    if metrics[main] == "accuracy" and main in targets and reference[main].shape[-1] > 1:
        confusion["float"] = _confusion(truth[main], targets[main])
    for runtime in RUNTIMES:
        python = runtime_python if runtime.startswith("tflite-runtime") else None
        version = host.version(runtime, python)
        if floats == 16 and runtime == "tflm":
            results.append(Result(runtime, reason="has no float16 weights"))
            continue
        if version is None:
            if runtime in ("litert", "tflm"):
                results.append(Result(runtime, reason="not installed"))
            continue
        try:
            outputs = host.run(files[mode], integers, runtime=runtime, mode=mode, python=python)
            raw = _whole(model, mode, outputs, reference)
            # Whatever the weights, the modes have the same ones.
            within = TOLERANCES[32] * size if floats else 0.0
            equalities += _compare_modes(model, files, integers, mode, runtime, python, raw, within)
        except host.RuntimeFailure as failure:
            # Not every runtime has every operator of floats, such as ELU; those of integers it has to have.
            if floats and runtime != "litert" and "Didn't find op" in str(failure):
                results.append(Result(runtime, version, reason=LACKING))
                continue
            raise ConversionError(f"Expected the file to run on {runtime}, but: {failure}") from None
        predictions = {name: _real(raw[name], grids[name]) for name in names}
        largest = max(_difference(predictions[name], reference[name]) for name in names) if floats else 0.0
        if largest > tolerance:
            raise ConversionError(
                f"Expected the file to give what the Keras model gives on {runtime} (within {tolerance:g}), got a "
                f"difference of {largest:g}."
            )
        results.append(result(runtime, version, predictions))
        if "float" in confusion:
            confusion[runtime] = _confusion(predictions[main], targets[main])
    broken = [e for e in equalities if e.differing]
    if broken:
        raise ConversionError(
            f"Expected mode {broken[0].mode!r} to give what {broken[0].reference!r} gives on {broken[0].runtime}, "
            f"got {broken[0].differing} differing values."
        )
    named = main if len(names) > 1 else None
    return Verification(metrics[main], source, results, equalities, confusion, named)


def _judged(
    model: QuantizedModel, given: dict[str, np.ndarray], metric: Any, predictions: dict[str, np.ndarray]
) -> tuple[dict[str, str | None], dict[str, np.ndarray]]:
    """Metric and, where there are some, targets of each output."""
    metrics, targets = {}, {}
    for (name, prediction), sigmoid in zip(predictions.items(), is_sigmoid(model), strict=True):
        target, shape = given.get(name), prediction.shape
        metrics[name] = metric_for(target, metric, name=name, shape=shape, sigmoid=sigmoid)
        if target is not None:
            targets[name] = checked_target(name, target, metrics[name], shape)
    return metrics, targets


def _real(array: np.ndarray, grid: tflite.Grid | None) -> np.ndarray:
    return array if grid is None else host.dequantize(array, grid)


def _difference(array: np.ndarray, reference: np.ndarray) -> float:
    apart = np.abs(array - reference)
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")


def _integers(array: np.ndarray, tensor: tflite.TensorT) -> np.ndarray:
    grid = tflite.grid(tensor)
    if grid is None:  # indices
        return array.astype(tflite.dtype(tensor))
    return host.quantize(array, grid, tflite.dtype(tensor))


def _packed(model: keras.Model, arrays: list[np.ndarray]) -> Any:
    """Arrays in the structure that the model was built with; Keras warns about any other."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.pack_sequence_as(structure, arrays)


def _outputs(names: list[str], outputs: Any) -> dict[str, np.ndarray]:
    """Keras' predictions by the names that the file's outputs have."""
    return dict(zip(names, map(np.asarray, keras.tree.flatten(outputs)), strict=True))


def _whole(
    model: QuantizedModel, mode: str, outputs: dict[str, np.ndarray], like: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs of single steps as those of the whole window: the last one, or all where the output has a time axis."""
    found = {}
    for (name, wanted), timed in zip(like.items(), is_timed(model), strict=True):
        array = outputs[name] if mode == "sequence" or timed else outputs[name][:, -1]
        found[name] = array.reshape(len(array), *wanted.shape[1:])
    return found


def _against(
    prediction: np.ndarray,
    reference: np.ndarray,
    grid: tflite.Grid | None,
    metric: str | None,
    tolerance: float = 0.0,
) -> dict[str, Any]:
    """Agreement and differences: in steps of the grid, or without one, in floating point, against `tolerance`."""
    step, most = (grid.scale, 1.0) if grid else (1.0, tolerance)
    steps = np.abs(np.rint(prediction / step) - np.rint(reference / step)) if grid else np.abs(prediction - reference)
    if metric == "accuracy" or (metric is None and reference.shape[-1] > 1):
        agreement = float((classes(prediction) == classes(reference)).mean())
    else:
        agreement = float((steps <= most).mean())
    if grid is None:
        return {"agreement": agreement, "largest_difference": _difference(prediction, reference)}
    return {"agreement": agreement, "largest_lsb": int(steps.max()), "mean_lsb": float(steps.mean())}


def _confusion(prediction: np.ndarray, target: np.ndarray) -> list[list[int]]:
    count = prediction.shape[-1]
    matrix = np.zeros((count, count), np.int64)
    np.add.at(matrix, (target.astype(np.int64).ravel(), classes(prediction).ravel()), 1)
    return [[int(n) for n in row] for row in matrix]


def _compare_modes(
    model: QuantizedModel,
    files: dict[str, bytes],
    integers: dict[str, np.ndarray],
    mode: str,
    runtime: str,
    python: str | None,
    raw: dict[str, np.ndarray],
    within: float,
) -> list[Equality]:
    """The files of the other modes on the first samples, against `mode`'s outputs; `within` is for floats."""
    few = {key: array[:COMPARED] for key, array in integers.items()}
    found = []
    for other in files:
        if other == mode:
            continue
        got = _whole(model, other, host.run(files[other], few, runtime=runtime, mode=other, python=python), raw)
        apart = {name: np.abs(array.astype(np.float64) - raw[name][:COMPARED]) for name, array in got.items()}
        differing = sum(int((~(array <= within)).sum()) for array in apart.values())
        found.append(Equality(runtime, other, mode, len(next(iter(few.values()))), differing))
    return found
