"""Worker processes, and what they say."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

#: One thread each: what a worker computes must not depend on how many there are.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclasses.dataclass
class Worker:
    """A process: its place on the screen, and its exit code once it has one (negative for a signal)."""

    number: int
    process: subprocess.Popen[str]
    log: Any
    listener: threading.Thread | None = None
    code: int = 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def words(self) -> str:
        """The end of what it wrote to stderr."""
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        return " | ".join(lines[-3:])[-600:] or "none"


class Pool:
    """Workers that live as long as the block.

    Args:
        first: what each is told at its beginning.
    """

    def __init__(self, first: dict[str, Any]) -> None:
        self._first = json.dumps(first) + "\n"
        self._said: queue.Queue[tuple[Worker, dict[str, Any]]] = queue.Queue()
        self.workers: list[Worker] = []
        self._gone: list[Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in [*self.workers, *self._gone]:
            self._close(worker)

    def start(self, number: int | None = None) -> Worker:
        """One more worker; `number` is its place on the screen."""
        log = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 (`_close` closes it)
        environment = {**os.environ, **_ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "keras_gru_plus_export.compare.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends them
        )
        worker = Worker(len(self.workers) if number is None else number, process, log)
        assert process.stdin is not None
        process.stdin.write(self._first)
        process.stdin.flush()
        self.workers.append(worker)
        worker.listener = threading.Thread(target=self._listen, args=(worker,), daemon=True)
        worker.listener.start()
        return worker

    def _listen(self, worker: Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            if line.endswith("\n"):
                self._said.put((worker, json.loads(line)))

    def messages(self, timeout: float) -> Iterator[tuple[Worker, dict[str, Any]]]:
        """What was said, at least after `timeout` seconds."""
        try:
            yield self._said.get(block=timeout > 0, timeout=timeout or None)
            while True:
                yield self._said.get_nowait()
        except queue.Empty:
            return

    def ended(self) -> list[Worker]:
        """Workers that have ended since, with their exit codes; all that they said can be read now."""
        found = [worker for worker in self.workers if worker.process.poll() is not None]
        for worker in found:
            worker.code = worker.process.returncode
            if worker.listener is not None:
                worker.listener.join(timeout=5)
            self.workers.remove(worker)
        self._gone += found
        return found

    def _close(self, worker: Worker) -> None:
        worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout):
            if stream is not None:
                stream.close()
        worker.log.close()
