"""Writes the class names into a metadata entry, where `keras_gru_plus.runtime` finds them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from keras_gru_plus.runtime.file import LABELS

from .. import tflite
from ..tflite import ModelT


def labels(model: ModelT, names: Sequence[str]) -> None:
    """Applies the pass; labels that are there already are replaced."""
    others = [entry for entry in model.metadata or [] if tflite.text(entry.name) != LABELS]
    content = json.dumps(list(names), ensure_ascii=False, separators=(",", ":")).encode()
    model.buffers.append(tflite.schema.BufferT(data=np.frombuffer(content, np.uint8)))
    model.metadata = [*others, tflite.schema.MetadataT(name=LABELS, buffer=len(model.buffers) - 1)]
    tflite.compact(model)


def labelled(data: bytes, names: Sequence[str] | None) -> bytes:
    """A file with labels; the same file where there are none."""
    if names is None:
        return data
    model = tflite.load(data)
    labels(model, names)
    return tflite.dump(model)
