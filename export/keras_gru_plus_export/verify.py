"""Runs the same samples through Keras and through real runtimes, and compares.

Float Keras, fake-quant Keras, LiteRT (XNNPACK and reference kernels), TFLite Micro and, from another
environment, tflite-runtime. Within a runtime `step` and `stateful` must give what `sequence` gives,
bit for bit; against the fake-quant model a recurrent state may be some LSB away (runtimes round at
most 1 LSB apart in each operator, and a state feeds that back). A file in floating point must give what
the Keras model gives, within `TOLERANCES`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_gru_plus.quantization import QuantizedModel

from . import tflite
from .convert import ConversionError
from .data import Data, check_target, classes, input_names, metric_for, output_names, score
from .devices import host
from .results import Equality, Result, Verification
from .streaming import is_timed

RUNTIMES = ("litert", "litert-reference", "tflm", "tflite-runtime", "tflite-runtime-reference")
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
    metric: str | None = None,
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
        metric: overrides the one that the targets imply; without targets it says what agreement means.
        runtime_python: Python interpreter of an environment with tflite-runtime.

    Raises:
        ConversionError: a file fails on a runtime that is there, modes differ within a runtime, or a file in floating
            point differs from the model.
    """
    name = output_names(model)[0]
    target = data.targets.get(name)
    metric = metric_for(target, metric)
    float_model = float_model or model.float_model()
    fed = [data.inputs[key] for key in input_names(model)]
    reference = _first(model.predict(_packed(model, fed), verbose=0, batch_size=256))
    truth = _first(float_model.predict(_packed(float_model, fed), verbose=0, batch_size=256))
    if target is not None:
        check_target(name, target, str(metric), reference.shape)
    flat = tflite.load(files[mode])
    ends = {key: flat.subgraphs[0].tensors[i] for key, i in tflite.signature(flat).inputs.items()}
    output_grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).outputs[name]])
    size = max(1.0, float(np.abs(reference).max()))
    floats = 0 if model.recipe.quantized else model.recipe.bits or 32
    tolerance = TOLERANCES[floats] * size if floats else 0.0
    integers = {key: _integers(array, ends[key]) for key, array in data.inputs.items()}

    def scored(prediction: np.ndarray) -> float | None:
        return None if metric is None or target is None else score(metric, prediction, target)

    if floats:
        results = [Result("float", keras.__version__, len(data), scored(truth))]
    else:
        against = _against(truth, reference, output_grid, metric)
        results = [
            Result("float", keras.__version__, len(data), scored(truth), **against),
            Result("fake_quant", keras.__version__, len(data), scored(reference)),
        ]
    equalities: list[Equality] = []
    confusion = {}
    if metric == "accuracy" and target is not None and reference.shape[-1] > 1:
        confusion["float"] = _confusion(truth, target)
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
            run = host.run_timed(files[mode], integers, runtime=runtime, mode=mode, python=python)
            raw = _whole(model, mode, run.outputs[name], reference.shape)
            # Whatever the weights, the modes have the same ones.
            within = TOLERANCES[32] * size if floats else 0.0
            equalities += _compare_modes(model, files, integers, mode, runtime, python, raw, within)
        except host.RuntimeFailure as failure:
            # Not every runtime has every operator of floats, such as ELU; those of integers it has to have.
            if floats and runtime != "litert" and "Didn't find op" in str(failure):
                results.append(Result(runtime, version, reason=LACKING))
                continue
            raise ConversionError(f"Expected the file to run on {runtime}, but: {failure}") from None
        prediction = raw if output_grid is None else host.dequantize(raw, output_grid)
        against = _against(prediction, reference, output_grid, metric, tolerance)
        if floats and against["largest_difference"] > tolerance:
            raise ConversionError(
                f"Expected the file to give what the Keras model gives on {runtime} (within {tolerance:g}), got a "
                f"difference of {against['largest_difference']:g}."
            )
        results.append(
            Result(runtime, version, len(data), scored(prediction), seconds=round(run.seconds, 3), **against)
        )
        if "float" in confusion and target is not None:
            confusion[runtime] = _confusion(prediction, target)
    broken = [e for e in equalities if e.differing]
    if broken:
        raise ConversionError(
            f"Expected mode {broken[0].mode!r} to give what {broken[0].reference!r} gives on {broken[0].runtime}, "
            f"got {broken[0].differing} differing values."
        )
    return Verification(metric, source, results, equalities, confusion)


def _integers(array: np.ndarray, tensor: tflite.TensorT) -> np.ndarray:
    grid = tflite.grid(tensor)
    if grid is None:  # indices
        return array.astype(tflite.dtype(tensor))
    return host.quantize(array, grid, tflite.dtype(tensor))


def _packed(model: keras.Model, arrays: list[np.ndarray]) -> Any:
    """Arrays in the structure that the model was built with; Keras warns about any other."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.pack_sequence_as(structure, arrays)


def _first(outputs: Any) -> np.ndarray:
    """The first output, on which scores and comparisons are made."""
    return np.asarray(keras.tree.flatten(outputs)[0])


def _whole(model: QuantizedModel, mode: str, outputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Outputs of single steps as those of the whole window: the last one, or all where the output has a time axis."""
    if mode == "sequence":
        return outputs.reshape(shape)
    return outputs.reshape(shape) if is_timed(model)[0] else outputs[:, -1].reshape(shape)


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
    if grid is None:  # a NaN is no difference that a comparison finds
        largest = float(steps.max()) if np.isfinite(steps).all() else np.inf
        return {"agreement": agreement, "largest_difference": largest}
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
    raw: np.ndarray,
    within: float,
) -> list[Equality]:
    """The files of the other modes on the first samples, against `mode`'s outputs; `within` is for floats."""
    few = {key: array[:COMPARED] for key, array in integers.items()}
    expected = raw[:COMPARED]
    found = []
    for other in files:
        if other == mode:
            continue
        outputs = host.run(files[other], few, runtime=runtime, mode=other, python=python)[output_names(model)[0]]
        got = _whole(model, other, outputs, expected.shape)
        differing = ~(np.abs(got - expected) <= within) if within else got != expected
        found.append(Equality(runtime, other, mode, len(expected), int(differing.sum())))
    return found
