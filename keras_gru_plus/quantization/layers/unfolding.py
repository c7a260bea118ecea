"""`keras.layers.RNN` around GRUPlusCells as the GRUPlus layers that it equals, one for each cell."""

from __future__ import annotations

import weakref
from typing import Any

import keras

from ...layer import GRUPlus, GRUPlusCell
from ...plan import plan_of

#: What to do about cells that are not taken.
CELL_ADVICE: dict[type, str] = {
    keras.layers.GRUCell: "call keras_gru_plus.from_keras(model) first",
    keras.layers.LSTMCell: "use GRUPlusCell, whose closest relative is GRUPlusCell(variant='cifg')",
    keras.layers.SimpleRNNCell: "use GRUPlusCell, whose closest relative is GRUPlusCell(variant='ugrnn')",
}

#: RNN layer → its GRUPlus layers, which have states of their own where it is stateful.
_UNFOLDED: weakref.WeakKeyDictionary[keras.layers.RNN, list[GRUPlus]] = weakref.WeakKeyDictionary()


def cells_of(layer: keras.layers.RNN) -> list[Any]:
    """The cells of a recurrent layer, stacked ones from the input to the output."""
    return _cells(layer.cell)


def _cells(cell: Any) -> list[Any]:
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [each for inner in cell.cells for each in _cells(inner)]
    return [cell]


def is_recurrent(layer: Any) -> bool:
    """Whether a layer is GRUPlus, or RNN around GRUPlusCells."""
    if isinstance(layer, GRUPlus):
        return True
    return type(layer) is keras.layers.RNN and all(type(cell) is GRUPlusCell for cell in cells_of(layer))


def cell_refusal(layer: keras.layers.RNN) -> str | None:
    """Why a recurrent layer's cells cannot be quantized, or None; raises for an activation."""
    for cell in cells_of(layer):
        if type(cell) is not GRUPlusCell:
            name = f" {cell.name!r}" if hasattr(cell, "name") else ""
            advice = CELL_ADVICE.get(
                type(cell), "only GRUPlusCells are taken; use one, or register a layer with register_layer"
            )
            return f"cell{name} of class {type(cell).__name__}; {advice}"
        if cell.compute_dtype != "float32":
            return f"cell {cell.name!r} computing in {cell.compute_dtype}; use dtype='float32'"
        plan_of(cell, quantized=True)
    return None


def unfolded(layer: keras.layers.RNN) -> list[GRUPlus]:
    """The GRUPlus layers that compute one after the other what `layer` computes, with its cells and so its weights.

    Each reads the sequence in the direction of `layer`; all but the last return sequences.
    """
    if isinstance(layer, GRUPlus):
        return [layer]
    if layer not in _UNFOLDED:
        cells = cells_of(layer)
        options = {name: getattr(layer, name) for name in ("return_state", "go_backwards", "stateful", "unroll")}
        _UNFOLDED[layer] = [
            GRUPlus.of_cell(
                cell,
                # What a cell gives at a masked step the next one does not look at.
                return_sequences=i < len(cells) - 1 or layer.return_sequences,
                zero_output_for_mask=i == len(cells) - 1 and layer.zero_output_for_mask,
                name=layer.name,
                **options,
            )
            for i, cell in enumerate(cells)
        ]
    return _UNFOLDED[layer]


def scopes(layer: keras.layers.RNN, scope: str) -> list[str]:
    """What the taps of each unfolded layer begin with: the layer's own scope, of several numbered cells in it."""
    count = len(cells_of(layer))
    return [scope] if count == 1 else [f"{scope}/cell_{i}" for i in range(count)]


__all__ = ["cell_refusal", "cells_of", "is_recurrent", "scopes", "unfolded"]
