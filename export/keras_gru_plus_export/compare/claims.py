"""Who works on a trial, and whether that process still lives: here at once, elsewhere by its signs of life."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

#: Seconds between two signs of life, and without one until a process on another machine counts as gone.
BEAT, GRACE = 10.0, 90.0


def machine() -> str:
    """This machine, and where processes have numbers of their own (containers), this set of them."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8], os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def owner(pid: int | None = None) -> dict[str, Any]:
    """What a trial keeps of the process that works on it."""
    pid = pid or os.getpid()
    return {"machine": machine(), "pid": pid, "start": _start(pid)}


def _start(pid: int) -> str | None:
    """When a process started, so that another with its number is told from it; None where it is gone or unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Watch:
    """Remembers signs of life by the watcher's own clock, so that clocks of machines need not agree."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, float]] = {}

    def is_gone(self, trial: int, attributes: Mapping[str, Any]) -> bool:
        """Whether nobody works on a running trial any more.

        Args:
            trial: its number.
            attributes: with "owner" and "alive".
        """
        whose = attributes.get("owner")
        if whose and whose["machine"] == machine():
            start = _start(whose["pid"])
            return not _runs(whose["pid"]) or (start is not None and start != whose["start"])
        sign, now = attributes.get("alive"), time.monotonic()
        if trial not in self._seen or self._seen[trial][0] != sign:
            self._seen[trial] = (sign, now)
        return now - self._seen[trial][1] > GRACE


@contextlib.contextmanager
def signs_of_life(write: Callable[[int], None]) -> Iterator[None]:
    """Calls `write` with 1, 2, 3 … every `BEAT` seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT):
            count += 1
            write(count)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
