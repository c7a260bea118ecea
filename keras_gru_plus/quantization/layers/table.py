"""The table of layers that can be quantized: one row a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from .timing import TAKES_PAST, Frame, Timing, each_step, whole_window

#: (network, call, values of the inputs) → value of the output, or values of all outputs.
LayerFunction = Callable[..., Any]


def _nothing(layer: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Row:
    """How one class of layers is quantized.

    Attributes:
        compute: the layer in a network's vocabulary (see `network.Network`).
        refusal: why a layer cannot be quantized as it is configured, or None.
        pointwise: whether each vector along the last axis is computed by itself.
        inputs: the number of inputs that it takes at most; None for any.
        reads_indices: whether its input is whole numbers that are looked up.
        scaling: layer → (scale, shift), for one that computes `scale * x + shift`.
        timing: how it acts on time (see `timing`); by default each step by itself for a pointwise layer, else the
            whole window at once.
        eight_bits: why it needs 8-bit activations, or None where 16 will do.
    """

    compute: LayerFunction
    refusal: Callable[[Any], str | None] = _nothing
    pointwise: bool = False
    inputs: int | None = 1
    reads_indices: bool = False
    scaling: Callable[[Any], tuple[Any, Any]] | None = None
    timing: Timing = None
    eight_bits: str | None = None

    def frame(self, layer: Any, frame: Frame) -> Frame | str | None:
        """The time axis of the output: its frame, None if there is none, or why the layer cannot stream."""
        found = self.timing or (each_step if self.pointwise else whole_window)
        if frame.past and not self.pointwise and found not in TAKES_PAST:
            return f"has {frame.past} steps of padding in front, which only a convolution can read"
        result: Frame | str | None = found(layer, frame)
        return result


#: Layers that can be quantized, and how.
LAYERS: dict[type, Row] = {}


def register_layer(layer: type, compute: LayerFunction | None = None, **row: Any) -> Any:
    """Says how a class of Keras layers is quantized, by `quantize_aware` and at export.

    Args:
        layer: the class; its subclasses need rows of their own.
        compute: function of (network, call, value of each input) that gives the value of the output; `call` has the
            `layer` and the `scope` that its taps begin with. The network's vocabulary: `real` (a value as real
            numbers, in its `tensor`), `output` (real numbers as the layer's output), `tap` (an intermediate result
            onto a grid; one behind every operator), `weights` (what it computes from the layer's variables), `number`
            (a constant that scales or shifts), `activate` (a function of one number), and in
            `keras_gru_plus.quantization.layers`: `each_channel` (scale and shift for each channel, at no cost
            behind a layer with a kernel), `combine` (of several inputs) and `side_by_side`. Without it a decorator
            is returned.
        row: further fields of `Row`: `refusal`, `pointwise`, `inputs`, `reads_indices`, `scaling`, `timing`,
            `eight_bits`. With `pointwise=True` the layer runs step by step as well.

    Raises:
        TypeError: `layer` is no class of Keras layers, or a field that `Row` does not have.

    Example:
        >>> @keras.saving.register_keras_serializable("mine")
        ... class Doubling(keras.layers.Layer):
        ...     def call(self, x):
        ...         return x + x
        >>> @kgp.register_layer(Doubling, pointwise=True)
        ... def doubling(q, call, x):
        ...     x = q.real(call.scope, x)
        ...     return q.output(call.scope, x.tensor + x.tensor)
    """
    import keras

    if not (isinstance(layer, type) and issubclass(layer, keras.layers.Layer)):
        raise TypeError(f"Expected a class of Keras layers, got {layer!r}.")
    known = [field.name for field in fields(Row) if field.name != "compute"]
    if unknown := sorted(set(row) - set(known)):
        raise TypeError(f"Expected fields of a layer's row to be among {', '.join(known)}, got {', '.join(unknown)}.")
    if compute is None:
        return lambda function: register_layer(layer, function, **row) and function
    LAYERS[layer] = Row(compute, **row)
    return layer


def layer_function(layer: Any) -> LayerFunction:
    """The function of a layer's row."""
    return LAYERS[type(layer)].compute
