"""`GRUPlus` and `GRUPlusCell`: Keras' GRU with a choice of variant."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from . import activations, cells
from .arithmetic import Float
from .initializers import Chrono
from .scan import Scanning

_PACKAGE = "keras_gru_plus"

# Written without a decorator so that `activations` needs no Keras to be imported.
for _activation in (activations.HardSigmoid, *activations.FUNCTIONS.values()):
    keras.saving.register_keras_serializable(_PACKAGE)(_activation)


def _resolve(cell: cells.Cell, activation: Any, recurrent_activation: Any) -> tuple[Any, Any]:
    if isinstance(activation, str) and activation == "auto":
        activation = cell.activation
    if isinstance(recurrent_activation, str) and recurrent_activation == "auto":
        recurrent_activation = cell.recurrent_activation
    activation, recurrent_activation = (
        activations.FUNCTIONS.get(given, given) if isinstance(given, str) else given
        for given in (activation, recurrent_activation)
    )
    return activation, recurrent_activation


@keras.saving.register_keras_serializable(_PACKAGE)
class GRUPlusCell(keras.layers.GRUCell):
    """One time step of a GRU variant, for `keras.layers.RNN` and `StackedRNNCells`.

    Args: those of `keras.layers.GRUCell`, in the same order and with the same meaning, and
        variant: a name in `keras_gru_plus.VARIANTS` or an instance such as `variants.MGU()`;
            keyword only.
        activation, recurrent_activation: "auto" (default) means the variant's own.

    Call arguments: inputs `(batch, features)`, states (a list of `(batch, units)`), training.

    Returns: the output `(batch, units)` and the new states.

    A variant that carries its input knows all state sizes once it is built, and Keras' RNN asks before:
    build such a cell first for `RNN(cell, return_state=True)` in a Functional model.

    Raises:
        ValueError: unknown variant; `reset_after=False` for a variant without that choice.

    Source: see each variant in `keras_gru_plus.cells`.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "auto",
        recurrent_activation: Any = "auto",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: Any = None,
        *,
        variant: Any = "gru",
        **kwargs: Any,
    ) -> None:
        cell = cells.get(variant).with_reset_after(reset_after)
        activation, recurrent_activation = _resolve(cell, activation, recurrent_activation)
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            reset_after=cell.reset_after,
            seed=seed,
            **kwargs,
        )
        self.variant = cell
        if cell.state_sizes(1, units) == cell.state_sizes(2, units):  # else known once the input is
            self._set_state_size(1)
        self.output_size = units
        self._arithmetic: Float | None = None
        self._carries_output = False

    def _set_state_size(self, features: int) -> None:
        sizes = self.variant.state_sizes(features, self.units)
        self.state_size = sizes[0] if len(sizes) == 1 else list(sizes)

    def build(self, input_shape: Any) -> None:
        """Creates the weights that the variant lists."""
        keras.layers.Layer.build(self, input_shape)
        features = input_shape[-1]
        self.variant.check(features, self.units)
        self.variant = self.variant.for_sizes(features, self.units)
        if self.implementation == 1:  # a mask for each gate, as in Keras
            self.dropout_mask_count = len(self.variant.gates)
        self._set_state_size(features)
        self.kernel = self.recurrent_kernel = self.bias = None  # Bidirectional asks for all three
        for name, shape in self.variant.weights(features, self.units, self.use_bias).items():
            role = next((role for role in ("bias", "recurrent", "kernel") if role in name), None)
            given = self.variant.initializer(name)
            weight = self.add_weight(
                shape=shape,
                name=name,
                initializer=_initializer(given) if given is not None else self._initializer(role or "kernel"),
                regularizer=role and getattr(self, f"{role}_regularizer"),
                constraint=role and getattr(self, f"{role}_constraint"),
                trainable=name not in self.variant.frozen,
                autocast=name not in self.variant.frozen,
            )
            setattr(self, name, weight)

    def _initializer(self, role: str) -> Any:
        initializer = getattr(self, f"{role}_initializer")
        return initializer.for_cell(self.variant, self.units) if isinstance(initializer, Chrono) else initializer

    def weight(self, name: str) -> Any:
        """The weight called `name`; a half of the stacked bias where the two biases share one."""
        bias = self.bias
        if bias is not None and len(bias.shape) == 2 and name in ("bias", "recurrent_bias"):
            return bias[0 if name == "bias" else 1]
        return ops.convert_to_tensor(getattr(self, name))

    @contextlib.contextmanager
    def computing(self, arithmetic: Float, carries_output: bool = False) -> Iterator[None]:
        """Within it every call of this cell computes with `arithmetic`.

        Args:
            arithmetic: what to compute with.
            carries_output: the first of the states is the last output, in front of the variant's own.
        """
        before = self._arithmetic, self._carries_output
        self._arithmetic, self._carries_output = arithmetic, carries_output
        try:
            yield
        finally:
            self._arithmetic, self._carries_output = before

    @property
    def arithmetic(self) -> Float:
        """The arithmetic in force; float unless `computing` says otherwise."""
        return self._arithmetic if self._arithmetic is not None else Float(self)

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        """One step; see the class."""
        nested = isinstance(states, list | tuple)
        if self._carries_output:
            states = states[1:]
        arithmetic = self.arithmetic
        arithmetic.training = training
        arithmetic.recurrent_masks = None
        inputs = self.with_dropout(arithmetic, inputs, training)
        if training and 0.0 < self.recurrent_dropout < 1.0:
            mask = self.get_recurrent_dropout_mask(states[0] if nested else states)
            arithmetic.recurrent_masks = dict(zip(self.variant.gates, mask))
        output, new = arithmetic.run(inputs, list(states) if nested else [states])
        if self._carries_output:
            new = [output, *new]
        return output, (new if nested else new[0])

    def with_dropout(self, arithmetic: Float, inputs: Any, training: bool) -> Any:
        """The inputs `(batch, features)` or `(timesteps, batch, features)` with dropout, or its masks handed on."""
        arithmetic.input_masks = None
        if not (training and 0.0 < self.dropout < 1.0):
            return inputs
        mask = self.get_dropout_mask(inputs[0] if len(inputs.shape) == 3 else inputs)
        masks = mask if isinstance(mask, list) else [mask]
        values = self.variant.values_of(inputs.shape[-1])
        if values < inputs.shape[-1]:  # times and masks are not dropped
            masks = [ops.concatenate([m[:, :values], ops.ones_like(m[:, values:])], axis=-1) for m in masks]
        if not isinstance(mask, list):
            return inputs * masks[0]
        arithmetic.input_masks = dict(zip(self.variant.gates, masks))
        return inputs

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Zeros for every state."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in sizes]

    def get_config(self) -> dict[str, Any]:
        """All constructor arguments."""
        return {**super().get_config(), "variant": _serialize(self.variant)}


