"""`convert`: a model from `quantize_aware` to the bytes of an int8, int16x8 or float `.tflite` file."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_gru_plus.atomic import scratch
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.model import input_name

from . import tflite, worker
from .check import check, check_float, is_small, tap_of, weight_scales
from .floating import network_of
from .graph import MODES, Expected
from .input_grids import has_quantize, input_grid, scaled_as
from .passes import PassError
from .passes.break_ties import break_ties
from .passes.call_steps import call_steps
from .passes.carried_state import carried_state
from .passes.common_operators import common_operators
from .passes.dead_loop_variables import dead_loop_variables
from .passes.float_io import float_io
from .passes.full_offsets import full_offsets
from .passes.kernel_scales import KernelScales, kernel_scales
from .passes.merge_loops import merge_loops
from .passes.narrow_shapes import narrow_shapes
from .passes.relabel_inputs import relabel_inputs
from .passes.reshape_options import reshape_options
from .passes.rows_of_input import rows_of_input
from .passes.scale_inputs import scale_inputs
from .passes.shared_memory import shared_memory
from .passes.signature import name_inputs_and_outputs
from .passes.strip import strip
from .passes.subtract_by_adding import subtract_by_adding
from .passes.table_activations import Tabulate, table_activations
from .passes.table_gates import table_gates
from .passes.unroll_while import unroll_while
from .passes.widen import widen
from .passes.zero_biases import zero_biases
from .streaming import check_steps, have_time, hop, input_types, state_shapes
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
    steps_per_iteration: int = 1,
) -> bytes:
    """An int8, int16x8 or float `.tflite` file that computes what `model` computes, one sample (batch 1) at a time.

    Args:
        model: from `quantize_aware`, calibrated or trained.
        mode: "sequence" (a whole window `(1, timesteps, features)` per invoke), "step" (one hop `(1, hop, features)`,
            states as inputs and outputs `state_<layer>`) or "stateful" (one hop, states in variables inside the
            model). A hop is the product of the strides over time, one time step without strides. States are those of
            recurrent layers `(1, units)` and the past that causal layers read `(1, steps, width, features)`.
        target: "litert" (LiteRT and tflite-runtime), or "tflm" (TFLite Micro with CMSIS-NN: operators that are
            fast there; the file runs on the others as well).
        io: "int8" for integers, int16 with recipe "int16x8", or "float" for float32 inputs, outputs and states
            around the integers inside. Recipes "none" and "float16" have float ends, whichever is given.
        timesteps: length of the window for a model whose time dimension is open.
        keep_names: name internal tensors by their taps instead of stripping names.
        steps_per_iteration: time steps of each iteration of a loop, a divisor of its steps, for mode "sequence":
            more take fewer instructions and more of the file and the arena. Results stay.

    Returns:
        The file's bytes. Inputs and outputs carry Keras' names in the signature.

    Raises:
        ValueError: unknown mode, target or io; steps that do not divide; ranges not set; open time dimension without
            `timesteps`; a model that cannot run step by step.
        ConversionError: the converter failed or its file is not the model.
    """
    check_options(mode, target, io, steps_per_iteration)
    if not isinstance(model, QuantizedModel):
        raise ValueError(
            f"Expected a model with ranges, got {type(model).__name__} {getattr(model, 'name', '')!r}; "
            "call calibrate(quantize_aware(model), data) first."
        )
    if model.recipe.bits == 16 and target == "tflm":
        raise ValueError(
            "Expected target 'litert' for recipe 'float16', got 'tflm', which has no float16 weights; use 'none' or "
            "'int8'."
        )
    model.require_ranges()
    if mode != "sequence":
        check_steps(model)
    shapes = input_shapes(model, mode, timesteps)
    module = _Module(model, mode, shapes)
    # One switch for all matmuls: of those that are to have one scale nevertheless a pass makes it.
    per_channel = any(w.per_channel for w in module.expected.kernels.values() if w.kind == "matmul")
    with scratch() as folder:
        directory = str(folder)
        with _quiet_tensorflow():
            try:
                tf.saved_model.save(module, directory, signatures=module.function)
            except tf.errors.OpError as error:
                raise ConversionError(
                    f"Expected room for temporary files in {directory!r}, got: {error.message}; set TMPDIR."
                ) from None
        floats = None if model.recipe.quantized else model.recipe.bits or 32
        kind = {"floats": floats} if floats else {"per_channel": per_channel, "variables": mode == "stateful"}
        raw = worker.shared.convert(directory, **kind)
    options: dict[str, Any] = {"keep_names": keep_names, "steps_per_iteration": steps_per_iteration}
    if floats:
        return _finish_float(raw, module, floats, target=target, **options)
    return _finish(raw, module, target=target, io=io, bits=model.recipe.activation_bits, **options)


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
    raw: bytes,
    module: _Module,
    *,
    target: str,
    io: str,
    bits: int,
    keep_names: bool,
    steps_per_iteration: int,
) -> bytes:
    """The passes and the checks between them."""
    flat = tflite.load(raw)
    try:
        dead_loop_variables(flat)
        narrow_shapes(flat)
        table_activations(flat, _tables(module.expected))
        carried_state(flat)
        kernel_scales(flat, _scales(module.expected))
        zero_biases(flat)
        check(flat, module.expected)
        if bits == 16:
            _widen(flat, module.expected)
            check(flat, module.expected, bits=bits)
        if keep_names:
            _name_by_tap(flat, module.expected)
        merge_loops(flat)
        if steps_per_iteration > 1:
            _several_steps(flat, target, steps_per_iteration)
        if target == "litert" and bits == 8:
            break_ties(flat)
        if target == "tflm":
            _for_micro(flat, bits)
            if steps_per_iteration > 1:  # instructions go before bytes
                full_offsets(flat)
        name_inputs_and_outputs(flat, module.inputs, module.outputs)
        signature = tflite.signature(flat)
        tensors = flat.subgraphs[0].tensors
        places = {name: signature.inputs[name] for name in module.expected.units}
        grids = {
            name: input_grid(*module.expected.units[name], bits, axis=len(tensors[place].shape) - 1)
            for name, place in places.items()
        }
        apart = {name: grid for name, grid in grids.items() if io == "float" and not has_quantize(grid, bits)}
        relabel_inputs(flat, {places[name]: grid for name, grid in grids.items() if name not in apart})
        if io == "float":
            float_io(flat)
            scale_inputs(flat, {name: scaled_as(grid, bits) for name, grid in apart.items()})
        reshape_options(flat)
        strip(flat, keep_names=keep_names)
        if target == "tflm":
            shared_memory(flat)
    except PassError as error:
        raise ConversionError(f"The converted graph is not one that can be made int{bits}: {error}.") from None
    return tflite.dump(flat)


def _finish_float(
    raw: bytes, module: _Module, bits: int, *, target: str, keep_names: bool, steps_per_iteration: int
) -> bytes:
    """The passes that have nothing to do with integers."""
    flat = tflite.load(raw)
    try:
        dead_loop_variables(flat)
        narrow_shapes(flat)
        common_operators(flat)
        check_float(flat, module.expected, bits)
        merge_loops(flat)
        if steps_per_iteration > 1:
            _several_steps(flat, target, steps_per_iteration)
        name_inputs_and_outputs(flat, module.inputs, module.outputs)
        scale_inputs(flat, {name: (-s.center, s.scale) for name, s in module.expected.scalings.items()})
        reshape_options(flat)
        strip(flat, keep_names=keep_names)
    except PassError as error:
        raise ConversionError(f"The converted graph is not one that can be made float{bits}: {error}.") from None
    return tflite.dump(flat)


def _scales(expected: Expected) -> Callable[[tflite.TensorT], KernelScales | None]:
    """For the output of a linear operator whose kernel's scales may not be the converter's: these, rows and bias."""

    def find(output: tflite.TensorT) -> KernelScales | None:
        weights = expected.kernels.get(tap_of(output, expected) or "")
        if weights is None or (weights.per_channel and not is_small(weights)):
            return None
        return KernelScales(weight_scales(weights), weights.kernel.T, weights.bias)

    return find


def _widen(model: tflite.ModelT, expected: Expected) -> None:
    def bias(output: tflite.TensorT) -> np.ndarray | None:
        key = tap_of(output, expected)
        return expected.kernels[key].bias if key in expected.kernels else None

    factors = [np.array([factor]) for factor in expected.factors]
    widen(model, bias, [*expected.constants, *factors])


def _several_steps(model: tflite.ModelT, target: str, steps: int) -> None:
    """Several steps in an iteration of the loops; raises ValueError where no loop can have so many."""
    changed = 0
    if target == "tflm":  # where operators are costly, not calls
        rows_of_input(model)
        changed = call_steps(model, steps)
    if not changed and not unroll_while(model, steps):
        raise ValueError(
            f"Expected `steps_per_iteration` to divide the steps of a recurrent layer, got {steps}; try 1."
        )


def _for_micro(model: tflite.ModelT, bits: int) -> None:
    """Replaces what is slow or large on TFLite Micro; the integers stay."""
    if bits == 8:  # the kernels of 16 bits have tables of their own
        table_gates(model)
        subtract_by_adding(model)
    rows_of_input(model)


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


def check_options(mode: str, target: str, io: str, steps_per_iteration: int = 1) -> None:
    """Raises ValueError for an unknown mode, target or io, or steps that the mode cannot have."""
    for name, value, choices in (("mode", mode, MODES), ("target", target, TARGETS), ("io", io, IO)):
        if value not in choices:
            raise ValueError(f"Expected `{name}` to be one of {', '.join(choices)}, got {value!r}.")
    whole = isinstance(steps_per_iteration, int) and not isinstance(steps_per_iteration, bool)
    if not whole or steps_per_iteration < 1 or (steps_per_iteration > 1 and mode != "sequence"):
        raise ValueError(
            "Expected `steps_per_iteration` to be 1, or more in mode 'sequence', "
            f"got {steps_per_iteration!r} in mode {mode!r}."
        )


def input_shapes(model: QuantizedModel, mode: str, timesteps: int | None) -> list[list[int]]:
    """Shape of each input in the file: batch 1, and one hop except in mode `sequence`.

    Raises:
        ValueError: an open dimension that `timesteps` does not fill, or a contradiction with it.
    """
    if timesteps is not None and timesteps < 1:
        raise ValueError(f"Expected `timesteps` to be 1 or more, got {timesteps}.")
    shapes = []
    for tensor, timed in zip(model.inputs, have_time(model), strict=True):
        shape = list(tensor.shape)
        if not timed:
            pass
        elif mode != "sequence":
            shape[1] = hop(model)
        elif shape[1] is None and timesteps is None:
            raise ValueError(
                f"Expected `timesteps` for input {input_name(tensor)!r}, whose time dimension is open, got none; "
                "pass the length of a window (--timesteps)."
            )
        elif timesteps is not None and shape[1] not in (None, timesteps):
            raise ValueError(f"Expected `timesteps` to be the model's {shape[1]}, got {timesteps}.")
        if timed:
            shape[1] = shape[1] or timesteps
        shape[0] = 1
        if any(size is None for size in shape):
            raise ValueError(f"Expected only the time dimension to be open, got shape {tuple(tensor.shape)}.")
        shapes.append(shape)
    return shapes


class _Module(tf.Module):
    """The graph as a SavedModel's function, with plain argument names (Keras' come back in a pass)."""

    def __init__(self, model: QuantizedModel, mode: str, shapes: list[list[int]]) -> None:
        super().__init__()
        states = state_shapes(model, mode, shapes)
        names = [name for name, _ in model._graph.inputs]
        fed = [] if mode == "stateful" else list(states)
        self.inputs = {f"input_{i}": name for i, name in enumerate([*names, *fed])}
        self.outputs: dict[str, str] = {}
        self.expected = Expected()
        if mode == "stateful":
            self.variables_ = {name: tf.Variable(np.zeros(shape, np.float32)) for name, shape in states.items()}
        all_shapes = [*shapes, *(states[name] for name in fed)]
        types = input_types(model) + [tf.float32] * len(fed)
        specs = [
            tf.TensorSpec(shape, kind, name=argument)
            for argument, shape, kind in zip(self.inputs, all_shapes, types, strict=True)
        ]

        def compute(*tensors: Any) -> dict[str, Any]:
            present = dict(zip(states, tensors[len(names) :]))
            if mode == "stateful":
                present = {name: variable.read_value() for name, variable in self.variables_.items()}
            network = network_of(model, mode, lambda name, shape: present[name])
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
