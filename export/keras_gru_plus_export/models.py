"""Loading a user's `.keras` file with one clear message for whatever is wrong with it."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras

import keras_gru_plus  # noqa: F401  (registers the layers)
from keras_gru_plus.atomic import scratch
from keras_gru_plus.quantization import Recipe

from .checked_model import check_file, check_size
from .keras2 import translate, version_of

#: How an HDF5 file begins.
HDF5 = b"\x89HDF\r\n\x1a\n"


class ModelError(ValueError):
    """A model file that cannot be read."""


def load_recipe(text: str) -> Recipe:
    """The recipe of a name, or in a JSON file.

    Raises:
        ValueError: an unknown name, no such file, or not a recipe in it.
    """
    if not text.endswith(".json"):
        return Recipe.get(text)
    path = Path(text)
    if not path.is_file():
        raise ModelError(f"Expected a recipe's name or a JSON file, got {text!r}, which is no file.")
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:  # UnicodeDecodeError is one
        raise ModelError(f"Expected a recipe in {text!r}, but: {error}") from None


def import_modules(names: list[str]) -> None:
    """Imports modules that define a user's own layers, from the current directory too.

    Args:
        names: as in an `import` statement.

    Raises:
        ModelError: a module that is not there, or that raises.
    """
    for name in names:
        try:
            with _current_directory_first(), contextlib.redirect_stdout(sys.stderr):
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever a user's module raises)
            words = " ".join(str(error).split())[:300]
            missing = isinstance(error, ModuleNotFoundError) and name.startswith(error.name or "?")
            advice = "; give its name as in an import statement, not its file" if missing else ""
            raise ModelError(
                f"Expected a module that can be imported, got {name!r}: {type(error).__name__}: {words}{advice}."
            ) from None


@contextlib.contextmanager
def _current_directory_first() -> Iterator[None]:
    """As Python does for a script; behind everything else afterwards, so that it hides no module of a library."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def load_model(path: str | Path) -> keras.Model:
    """The model in a `.keras` or `.h5` file, loaded in Keras' safe mode.

    Raises:
        ModelError: no such file, not a Keras file, damaged, or with a class that Keras does not know.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelError(
            f"Expected a .keras or .h5 file, got {str(path)!r}, a directory; load the model where it was made and "
            "save it with model.save('m.keras')."
        )
    if not path.is_file():
        raise ModelError(f"Expected a .keras file, got {str(path)!r}, which is no file.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(
            f"Expected a file that ends in .keras or .h5, got {path.name!r}; save it with model.save('m.keras')."
        )
    with path.open("rb") as file:
        whole = zipfile.is_zipfile(file) if path.suffix == ".keras" else file.read(8) == HDF5
    if not whole:
        raise ModelError(
            f"Expected a Keras archive, got {str(path)!r}, which is none or damaged; save the model again."
        )
    version = None
    try:
        check_file(path)
        version = version_of(path)
        model = _loaded(path, version)
    except Exception as error:  # noqa: BLE001 (a damaged archive makes Keras raise nearly anything)
        by = f", written by Keras {version}" if isinstance(version, str) and version.startswith("2.") else ""
        raise ModelError(f"Expected a model that Keras can load, got {str(path)!r}{by}: {_reason(error)}") from None
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a Keras model in {str(path)!r}, got {type(model).__name__}.")
    return model


def _loaded(path: Path, version: str | None) -> keras.Model:
    """The model in a file, through a translated copy if Keras 2 wrote it."""
    if not (isinstance(version, str) and version.startswith("2.")):
        check_size(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    with scratch() as folder:
        copy = folder / path.name
        translate(path, copy)
        check_size(copy)
        return keras.saving.load_model(copy, compile=False, safe_mode=True)


def _reason(error: Exception) -> str:
    """What was wrong, and the way out where there is one."""
    # Keras tells the outermost object's whole config first and what was wrong last.
    words = " ".join(str(error).rpartition("Exception encountered:")[2].split())[:300]
    if isinstance(error, KeyError):
        return f"it lacks {words}; save it again."
    if "No model config found" in words:
        return "it has weights only; save the whole model with model.save('m.keras')."
    if "OpLambda" in words:  # of Keras 2
        return "it has an operation between layers, such as x * 2; use layers alone."
    if "Lambda" in words:
        return (
            "it has a Lambda layer, whose code is not run from a file; write a layer class and register it with "
            "keras_gru_plus.register_layer."
        )
    if unknown := re.match(r"(?:Could not locate class|Unknown layer:) '(\w+)'", words):
        return (
            f"it has a class {unknown[1]!r} that Keras does not know. If the class is your own, name the module that "
            "defines it (--import MODULE)."
        )
    return words
