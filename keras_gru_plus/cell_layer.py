"""`GRUPlusCell`: one step of a variant, with its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from . import activations, cells
from .floating import Float
from .initializers import Chrono

PACKAGE = "keras_gru_plus"

# Written without a decorator so that `activations` needs no Keras to be imported.
for _activation in (activations.HardSigmoid, *activations.FUNCTIONS.values()):
    keras.saving.register_keras_serializable(PACKAGE)(_activation)


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


@keras.saving.register_keras_serializable(PACKAGE)
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
        return {**super().get_config(), "variant": serialize_variant(self.variant)}


def _initializer(given: str | float | tuple[float, float]) -> Any:
    """A Keras initializer for what a variant says: a name, a constant, or the ends of a uniform distribution."""
    if isinstance(given, str):
        return given
    if isinstance(given, tuple):
        return keras.initializers.RandomUniform(*given)
    return keras.initializers.Constant(given)


def serialize_variant(cell: cells.Cell) -> Any:
    """A plain name where it says everything; `reset_after` is the layer's own argument, sizes follow the input."""
    derived = ("reset_after", "projected", "values")
    options = {key: value for key, value in cell.options().items() if key not in derived}
    return {"name": cell.name, **options} if options else cell.name
