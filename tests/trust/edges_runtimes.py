"""Runtimes in children that live on from case to case, and are replaced when one dies."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus.runtime import interpreters
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.worker import describe_exit

SERVE = Path(__file__).with_name("edges_serve.py")
#: Seconds for one file; a thousand steps of the reference kernels take a few.
PATIENCE = 120


def old_python() -> str | None:
    """Python of the environment that has tflite-runtime."""
    return os.environ.get("KGP_TFLITE_RUNTIME_PYTHON") or None


def present() -> list[str]:
    """The runtimes that there are."""
    return [name for name in host.RUNTIMES if host.available(name, _python(name))]


def _python(runtime: str) -> str | None:
    if not runtime.startswith("tflite-runtime"):
        return None
    return old_python() or "/no/python"


class Child:
    """One environment's process."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.process: subprocess.Popen[str] | None = None
        self.deaths = 0

    def ask(self, arguments: list[str]) -> str:
        """Empty, or what went wrong."""
        process = self.process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(arguments) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            if not ready:
                self.close()
                return f"no answer in {PATIENCE} s"
            line = process.stdout.readline()
        if line.endswith("\n"):
            return line.strip()
        code = process.wait()
        self.deaths += 1
        self.close()
        return f"the process died ({describe_exit(code)})"

    def _started(self) -> subprocess.Popen[str]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **one_thread}
        if self.python != sys.executable:
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
                environment.pop(name, None)
        command = [self.python, str(SERVE), str(host.RUNNER), str(interpreters.__file__)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        return self.process

    def close(self) -> None:
        """Ends the process; the next question starts another."""
        if self.process is not None:
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self.process.kill()
            self.process.wait()
            self.process = None


class Runtimes:
    """All runtimes of this machine."""

    def __init__(self) -> None:
        self.names = present()
        here, old = Child(sys.executable), Child(old_python() or sys.executable)
        self.children = {name: old if name.startswith("tflite-runtime") else here for name in self.names}

    @property
    def deaths(self) -> int:
        """Processes that died."""
        return sum(child.deaths for child in set(self.children.values()))

    def run(self, model: bytes, inputs: Mapping[str, Any], mode: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Outputs by runtime; as `host.run`.

        Raises:
            RuntimeFailure: one of them refused the file, died or did not answer.
        """
        for name in self.names:
            yield name, self.run_one(model, inputs, mode, name)

    def run_one(self, model: bytes, inputs: Mapping[str, Any], mode: str, name: str) -> dict[str, np.ndarray]:
        """Outputs of one runtime."""
        with host._Files(model, inputs, mode) as files:
            error = self.children[name].ask(["--runtime", name, *files.arguments])
            if error:
                raise host.RuntimeFailure(f"{name}, mode {mode}: {error}")
            with np.load(files.outputs) as archive:
                return {key: archive[key] for key in archive.files}

    def close(self) -> None:
        """Ends all processes."""
        for child in set(self.children.values()):
            child.close()


@contextlib.contextmanager
def runtimes() -> Iterator[Runtimes]:
    """The runtimes, ended behind the block."""
    found = Runtimes()
    try:
        yield found
    finally:
        found.close()
