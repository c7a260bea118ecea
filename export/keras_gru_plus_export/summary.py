"""What a report says of a model beside its runs: layers, ranges, labels, warnings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.clipping import reach
from keras_gru_plus.quantization.layers.unfolding import cells_of, is_recurrent

from ._report_rows import beyond
from ._report_text import KERAS, is_worse, kind_of, percent
from .check import grid_of_range
from .data import UNSIZED_SAMPLES, Data, DataError
from .report import TapRange
from .results import Verification

#: Share of a tap's values that its learned grid may clip before the report warns.
CLIP_SHARE = 0.001
#: The warning names this many taps, those that clip most.
NAMED_TAPS = 6
#: Steps of its input's grid that a feature should move over.
LEAST_STEPS = 32
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
    if not is_recurrent(layer):
        return {}
    cells = [
        {
            "variant": cell.variant.name,
            "units": cell.units,
            "activation": keras.activations.serialize(cell.activation),
            "recurrent_activation": keras.activations.serialize(cell.recurrent_activation),
        }
        for cell in cells_of(layer)
    ]
    # Of stacked cells each says its own.
    return cells[0] if len(cells) == 1 else {key: [cell[key] for cell in cells] for key in cells[0]}


def tap_ranges(model: QuantizedModel, data: Data) -> list[TapRange]:
    """Every tap's grid, and what the data did there."""
    if not model.recipe.quantized:
        return []
    observed = reach(model, data.inputs)
    ranges = []
    for key, tap in model.taps.all().items():
        low, high = (float(end) for end in tap.range())
        grid = grid_of_range(low, high, model.recipe.activation_bits)
        seen = observed.get(key)
        found = () if seen is None else (seen.low, seen.high, seen.share)
        ranges.append(TapRange(key, tap.grid.value, low, high, grid.scale, grid.zero_point, *found))
    return ranges


def checked_labels(model: QuantizedModel, labels: list[str] | None) -> list[str] | None:
    """The class names, one for each output; raises DataError if they are not."""
    if labels is None:
        return None
    count = model.outputs[0].shape[-1]
    if len(labels) != count:
        raise DataError(f"Expected {count} labels, one for each output, got {len(labels)}.")
    return list(labels)


def warnings(verification: Verification, taps: list[TapRange], model: QuantizedModel, data: Data) -> list[str]:
    """Sentences about what went worse than it should, with what to do."""
    kind = kind_of(model.recipe.get_config())
    found = [*_losses(verification, kind), *_coarse_kernels(model)]
    if verification.source == "random":
        found.append(
            "Verified on random numbers only: pass calibration or evaluation data for figures that mean something."
        )
        return found
    found += _coarse_features(model, data)
    if data.capped:
        found.append(
            f"Only the first {UNSIZED_SAMPLES:,} samples of the {verification.source} data were used, since its "
            "length is unknown: pass max_samples for another number."
        )
    clipped = sorted(
        (tap for tap in taps if (tap.clipped or 0.0) > CLIP_SHARE), key=lambda tap: -(tap.clipped or 0.0)
    )
    if clipped:
        named = [
            f"{tap.key} ({percent(tap.clipped)} of its values, by up to "
            f"{100 * beyond(tap) / (tap.high - tap.low):.0f} % of the range)"
            for tap in clipped[:NAMED_TAPS]
        ]
        more = f" and {len(clipped) - NAMED_TAPS} further taps" if len(clipped) > NAMED_TAPS else ""
        found.append(
            f"The ranges clip the {verification.source} data at {', '.join(named)}{more}: calibrate on more data, "
            "which covers it, or with a higher percentile, unless a percentile was meant to cut it off."
        )
    return found


def _losses(verification: Verification, kind: str) -> list[str]:
    """One sentence for each output at which the file is worse than float on some runtimes."""
    results = verification.results
    if not any(result.outputs for result in results):
        scores = {result.runtime: result.score for result in results}
        return _loss(verification.metric, scores, kind, "")
    found = []
    for output in verification.of("float").outputs:
        scores = {
            result.runtime: row.score for result in results for row in result.outputs if row.name == output.name
        }
        found += _loss(output.metric, scores, kind, f" at output {output.name!r}")
    return found


def _loss(metric: str | None, scores: dict[str, float | None], kind: str, where: str) -> list[str]:
    reference = scores["float"]
    worse = {
        runtime: score
        for runtime, score in scores.items()
        if runtime not in KERAS and score is not None and is_worse(metric, score, reference)
    }
    if not worse or reference is None:
        return []
    if metric == "accuracy":
        loss = f"loses up to {(reference - min(worse.values())) * 100:.1f} points of accuracy against float"
    else:
        loss = f"has a mean absolute error of up to {max(worse.values()):.4g}, float one of {reference:.4g}"
    return [
        f"On {', '.join(worse)} the {kind} file {loss}{where}: fine-tune with quantize_aware, or calibrate on more "
        "data."
    ]


def _coarse_kernels(model: QuantizedModel) -> list[str]:
    """Recurrent layers whose input is so wide that the joint grid of `[x, h]` leaves their own kernel few bits."""
    found: list[str] = []
    for node in model._graph.nodes if model.recipe.quantized else ():
        layer = node.layer
        if not is_recurrent(layer):
            continue
        first = cells_of(layer)[0]
        if "recurrent_kernel" not in first.variant.weights(1, 1, True):
            continue
        name = next((name for name, identity in model._graph.inputs if identity == node.inputs[0]), None)
        if name is None:
            continue
        bound = float(model.taps.all()[f"{name}/input"].bound())
        kernel = float(np.abs(np.asarray(first.weight("kernel"))).max())
        recurrent = float(np.abs(np.asarray(first.weight("recurrent_kernel"))).max())
        lost = np.log2(max(bound * kernel, 1e-30) / max(recurrent, 1e-30))
        if lost > WARN_BITS:
            found.append(
                f"Input {name!r} ranges to ±{bound:.3g}, which leaves the recurrent weights of {layer.name!r} "
                f"{8 - lost:.1f} of 8 bits: if few values are that large, calibrate with a percentile "
                "(--percentile 99)."
            )
    return found


def _coarse_features(model: QuantizedModel, data: Data) -> list[str]:
    """Inputs with one scale for all features, of which some move over few of its steps."""
    found: list[str] = []
    graph, bits = model._graph, model.recipe.activation_bits
    scalings = graph.scalings()
    for name, identity in graph.inputs if model.recipe.quantized else ():
        scaling = scalings.get(identity)
        if graph.reads_indices(identity) or (scaling is not None and scaling.by_feature):
            continue
        step = float(model.taps.all()[f"{name}/input"].bound()) / 2 ** (bits - 1)
        step /= 1.0 if scaling is None else float(scaling.scale)
        rows = data.inputs[name].reshape(-1, data.inputs[name].shape[-1])
        steps = (rows.max(axis=0) - rows.min(axis=0)) / step
        coarse = np.flatnonzero((steps > 0) & (steps < LEAST_STEPS))  # one that never moves needs none
        if len(coarse):
            least = coarse[steps[coarse].argmin()]
            found.append(
                f"Input {name!r} has one scale for all features, and {len(coarse)} of {rows.shape[1]} move over "
                f"fewer than {LEAST_STEPS} of its {2**bits} steps (feature {least} over {steps[least]:.1f}): put a "
                "keras.layers.Normalization in front, as all that reads the input, which gives each feature a scale "
                "of its own."
            )
    return found
