"""What compares files with the fake-quant models they came from: taps fed the same integers, and modes."""

from __future__ import annotations

import os

import keras
import numpy as np
import tensorflow as tf
from export_models import ALL, calibrated, converted

from keras_gru_plus.arithmetic import Grid
from keras_gru_plus.quantization.cells import FakeQuant
from keras_gru_plus.quantization.model import FakeQuantNetwork, QuantizedModel, state_values
from keras_gru_plus_export import tflite
from keras_gru_plus_export.check import grid_of_range
from keras_gru_plus_export.data import input_names, output_names
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.recurrence import state_names
from keras_gru_plus_export.streaming import is_timed, recurrent_layers

TFLITE_PYTHON = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")


def python_for(runtime: str) -> str | None:
    return TFLITE_PYTHON if runtime.startswith("tflite-runtime") else None


def with_taps_as_outputs(data: bytes) -> tuple[bytes, list[str]]:
    """A file that also returns every tensor named after a tap."""
    model = tflite.load(data)
    graph = model.subgraphs[0]
    definition = model.signatureDefs[0]
    keys = []
    for index, tensor in enumerate(graph.tensors):
        name = tflite.text(tensor.name)
        if "/" in name and name not in keys and not tflite.is_constant(model, tensor):
            keys.append(name)
            if index not in graph.outputs:
                graph.outputs.append(index)
            # npz members cannot have a slash at will: keep the name simple
            definition.outputs.append(tflite.schema.TensorMapT(name=name.replace("/", "|"), tensorIndex=index))
    return tflite.dump(model), keys


class ReplayCell(FakeQuant):
    """Fake quantization in which every tap goes on with the file's value, after comparing its own."""

    network: Replay

    def tap(self, name, value, grid=Grid.LEARNED):
        return self.network.replay(f"{self.scope}/{name}", super().tap(name, value, grid))


class Replay(FakeQuantNetwork):
    def __init__(self, model: QuantizedModel, recorded: dict[str, np.ndarray], states: dict[str, np.ndarray]):
        super().__init__(model._graph, model.taps, training=False)
        self.recorded, self.states = recorded, states
        self.difference: dict[str, int] = {}

    def replay(self, key: str, value):
        tap = self.store.all()[key]
        grid = grid_of_range(*(float(end) for end in tap.range()), tap.bits)
        integers = self.recorded[key].reshape(value.shape).astype(np.int32)
        own = np.rint(np.asarray(value) / grid.scale) + grid.zero_point
        self.difference[key] = int(np.abs(own - integers).max())
        return tf.constant(((integers - grid.zero_point) * grid.scale).astype(np.float32))

    def tap(self, key, value, grid=Grid.LEARNED):
        fake = super().tap(key, value, grid)
        return fake if key.endswith("/input") else self.replay(key, fake)

    def preceded(self, scope, x, steps):
        return self.moved(x, tf.concat([self.states[f"state_{scope}"], x.tensor], 1)) if steps else x

    def recurrent(self, call, layer, x, states, flip=False):
        arithmetic = ReplayCell(layer.cell, self.store, call.scope, unit=x.unit, observe=False)
        arithmetic.network = self
        with layer.cell.computing(arithmetic):
            output, new = arithmetic.run(
                x.tensor[:, 0], [tf.constant(self.states[s]) for s in state_names(call.scope, layer)]
            )
        outputs = output[:, None] if layer.return_sequences else output
        return state_values(call.scope, layer, [outputs, *new] if layer.return_state else [outputs], x)


#: Steps of 1/32768 by which int16 kernels may be off: they interpolate between the entries of a table.
#: LOGISTIC: h^2/8 max|f''| = 0.7 between 256 entries h = 0.042 apart, their rounding and the result's. TANH reads
#: the same table at twice its argument, which doubles the interpolation's error. SOFTMAX brings its argument to
#: steps of 10/65536 (2.5 of 1/32768 in the exponential), interpolates between 512 entries (1.6), rounds each term
#: and multiplies with a reciprocal of their sum, which has the same errors.
INTERPOLATED = {"LOGISTIC": 2, "TANH": 3, "SOFTMAX": 8}


#: Steps to which one tap belongs several times.
SEVERAL = ("dilated",)


def taps_beyond_rounding(name: str, runtime: str, samples: int, seed: int) -> dict[str, int]:
    """Taps of a model whose integers in the file, fed with random ones, are farther off fake quantization than
    rounding explains, and how far.

    Each operator gets the file's own integers as input. Kernels round once in fixed point, fake quantization once in
    float: half a step apart at most each. With 16 bits some interpolate.
    """
    return beyond_rounding(calibrated(name), converted(name, "step", keep_names=True), runtime, samples, seed)


