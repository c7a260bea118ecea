"""`quantize_aware`: a model with fake quantization at every tap, ready to calibrate or to train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import activations
from ..adopt import copy_weights
from ..arithmetic import NEARLY_ONE, Grid
from ..layer import GRUPlus
from ..plan import plan_of
from .cells import FakeQuant, Observing
from .input_scaling import Scaling
from .layers.unfolding import is_recurrent, unfolded
from .network import Call, Network, Value
from .operators import MATMUL, Operator
from .recipe import Recipe
from .taps import Tap, TapStore, over_replicas
from .tracing import Tracer, input_name


class FakeQuantNetwork(Network):
    """Fake quantization in training and inference; with `training` the ranges follow the data."""

    def __init__(self, graph: Network, store: TapStore, training: bool) -> None:
        super().__init__(graph.nodes, graph.inputs, graph.outputs)
        self.store = store
        self.training = training
        self.updating = training and not store.frozen

    def input(self, name: str, tensor: Any, scaling: Scaling | None) -> Value:
        key = f"{name}/input"
        tap = self.store.tap(key, Grid.LEARNED)
        if self.updating:  # first, since it moves the steps
            scaled = tensor if scaling is None else scaling.apply(tensor)
            self._update([key], tf.reduce_min(scaled)[tf.newaxis], tf.reduce_max(scaled)[tf.newaxis])
        unit = tap.bound()
        if scaling is not None:
            tensor = scaling.on_steps(tensor, tf.stop_gradient(unit) / 2.0 ** (tap.bits - 1))
        return Value(tap.fake_quant(tensor) / unit, Grid.UNIT, key, unit)

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        tap = self.store.tap(key, grid)
        if self.updating and tap.learned:
            seen = tf.stop_gradient(value)
            self._update([key], tf.reduce_min(seen)[tf.newaxis], tf.reduce_max(seen)[tf.newaxis])
        return tap.fake_quant(value)

    def join(self, key: str, values: list[Value], axis: int) -> Any:
        return self.tap(key, tf.concat([value.tensor * (value.unit * NEARLY_ONE) for value in values], axis))

    def rounded(self, x: Value, tensor: Any) -> Any:
        if x.grid is Grid.UNIT:  # also where a tap of another grid was renamed
            return Tap("renamed", Grid.UNIT, self.store, self.store.recipe.activation_bits).fake_quant(tensor)
        return self.store.tap(x.key, x.grid).fake_quant(tensor)

    def linear(self, key: str, x: Value, operator: Operator, kernel: Any, bias: Any) -> Any:
        kernel = tf.convert_to_tensor(kernel) * x.unit
        flat = operator.by_channel(kernel)
        tap = self.store.weight(key, tuple(flat.shape), per_channel=None if operator is MATMUL else True)
        result = operator.function(x.tensor, tf.reshape(tap.fake_quant(flat), kernel.shape), None)
        return result if bias is None else result + bias

    def bound(self, value: Value) -> Any:
        return self.store.tap(value.key, value.grid).bound()

    def table(self, activation: Any, value: Any) -> Any:
        if self.store.recipe.activation_bits == 16:
            raise ValueError(
                f"Expected an activation with a 16-bit form, got {activations.name_of(activation)!r} where it has to "
                "be a look-up table; put it right behind a layer with a kernel, or use recipe 'int8'."
            )
        return activation(value)

    def recurrent(self, call: Call, layer: GRUPlus, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
        arithmetic = FakeQuant(layer.cell, self.store, call.scope, unit=x.unit, observe=self.updating)
        outputs = run_layer(self, arithmetic, call, layer, x, states)
        if self.updating:
            keys = list(arithmetic.extremes())
            if keys:
                self._update(keys, tf.reduce_min(arithmetic.low, axis=0), tf.reduce_max(arithmetic.high, axis=0))
        return state_values(call.scope, layer, outputs, x, flip)

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
        self._batch: Any = None

    def run(self, tensors: list[Any]) -> list[Value]:
        self._batch = tf.shape(tensors[0])[0]
        return super().run(tensors)

    def input(self, name: str, tensor: Any, scaling: Scaling | None) -> Value:
        key = f"{name}/input"
        tensor = self.tap(key, tensor if scaling is None else scaling.apply(tensor))
        return Value(tensor, Grid.UNIT, key, tf.ones(()))  # a tensor: a unit that will not stay 1

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if self.store.tap(key, grid).learned:
            samples = tf.reshape(value, (self._batch, -1))  # time steps may have been merged with samples
            self._seen(key, tf.reduce_min(samples, 1), tf.reduce_max(samples, 1))
            return value
        if grid is Grid.SQUARE:
            return tf.cast(value != 0.0, tf.float32)
        # A saturating activation is the clip of its tap.
        return tf.clip_by_value(value, 0.0 if grid in (Grid.GATE, Grid.MASK) else -1.0, 1.0)

    def _seen(self, key: str, low: Any, high: Any) -> None:
        if key in self.extremes:
            before = self.extremes[key]
            low, high = tf.minimum(low, before[0]), tf.maximum(high, before[1])
        self.extremes[key] = (low, high)

    def join(self, key: str, values: list[Value], axis: int) -> Any:
        return self.tap(key, tf.concat([value.tensor * value.unit for value in values], axis))

    def rounded(self, x: Value, tensor: Any) -> Any:
        return tensor

    def linear(self, key: str, x: Value, operator: Operator, kernel: Any, bias: Any) -> Any:
        result = operator.function(x.tensor, tf.convert_to_tensor(kernel), None)
        return result if bias is None else result + bias

    def bound(self, value: Value) -> Any:
        return tf.ones(())

    def aligned(self, scope: str, value: Value) -> Value:
        return (
            value if value.grid is Grid.UNIT else replace(value, grid=Grid.UNIT, unit=self.bound(value) * value.unit)
        )

    def observer(self, layer: GRUPlus, scope: str) -> Observing:
        """The arithmetic in which a recurrent layer is observed."""
        return Observing(layer.cell, self.store, scope)

    def observed(self, arithmetic: Any) -> None:
        """Takes over what was observed."""
        for key, (low, high) in arithmetic.extremes().items():
            self._seen(key, low, high)

    def recurrent(self, call: Call, layer: GRUPlus, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
        arithmetic = self.observer(layer, call.scope)
        outputs = run_layer(self, arithmetic, call, layer, x, states)
        self.observed(arithmetic)
        return state_values(call.scope, layer, outputs, x, flip)


def run_layer(q: Network, arithmetic: Any, call: Call, layer: GRUPlus, x: Value, states: list[Value]) -> Any:
    """What the layer gives when its cell computes with `arithmetic`."""
    taps = plan_of(layer.cell, quantized=True).taps
    initial = [
        q.on_grid(call.scope, state, taps.get(name, Grid.UNIT), name)
        for name, state in zip(layer.variant.state_taps, states)
    ]
    options = {} if call.mask is None else {"mask": call.mask[..., 0] > 0.5}
    if initial:
        options["initial_state"] = initial
    with layer.cell.computing(arithmetic):
        return layer(x.tensor, training=q.training, **options)


def state_values(scope: str, layer: GRUPlus, outputs: Any, x: Value, flip: bool = False) -> list[Value]:
    """A recurrent layer's output and states as values on their taps' grids; a delayed input is on that of `x`."""
    cell = layer.variant
    taps = plan_of(layer.cell, quantized=True).taps
    names = (cell.output_tap, *cell.state_taps)
    flat = keras.tree.flatten(outputs)
    if flip and layer.return_sequences:
        flat[0] = tf.reverse(flat[0], [1])
    return [
        replace(x, tensor=tensor) if name == "x" else Value(tensor, taps.get(name, Grid.UNIT), f"{scope}/{name}")
        for name, tensor in zip(names, flat)
    ]


#: With these an input of a few steps may have no output.
_SHORTENING = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.TimeDistributed,
    *(getattr(keras.layers, f"{kind}Pooling{n}D") for kind in ("Max", "Average") for n in (1, 2)),
)


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
        if isinstance(source, QuantizedModel):
            raise ValueError("Expected a float model, got one that is quantization-aware already.")
        tracer = Tracer(recipe)
        clone = tracer.clone(source)
        super().__init__(inputs=clone.input, outputs=clone.output, name=kwargs.pop("name", source.name), **kwargs)
        self.recipe = recipe
        self._tracer = tracer  # keeps alive what the graph names
        self._graph = tracer.network(clone)
        if recipe.quantized:
            self.taps = TapStore(recipe, name="taps")
            self._create_taps()

    def _create_taps(self) -> None:
        """One run on zeros creates all taps, in the order of the data flow."""
        shorten = any(isinstance(node.layer, _SHORTENING) for node in self._graph.nodes)
        least = 128 if shorten else 2
        shapes = [[1 if i == 0 and d is None else d or least for i, d in enumerate(t.shape)] for t in self.inputs]
        FakeQuantNetwork(self._graph, self.taps, training=False).run([tf.zeros(shape) for shape in shapes])
        self.reset_states()
        self.recipe.check_overrides(list(dict.fromkeys(self.taps.kernels)), list(self.taps.learned()))

    def reset_states(self) -> None:
        """Zeros for the states of stateful layers."""
        for layer in self._flatten_layers(include_self=False):
            if is_recurrent(layer) and layer.stateful:
                # Not with `reset_state`, which does not know that the states of stacked cells are nested.
                for state in keras.tree.flatten([each.states or [] for each in (layer, *unfolded(layer))]):
                    state.assign(tf.zeros_like(state.value))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The model's outputs, as the int8 file will compute them."""
        if not self.recipe.quantized:
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
        if self.recipe.quantized and not float(np.asarray(self.taps.ranges_set)):
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


def quantize_aware(model: keras.Model, recipe: Any = "int8") -> QuantizedModel:
    """A new, uncompiled model with the architecture and weights of `model` and fake quantization at every tap.

    Every tap rounds to the grid that the file will have, so the model computes what the file
    will. `calibrate` sets the ranges from data; training moves them on.

    Args:
        model: Functional or Sequential model, nested ones too, of the layers in
            `keras_gru_plus.quantization.layers.LAYERS`: GRUPlus, RNN of GRUPlusCells, Bidirectional, Dense,
            convolutions, BatchNormalization (which keeps its statistics), pooling, merging, shaping, embedding,
            masking.
        recipe: "int8", "int8_per_channel", "int16x8" (16-bit activations and states), "none" or "float16" (exactly
            the model given; they differ in the file) or a `Recipe`.

    Raises:
        ValueError: a layer or activation that cannot be quantized (named, with the list of those that
            can), or an unknown recipe.
    """
    quantized = QuantizedModel(model, recipe)
    copy_weights(model, quantized.float_model())
    return quantized


__all__ = ["QuantizedModel", "input_name", "quantize_aware"]
