"""`quantize_aware`: a model with fake quantization at every tap, ready to calibrate or to train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..arithmetic import Grid
from ..layer import GRUPlus
from ..plan import plan_of
from .cells import FakeQuant, Observing
from .network import Network, Node, Pending, Value, check_layer
from .recipe import Recipe
from .taps import TapStore, over_replicas


class FakeQuantNetwork(Network):
    """Fake quantization in training and inference; with `training` the ranges follow the data."""

    def __init__(self, graph: Network, store: TapStore, training: bool) -> None:
        super().__init__(graph.nodes, graph.inputs, graph.outputs)
        self.store = store
        self.training = training
        self.updating = training and not store.frozen

    def input(self, name: str, tensor: Any) -> Value:
        key = f"{name}/input"
        tensor = self.tap(key, tensor)  # first, since it may move the range
        unit = self.store.tap(key, Grid.LEARNED).bound()
        return Value(tensor / unit, Grid.UNIT, key, unit)

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        tap = self.store.tap(key, grid)
        if self.updating and tap.learned:
            seen = tf.stop_gradient(value)
            self._update([key], tf.reduce_min(seen)[tf.newaxis], tf.reduce_max(seen)[tf.newaxis])
        return tap.fake_quant(value)

    def matmul(self, key: str, x: Value, kernel: Any, bias: Any, slope: float, offset: float) -> Any:
        folded = tf.convert_to_tensor(kernel) * (x.unit * slope)
        folded = self.store.weight(key, tuple(folded.shape)).fake_quant(folded)
        result = keras.ops.matmul(x.tensor, folded)
        if bias is not None:
            result = result + bias * slope
        return result + offset if offset else result

    def bound(self, value: Value) -> Any:
        return self.store.tap(value.key, value.grid).bound()

    def structural(self, layer: Any, tensor: Any) -> Any:
        return layer(tensor, training=self.training) if isinstance(layer, keras.layers.Dropout) else layer(tensor)

    def recurrent(self, layer: GRUPlus, x: Value) -> list[Value]:
        arithmetic = FakeQuant(layer.cell, self.store, layer.name, unit=x.unit, observe=self.updating)
        with layer.cell.computing(arithmetic):
            outputs = layer(x.tensor, training=self.training)
        if self.updating:
            keys = list(arithmetic.extremes())
            if keys:
                self._update(keys, tf.reduce_min(arithmetic.low, axis=0), tf.reduce_max(arithmetic.high, axis=0))
        return state_values(layer, outputs, x)

    def _update(self, keys: list[str], lows: Any, highs: Any) -> None:
        """Moves the ranges of learned taps, all of them with one exchange between replicas."""
        lows, highs = over_replicas(lows, highs)
        taps = self.store.learned()
        for i, key in enumerate(keys):
            taps[key].update(lows[i], highs[i])


class ObservingNetwork(Network):
    """Float arithmetic that records the extremes of every learned tap, sample by sample."""

    def __init__(self, graph: Network, store: TapStore) -> None:
        super().__init__(graph.nodes, graph.inputs, graph.outputs)
        self.store = store
        self.extremes: dict[str, tuple[Any, Any]] = {}

    def input(self, name: str, tensor: Any) -> Value:
        key = f"{name}/input"
        return Value(self.tap(key, tensor), Grid.UNIT, key, tf.ones(()))  # a tensor: a unit that will not stay 1

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if self.store.tap(key, grid).learned:
            axes = list(range(1, len(value.shape)))
            self.extremes[key] = (tf.reduce_min(value, axes), tf.reduce_max(value, axes))
        else:  # a saturating activation is the clip of its tap
            value = tf.clip_by_value(value, 0.0 if grid is Grid.GATE else -1.0, 1.0)
        return value

    def matmul(self, key: str, x: Value, kernel: Any, bias: Any, slope: float, offset: float) -> Any:
        result = keras.ops.matmul(x.tensor, tf.convert_to_tensor(kernel) * slope)
        if bias is not None:
            result = result + bias * slope
        return result + offset if offset else result

    def bound(self, value: Value) -> Any:
        return tf.ones(())

    def aligned(self, scope: str, value: Value) -> Value:
        return value if value.grid is Grid.UNIT else replace(value, grid=Grid.UNIT, unit=self.bound(value))

    def recurrent(self, layer: GRUPlus, x: Value) -> list[Value]:
        arithmetic = Observing(layer.cell, self.store, layer.name)
        with layer.cell.computing(arithmetic):
            outputs = layer(x.tensor, training=False)
        self.extremes |= arithmetic.extremes()
        return state_values(layer, outputs, x)


def state_values(layer: GRUPlus, outputs: Any, x: Value | None = None) -> list[Value]:
    """A recurrent layer's output and states as values on their taps' grids; a delayed input is on that of `x`."""
    cell = layer.variant
    taps = plan_of(layer.cell, quantized=True).taps
    names = (cell.output_tap, *cell.state_taps)
    flat = keras.tree.flatten(outputs)
    return [
        Value(tensor, x.grid, x.key, x.unit)
        if x is not None and name == "x"
        else Value(tensor, taps.get(name, Grid.UNIT), f"{layer.name}/{name}")
        for name, tensor in zip(names, flat)
    ]


@keras.saving.register_keras_serializable("keras_gru_plus")
class QuantizedModel(keras.Model):
    """A model of the same architecture as `source` that computes with fake quantization.

    Use `quantize_aware` to make one. Its layers are plain float layers with the source's names; the
    ranges are further weights (`taps`) and are saved with it.

    Args:
        source: Functional or Sequential model whose architecture is copied (its weights are not).
        recipe: see `Recipe`.
    """

    def __init__(self, source: keras.Model, recipe: Any = "int8", **kwargs: Any) -> None:
        recipe = Recipe.get(recipe)
        functional = _functional(source)
        nodes: list[Node] = []

        def record(layer: Any, *args: Any, **kw: Any) -> Any:
            outputs = layer(*args, **kw)
            if isinstance(layer, keras.layers.InputLayer):
                return outputs
            tensors = keras.tree.flatten((args, kw))
            inputs = [t for t in tensors if isinstance(t, keras.KerasTensor)]
            check_layer(layer, recipe)
            if layer.weights and any(node.layer is layer for node in nodes):
                raise ValueError(
                    f"Expected layer {layer.name!r} ({type(layer).__name__}) to be used once, got it on several "
                    "tensors, each with ranges of its own; use a layer for each."
                )
            if len(inputs) != 1:
                raise ValueError(
                    f"Expected layer {layer.name!r} ({type(layer).__name__}) to have one input, got {len(inputs)}; "
                    "an initial state as input cannot be quantized yet."
                )
            flat = keras.tree.flatten(outputs)
            kept.extend([*inputs, *flat])
            nodes.append(Node(layer, tuple(id(t) for t in inputs), tuple(id(t) for t in flat)))
            return outputs

        kept: list[Any] = []  # keeps the symbolic tensors alive, since nodes name them by id
        inputs = keras.tree.map_structure(
            lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=input_name(t)), functional.input
        )
        clone = keras.models.clone_model(functional, input_tensors=inputs, call_function=record)
        super().__init__(inputs=clone.input, outputs=clone.output, name=kwargs.pop("name", source.name), **kwargs)
        self.recipe = recipe
        names = _output_names(nodes, clone)
        self._kept = kept
        self._graph = Network(
            nodes,
            [(input_name(tensor), id(tensor)) for tensor in clone.inputs],
            list(zip(names, (id(tensor) for tensor in clone.outputs))),
        )
        if recipe.bits:
            self.taps = TapStore(recipe, name="taps")
            self._create_taps()

    def _create_taps(self) -> None:
        """One run on zeros creates all taps, in the order of the data flow."""
        shapes = [[1 if i == 0 and d is None else d or 2 for i, d in enumerate(t.shape)] for t in self.inputs]
        FakeQuantNetwork(self._graph, self.taps, training=False).run([tf.zeros(shape) for shape in shapes])
        self.reset_states()

    def reset_states(self) -> None:
        """Zeros for the states of stateful layers."""
        for layer in self.layers:
            if isinstance(layer, GRUPlus) and layer.stateful:
                layer.reset_state()

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The model's outputs, as the int8 file will compute them."""
        if not self.recipe.bits:
            return super().call(inputs, training=training, mask=mask)
        training = bool(training)
        values = FakeQuantNetwork(self._graph, self.taps, training).run(self._flat(inputs))
        if training and not self.taps.frozen:
            self.taps.ranges_set.assign(1.0)
        return self._pack([value.tensor for value in values])

    def observe(self, inputs: Any) -> dict[str, tuple[Any, Any]]:
        """Least and greatest value of each learned tap for each sample, in float arithmetic."""
        network = ObservingNetwork(self._graph, self.taps)
        network.run(self._flat(inputs))
        return network.extremes

    def require_ranges(self) -> None:
        """Raises ValueError if the ranges were never set."""
        if self.recipe.bits and not float(np.asarray(self.taps.ranges_set)):
            raise ValueError(
                f"Expected model {self.name!r} to have its ranges set, got none; call "
                "keras_gru_plus.calibrate(model, data) or train it first."
            )

    def _flat(self, inputs: Any) -> list[Any]:
        if isinstance(inputs, dict):
            inputs = [inputs[name] for name, _ in self._graph.inputs]
        return [tf.cast(tensor, tf.float32) for tensor in keras.tree.flatten(inputs)]

    def _pack(self, tensors: list[Any]) -> Any:
        return keras.tree.pack_sequence_as(self.output, tensors)

    def float_model(self) -> keras.Model:
        """The same layers without quantization, sharing the weights."""
        return keras.Model(self.input, self.output, name=self.name)

    def get_config(self) -> dict[str, Any]:
        """Architecture and recipe."""
        return {
            "source": keras.saving.serialize_keras_object(self.float_model()),
            "recipe": self.recipe.get_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizedModel:
        """Inverse of `get_config`."""
        source = keras.saving.deserialize_keras_object(config["source"], custom_objects)
        return cls(source, config["recipe"], name=config["name"])


def _functional(model: keras.Model) -> keras.Model:
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
    if isinstance(model, QuantizedModel):
        raise ValueError("Expected a float model, got one that is quantization-aware already.")
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Sequential) or not hasattr(model, "output_names"):
        raise ValueError(
            f"Expected a Functional model or a built Sequential model, got {type(model).__name__} {model.name!r}; "
            "build it from keras.Input and layers."
        )
    return model


