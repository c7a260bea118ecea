"""`GRUPlus`: Keras' GRU with a choice of variant."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from . import cells
from .cell_layer import PACKAGE, GRUPlusCell, serialize_variant
from .floating import Float
from .scan import Scanning

__all__ = ["GRUPlus", "GRUPlusCell"]


@keras.saving.register_keras_serializable(PACKAGE)
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
        self._run(
            cell,
            use_cudnn,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )

    @classmethod
    def of_cell(cls, cell: GRUPlusCell, **options: Any) -> GRUPlus:
        """A layer that runs `cell` over time and shares its weights.

        Args:
            cell: built or not.
            options: those of `keras.layers.RNN`.
        """
        layer = cls.__new__(cls)
        layer._run(cell, "auto", **options)
        return layer

    def _run(self, cell: GRUPlusCell, use_cudnn: Any, **options: Any) -> None:
        # GRU's own constructor would build and track a GRUCell; everything else of it is inherited.
        keras.layers.RNN.__init__(self, cell, **options)
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
        config = {"variant": serialize_variant(self.variant), "use_cudnn": self.use_cudnn}
        return {**super().get_config(), **config}


@functools.lru_cache(maxsize=1)
def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
