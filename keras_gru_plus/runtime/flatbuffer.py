"""Reading flatbuffers with every bound checked, so that a damaged file is an error and not a crash.

tflite-runtime brings no flatbuffers package, and the generated readers check nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np


class DamagedError(ValueError):
    """An offset, a length or a number in the file leads out of it."""


class Table:
    """A table at a position of the file; fields are known by their number in the schema."""

    def __init__(self, data: bytes, position: int) -> None:
        (back,) = unpack("<i", data, position)
        vtable = position - back
        self._size, self._length = unpack("<HH", data, vtable)
        unpack(f"{self._size}x", data, vtable)
        unpack(f"{self._length}x", data, position)
        self._data, self._position, self._vtable = data, position, vtable

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table that everything else hangs on."""
        return cls(data, unpack("<I", data, 0)[0])

    def number(self, field: int, kind: str, default: Any = 0) -> Any:
        """A scalar of a `struct` format, or what the schema says where it is absent."""
        where = self._where(field)
        return default if where is None else unpack(f"<{kind}", self._data, where)[0]

    def table(self, field: int) -> Table | None:
        """A table, None where it is absent."""
        where = self._reference(field)
        return None if where is None else Table(self._data, where)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        return [Table(self._data, at + unpack("<I", self._data, at)[0]) for at in range(start, start + 4 * count, 4)]

    def numbers(self, field: int, dtype: str) -> list[Any]:
        """A vector of scalars of a numpy type."""
        return [] if self._where(field) is None else list(np.frombuffer(self.bytes(field, dtype), dtype).tolist())

    def bytes(self, field: int, dtype: str = "u1") -> bytes:
        """The bytes of a vector."""
        size = np.dtype(dtype).itemsize
        start, count = self._vector(field, size)
        return self._data[start : start + size * count]

    def text(self, field: int) -> str:
        """A string, empty where it is absent."""
        return self.bytes(field).decode("utf-8", "replace")

    def _where(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return None
        (offset,) = unpack("<H", self._data, self._vtable + slot)
        return self._position + offset if offset else None

    def _reference(self, field: int) -> int | None:
        where = self._where(field)
        return None if where is None else where + int(unpack("<I", self._data, where)[0])

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the entries start, and how many there are."""
        where = self._reference(field)
        if where is None:
            return 0, 0
        (count,) = unpack("<I", self._data, where)
        if where + 4 + count * size > len(self._data):
            raise DamagedError(f"a vector of {count} entries at byte {where}")
        return where + 4, count


def unpack(kind: str, data: bytes, position: int) -> tuple[Any, ...]:
    """`struct.unpack_from` that refuses positions outside, negative ones too."""
    if not 0 <= position <= len(data) - struct.calcsize(kind):
        raise DamagedError(f"an offset to byte {position}")
    return struct.unpack_from(kind, data, position)


def in_range(values: Iterable[int], count: int, what: str, least: int = 0) -> None:
    """Raises unless every value is an index below `count`."""
    for value in values:
        if not least <= value < count:
            raise DamagedError(f"{what} {value} of {count}")
