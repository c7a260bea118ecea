"""Compiles the int8 `.tflite` file of one step to C99 that needs neither an interpreter nor a library.

`graph` reads the file, `kernels` knows TFLite Micro's integers, `fit` finds short arithmetic with the same
results, `plan` orders loops and lays out memory, `emit` writes the two files.
"""

from .emit import Sources, compile_step
from .graph import Unsupported

__all__ = ["Sources", "Unsupported", "compile_step"]
