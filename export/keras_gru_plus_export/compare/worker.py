"""A worker's process: takes runs from the storage until none is left. It says what it does in lines of JSON.

Its first line on stdin is the job. It ends when stdin does, since then nobody is there to read it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..progress import Advance, Progress
from . import claims
from .job import Job, Queue
from .plan import Run
from .store import Store
from .tasks import Task

#: Runs after which a process makes room for a new one: TensorFlow keeps some memory of each.
RUNS = 60
#: Exit code with which it does so.
AGAIN = 75


class Lines(Progress):
    """Progress as lines of JSON."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.lock = threading.Lock()

    def tell(self, **values: Any) -> None:
        """One line."""
        with self.lock:
            self.file.write(json.dumps(values) + "\n")
            self.file.flush()

    def say(self, text: str) -> None:
        self.tell(say=text)

    @contextlib.contextmanager
    def bar(self, text: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            self.tell(say=f"{text.partition(',')[0]} {done}/{total}")

        self.say(text)
        yield advance


def serve(job: Job, lines: Lines) -> int:
    """Does what there is to do; the exit code."""
    from .costs import Target, untrained
    from .work import deterministic, perform

    deterministic()
    task = job.task()
    target = Target(job.mode, job.target, job.recipe, job.device)
    queue = Queue(job, task)

    @functools.cache
    def costs(configuration: Any) -> dict[str, Any]:
        lines.tell(run=f"{configuration}", say="costs before training")
        try:
            return untrained(configuration, task, target)
        except (ValueError, RuntimeError) as error:
            return {"failed": str(error).splitlines()[0]}

    for _ in range(RUNS):
        claimed = _next(queue, costs)
        if claimed is None:
            return 0
        store, run, trial = claimed
        lines.tell(run=str(run), say="building")
        start, busy = time.monotonic(), sum(os.times()[:4])
        with claims.signs_of_life(functools.partial(store.alive, trial)):
            result = perform(run, task, target, Path(job.models), lines)
        sent = re.search(r"\b(SIGKILL|SIGTERM|SIGINT|SIGHUP)\b", result.get("failed", ""))
        if sent:  # a child was killed from outside, which says nothing of the model: once more
            store.crash(trial, sent[1])
            continue
        spent = {"seconds": time.monotonic() - start, "cpu_seconds": sum(os.times()[:4]) - busy}
        result.setdefault("times", {}).update({name: round(value, 1) for name, value in spent.items()})
        store.finish(trial, result, _values(queue, store, result))
        lines.tell(done=str(run), failed=result.get("failed"))
    return AGAIN


def _next(queue: Queue, costs: Any) -> tuple[Store, Run, int] | None:
    """The next run, claimed; waits while others may still leave some. None when all is done."""
    while not queue.is_over():
        search = queue.search
        if search is not None and not search.is_over():
            before = len(search.store.trials())
            proposed = search.claim(costs)
            if proposed is not None:
                return search.store, *proposed
            if len(search.store.trials()) > before:  # a proposal that does not fit: on to the next
                continue
        else:
            claimed = queue.runs.claim(queue.wanted())
            if claimed is not None:
                return queue.runs, *claimed
        time.sleep(0.5)
    return None


def _values(queue: Queue, store: Store, result: dict[str, Any]) -> list[float] | None:
    if queue.search is not None and store is queue.search.store:
        return queue.search.values(result)
    score = result.get("int8_validation", result.get("float_validation"))
    return None if score is None else [score]


def _bundle(job: Job, run: Run, wanted: str, out: str, lines: Lines) -> int:
    """Writes the winner's directory."""
    from .costs import Target
    from .work import bundle, deterministic

    deterministic()
    task: Task = job.task()
    target = Target(job.mode, job.target, job.recipe, job.device)
    bundle(run, wanted, task, target, Path(job.models), Path(out), lines)
    return 0


def main() -> None:
    """Reads the job and does it."""
    first = json.loads(sys.stdin.readline())
    lines = Lines(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # what libraries print is no answer

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    job = Job.of(first["job"])
    try:
        if "bundle" in first:
            own = first["bundle"]
            code = _bundle(job, Run.of(own["run"]), own["sha256"], own["out"], lines)
        else:
            code = serve(job, lines)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        traceback.print_exc()  # to the log
        lines.tell(error=str(error))
        code = 2
    from ..worker import shared

    shared.close()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
