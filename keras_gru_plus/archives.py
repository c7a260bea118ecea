"""ZIP archives (`.npz`, `.keras`) from anywhere: what they would write or inflate is known before it happens."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import PurePosixPath

#: An archive may inflate to this many bytes, or to `RATIO` times its own size, whichever is more: of numbers that
#: were measured deflate makes a third to a tenth, of a bomb a thousandth.
LARGEST = 2**31
RATIO = 10


class ArchiveError(ValueError):
    """An archive that is not opened, and why."""


def checked_archive(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members of an archive that was opened for reading, once none of them can do harm.

    Raises:
        ArchiveError: a member that would be written elsewhere, is a link, is twice there, encrypted or of a
            compression that these formats do not have; or all together inflate to far more than the archive.
    """
    assert archive.fp is not None
    size = archive.fp.seek(0, os.SEEK_END)
    members = archive.infolist()
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if fault := _fault(member) or ("is there twice" if name in seen else None):
            raise ArchiveError(f"its member {name[:80]!r} {fault}")
        seen.add(name)
    inflated = sum(member.file_size for member in members)
    if inflated > max(LARGEST, RATIO * size):
        raise ArchiveError(
            f"it would inflate from {size} to {inflated} bytes; if it is yours, save it without compression"
        )
    # Members that share their bytes multiply them.
    if sum(member.compress_size for member in members) > size:
        raise ArchiveError("its members overlap")
    return members


def _fault(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in path.parts[0]:
        return "leads out of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"has compression {member.compress_type}, not deflate"
    return None


__all__ = ["ArchiveError", "checked_archive"]