def input_name(tensor: Any) -> str:
    """Keras' name of a model input: its own, or that of its layer where it was given none."""
    name = str(tensor.name)
    return str(tensor._keras_history.operation.name) if name.startswith("keras_tensor") else name


def _output_names(nodes: list[Node], clone: keras.Model) -> list[str]:
    """Keras' name for each output: that of the layer that made it."""
    made = {identity: node.layer.name for node in nodes for identity in node.outputs}
    return [made.get(id(tensor), tensor.name) for tensor in clone.outputs]


def quantize_aware(model: keras.Model, recipe: Any = "int8") -> QuantizedModel:
    """A new, uncompiled model with the architecture and weights of `model` and fake quantization at every tap.

    Every tap rounds to the grid that the file will have, so the model computes what the file
    will. `calibrate` sets the ranges from data; training moves them on.

    Args:
        model: Functional or Sequential model of GRUPlus, Dense, TimeDistributed(Dense), Activation,
            ReLU, Softmax, Dropout, Flatten and Reshape layers.
        recipe: "int8", "int8_per_channel", "int16x8" (16-bit activations and states), "none" (float, exactly the
            model given) or a `Recipe`.

    Raises:
        ValueError: a layer or activation that cannot be quantized (named, with the list of those that
            can), or an unknown recipe.
    """
    quantized = QuantizedModel(model, recipe)
    quantized.float_model().set_weights(model.get_weights())
    return quantized


__all__ = ["Pending", "QuantizedModel", "quantize_aware"]
