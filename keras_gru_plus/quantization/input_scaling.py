"""What an input is scaled by in front of its grid: the scales and zero points of the file's input say it.

A network behind a Normalization computes with one grid, `step * integer`. What stands in front of it is undone by
the scale and zero point of each feature, which cost nothing: the network never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

#: Greatest zero point, with room in 32 bits for an integer of the grid beside it. Only a feature that never varies
#: (Keras divides it by 1e-7) would have a greater one, or with 16 bits by less than some 2^-18 of its center: it gets
#: wider steps.
FARTHEST = 2.0**30


@dataclass(frozen=True)
class Scaling:
    """`scale * (x - center)` of an input x, alike for all of its values or with numbers for each feature.

    Attributes:
        scale, center: float64, both `()` or both `(features,)`; scales are positive.
    """

    scale: np.ndarray
    center: np.ndarray

    @classmethod
    def of(cls, scale: Any, shift: Any) -> Scaling:
        """`scale * x + shift`, for arrays with one entry or one for each feature."""
        scale, shift = np.broadcast_arrays(*(np.squeeze(np.asarray(array, np.float64)) for array in (scale, shift)))
        return cls(scale, -shift / scale)

    @property
    def by_feature(self) -> bool:
        """Whether features have numbers of their own."""
        return self.scale.ndim > 0

    def apply(self, x: Any) -> Any:
        """The scaled input, float32; near a far center the difference is exact, where `scale * x + shift` is not."""
        return (x - self.center.astype(np.float32)) * self.scale.astype(np.float32)

    def grid(self, step: Any) -> tuple[Any, Any]:
        """Scale (float32) and zero point (float64, whole) of x where the scaled input is `step * integer`."""
        scale = step / tf.constant(self.scale, tf.float32)
        scale = tf.maximum(scale, tf.constant(np.abs(self.center) / FARTHEST, tf.float32))
        return scale, -tf.round(tf.constant(self.center) / tf.cast(scale, tf.float64))

    def on_steps(self, x: Any, step: Any) -> Any:
        """The scaled input, not yet rounded, as the file's scales and whole zero points make it."""
        scale, zero_point = self.grid(step)
        moved = tf.cast(tf.constant(self.center) / tf.cast(scale, tf.float64) + zero_point, tf.float32)
        return ((x - self.center.astype(np.float32)) / scale + moved) * step


__all__ = ["Scaling"]
