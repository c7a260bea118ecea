"""Arrays in `.npy` and `.npz` files: what the file says of itself is checked before anything is inflated.

Nothing is ever unpickled. Only numpy is needed.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .archives import ArchiveError, checked_archive

Array = np.ndarray[Any, Any]
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class DataError(ValueError):
    """Data that cannot be read or does not fit the model."""


def read(path: Path) -> Any:
    """The array of an `.npy` file, left on the disk until it is used, or the arrays of an `.npz` file by their names.

    Raises:
        DataError: no such file, arrays of Python objects, an archive that inflates to far more than it is, or one
            that is damaged.
    """
    if not path.is_file():
        raise DataError(f"Expected an .npz or .npy file with data, got {str(path)!r}, which is no file.")
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _members(file)
            file.seek(0)
            _check_header(file, path.stat().st_size)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001 (damaged archives make zipfile, zlib and numpy raise nearly anything)
        words = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise DataError(
            f"Expected a readable .npz archive of plain arrays or an .npy file, got {str(path)!r}: {words}."
        ) from None


def _members(file: IO[bytes]) -> dict[str, Array]:
    """The arrays of an archive."""
    with zipfile.ZipFile(file) as archive:
        found = {}
        for member in checked_archive(archive):
            if not member.filename.endswith(".npy"):
                raise ArchiveError(f"it holds {member.filename[:80]!r}, which is no .npy file")
            with archive.open(member) as entry:
                _check_header(entry, member.file_size)
            with archive.open(member) as entry:
                found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(entry, allow_pickle=False)
        return found


def _check_header(file: IO[bytes], size: int) -> None:
    """Refuses a header that promises more than the `size` bytes of the file: memory would be taken for it at once."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:  # version 3 is for the names of columns
        raise ArchiveError(f"version {'.'.join(map(str, version))} of the format is not for plain numbers")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ArchiveError("Object arrays cannot be loaded: they are pickles, which could run code")
    promised = math.prod(shape) * max(dtype.itemsize, 1)
    if any(length < 0 for length in shape) or promised > size - file.tell():
        raise ArchiveError(
            f"its header promises {promised} bytes, {dtype} {shape}, and {size - file.tell()} are there"
        )


__all__ = ["DataError", "read"]
