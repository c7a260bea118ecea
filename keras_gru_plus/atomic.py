"""Files and directories that appear whole or not at all, whatever ends the process that writes them.

What is written lies in a workspace, a locked directory beside the result, until it is complete. A process that is
killed loses its lock, so that the next one that writes there knows whose workspaces it can remove.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

try:
    import fcntl
except ImportError:  # Windows: workspaces of killed processes stay
    fcntl = None  # type: ignore[assignment]

#: What a workspace has in it: the lock, the new result, and the old one where the two cannot be exchanged.
LOCK, NEW, OLD = "lock", "new", "old"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: How often to begin again after another process was faster.
ATTEMPTS = 1000


@contextlib.contextmanager
def workspace(final: Path) -> Iterator[Path]:
    """A directory beside `final`, on the same file system, for what shall become `final`; gone after the block.

    Those that killed processes left for the same `final` are removed.

    Raises:
        OSError: it cannot be made there.
    """
    tidy(final)
    folder, lock = _locked(final)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def tidy(final: Path) -> None:
    """Removes what killed processes left beside `final`, and puts back a result that one of them had moved away."""
    with contextlib.suppress(OSError):
        with os.scandir(final.parent) as entries:
            ours = [Path(entry) for entry in entries if _is_ours(entry, final)]
        for folder in ours:
            with contextlib.suppress(OSError):  # of a living process, or gone in the meantime
                lock = _lock(folder)
                if lock is not None:
                    _clear(folder, final)
                    os.close(lock)


def _clear(folder: Path, final: Path) -> None:
    """Removes an abandoned workspace."""
    # With both in it, its process was killed between moving the old result away and putting the new one there.
    if (folder / OLD).is_dir() and (folder / NEW).is_dir() and not os.path.lexists(final):
        with contextlib.suppress(OSError):
            (folder / OLD).rename(final)
    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(entry: os.DirEntry[str], final: Path) -> bool:
    """Whether a directory has the name, the owner and the contents of a workspace for `final`."""
    if not re.fullmatch(re.escape(_prefix(final)) + r"[a-z0-9_]{8}", entry.name):
        return False
    if not entry.is_dir(follow_symlinks=False) or (
        hasattr(os, "geteuid") and entry.stat(follow_symlinks=False).st_uid != os.geteuid()
    ):
        return False
    # What is exported into a workspace has one of its own.
    return all(name in (LOCK, NEW, OLD) or name.startswith(f".{NEW}.kgp-") for name in os.listdir(entry))


def _prefix(final: Path) -> str:
    """How the names of the workspaces for `final` begin."""
    name = final.name
    if len(os.fsencode(name)) > 200:  # of 255 that a name may have
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}.kgp-"


def _locked(final: Path) -> tuple[Path, int | None]:
    """A new workspace and its lock."""
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=_prefix(final), dir=final.parent))
        try:
            return folder, _lock(folder)
        except (BlockingIOError, FileNotFoundError):  # another process tidied up before it was locked
            continue
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    raise OSError(errno.EAGAIN, "Expected a directory of our own, got it removed again and again", str(final.parent))


def _lock(folder: Path) -> int | None:
    """Locks a workspace: a descriptor that holds the lock, None where there are no locks.

    Raises:
        BlockingIOError: another process has it.
        FileNotFoundError: the directory, or the file that was locked, is gone.
    """
    if fcntl is None:
        return None
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for temporary files; that of a process that is killed is removed by the next one.

    Raises:
        OSError: no room there, whoever of the block found that.
    """
    root = Path(tempfile.gettempdir())
    try:
        with workspace(root / "keras-gru-plus") as folder:
            (folder / NEW).mkdir()
            yield folder / NEW
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno, f"Expected room for temporary files in {str(root)!r}, got: {error.strerror}; set TMPDIR"
        ) from None


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to; the file there takes the place of `path` when the block ends without an error.

    Raises:
        OSError: `path` is a directory or device, or nothing can be written beside it.
    """
    final = Path(os.path.realpath(path))
    if os.path.lexists(final) and not final.is_file():
        raise FileExistsError(f"Expected {str(path)!r} to be a file or new, got something else; choose another.")
    with workspace(final) as folder:
        new = folder / NEW
        new.mkdir()
        new /= final.name
        yield new
        _sync(new)
        os.replace(new, final)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files by their paths in `folder`, with the directories that they need.

    Raises:
        OSError: no room, or the folder is gone.
    """
    for name, content in files.items():
        path = folder / name
        try:
            # Not `parents=True`: that would make `folder` anew if another process removed it.
            for parent in reversed(Path(name).parents[:-1]):
                (folder / parent).mkdir(exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise OSError(
                error.errno,
                f"Expected to write {name} ({len(content)} bytes) for {_beside(folder)!r}, got: {error.strerror}; "
                "nothing was changed there",
            ) from None


def _beside(folder: Path) -> str:
    """The directory that a workspace's new one is meant for, as far as its name tells."""
    return str(folder.parent.parent / re.sub(r"^\.|\.kgp-[a-z0-9_]{8}$", "", folder.parent.name))


def sync_directory(folder: Path) -> None:
    """Waits until a directory with all files in it is on the disk, so that it is whole after a power failure, too."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    # A file system that cannot is no reason to lose the result.
    with contextlib.suppress(PermissionError):  # directories cannot be opened on Windows
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two directories in one step; False where the system or the file system cannot.

    Raises:
        FileNotFoundError: one of them is gone.
    """
    function = _renameat2()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    if ctypes.get_errno() == errno.ENOENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(other))
    return False


@functools.cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    """Linux' function, None elsewhere."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # another C library
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Keeps interrupts (Ctrl-C, SIGTERM, SIGHUP) back until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: list[int] = []

    def keep(number: int, _: FrameType | None) -> None:
        kept.append(number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Only handlers of Python's: what the system does by itself, or ignores, stays as it is.
    before = {
        number: handler for name in names if callable(handler := signal.getsignal(number := signal.Signals[name]))
    }
    for number in before:
        signal.signal(number, keep)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for kept_number in dict.fromkeys(kept):
            signal.raise_signal(kept_number)
