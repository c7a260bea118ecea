"""Files that Keras 2 wrote (TensorFlow up to 2.15, tf_keras) in the words of Keras 3, which reads their weights.

Sources: the configs of tf_keras 2.21 against Keras 3.15; `hard_sigmoid` of both.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_SPATIAL = ("SpatialDropout1D", "SpatialDropout2D")
#: Arguments that Keras 3 does not have → (classes, or all; the value that means what Keras 3 does, or any).
_GONE: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "time_major": ((), (False,)),
    "batch_input_shape": ((), ()),
    "groups": (("DepthwiseConv1D", "DepthwiseConv2D", *_SEPARABLE), (1,)),
    "trainable": (_SPATIAL, ()),
    "noise_shape": (_SPATIAL, ()),
    # What these inherited from Conv and never used.
    "kernel_initializer": (_SEPARABLE, ()),
    "kernel_regularizer": (_SEPARABLE, ()),
    "kernel_constraint": (_SEPARABLE, ()),
}

_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}

#: Keras 2's hard_sigmoid is clip(0.2 x + 0.5, 0, 1); that of Keras 3 has the slope 1/6.
_HARD_SIGMOID = {
    "module": "keras_gru_plus.activations",
    "class_name": "HardSigmoid",
    "config": {"slope": 0.2},
    "registered_name": "keras_gru_plus>HardSigmoid",
}

#: Layers whose further inputs are their initial state.
_RECURRENT = ("Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN")


def version_of(path: Path) -> str | None:
    """The version of Keras that wrote a whole `.keras` or `.h5` file, if it says one."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read("metadata.json")).get("keras_version")
    else:
        import h5py

        with h5py.File(path) as file:
            found = file.attrs.get("keras_version")
    return found.decode() if isinstance(found, bytes) else found


def translate(path: Path, target: Path) -> None:
    """Writes the file at `path` to `target` with a config that Keras 3 reads.

    Raises:
        ValueError: `time_major=True` or another argument that Keras 3 has no words for.
    """
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
            for name in archive.namelist():
                content = archive.read(name)
                copy.writestr(name, _translated_json(content) if name == "config.json" else content)
        return
    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        if "model_config" in file.attrs:
            file.attrs["model_config"] = _translated_json(file.attrs["model_config"])


def _translated_json(text: str | bytes) -> str:
    return json.dumps(_translated(json.loads(text)))


def _translated(config: Any) -> Any:
    """A config with all configs inside of it."""
    if isinstance(config, list):
        return [_translated(part) for part in config]
    if not isinstance(config, dict):
        return config
    found = {key: _translated(value) for key, value in config.items()}
    name, arguments = found.get("class_name"), found.get("config")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return found
    if name == "Policy":  # of mixed precision
        return arguments["name"]
    if name == "Functional":
        found |= {"module": "keras.src.models.functional", "registered_name": "Functional"}
        found["config"] = _graph(arguments)
    else:
        found["config"] = _arguments(name, arguments)
    return found


def _arguments(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments of the class `name`, without those that are gone."""
    found = {}
    for key, value in given.items():
        classes, neutral = _GONE.get(key, (("none",), ()))
        if name != "InputLayer" and (not classes or name in classes):
            if neutral and value not in neutral:
                raise ValueError(
                    f"Expected layer {given.get('name')!r} ({name}) with {key}={neutral[0]!r}, got {value!r}, which "
                    "Keras 3 does not have; set it so and save the model again."
                )
        elif key.endswith("activation") and value == "hard_sigmoid":
            found[key] = _HARD_SIGMOID
        elif (name, key) == ("BatchNormalization", "axis") and isinstance(value, list) and len(value) == 1:
            found[key] = value[0]
        else:
            found[_RENAMED.get((name, key), key)] = value
    return found


def _graph(config: dict[str, Any]) -> dict[str, Any]:
    """A Functional model's calls."""
    classes = {layer["name"]: layer["class_name"] for layer in config["layers"]}
    # Keras 2 counts the call on its own inputs as a model's first. Keras 3 does so at outputs that Functional models
    # make, but nowhere else.
    inside = {name for name, kind in classes.items() if kind in ("Functional", "Sequential")}
    sequential = {name for name in inside if classes[name] == "Sequential"}
    layers = [
        _called(layer | {"inbound_nodes": _less_one(layer["inbound_nodes"], inside)}) for layer in config["layers"]
    ]
    ends = {"input_layers": config["input_layers"], "output_layers": _less_one(config["output_layers"], sequential)}
    # A list of one tensor would be another structure.
    ends = {key: tensors[0] if len(tensors) == 1 else tensors for key, tensors in ends.items()}
    return config | {"layers": layers, **ends}


def _less_one(calls: Any, names: set[str]) -> Any:
    """References [layer, call, output, …] with 1 less for the call of the layers called `names`."""
    if not isinstance(calls, list):
        return calls
    if len(calls) >= 3 and isinstance(calls[1], int) and calls[0] in names:
        return [calls[0], calls[1] - 1, *calls[2:]]
    return [_less_one(part, names) for part in calls]


def _called(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer with its calls; the further inputs of a recurrent one are an argument by name."""
    calls = layer["inbound_nodes"]
    if layer["class_name"] not in _RECURRENT or all(len(inputs) == 1 for inputs in calls):
        return layer
    found = []
    for inputs in calls:
        # Shape and type are those of what is referred to, whatever is said here.
        first, *states = (
            {
                "class_name": "__keras_tensor__",
                "config": {"shape": [], "dtype": "float32", "keras_history": reference[:3]},
            }
            for reference in inputs
        )
        found.append({"args": [first], "kwargs": {**inputs[0][3], **({"initial_state": states} if states else {})}})
    return {key: value for key, value in layer.items() if key != "build_config"} | {"inbound_nodes": found}


__all__ = ["translate", "version_of"]
