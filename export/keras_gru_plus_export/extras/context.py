"""What an extra is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .recording import Recording


@dataclasses.dataclass(frozen=True)
class Context:
    """A finished file.

    Attributes:
        data: the `.tflite` file.
        mode: "sequence", "step" or "stateful".
        title: name of the model.
        labels: class names in the order of the outputs, if any.
        samples: real inputs by name, `(samples, …)`, floats.
        arena: smallest tflite-micro arena on this machine, None where it was not measured.
        recording: a signal for the page of extra `web`, if one was given.
    """

    data: bytes
    mode: str
    title: str
    labels: list[str] | None
    samples: Mapping[str, np.ndarray[Any, Any]]
    arena: int | None
    recording: Recording | None = None
