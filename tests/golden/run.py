"""Runs the files in this directory as a device does: NumPy and an interpreter. Prints `ok FILE` for each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from keras_gru_plus import runtime

#: Interpreters differ by steps of a grid of 256 on the way, which the state feeds back.
TOLERANCE = 6 / 256


def main() -> int:
    wrong = 0
    for path in sorted(Path(__file__).parent.glob("*/*.tflite")):
        with np.load(path.parent / f"{path.stem.rpartition('-')[0]}.npz") as archive:
            x, wanted = archive["x"], archive["quantized"]
        model = runtime.load(path)
        found = []
        for window in x:
            model.reset()
            found.append(model.predict(window) if model.mode == "sequence" else list(model.stream(window))[-1])
        apart = float(np.abs(np.array(found).reshape(wanted.shape) - wanted).max())
        print("ok" if apart <= TOLERANCE else f"off by {apart:.3f}", path.name, flush=True)
        wrong += apart > TOLERANCE
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
