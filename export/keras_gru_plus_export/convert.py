"""`convert`: a quantized Keras model to the bytes of an int8 or int16x8 `.tflite` file."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.model import input_name, whole_zero_point
from keras_gru_plus.quantization.network import Node

from . import tflite, worker
from .check import check, tap_of
from .graph import MODES, Expected, GraphNetwork
from .passes import PassError
from .passes.carried_state import carried_state
from .passes.dead_loop_variables import dead_loop_variables
from .passes.float_io import float_io
from .passes.narrow_shapes import narrow_shapes
from .passes.relabel_inputs import relabel_inputs
from .passes.reshape_options import reshape_options
from .passes.signature import name_inputs_and_outputs
from .passes.strip import strip
from .passes.subtract_by_adding import subtract_by_adding
from .passes.table_activations import Tabulate, table_activations
from .passes.table_gates import table_gates
from .passes.widen import widen
from .recurrence import state_names
from .worker import ConversionError

TARGETS = ("litert", "tflm")
IO = ("int8", "float")


def convert(
    model: QuantizedModel,
    *,
    mode: str = "sequence",
    target: str = "litert",
    io: str = "int8",
    timesteps: int | None = None,
    keep_names: bool = False,
) -> bytes:
    """An int8 or int16x8 `.tflite` file that computes what `model` computes, one sample (batch 1) at a time.

    Args:
        model: from `quantize_aware`, calibrated or trained.
        mode: "sequence" (a whole window `(1, timesteps, features)` per invoke), "step" (one time step
            `(1, 1, features)`, states as inputs and outputs `state_<layer>` `(1, units)`) or
            "stateful" (one time step, states in variables inside the model).
        target: "litert" (LiteRT and tflite-runtime), or "tflm" (TFLite Micro with CMSIS-NN: operators that are
            fast there; the file runs on the others as well).
        io: "int8" for integers, int16 with recipe "int16x8", or "float" for float32 inputs, outputs and states
            around the integers inside.
        timesteps: length of the window for a model whose time dimension is open.
        keep_names: name internal tensors by their taps instead of stripping names.

    Returns:
        The file's bytes. Inputs and outputs carry Keras' names in the signature.

    Raises:
        ValueError: unknown mode, target or io; ranges not set; open time dimension without `timesteps`;
            a model that cannot run step by step.
        ConversionError: the converter failed or its file is not the model.
    """
    check_options(mode, target, io)
    if not isinstance(model, QuantizedModel):
        raise ValueError(
            f"Expected a model with ranges, got {type(model).__name__} {getattr(model, 'name', '')!r}; "
            "call calibrate(quantize_aware(model), data) first."
        )
    if not model.recipe.bits:
        raise ValueError("Expected an int8 recipe for export, got 'none' (float).")
    model.require_ranges()
    shapes = input_shapes(model, mode, timesteps)
    if mode != "sequence":
        check_steps(model)
    module = _Module(model, mode, shapes)
    per_channel = model.recipe.weights == "per_channel"
    with tempfile.TemporaryDirectory(prefix="kgp-") as directory:
        with _quiet_tensorflow():
            tf.saved_model.save(module, directory, signatures=module.function)
        raw = worker.shared.convert(directory, per_channel=per_channel, variables=mode == "stateful")
    bits = model.recipe.activation_bits
    return _finish(raw, module, target=target, io=io, per_channel=per_channel, bits=bits, keep_names=keep_names)


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Without the line about assets that TensorFlow logs for every SavedModel."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _finish(
    raw: bytes, module: _Module, *, target: str, io: str, per_channel: bool, bits: int, keep_names: bool
) -> bytes:
    """The passes and the checks between them."""
    flat = tflite.load(raw)
    try:
        dead_loop_variables(flat)
        narrow_shapes(flat)
        table_activations(flat, _tables(module.expected))
        carried_state(flat)
        check(flat, module.expected, per_channel=per_channel)
        if bits == 16:
            _widen(flat, module.expected)
            check(flat, module.expected, per_channel=per_channel, bits=bits)
        if keep_names:
            _name_by_tap(flat, module.expected)
        if target == "tflm" and bits == 8:  # the kernels of 16 bits have tables of their own
            _for_micro(flat)
        name_inputs_and_outputs(flat, module.inputs, module.outputs)
        signature = tflite.signature(flat)
        grids = {name: input_grid(*unit, bits) for name, unit in module.expected.units.items()}
        relabel_inputs(flat, {signature.inputs[name]: grid for name, grid in grids.items()})
        if io == "float":
            float_io(flat)
        reshape_options(flat)
        strip(flat, keep_names=keep_names)
    except PassError as error:
        raise ConversionError(f"The converted graph is not one that can be made int{bits}: {error}.") from None
    return tflite.dump(flat)


def input_grid(unit: float, scale: float, shift: float, bits: int) -> tflite.Grid:
    """Grid of an input x whose `scale * x + shift` is `unit` where the integer is 2^(bits - 1)."""
    step = np.float32(unit) / np.float32(2 ** (bits - 1))
    zero_point = int(whole_zero_point(np.float32(shift), step)) if shift else 0
    return tflite.Grid((float(step) / scale,), (zero_point,))


def _widen(model: tflite.ModelT, expected: Expected) -> None:
    def bias(output: tflite.TensorT) -> np.ndarray | None:
        key = tap_of(output, expected)
        return expected.kernels[key].bias if key in expected.kernels else None

    factors = [np.array([factor]) for factor in expected.factors]
    widen(model, bias, [*expected.constants, *factors])


def _for_micro(model: tflite.ModelT) -> None:
    """Replaces what is slow on TFLite Micro; the integers stay."""
    table_gates(model)
    subtract_by_adding(model)


def _tables(expected: Expected) -> dict[str, Tabulate]:
    """For each marked operation the integers of its activation, rounded as fake quantization rounds."""

    def tabulate(activation: Any, inputs: np.ndarray, grid: tflite.Grid) -> np.ndarray:
        values = np.asarray(activation(tf.constant(inputs, tf.float32)), np.float64)
        integers = np.floor(values / grid.scale + 0.5) + grid.zero_point
        return np.clip(integers, -128, 127).astype(np.int8)

    return {name: functools.partial(tabulate, activation) for name, activation in expected.tables.items()}


def _name_by_tap(model: tflite.ModelT, expected: Expected) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            key = None if tflite.is_constant(model, tensor) else tap_of(tensor, expected)
            tensor.name = key or tensor.name


def check_options(mode: str, target: str, io: str) -> None:
    """Raises ValueError for an unknown mode, target or io."""
    for name, value, choices in (("mode", mode, MODES), ("target", target, TARGETS), ("io", io, IO)):
        if value not in choices:
            raise ValueError(f"Expected `{name}` to be one of {', '.join(choices)}, got {value!r}.")


def input_shapes(model: keras.Model, mode: str, timesteps: int | None) -> list[list[int]]:
    """Shape of each input in the file: batch 1, and one time step except in mode `sequence`.

    Raises:
        ValueError: an open dimension that `timesteps` does not fill, or a contradiction with it.
    """
    if timesteps is not None and timesteps < 1:
        raise ValueError(f"Expected `timesteps` to be 1 or more, got {timesteps}.")
    shapes = []
    for tensor in model.inputs:
        shape = list(tensor.shape)
        if len(shape) < 3:  # without a time axis
            pass
        elif mode != "sequence":
            shape[1] = 1
        elif shape[1] is None and timesteps is None:
            raise ValueError(
                f"Expected `timesteps` for input {input_name(tensor)!r}, whose time dimension is open, got none; "
                "pass the length of a window (--timesteps)."
            )
        elif timesteps is not None and shape[1] not in (None, timesteps):
            raise ValueError(f"Expected `timesteps` to be the model's {shape[1]}, got {timesteps}.")
        if len(shape) > 2:
            shape[1] = shape[1] or timesteps
        shape[0] = 1
        if any(size is None for size in shape):
            raise ValueError(f"Expected only the time dimension to be open, got shape {tuple(tensor.shape)}.")
        shapes.append(shape)
    return shapes


def _walk_time(model: QuantizedModel) -> tuple[set[int], list[tuple[keras.layers.Layer, str]]]:
    """Tensors with the input's time axis, and the layers that cannot run one time step at a time, with reasons."""
    timed = {id for (_, id), tensor in zip(model._graph.inputs, model.inputs, strict=True) if len(tensor.shape) > 2}
    refused = []
    for node in model._graph.nodes:
        layer, over_time = node.layer, node.inputs[0] in timed
        if isinstance(layer, GRUPlus):
            if layer.go_backwards:
                refused.append((layer, "reads the sequence backwards"))
            if not over_time:
                refused.append((layer, "runs over an axis that is not the input's time"))
            elif layer.return_sequences:
                timed.add(node.outputs[0])
        elif isinstance(layer, keras.layers.Flatten | keras.layers.Reshape):
            if over_time:
                refused.append((layer, "needs the whole window at once"))
        elif over_time:
            timed.update(node.outputs)
    return timed, refused


