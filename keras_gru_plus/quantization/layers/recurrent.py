"""GRUPlus, and Bidirectional around it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ...arithmetic import Grid
from ...layer import GRUPlus
from ...plan import plan_of
from ..network import Call, Network, Value
from .merging import combine, side_by_side
from .table import register_layer
from .timing import backwards_too, recurrent_timing


def _refusal(layer: GRUPlus) -> str | None:
    plan_of(layer.cell, quantized=True)
    return None


@register_layer(GRUPlus, refusal=_refusal, inputs=None, timing=recurrent_timing)
def gru_plus(q: Network, call: Call, x: Any, *states: Any) -> list[Value]:
    """The input on the grid of a state, so that both can be one row of integers."""
    layer = call.layer
    return q.recurrent(call, layer, q.aligned(call.scope, q.settle(x)), [q.settle(state) for state in states])


def _bidirectional_refusal(layer: keras.layers.Bidirectional) -> str | None:
    for inner in (layer.forward_layer, layer.backward_layer):
        if not isinstance(inner, GRUPlus):
            return f"Bidirectional({type(inner).__name__}); only GRUPlus is taken inside (from_keras makes it of GRU)"
        if inner.stateful:
            return "stateful=True"
    return _refusal(layer.forward_layer) or _refusal(layer.backward_layer)


@register_layer(keras.layers.Bidirectional, refusal=_bidirectional_refusal, inputs=None, timing=backwards_too)
def bidirectional(q: Network, call: Call, x: Any, *states: Any) -> Any:
    """Both directions read the same input; outputs in [-1, 1] are put side by side as they are."""
    layer, scope = call.layer, call.scope
    aligned = q.aligned(scope, q.settle(x))
    half = len(states) // 2
    results = [
        q.recurrent(
            Call(inner, f"{scope}/{name}", call.mask), inner, aligned, [q.settle(state) for state in part], flip=flip
        )
        for inner, name, part, flip in (
            (layer.forward_layer, "forward", states[:half], False),
            (layer.backward_layer, "backward", states[half:], True),
        )
    ]
    outputs = [result[0] for result in results]
    after = [value for result in results for value in result[1:]]
    mode = layer.merge_mode
    if mode is None:
        return [*outputs, *after]
    if mode == "concat":
        merged: Any = side_by_side(q, scope, outputs, -1)
    elif mode == "ave":
        key, total = f"{scope}/output", q.settle(combine(q, f"{scope}/sum", tf.add, outputs))
        merged = Value(q.tap(key, total.tensor * q.number(0.5)), Grid.LEARNED, key)
    else:
        merged = combine(q, scope, {"sum": tf.add, "mul": tf.multiply}[mode], outputs)
    return [merged, *after] if after else merged
