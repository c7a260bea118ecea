"""Running hop by hop: which models can, how long a hop is, and what is remembered from one to the next."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.layers import LAYERS
from keras_gru_plus.quantization.layers.timing import Frame
from keras_gru_plus.quantization.layers.unfolding import is_recurrent, scopes, unfolded
from keras_gru_plus.quantization.model import input_name
from keras_gru_plus.quantization.network import Node

from .floating import network_of
from .recurrence import state_names


def frames(model: QuantizedModel) -> tuple[dict[int, Frame], list[tuple[keras.layers.Layer, str]]]:
    """The time axes of the tensors that have one, and the layers that cannot run hop by hop, with reasons."""
    graph = model._graph
    timed = {
        identity: Frame() for (_, identity), has_time in zip(graph.inputs, have_time(model), strict=True) if has_time
    }
    refused = []
    for node in graph.nodes:
        found = [timed[identity] for identity in node.inputs if identity in timed]
        result: Frame | str | None
        if is_recurrent(node.layer) and node.inputs[0] not in timed:
            result = "runs over an axis that is not the input's time"
        elif is_recurrent(node.layer) and len(node.inputs) > 1:
            result = "starts from a state that the model computes"
        elif not found:
            continue
        elif any(frame != found[0] for frame in found):
            result = "joins time axes of different steps"
        else:
            result = LAYERS[type(node.layer)].frame(node.layer, found[0])
        if isinstance(result, str):
            refused.append((node.layer, result))
        elif result is not None:
            # A recurrent layer's further outputs are states.
            timed.update(dict.fromkeys(node.outputs[:1] if is_recurrent(node.layer) else node.outputs, result))
    return timed, refused


def have_time(model: QuantizedModel) -> list[bool]:
    """For each input, whether its second axis is time."""
    ranks = [2 if model._graph.reads_indices(identity) else 3 for _, identity in model._graph.inputs]
    return [len(tensor.shape) >= rank for tensor, rank in zip(model.inputs, ranks, strict=True)]


def hop(model: QuantizedModel) -> int:
    """Time steps that one invoke takes: the product of the strides over time."""
    timed, _ = frames(model)
    return math.lcm(*(frame.stride for frame in timed.values()))


def is_timed(model: QuantizedModel) -> list[bool]:
    """For each output, whether it has the input's time axis."""
    timed, _ = frames(model)
    return [identity in timed for _, identity in model._graph.outputs]


def check_steps(model: QuantizedModel) -> None:
    """Refuses what cannot run hop by hop.

    Raises:
        ValueError: names the layer and the reason.
    """
    if not recurrent_layers(model):
        raise ValueError("Expected a model with a GRUPlus layer for modes 'step' and 'stateful', got none.")
    _, refused = frames(model)
    for layer, reason in refused:
        raise ValueError(
            f"Expected a model that runs step by step, got layer {layer.name!r} ({type(layer).__name__}), which "
            f"{reason}; use mode 'sequence'."
        )
    for tensor, has_time in zip(model.inputs, have_time(model), strict=True):
        if not has_time:
            raise ValueError(
                f"Expected inputs with a time axis for modes 'step' and 'stateful', got {input_name(tensor)!r} "
                f"of shape {tuple(tensor.shape)}; use mode 'sequence'."
            )
        steps, window = hop(model), tensor.shape[1]
        if window is not None and window % steps:
            raise ValueError(
                f"Expected windows of whole hops of {steps} time steps for modes 'step' and 'stateful', got "
                f"{window} for input {input_name(tensor)!r}; use a window of {-(-window // steps) * steps}."
            )


def recurrent_layers(model: QuantizedModel) -> list[tuple[str, GRUPlus]]:
    """Scope and layer of each call of GRUPlus, stacked cells unfolded, but for those inside of Bidirectional."""
    return [found for node in model._graph.nodes for found in _unfolded(node)]


def _unfolded(node: Node) -> list[tuple[str, GRUPlus]]:
    if not is_recurrent(node.layer):
        return []
    return list(zip(scopes(node.layer, node.scope), unfolded(node.layer), strict=True))


def input_types(model: QuantizedModel) -> list[Any]:
    """Types of the inputs in the graph: indices are whole numbers."""
    return [tf.int32 if model._graph.reads_indices(identity) else tf.float32 for _, identity in model._graph.inputs]


def state_shapes(model: QuantizedModel, mode: str, shapes: list[list[int]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the states of a file, in Keras' order of the layers."""
    found: dict[str, tuple[int, ...]] = {}
    if mode == "sequence":
        return found

    def nothing(name: str, shape: tuple[int, ...]) -> Any:
        found[name] = shape
        return tf.zeros(shape)

    def compute(*tensors: Any) -> None:
        network_of(model, mode, nothing).run(list(tensors))

    # The graph says what it remembers.
    specs = [tf.TensorSpec(shape, kind) for shape, kind in zip(shapes, input_types(model), strict=True)]
    tf.function(compute, autograph=False).get_concrete_function(*specs)
    order = [id(layer) for layer in model._flatten_layers(include_self=False)]
    ranks: dict[str, int] = {}
    for node in model._graph.nodes:
        for name in _names(node):
            if name in found and name in ranks:
                raise ValueError(
                    f"Expected states of different names, got two called {name!r}; give layer {node.layer.name!r} "
                    "another name."
                )
            ranks[name] = order.index(id(node.layer))
    return {name: found[name] for name in sorted(found, key=ranks.__getitem__)}


def _names(node: Node) -> list[str]:
    """What the states of a layer call are called, if it has any."""
    names = [name for scope, layer in _unfolded(node) for name in state_names(scope, layer)]
    return names or [f"state_{node.scope}"]


__all__ = ["check_steps", "frames", "have_time", "hop", "input_types", "is_timed", "recurrent_layers", "state_shapes"]
