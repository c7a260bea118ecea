"""An output directory that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_gru_plus import atomic

from . import contents
from .contents import REPORT as MARK


@contextlib.contextmanager
def replaced_directory(directory: str | os.PathLike[str], force: bool) -> Iterator[Path]:
    """A new directory beside `directory` that takes its place when the block ends without an error.

    The old one and the new one are exchanged in one step where the system can. Elsewhere the old one is for a moment
    out of its place, and a process that is killed in this moment leaves it beside; the next one puts it back.

    Raises:
        FileExistsError: `directory` is a file; not empty without `force`; or with it, but no earlier result.
        OSError: nothing can be written there, or it cannot be replaced.
    """
    final = Path(os.path.realpath(directory))
    atomic.tidy(final)
    _check(final, directory, force)
    missing = [parent for parent in final.parents if not parent.exists()]
    written = False
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_empty, missing)
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                new = stack.enter_context(atomic.workspace(final)) / atomic.NEW
                new.mkdir()
            except OSError as error:
                raise OSError(
                    f"Expected output directory {str(directory)!r} to be where one can write, got: {error}; "
                    "choose another."
                ) from None
            yield new
            with atomic.uninterrupted():
                _finish(new, final, directory, force)
                written = True
    except KeyboardInterrupt as interrupt:
        interrupt.args = (f"{str(directory)!r} is {'written' if written else 'as it was'}",)
        raise


def _check(final: Path, directory: str | os.PathLike[str], force: bool) -> None:
    """Refuses a directory that must not be replaced, or cannot."""
    if final.is_dir() and (os.path.ismount(final) or final == Path(os.path.realpath(os.curdir))):
        raise FileExistsError(
            f"Expected output directory {str(directory)!r} to be one that can be replaced, got "
            f"{'a mount point' if os.path.ismount(final) else 'the current directory'}; name a new one inside it."
        )
    if final.exists() and (not final.is_dir() or (any(final.iterdir()) and not force)):
        raise FileExistsError(
            f"Expected output directory {str(directory)!r} to be new or empty, got an existing one; "
            "choose another or replace it (--force)."
        )
    if _is_foreign(final):
        raise FileExistsError(
            f"Expected a directory with an earlier result ({MARK}) to replace, got {str(directory)!r} with other "
            "files; choose another or remove it yourself."
        )


def _is_foreign(folder: Path) -> bool:
    """Whether a directory has files, but is no earlier result."""
    return folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file()


def _finish(new: Path, final: Path, directory: str | os.PathLike[str], force: bool) -> None:
    """Puts `new` in its place, complete and on the disk."""
    try:
        atomic.sync_directory(new)
        if missing := contents.missing(new):
            raise FileNotFoundError(errno.ENOENT, "another process removed files of the new one", missing[0])
        _place(new, final, directory, force)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(
            f"Expected output directory {str(directory)!r} to stay as it was while it was written, got: {error}; "
            "nothing was changed, try again."
        ) from None


def _place(new: Path, final: Path, directory: str | os.PathLike[str], force: bool) -> None:
    """Puts `new` where `final` is, which other processes may change in the meantime.

    Raises:
        FileExistsError: see `_check`.
        OSError: it cannot be moved.
    """
    old = new.parent / atomic.OLD
    for _ in range(atomic.ATTEMPTS):
        try:
            new.rename(final)  # where nothing is, or an empty directory
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        _check(final, directory, force)
        with contextlib.suppress(FileNotFoundError):  # another process removed it: once more
            if atomic.exchange(new, final):
                if not _is_foreign(new):
                    return
                atomic.exchange(new, final)  # it became another's since it was checked
                continue
            final.rename(old)
            try:
                new.rename(final)
            except OSError:
                if os.path.lexists(final):  # another process was faster, and its result is the newer one
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.rename(final)
                    raise
            else:
                return
    raise OSError(errno.EAGAIN, "other processes write there all the time")


def _remove_empty(directories: list[Path]) -> None:
    """Takes back the directories that were made on the way, innermost first."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()
