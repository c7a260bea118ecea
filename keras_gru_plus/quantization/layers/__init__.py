"""Layers that can be quantized: the table `LAYERS`, one file a family, and what is refused with which advice."""

from __future__ import annotations

from typing import Any

import keras

from ... import activations
from ...plan import plan_of
from ..recipe import Recipe
from . import convolution, dense, embedding, merging, pooling, recurrent, scaling, shaping
from .convolution import each_channel
from .merging import combine, side_by_side
from .table import LAYERS, Row, layer_function, register_layer
from .unfolding import cells_of, is_recurrent

#: What to do about layers that have no row.
ADVICE: dict[type, str] = {
    keras.layers.GRU: "call keras_gru_plus.from_keras(model) first",
    keras.layers.LSTM: "use GRUPlus, whose closest relative is GRUPlus(variant='cifg')",
    keras.layers.SimpleRNN: "use GRUPlus, whose closest relative is GRUPlus(variant='ugrnn')",
    keras.layers.LayerNormalization: "use BatchNormalization, which costs nothing after folding",
    keras.layers.Lambda: "write a layer class and register it with keras_gru_plus.register_layer",
}


def check_layer(layer: Any, inputs: int, recipe: Recipe) -> None:
    """Refuses a layer that cannot be quantized by `recipe`.

    Args:
        layer: of any class.
        inputs: how many tensors it is called on.
        recipe: of the model.

    Raises:
        ValueError: names the layer and its class, says why, and lists what is taken.
    """
    row = LAYERS.get(type(layer))
    if row is None:
        listing = ", ".join(sorted(cls.__name__ for cls in LAYERS))
        advice = ADVICE.get(type(layer), "replace it, or say how with keras_gru_plus.register_layer")
        raise ValueError(
            f"Expected layers that can be quantized ({listing}), got {type(layer).__name__} {layer.name!r}; {advice}."
        )
    reason = row.refusal(layer)
    if row.inputs is not None and inputs > row.inputs:
        reason = f"{inputs} inputs; {row.inputs} will do"
    if recipe.activation_bits == 16:
        reason = reason or _needs_eight_bits(layer, row)
    if layer.compute_dtype != "float32":
        reason = f"computing in {layer.compute_dtype}; use dtype='float32'"
    if reason:
        raise ValueError(
            f"Expected layer {layer.name!r} ({type(layer).__name__}) in a form that can be quantized, got {reason}."
        )


#: What can stand in for an activation that is a table.
_SMOOTH = {"softsign": "tanh or hard_tanh", "softsign_gate": "sigmoid or hard_sigmoid", "log_space": "linear or relu"}


def _needs_eight_bits(layer: Any, row: Row) -> str | None:
    """Why a layer has no 16-bit form: a look-up table has an entry for each of 256 integers."""
    if row.eight_bits:
        return f"{row.eight_bits}, which has no form for 16-bit activations; use recipe 'int8'"
    layer = getattr(layer, "layer", layer)
    used: list[Any] = [getattr(layer, "activation", None)]
    both = isinstance(layer, keras.layers.Bidirectional)
    directions = [layer.forward_layer, layer.backward_layer] if both else [layer]
    if all(is_recurrent(each) for each in directions):
        cells = [cell for each in directions for cell in cells_of(each)]
        used = [activation for cell in cells for activation in plan_of(cell, quantized=True).activations]
    elif isinstance(layer, keras.layers.LeakyReLU | keras.layers.ELU):
        used = [layer]
    for activation in used:
        if activation is not None and activations.layer_form(activation).kind == "table":
            name = activations.name_of(activation)
            instead = f"{_SMOOTH[name]}, or recipe 'int8'" if name in _SMOOTH else "recipe 'int8'"
            return f"activation {name!r}, a look-up table, which 16-bit activations do not have; use {instead}"
    return None


__all__ = [
    "LAYERS",
    "Row",
    "check_layer",
    "combine",
    "convolution",
    "dense",
    "each_channel",
    "embedding",
    "layer_function",
    "merging",
    "pooling",
    "recurrent",
    "register_layer",
    "scaling",
    "shaping",
    "side_by_side",
]