@keras.saving.register_keras_serializable(_PACKAGE)
class GRUPlus(keras.layers.GRU):
    """A GRU variant over a sequence `(batch, timesteps, features)`, a drop-in for `keras.layers.GRU`.

    Args: those of `keras.layers.GRU`, in the same order, with the same defaults and meaning, and
        variant: a name in `keras_gru_plus.VARIANTS` or an instance such as `variants.MGU()`;
            keyword only.
        activation, recurrent_activation: "auto" (default) means the variant's own; for `gru` those
            are Keras' tanh and sigmoid. Any Keras activation trains in float; tanh, sigmoid,
            hard_tanh, hard_sigmoid and `HardSigmoid(slope)` can be quantized.

    Call arguments: sequences `(batch, timesteps, features)`, initial_state, mask
        `(batch, timesteps)`, training.

    Returns: `(batch, units)`, or `(batch, timesteps, units)` with `return_sequences`; with
        `return_state` followed by the states `(batch, units)`.

    Raises:
        ValueError: unknown variant; `reset_after=False` for a variant without that choice.

    Example:
        >>> layer = GRUPlus(32, variant="mgu")  # doctest: +SKIP
        >>> layer(np.zeros((4, 100, 6))).shape  # doctest: +SKIP
        (4, 32)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "auto",
        recurrent_activation: Any = "auto",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        *,
        variant: Any = "gru",
        **kwargs: Any,
    ) -> None:
        if use_cudnn not in ("auto", True, False):
            raise ValueError(f"Expected `use_cudnn` to be 'auto', True or False, got {use_cudnn!r}.")
        cell = GRUPlusCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            reset_after=reset_after,
            seed=seed,
            variant=variant,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="gru_plus_cell",
            implementation=kwargs.pop("implementation", 2),
        )
        # GRU's own constructor would build and track a GRUCell; everything else of it is inherited.
        keras.layers.RNN.__init__(
            self,
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.use_cudnn = use_cudnn
        if self._may_use_cudnn():
            self.supports_jit = False  # cuDNN operators cannot be compiled by XLA

    def _may_use_cudnn(self) -> bool:
        """Whether Keras' cuDNN kernel can compute this layer, here."""
        cell = self.cell
        return (
            self.use_cudnn in ("auto", True)
            and cell.variant == cells.GRU(reset_after=True)
            and cell.activation is keras.activations.tanh
            and cell.recurrent_activation is keras.activations.sigmoid
            and cell.use_bias
            and not cell.recurrent_dropout
            and not self.unroll
            and keras.backend.backend() == "tensorflow"
            and _has_gpu()
        )

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the cell, whose state may be as wide as the input."""
        super().build(sequences_shape, initial_state_shape)
        sizes = self.cell.state_size
        self.single_state = isinstance(sizes, int)
        self.state_size = [sizes] if self.single_state else list(sizes)

    @property
    def variant(self) -> cells.Cell:
        """The variant's cell definition."""
        return self.cell.variant

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Runs the cell over time with the weights prepared once, before the loop."""
        arithmetic = self.cell.arithmetic
        if type(arithmetic) is Float and self._may_use_cudnn():
            return super().inner_loop(sequences, initial_state, mask=mask, training=training)
        if self.use_cudnn is True:
            raise ValueError(
                "Expected a layer that cuDNN can compute for use_cudnn=True (variant 'gru' with default "
                "activations, on a GPU), got another; use use_cudnn='auto'."
            )
        states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        arithmetic.begin(sequences, mask, training)
        if type(arithmetic) is Float and self._may_scan(sequences, mask):
            return self._scan(sequences, states, training)
        batch = ops.shape(sequences)[0]
        carried = arithmetic.carried(batch)
        # At a masked step Keras' JAX loop takes the first state for the last output.
        apart = mask is not None and self.variant.output != self.variant.states[0]
        apart = apart and keras.backend.backend() == "jax"
        before = [ops.zeros((batch, self.units), self.compute_dtype)] if apart else []
        with self.cell.computing(arithmetic, carries_output=apart):
            last, outputs, new = keras.layers.RNN.inner_loop(
                self, sequences, before + states + carried, mask=mask, training=training
            )
        new = new[len(before) :]
        arithmetic.absorb(list(new[len(states) :]))
        return last, outputs, new[: len(states)]

    def _may_scan(self, sequences: Any, mask: Any) -> bool:
        known = sequences.shape[1] is not None  # the scan's depth depends on it
        return known and self.variant.scan and mask is None and not self.unroll and not self.variant.zoneout

    def _scan(self, sequences: Any, states: list[Any], training: bool) -> Any:
        """What the time loop gives, without one."""
        arithmetic = Scanning(self.cell)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
        sequences = self.cell.with_dropout(arithmetic, ops.transpose(sequences, (1, 0, 2)), training)
        outputs, new = arithmetic.sequence(sequences, states)
        last = outputs[-1]
        if not self.return_sequences:  # one step of it will do
            return last, ops.expand_dims(last, 1), new
        return last, ops.transpose(outputs, (1, 0, 2)), new

    def get_config(self) -> dict[str, Any]:
        """All constructor arguments."""
        config = {"variant": _serialize(self.variant), "use_cudnn": self.use_cudnn}
        return {**super().get_config(), **config}


def _initializer(given: str | float | tuple[float, float]) -> Any:
    """A Keras initializer for what a variant says: a name, a constant, or the ends of a uniform distribution."""
    if isinstance(given, str):
        return given
    if isinstance(given, tuple):
        return keras.initializers.RandomUniform(*given)
    return keras.initializers.Constant(given)


def _serialize(cell: cells.Cell) -> Any:
    """A plain name where it says everything; `reset_after` is the layer's own argument, sizes follow the input."""
    derived = ("reset_after", "projected", "values")
    options = {key: value for key, value in cell.options().items() if key not in derived}
    return {"name": cell.name, **options} if options else cell.name


@functools.lru_cache(maxsize=1)
def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
