"""All that is used of `tf.lite`, which TensorFlow means to remove.

(Release notes of 2.20: "tf.lite will be removed from future TensorFlow Python packages"; its code moves to LiteRT.)

The plan, for the release in which it is gone: `ai-edge-litert` has the same converter compiled in
(`_pywrap_litert_converter`), for now without a public Python interface, and stays a dependency of `export` anyway.
Only this module changes; it takes a SavedModel, which TensorFlow goes on writing, and gives bytes, which everything
behind it checks operator by operator. Until then the upper end of `tensorflow` in pyproject.toml is open, and the
compatibility check (`python -m trust --only compatibility`) tells when the newest one does not do.
Interpreters never come from here: they are those of `ai-edge-litert`, `tflite-micro` and `tflite-runtime`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf


def from_saved_model(folder: str) -> Any:
    """A converter for a SavedModel."""
    return tf.lite.TFLiteConverter.from_saved_model(folder)


def from_keras(model: Any) -> Any:
    """A converter for a Keras model, as TensorFlow's guides have it."""
    return tf.lite.TFLiteConverter.from_keras_model(model)


def optimize(converter: Any) -> None:
    """Weights are to be quantized."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def int8_ends(converter: Any) -> None:
    """Inputs and outputs are int8 instead of float."""
    converter.inference_input_type = converter.inference_output_type = tf.int8


def calibrate(converter: Any, samples: Callable[[], Iterable[Any]]) -> None:
    """Full int8 by the converter's own calibrator, as TensorFlow's guides have it."""
    optimize(converter)
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    int8_ends(converter)
