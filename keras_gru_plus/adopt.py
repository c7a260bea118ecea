"""`from_keras`: Keras' own GRU layers become GRUPlus, wherever they are in a model."""

from __future__ import annotations

from typing import Any

import keras

from .layer import GRUPlus, GRUPlusCell

#: Keras' class name → what stands for it; arguments and weights are the same.
REPLACED = {"GRU": GRUPlus, "GRUCell": GRUPlusCell}


def from_keras(model: keras.Model) -> keras.Model:
    """A new, uncompiled model in which every `keras.layers.GRU` and `GRUCell` is a GRUPlus of variant "gru".

    Also in nested models, Bidirectional, RNN, StackedRNNCells and TimeDistributed, and where a layer is shared.
    Names, weights and outputs are those of `model`; other layers, `LSTM` included, stay what they are.

    Args:
        model: Functional or Sequential.

    Raises:
        TypeError: no Keras model.
        ValueError: a subclassed model, whose layers only its own code knows.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
    if not isinstance(model, keras.Sequential) and type(model).__name__ != "Functional":
        raise ValueError(
            f"Expected a Functional or Sequential model, got {type(model).__name__} {model.name!r}, whose layers "
            "only its own code knows; build it from keras.Input and layers, or use GRUPlus in that code."
        )
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    # From memory, not from a file: what the model's own Lambda layers hold is as safe as it was.
    adopted = keras.saving.deserialize_keras_object(_replaced(config), safe_mode=False)
    if model.built:
        copy_weights(model, adopted)
    return adopted


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a model of the same architecture the weights of `source`."""
    target.set_weights(source.get_weights())
    for layer in target._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with what it derived from its weights


def has_keras_gru(model: keras.Model) -> bool:
    """Whether `from_keras` would change the model."""
    return any(type(layer) in (keras.layers.GRU, keras.layers.GRUCell) for layer in model._flatten_layers())


def _replaced(config: Any) -> Any:
    """The config with Keras' classes replaced, at any depth."""
    if isinstance(config, list | tuple):
        return type(config)(_replaced(part) for part in config)
    if not isinstance(config, dict):
        return config
    found = {key: _replaced(value) for key, value in config.items()}
    if found.get("module") == "keras.layers" and found.get("class_name") in REPLACED:
        cls = REPLACED[found["class_name"]]
        found |= {"module": cls.__module__, "class_name": cls.__name__}
        found["registered_name"] = keras.saving.get_registered_name(cls)
    return found
