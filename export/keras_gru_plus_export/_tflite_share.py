"""A flatbuffer writer that stores equal vectors and equal tables once.

A small model's file is mostly bookkeeping: every tensor brings its shape and its scale, every operator
its options, and most of them are the same few. Flatbuffers may point to one copy.
"""

from __future__ import annotations

from typing import Any

import flatbuffers


class SharingBuilder(flatbuffers.Builder):
    """Stores each vector of scalars and each `Shared` table once."""

    def __init__(self) -> None:
        super().__init__(1024)
        self._vectors: dict[tuple[int, bytes], int] = {}
        self._begin = 0
        self._plain = True
        self._width = self._elements = self._alignment = 0
        self.tables: dict[Any, int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802
        self._begin, self._plain = self.Offset(), True
        self._width, self._elements, self._alignment = elemSize, numElems, alignment
        return int(super().StartVector(elemSize, numElems, alignment))

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        self._plain = False  # what a relative offset means depends on where it stands
        super().PrependUOffsetTRelative(off)

    def CreateString(self, *arguments: Any) -> int:  # noqa: N802
        self._plain = False  # ends in EndVector without having begun with StartVector
        return int(super().CreateString(*arguments))

    def EndVector(self, *arguments: Any) -> int:  # noqa: N802
        offset = int(super().EndVector(*arguments))
        if not self._plain:
            return offset
        end = len(self.Bytes)
        # Length and elements; padding between this vector and what was written before stays out.
        length = 4 + self._elements * self._width
        content = bytes(self.Bytes[end - offset : end - offset + length])
        found = self._vectors.setdefault((self._alignment, content), offset)
        if found != offset:
            self.head = end - self._begin  # take the second copy back
        return found


class Shared:
    """A table that refers to no others but shared ones, packed once for all equal ones."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def Pack(self, builder: SharingBuilder) -> int:  # noqa: N802 (the generated code calls it)
        key = _frozen(self)
        if key not in builder.tables:
            builder.tables[key] = int(self.table.Pack(builder))
        return builder.tables[key]


def _frozen(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Shared):
        table = value.table
        return (type(table).__name__, *(_frozen(part) for _, part in sorted(vars(table).items())))
    return tuple(float(item) for item in value)


def shareable(table: Any) -> bool:
    """Whether a table holds nothing but numbers, text, vectors of numbers and shared tables."""
    try:
        for value in vars(table).values():
            _frozen(value)
    except TypeError:
        return False
    return True
