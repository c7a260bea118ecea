"""Hashes of what an export is made from, and a model as a file that is the same whenever it is saved."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_gru_plus.atomic import scratch

#: Parts of a config that say how a model was trained, or where its objects were in memory.
_VOLATILE = ("compile_config", "shared_object_id")


def model_sha256(model: keras.Model) -> str:
    """SHA-256 of a model's config (as canonical JSON) and of all its weights (type, shape and numbers).

    Ranges of a quantized model are among its weights; optimizers and seeds of dropout are not.
    """
    config = _without(keras.saving.serialize_keras_object(model))
    found = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for weight in model.weights:
        found.update(_described(np.asarray(weight)))
    return found.hexdigest()


def _without(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without(value) for key, value in config.items() if key not in _VOLATILE}
    return [_without(part) for part in config] if isinstance(config, list | tuple) else config


def _described(array: np.ndarray) -> bytes:
    """An array's bytes behind its type and shape."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return f"\n{array.dtype.name} {list(array.shape)}\n".encode() + np.ascontiguousarray(little).tobytes()


class SamplesHash:
    """SHA-256 of named arrays that come in batches; how they are cut into batches does not change it."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}
        self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}

    def update(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The next samples, `(samples, …)` by name."""
        for name, array in arrays.items():
            found = self._hashes.setdefault(name, hashlib.sha256())
            kind = (array.dtype.name, array.shape[1:])
            if self._shapes.get(name) != kind:
                found.update(_described(array[:0].reshape(0, *array.shape[1:])))
                self._shapes[name] = kind
            found.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())

    def hexdigest(self) -> str:
        """Of all samples so far."""
        whole = hashlib.sha256()
        for name in sorted(self._hashes):
            whole.update(f"{name}\n{self._hashes[name].hexdigest()}\n".encode())
        return whole.hexdigest()


def samples_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays `(samples, …)`: names, types, shapes and numbers."""
    found = SamplesHash()
    found.update(arrays)
    return found.hexdigest()


def archived(model: keras.Model) -> bytes:
    """A `.keras` file without the time at which it was saved."""
    with scratch() as folder:
        path = folder / "model.keras"
        model.save(path)
        out = io.BytesIO()
        with zipfile.ZipFile(path) as saved, zipfile.ZipFile(out, "w") as archive:
            for name in sorted(saved.namelist()):
                content = saved.read(name)
                if name == "metadata.json":
                    about = {key: value for key, value in json.loads(content).items() if key != "date_saved"}
                    content = json.dumps(about).encode()
                archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980-01-01
    return out.getvalue()