def is_timed(model: QuantizedModel) -> list[bool]:
    """For each output, whether it has the input's time axis."""
    timed, _ = _walk_time(model)
    return [identity in timed for _, identity in model._graph.outputs]


def check_steps(model: QuantizedModel) -> None:
    """Refuses what cannot run one time step at a time.

    Raises:
        ValueError: names the layer and the reason.
    """
    if not any(isinstance(layer, GRUPlus) for layer in model.layers):
        raise ValueError("Expected a model with a GRUPlus layer for modes 'step' and 'stateful', got none.")
    for tensor in model.inputs:
        if len(tensor.shape) < 3:
            raise ValueError(
                f"Expected inputs with a time axis for modes 'step' and 'stateful', got {input_name(tensor)!r} "
                f"of shape {tuple(tensor.shape)}; use mode 'sequence'."
            )
    _, refused = _walk_time(model)
    for layer, reason in refused:
        raise ValueError(
            f"Expected a model that runs step by step, got layer {layer.name!r} ({type(layer).__name__}), which "
            f"{reason}; use mode 'sequence'."
        )


def recurrent_nodes(model: QuantizedModel) -> list[Node]:
    """The calls of recurrent layers in Keras' order of the layers."""
    order = [id(layer) for layer in model._flatten_layers(include_self=False)]
    found = [node for node in model._graph.nodes if isinstance(node.layer, GRUPlus)]
    return sorted(found, key=lambda node: order.index(id(node.layer)))


