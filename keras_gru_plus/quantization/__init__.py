"""Quantization-aware training and calibration of whole models."""

from .calibrate import FreezeRanges, calibrate
from .model import QuantizedModel, quantize_aware
from .recipe import Recipe

__all__ = ["FreezeRanges", "QuantizedModel", "Recipe", "calibrate", "quantize_aware"]