def beyond_rounding(model: QuantizedModel, step: bytes, runtime: str, samples: int, seed: int) -> dict[str, int]:
    """The same of a model and its file of mode step, whose tensors keep the names of taps."""
    data, _ = with_taps_as_outputs(step)
    io = host.describe(tflite.load(data))
    generator = np.random.default_rng(seed)
    integers = {}
    for entry in io["inputs"]:
        shape = (samples, *entry["shape"][1:]) if entry["state"] else (samples, 1, *entry["shape"][1:])
        limits = np.iinfo(entry["dtype"])
        first, last = (limits.min, limits.max) if entry["name"] != "tokens" else (1, 29)
        integers[entry["name"]] = generator.integers(first, last + 1, shape).astype(entry["dtype"])
    recorded = host.run(data, integers, runtime=runtime, mode="step", python=python_for(runtime))
    recorded = {key.replace("|", "/"): value[:, 0] for key, value in recorded.items()}
    steps = 2 ** (model.recipe.activation_bits - 1)
    flat = tflite.load(data)
    grids = {n: tflite.grid(flat.subgraphs[0].tensors[i]) for n, i in tflite.signature(flat).inputs.items()}
    # A delayed input is divided by its unit, as the input itself.
    delayed = [n for tap, n in _states(model).items() if tap.endswith("/x")]
    grids |= dict.fromkeys(delayed, tflite.Grid((1 / steps,), (0,)))
    numbers = {
        n: tf.constant(array if grids[n] is None else host.dequantize(array, grids[n]))
        for n, array in integers.items()
    }
    real = [numbers[n][:, 0] for n in input_names(model)]
    states = {n: number for n, number in numbers.items() if n.startswith("state_")}
    # A layer whose output is a model output keeps the output's name; it is the same tensor as the tap.
    named = _taps_that_are_outputs(model)
    recorded |= {key: recorded[end] for key, end in named.items() if end in recorded}
    network = Replay(model, recorded, states)
    network.run([x[:, 0] if len(x.shape) == len(t.shape) + 1 else x for x, t in zip(real, model.inputs)])
    assert set(network.difference) == {key for key in model.taps.all() if not key.endswith("/input")}
    graph = flat.subgraphs[0]
    made = [(tflite.text(graph.tensors[i].name), op) for op in graph.operators for i in op.outputs]
    makers = {name: tflite.op_name(flat, op) for name, op in made}
    bounds = INTERPOLATED if model.recipe.activation_bits == 16 else {}
    # A state that comes in and goes out has two tensors.
    ends = {key: [key, end, f"{end}_out"] for key in network.difference for end in [named.get(key, key)]}
    kinds = {key: next((makers[name] for name in names if name in makers), "") for key, names in ends.items()}
    return {key: lsb for key, lsb in network.difference.items() if lsb > bounds.get(kinds[key], 1)}


def _taps_that_are_outputs(model: QuantizedModel) -> dict[str, str]:
    """Tap → name of the output or state that it is."""
    values = FakeQuantNetwork(model._graph, model.taps, training=False).run(
        [tf.zeros([1, *[d or 1 for d in t.shape[1:]]]) for t in model.inputs]
    )
    named = {value.key: name for value, name in zip(values, output_names(model))}
    return {tap: name for tap, name in _states(model).items() if not tap.endswith("/x")} | named


def _states(model: QuantizedModel) -> dict[str, str]:
    """Tap → name in the file of each state; of a delayed input its scope and "x"."""
    return {
        f"{scope}/{tap}": name
        for scope, layer in recurrent_layers(model)
        for tap, name in zip(layer.variant.state_taps, state_names(scope, layer), strict=True)
    }


def modes(
    name: str, runtime: str, samples: int, seed: int, *, backwards: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Mode → the integers of each output, those of step-wise modes in the shape of the whole sequence's.

    Args:
        backwards: the samples in the opposite order.
    """
    spec, model = ALL[name], calibrated(name)
    data = spec.data(samples, seed=seed)
    files = {
        mode: converted(name, mode) for mode in (("sequence", "step", "stateful") if spec.steps else ("sequence",))
    }
    data = {key: array[::-1] for key, array in data.items()} if backwards else data
    flat = tflite.load(files["sequence"])
    grids = {key: tflite.grid(flat.subgraphs[0].tensors[i]) for key, i in tflite.signature(flat).inputs.items()}
    dtype = np.dtype(f"int{model.recipe.activation_bits}")
    integers = {
        key: array if grids[key] is None else host.quantize(array, grids[key], dtype) for key, array in data.items()
    }
    results = {
        mode: host.run(files[mode], integers, runtime=runtime, mode=mode, python=python_for(runtime))
        for mode in files
    }
    whole = results["sequence"]
    for mode in files.keys() - {"sequence"}:
        for output, timed in zip(output_names(model), is_timed(model)):
            steps = results[mode][output]
            results[mode][output] = (steps if timed else steps[:, -1]).reshape(whole[output].shape)
    return results


def predicted(name: str, samples: int, seed: int) -> list[np.ndarray]:
    """The fake-quant model's outputs for the samples of `modes`, as real numbers."""
    model, data = calibrated(name), ALL[name].data(samples, seed=seed)
    return keras.tree.flatten(model.predict([data[n] for n in input_names(model)], verbose=0))
