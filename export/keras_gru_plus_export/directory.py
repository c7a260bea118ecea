"""An output directory that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: What a directory that `force` may replace must hold: it was written by this package.
MARK = "report.json"


@contextlib.contextmanager
def replaced_directory(directory: str | os.PathLike[str], force: bool) -> Iterator[Path]:
    """A new directory beside `directory` that takes its place when the block ends without an error.

    Raises:
        FileExistsError: `directory` is a file; not empty without `force`; or with it, but no earlier result.
        OSError: nothing can be written there.
    """
    final = Path(directory).absolute()
    if final.exists() and (not final.is_dir() or (any(final.iterdir()) and not force)):
        raise FileExistsError(
            f"Expected output directory {str(directory)!r} to be new or empty, got an existing one; "
            "choose another or replace it (--force)."
        )
    if final.exists() and any(final.iterdir()) and not (final / MARK).is_file():
        raise FileExistsError(
            f"Expected a directory with an earlier result ({MARK}) to replace, got {str(directory)!r} with other "
            "files; choose another or remove it yourself."
        )
    missing = [parent for parent in final.parents if not parent.exists()]
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        work.chmod(0o755)
    except OSError as error:
        _remove_empty(missing)
        raise OSError(
            f"Expected output directory {str(directory)!r} to be where one can write, got: {error}; choose another."
        ) from None
    try:
        yield work
        old = None
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{final.name}-old-", dir=final.parent))
            final.rename(old / "old")
        try:
            work.rename(final)
        except OSError:
            if old is not None:
                (old / "old").rename(final)
            raise
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        if work.exists():
            shutil.rmtree(work, ignore_errors=True)
            _remove_empty(missing)


def _remove_empty(directories: list[Path]) -> None:
    """Takes back the directories that were made on the way, innermost first."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()
