"""Compiles the int8 `.tflite` file of one step to C99 that needs neither an interpreter nor a library.

`graph` reads the file as `values`, `kernels` knows TFLite Micro's integers, `fit` finds short arithmetic with the
same results, `simplify` takes operations together, `plan` orders loops and lays out memory, `emit` writes two files.
"""

from .emit import Sources, compile_step
from .values import Unsupported

__all__ = ["Sources", "Unsupported", "compile_step"]