class _Module(tf.Module):
    """The graph as a SavedModel's function, with plain argument names (Keras' come back in a pass)."""

    def __init__(self, model: QuantizedModel, mode: str, shapes: list[list[int]]) -> None:
        super().__init__()
        states = {
            name: (1, size)
            for node in recurrent_nodes(model)
            if mode != "sequence"
            for name, size in zip(state_names(node.scope, node.layer), node.layer.state_size, strict=True)
        }
        names = [name for name, _ in model._graph.inputs]
        fed = [] if mode == "stateful" else list(states)
        self.inputs = {f"input_{i}": name for i, name in enumerate([*names, *fed])}
        self.outputs: dict[str, str] = {}
        self.expected = Expected()
        if mode == "stateful":
            self.variables_ = {name: tf.Variable(np.zeros(shape, np.float32)) for name, shape in states.items()}
        all_shapes = [*shapes, *(states[name] for name in fed)]
        looked_up = [model._graph.reads_indices(identity) for _, identity in model._graph.inputs]
        types = [tf.int32 if indices else tf.float32 for indices in looked_up] + [tf.float32] * len(fed)
        specs = [
            tf.TensorSpec(shape, kind, name=argument)
            for argument, shape, kind in zip(self.inputs, all_shapes, types, strict=True)
        ]

        def compute(*tensors: Any) -> dict[str, Any]:
            present = dict(zip(states, tensors[len(names) :]))
            if mode == "stateful":
                present = {name: variable.read_value() for name, variable in self.variables_.items()}
            network = GraphNetwork(model, mode, present)
            with tf.name_scope("main"):  # so that no name here is the tail of one in a loop's body
                values = network.run(list(tensors[: len(names)]))
            self.expected = network.expected
            results = dict(zip(distinct([name for name, _ in model._graph.outputs]), (v.tensor for v in values)))
            if mode == "stateful":
                for name, variable in self.variables_.items():
                    state = network.new_states[name]
                    variable.assign(state)
                    # To return the very tensor that was assigned corrupts the variable in the file.
                    results = {key: variable.read_value() if t is state else t for key, t in results.items()}
            else:
                results |= {name: network.new_states[name] for name in fed}
            self.outputs = {f"output_{i}": name for i, name in enumerate(results)}
            return {f"output_{i}": tf.identity(tensor) for i, tensor in enumerate(results.values())}

        self.function = tf.function(compute, input_signature=specs, autograph=False).get_concrete_function()


def distinct(names: list[str]) -> list[str]:
    """Names with _1, _2 … appended to repeated ones (a layer with several outputs)."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        result.append(f"{name}_{count}" if count else name)
    return result


__all__ = ["MODES", "ConversionError", "convert", "input_shapes"]
