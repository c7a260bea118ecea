"""Loading a user's `.keras` file with one clear message for whatever is wrong with it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

import keras_gru_plus  # noqa: F401  (registers the layers)

#: How an HDF5 file begins.
HDF5 = b"\x89HDF\r\n\x1a\n"


class ModelError(ValueError):
    """A model file that cannot be read."""


def load_model(path: str | Path) -> keras.Model:
    """The model in a `.keras` or `.h5` file, loaded in Keras' safe mode.

    Raises:
        ModelError: no such file, not a Keras file, damaged, or with a class that Keras does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"Expected a .keras file, got {str(path)!r}, which is no file.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(
            f"Expected a file that ends in .keras or .h5, got {path.name!r}; save it with model.save('m.keras')."
        )
    whole = zipfile.is_zipfile(path) if path.suffix == ".keras" else path.read_bytes()[:8] == HDF5
    if not whole:
        raise ModelError(
            f"Expected a Keras archive, got {str(path)!r}, which is none or damaged; save the model again."
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 (a damaged archive makes Keras raise nearly anything)
        # Keras tells the outermost object's whole config first and what was wrong last.
        words = " ".join(str(error).rpartition("Exception encountered:")[2].split())[:300]
        raise ModelError(f"Expected a model that Keras can load, got {str(path)!r}: {words}") from None
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a Keras model in {str(path)!r}, got {type(model).__name__}.")
    return model
