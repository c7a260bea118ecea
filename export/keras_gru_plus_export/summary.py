"""What a report says of a model beside its runs: layers, ranges, labels, warnings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import QuantizedModel

from ._report_rows import beyond
from ._report_text import KERAS, is_worse, kind_of
from .check import grid_of_range
from .data import Data, DataError, input_names
from .report import TapRange
from .results import Verification

#: Percent of a learned grid's range by which data may go beyond it before the report warns.
WARN_BEYOND = 1.0
#: Bits of a recurrent kernel that a wide input may take before the report warns.
WARN_BITS = 2.0


def describe(model: QuantizedModel) -> dict[str, Any]:
    """Name, layers and parameters."""
    layers = [
        {"name": layer.name, "class": type(layer).__name__, **_recurrent(layer), "parameters": layer.count_params()}
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and layer is not getattr(model, "taps", None)
    ]
    parameters = sum(layer["parameters"] for layer in layers)
    return {"name": model.name, "parameters": parameters, "layers": layers}


def _recurrent(layer: Any) -> dict[str, Any]:
    if not isinstance(layer, GRUPlus):
        return {}
    return {
        "variant": layer.variant.name,
        "units": layer.units,
        "activation": keras.activations.serialize(layer.activation),
        "recurrent_activation": keras.activations.serialize(layer.recurrent_activation),
    }


def tap_ranges(model: QuantizedModel, data: Data) -> list[TapRange]:
    """Every tap's grid, and what the first samples did there."""
    if not model.recipe.quantized:
        return []
    observed = model.observe([tf.constant(data.inputs[name][:256]) for name in input_names(model)])
    ranges = []
    for key, tap in model.taps.all().items():
        low, high = (float(end) for end in tap.range())
        grid = grid_of_range(low, high, model.recipe.activation_bits)
        seen = observed.get(key) if tap.learned else None
        extremes = (None, None) if seen is None else (float(np.min(seen[0])), float(np.max(seen[1])))
        ranges.append(TapRange(key, tap.grid.value, low, high, grid.scale, grid.zero_point, *extremes))
    return ranges


def checked_labels(model: QuantizedModel, labels: list[str] | None) -> list[str] | None:
    """The class names, one for each output; raises DataError if they are not."""
    if labels is None:
        return None
    count = model.outputs[0].shape[-1]
    if len(labels) != count:
        raise DataError(f"Expected {count} labels, one for each output, got {len(labels)}.")
    return list(labels)


def warnings(verification: Verification, taps: list[TapRange], model: QuantizedModel) -> list[str]:
    """Sentences about what went worse than it should, with what to do."""
    found = [*_losses(verification, kind_of(model.recipe.get_config())), *_coarse_kernels(model)]
    if verification.source == "random":
        found.append(
            "Verified on random numbers only: pass calibration or evaluation data for figures that mean something."
        )
        return found
    percent = {tap.key: 100 * beyond(tap) / (tap.high - tap.low) for tap in taps}
    outside = sorted((key for key in percent if percent[key] > WARN_BEYOND), key=lambda key: -percent[key])
    if outside:
        found.append(
            f"The {verification.source} data leaves the range of "
            f"{', '.join(f'{key} (by {percent[key]:.0f} %)' for key in outside)} and is clipped there: "
            "calibrate on data that covers it, unless a percentile was meant to cut it off."
        )
    return found


def _losses(verification: Verification, kind: str) -> list[str]:
    """One sentence for the runtimes on which the file is worse than float."""
    metric, reference = verification.metric, verification.of("float").score
    worse = {
        result.runtime: result.score
        for result in verification.results
        if result.runtime not in KERAS and result.score is not None and is_worse(metric, result.score, reference)
    }
    if not worse or reference is None:
        return []
    if metric == "accuracy":
        loss = f"loses up to {(reference - min(worse.values())) * 100:.1f} points of accuracy against float"
    else:
        loss = f"has a mean absolute error of up to {max(worse.values()):.4g}, float one of {reference:.4g}"
    return [
        f"On {', '.join(worse)} the {kind} file {loss}: fine-tune with quantize_aware, or calibrate on more data."
    ]


def _coarse_kernels(model: QuantizedModel) -> list[str]:
    """Recurrent layers whose input is so wide that the joint grid of `[x, h]` leaves their own kernel few bits."""
    found: list[str] = []
    for node in model._graph.nodes if model.recipe.quantized else ():
        layer = node.layer
        if not isinstance(layer, GRUPlus) or "recurrent_kernel" not in layer.variant.weights(1, 1, True):
            continue
        name = next((name for name, identity in model._graph.inputs if identity == node.inputs[0]), None)
        if name is None:
            continue
        bound = float(model.taps.all()[f"{name}/input"].bound())
        kernel = float(np.abs(np.asarray(layer.cell.weight("kernel"))).max())
        recurrent = float(np.abs(np.asarray(layer.cell.weight("recurrent_kernel"))).max())
        lost = np.log2(max(bound * kernel, 1e-30) / max(recurrent, 1e-30))
        if lost > WARN_BITS:
            found.append(
                f"Input {name!r} ranges to ±{bound:.3g}, which leaves the recurrent weights of {layer.name!r} "
                f"{8 - lost:.1f} of 8 bits: if few values are that large, calibrate with a percentile "
                "(--percentile 99)."
            )
    return found
