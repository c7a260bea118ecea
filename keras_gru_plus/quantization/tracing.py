"""The graph of a Keras model as nodes, nested models unfolded."""

from __future__ import annotations

from typing import Any

import keras

from .layers import check_layer
from .network import Network, Node
from .recipe import Recipe

#: What Keras makes the masks of Masking and Embedding of; a graph's nodes beside its layers.
_MASK_OPERATIONS = ("NotEqual", "Any")


class Tracer:
    """Clones a model and lists the layer calls of the clone.

    Args:
        recipe: decides which layers are refused.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.nodes: list[Node] = []
        self._scopes: set[str] = set()
        #: Nested model's output tensor → the tensor inside that it is.
        self._inner: dict[int, int] = {}
        self._kept: list[Any] = []  # keeps the symbolic tensors alive, since nodes name them by id

    def clone(self, source: keras.Model) -> keras.Model:
        """A model with the architecture of `source`, whose calls become nodes.

        Raises:
            ValueError: no Functional or built Sequential model, or a layer that cannot be quantized.
        """
        functional = functional_model(source)
        inputs = keras.tree.map_structure(
            lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=input_name(t)), functional.input
        )
        return keras.models.clone_model(functional, input_tensors=inputs, call_function=self._record)

    def network(self, clone: keras.Model) -> Network:
        """The clone's graph."""
        names = _output_names(self.nodes, clone)
        return Network(
            self.nodes,
            [(input_name(tensor), id(tensor)) for tensor in clone.inputs],
            list(zip(names, (self._id(tensor) for tensor in clone.outputs))),
        )

    def _id(self, tensor: Any) -> int:
        found = id(tensor)
        while found in self._inner:
            found = self._inner[found]
        return found

    def _record(self, layer: Any, *args: Any, **kw: Any) -> Any:
        outputs = layer(*args, **kw)
        if isinstance(layer, keras.layers.InputLayer) or type(layer).__name__ in _MASK_OPERATIONS:
            return outputs
        mask = kw.pop("mask", None)
        inputs = [t for t in keras.tree.flatten((args, kw)) if isinstance(t, keras.KerasTensor)]
        flat = keras.tree.flatten(outputs)
        self._kept.extend([*inputs, *flat])
        if isinstance(layer, keras.Model):
            self._unfold(layer, inputs, flat)
            return outputs
        if mask is not None and getattr(inputs[0], "_keras_mask", None) is None:
            raise ValueError(
                f"Expected layer {layer.name!r} ({type(layer).__name__}) without a `mask` argument, got one; use "
                "Masking or Embedding(mask_zero=True)."
            )
        check_layer(layer, len(inputs), self.recipe)
        masked = any(getattr(t, "_keras_mask", None) is not None for t in flat)
        ids = tuple(self._id(t) for t in inputs), tuple(id(t) for t in flat)
        self.nodes.append(Node(layer, self._scope(layer.name), *ids, masked=masked))
        return outputs

    def _unfold(self, model: keras.Model, inputs: list[Any], outputs: list[Any]) -> None:
        """Calls the layers of a nested model on `inputs` once more, to see them."""
        functional = functional_model(model)
        # Not with clone_model: a model on tensors that are no inputs has copies of them, and of its outputs.
        inside = keras.tree.flatten(functional._run_through_graph(inputs, call_fn=self._record))
        self._kept.extend(inside)
        for outer, inner in zip(outputs, inside):
            self._inner[id(outer)] = self._id(inner)

    def _scope(self, name: str) -> str:
        """The layer's name, with a number where it was called before."""
        scope, count = name, 0
        while scope in self._scopes:
            count += 1
            scope = f"{name}_{count}"
        self._scopes.add(scope)
        return scope


def functional_model(model: keras.Model) -> keras.Model:
    """A Functional model with the layers of `model`.

    Raises:
        TypeError: no Keras model.
        ValueError: neither Functional nor a built Sequential.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
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
    return [str(getattr(tensor._keras_history.operation, "name", tensor.name)) for tensor in clone.outputs]
