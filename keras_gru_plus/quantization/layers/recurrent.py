"""GRUPlus, RNN around its cells, and Bidirectional around either."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ...arithmetic import Grid
from ...layer import GRUPlus
from ..network import Call, Network, Value
from .merging import combine, side_by_side
from .table import register_layer
from .timing import backwards_too, recurrent_timing
from .unfolding import cell_refusal, scopes, unfolded


@register_layer(keras.layers.RNN, refusal=cell_refusal, inputs=None, timing=recurrent_timing)
@register_layer(GRUPlus, refusal=cell_refusal, inputs=None, timing=recurrent_timing)
def recurrent(q: Network, call: Call, x: Any, *states: Any) -> list[Value]:
    """The input on the grid of a state, so that both can be one row of integers; stacked cells layer by layer."""
    return _stack(q, call, q.settle(x), [q.settle(state) for state in states])


def _stack(q: Network, call: Call, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
    """The output and the states of all cells; `flip` puts the output of a backward layer into the order of time."""
    layers = unfolded(call.layer)
    after: list[Value] = []
    for layer, scope in zip(layers, scopes(call.layer, call.scope)):
        count = len(layer.variant.states)
        given, states = states[:count], states[count:]
        # Keras keeps a mask in the order of time, so what the next cell reads has to be in it, too.
        ordered = flip if layer is layers[-1] else layer.go_backwards
        x, *new = q.recurrent(Call(layer, scope, call.mask), layer, q.aligned(scope, x), given, flip=ordered)
        after += new
    return [x, *after]


def _bidirectional_refusal(layer: keras.layers.Bidirectional) -> str | None:
    for inner in (layer.forward_layer, layer.backward_layer):
        if not isinstance(inner, GRUPlus) and type(inner) is not keras.layers.RNN:
            return f"Bidirectional({type(inner).__name__}); only GRUPlus is taken inside (from_keras makes it of GRU)"
        if inner.stateful:
            return "stateful=True"
    return cell_refusal(layer.forward_layer) or cell_refusal(layer.backward_layer)


@register_layer(keras.layers.Bidirectional, refusal=_bidirectional_refusal, inputs=None, timing=backwards_too)
def bidirectional(q: Network, call: Call, x: Any, *states: Any) -> Any:
    """Both directions read the same input; outputs in [-1, 1] are put side by side as they are."""
    layer, scope = call.layer, call.scope
    aligned = q.aligned(scope, q.settle(x))
    half = len(states) // 2
    results = [
        _stack(q, Call(inner, f"{scope}/{name}", call.mask), aligned, [q.settle(state) for state in part], flip)
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
