"""A file in a process of its own first: an interpreter may crash, hang or take all memory on a damaged one.

Interpreters trust what the operators of a file say, and no check of ours can know all that every kernel of every
version relies on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .file import File, ModelError, TensorInfo, read

#: Processor seconds, and bytes beyond those of the started process, that loading a file and a few invokes may take.
SECONDS, BYTES = 6, 1 << 30
#: Seconds of a clock on the wall, where a machine is busy or cannot limit the other.
PATIENCE = 120
#: Digests of files that passed in this process, with what they ran on.
_PASSED: set[tuple[bytes, str, int]] = set()
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from keras_gru_plus.runtime import trial; trial.main()"
)


def tried(file: File, runtime: str, threads: int) -> None:
    """Loads a file in another process of this Python and invokes it a few times.

    Args:
        file: checked, see `read`.
        runtime: that is installed.
        threads: of an invoke.

    Raises:
        ModelError: the other process was ended by the file, ran out of time or memory, or the runtime refused it.
    """
    known = (hashlib.sha256(file.content).digest(), runtime, threads)
    if known in _PASSED:
        return
    command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path), runtime, str(threads)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    try:
        started = subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL)
    except OSError as error:
        if error.errno == errno.ENOEXEC:  # under QEMU's user mode the system cannot start this Python: no trial there
            return
        raise
    with started as process:
        try:
            said, _ = process.communicate(file.content, PATIENCE)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            said, code = b"", -signal.SIGXCPU
    if code:
        raise ModelError(
            f"Expected a model that {runtime} can run, got one that {_ended(code)} in a trial; copy the file again "
            "or export it again."
        )
    if said:
        raise ModelError(said.decode("utf-8", "replace"))
    _PASSED.add(known)


def _ended(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"did not end within {SECONDS} s"
    try:
        return f"ended it ({signal.Signals(-code).name})"
    except ValueError:
        return f"ended it (exit code {code})"


def invokes(inputs: list[TensorInfo]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Values in the file's types: zeros, and for integers of a grid their ends, which reach all of a table."""
    for place in ("zero", "min", "max"):
        yield {
            tensor.name: tensor.zero()
            if place == "zero" or tensor.scale is None
            else np.full(tensor.shape, getattr(np.iinfo(tensor.dtype), place), tensor.dtype)
            for tensor in inputs
        }


def main() -> None:
    """The other process: the file comes on stdin, and why the runtime refuses it goes to stdout."""
    from .model import Model

    runtime, threads = sys.argv[2], int(sys.argv[3])
    file = read(sys.stdin.buffer.read())
    try:
        _limit()
        model = Model(file, runtime, threads)
        call = model.predict if model.mode == "sequence" else model.step
        start = time.process_time()
        for values in invokes([tensor for tensor in file.inputs if not tensor.is_state]):
            call(values, raw=True)
            if time.process_time() - start > SECONDS / 10:  # a large model on a small machine
                break
    except ValueError as error:
        sys.stdout.write(str(error))
    except MemoryError:
        sys.stdout.write(f"Expected a model that needs less than {BYTES >> 20} MiB, got one that needs more.")


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = round(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not on Linux
        return
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))
