"""Changes of what a `.tflite` file says, written as a sound flatbuffer: they get past checks of offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

_VALUES = st.sampled_from(
    [0, 1, -1, 2, 3, 5, 7, 9, 16, 64, 127, 142, 255, 1000, 2**20, 2**31 - 1, -(2**31), None, 0.5, 1e38]
)
#: Which of all fields, and what it becomes: a number, an entry of a list, or nothing.
FIELDS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), _VALUES), min_size=1, max_size=3)


def changed_fields(content: bytes, changes: list[tuple[int, int, Any]]) -> bytes:
    """The file with fields changed; as it was where the result cannot be written."""
    from keras_gru_plus_export import tflite

    model = tflite.load(content)
    for place, entry, value in changes:
        fields = _fields(model)
        holder, name = fields[place % len(fields)]
        old = getattr(holder, name)
        if isinstance(old, list | np.ndarray) and len(old) and not hasattr(old[0], "__dict__"):
            new: Any = list(old)
            if value is None:
                del new[entry % len(new)]
            else:
                new[entry % len(new)] = value
            if isinstance(old, np.ndarray):
                with np.errstate(all="ignore"):
                    new = np.array(new, np.float64).astype(old.dtype)
        elif isinstance(old, list):
            new = [part for index, part in enumerate(old) if index != entry % max(len(old), 1)]
        else:
            new = value
        setattr(holder, name, new)
    try:
        return tflite.dump(model)
    except Exception:  # noqa: BLE001 (the generated code writes no nonsense; such an example is the whole file)
        return content


def _fields(model: Any) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    todo = [model]
    for holder in todo:
        for name, value in vars(holder).items():
            found.append((holder, name))
            parts = value if isinstance(value, list) else [value]
            todo += [part for part in parts if hasattr(part, "__dict__")]
    # The bytes of constants are changed elsewhere, and signatures count as much as graphs here.
    return [(holder, name) for holder, name in found if name != "data"]
