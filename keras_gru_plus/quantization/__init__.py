"""Quantization-aware training and calibration of whole models."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "Expected Keras on its TensorFlow backend for quantization, got "
        f"{keras.backend.backend()!r}; set KERAS_BACKEND=tensorflow before Keras is imported."
    )

from .calibrate import FreezeRanges, calibrate
from .layers import register_layer
from .model import QuantizedModel, quantize_aware
from .recipe import Recipe

__all__ = ["FreezeRanges", "QuantizedModel", "Recipe", "calibrate", "quantize_aware", "register_layer"]
