"""What a `.keras` or `.h5` file would do, known before Keras opens it: Keras' safe mode refuses code, this the rest.

A file may name other files (links and external data of HDF5), be a bomb (an archive, a data set or a layer that is
far larger than what is stored), or write beside itself (paths of an archive).
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
from keras.src.backend.common import global_state

from keras_gru_plus.archives import RATIO, ArchiveError, checked_archive

#: Weights below this many bytes may be of any size beside what is stored.
SMALL = 64 << 20
#: Objects in an HDF5 file, and depth of a config.
MOST_OBJECTS, DEEPEST = 200_000, 200
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def check_file(path: Path) -> None:
    """Refuses a file that leads elsewhere, or that would inflate to far more than its bytes.

    Args:
        path: of a `.keras` archive, or of a `.h5` file.

    Raises:
        ArchiveError: with the reason.
        Exception: whatever zipfile, json and h5py raise for a damaged file.
    """
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {member.filename for member in checked_archive(archive)}
        if missing := [name for name in (_CONFIG, _METADATA, _WEIGHTS) if name not in members]:
            raise ArchiveError(f"it has no {', '.join(missing)}")
    _check_depth(_opened(path)[0])


def check_size(path: Path) -> None:
    """Refuses layers whose weights are not in the file: Keras would make them first, whatever their size.

    Args:
        path: of a file with a config that Keras 3 reads, after `check_file`.

    Raises:
        ArchiveError: with the sizes.
    """
    config, stored = _opened(path)
    while isinstance(config, dict) and isinstance(config.get("config"), dict) and "source" in config["config"]:
        config = config["config"]["source"]  # of a quantized model, which computes when it is made
    size = _weight_bytes(config)
    if size > max(SMALL, RATIO * stored):
        raise ArchiveError(f"its layers ask for {size} bytes of weights, and {stored} are stored")


def _opened(path: Path) -> tuple[Any, int]:
    """The config, and how many bytes of data there are, none of which lies elsewhere."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open(_WEIGHTS) as weights:
            stored = archive.getinfo(_WEIGHTS).compress_type == zipfile.ZIP_STORED
            with h5py.File(weights if stored else io.BytesIO(weights.read()), "r") as file:
                return json.loads(archive.read(_CONFIG)), _data_bytes(file)
    with h5py.File(path, "r") as file:
        # A file of weights alone has none, for which Keras has words of its own.
        return json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else {}, _data_bytes(file)


def _data_bytes(file: Any) -> int:
    """Bytes of all data sets, none of which lies elsewhere or is larger than what is stored of it."""
    total, seen, groups = 0, {(file.id.fileno, _address(file))}, [file]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ArchiveError(f"its entry {name[:80]!r} is a link to elsewhere")
            entry = group[name]
            place = (file.id.fileno, _address(entry))
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > MOST_OBJECTS:
                raise ArchiveError(f"it has more than {MOST_OBJECTS} objects")
            if isinstance(entry, h5py.Group):
                groups.append(entry)
            elif isinstance(entry, h5py.Dataset):
                total += _size(name, entry)
            else:
                raise ArchiveError(f"its entry {name[:80]!r} is neither group nor data")
    return total


def _address(entry: Any) -> int:
    return int(h5py.h5o.get_info(entry.id).addr)


def _size(name: str, entry: Any) -> int:
    if entry.external or entry.is_virtual:
        raise ArchiveError(f"the data of {name[:80]!r} lie in another file")
    size = math.prod(entry.shape or ()) * entry.dtype.itemsize
    if size > max(SMALL, RATIO * entry.id.get_storage_size()):
        raise ArchiveError(f"{name[:80]!r} promises {size} bytes, and {entry.id.get_storage_size()} are stored")
    return size


def _check_depth(config: Any) -> None:
    """Refuses what would end in a recursion without an end of Keras'."""
    level = [config]
    for _ in range(DEEPEST):
        level = [
            part
            for outer in level
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ArchiveError(f"its config is more than {DEEPEST} levels deep")


def _weight_bytes(config: Any) -> int:
    """Bytes of all variables that a config would make; of one that is wrong, of those before the fault."""
    waiting = global_state.get_global_attribute("uninitialized_variables", [])
    made: list[Any] = []
    # No variable has a value in this scope: Keras keeps it for later, where it has a list of its own for each thread.
    global_state.set_global_attribute("uninitialized_variables", made)
    try:
        with keras.StatelessScope(initialize_variables=False):
            keras.saving.deserialize_keras_object(_uncompiled(config), safe_mode=True)
    except Exception:  # noqa: BLE001 (Keras will say it again, of the real model)
        pass
    finally:
        global_state.set_global_attribute("uninitialized_variables", waiting)
    return sum(math.prod(variable.shape) * 4 for variable in made)


def _uncompiled(config: Any) -> Any:
    return {**config, "compile_config": None} if isinstance(config, dict) else config


__all__ = ["check_file", "check_size"]
