"""Exported models on a device: NumPy and one interpreter, never Keras or TensorFlow.

The same calls on LiteRT (`pip install 'keras-gru-plus[edge]'`), tflite-runtime (`[tflite-runtime]`) and TFLite Micro
(`[tflm]`).
"""

from __future__ import annotations

from .file import ModelError, TensorInfo
from .model import Info, Model, load

__all__ = ["Info", "Model", "ModelError", "TensorInfo", "load"]
