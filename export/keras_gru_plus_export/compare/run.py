"""`keras-gru-plus compare`: starts workers, shows how far they are, and writes what they found."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from keras_gru_plus.atomic import replaced_file

from ..worker import describe_exit
from . import memory
from . import table as tables
from .job import Job, Queue
from .page import render
from .plan import WINNER, Configuration, Limits, Run
from .pool import Pool, Worker
from .show import Screen
from .tasks import Task

#: What a comparison writes: an existing directory is one of its own if it has one of these.
MARKS = ("compare.json", "study.db")
WRITTEN = ("compare.json", "compare.csv", "compare.html", "study.db", "study.db-journal")
#: Workers that may end in a row without one finished run.
DEATHS = 12


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a comparison came to.

    Attributes:
        table: of the runs that are done.
        json: what compare.json has.
        interrupted: it was stopped; the same command goes on.
        bundled: whether the winner's directory is written.
    """

    table: tables.Table
    json: dict[str, Any]
    interrupted: bool
    bundled: bool


def prepare(out: Path, force: bool) -> None:
    """Checks a directory for the results, and with `force` empties it.

    Raises:
        FileExistsError: it has other things in it.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"Expected output directory {str(out)!r} to be a directory, got a file.")
    if out.is_dir() and any(out.iterdir()) and not any((out / mark).exists() for mark in MARKS):
        raise FileExistsError(
            f"Expected output directory {str(out)!r} to be new, empty or of an earlier comparison, "
            "got one with other files; choose another."
        )
    if force and out.is_dir():
        for name in WRITTEN:
            (out / name).unlink(missing_ok=True)
        for name in ("models", "winner"):
            shutil.rmtree(out / name, ignore_errors=True)


def compare(job: Job, task: Task, out: Path, workers: int, screen: Screen, notes: list[str]) -> Outcome:
    """Does the runs that are left and writes table, page and winner.

    Args:
        job: the comparison; `task` is its data.
        out: directory, see `prepare`.
        workers: processes.
        screen: where to show it.
        notes: sentences for the page.

    Raises:
        ValueError: a storage of another comparison, or nothing within the limits.
        RuntimeError: a worker ended for a reason of its own.
    """
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        queue = Queue(job, task)
    except ValueError:
        if new:
            shutil.rmtree(out)
        raise
    interrupted = False
    try:
        if not queue.is_over():
            _work(job, queue, workers, screen)
    except KeyboardInterrupt:
        interrupted = True
    results = queue.results()
    for run, result in results.items():
        if lacking := memory.missing(result):
            raise ValueError(
                f"Expected the result of {run} in {job.storage!r} to have {', '.join(lacking)}, got none; begin anew "
                "with --force."
            )
    done, total = queue.progress()
    made = tables.make(results, task.metric, total, job.limits)
    made = dataclasses.replace(made, done=done)
    plain = _described(job, task, notes) | tables.to_json(made, results)
    if queue.search is not None:
        plain["proposals"] = _proposals(queue)
    _write(out / "compare.csv", tables.to_csv(made))
    _write(out / "compare.json", json.dumps(plain, indent=1) + "\n")
    _write(out / "compare.html", render(made, plain))
    if interrupted:
        return Outcome(made, plain, True, False)
    if made.winner is None:
        if made.rows or job.limits is not None:  # not Keras' layers alone
            raise ValueError(_nothing(made, queue, job.limits))
        return Outcome(made, plain, False, False)
    try:
        _bundle(job, made.winner, results[made.winner]["sha256"], out, screen)
    except KeyboardInterrupt:
        return Outcome(made, plain, True, False)
    return Outcome(made, plain, False, True)


def _described(job: Job, task: Task, notes: list[str]) -> dict[str, Any]:
    data = task.data
    parts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    return {
        "data": {
            "name": task.name,
            "samples": parts,
            "timesteps": data.train.x.shape[1],
            "features": data.train.x.shape[2],
            "classes": list(data.classes),
            "note": task.note,
            "mean": None if data.mean is None else data.mean.tolist(),
            "std": None if data.std is None else data.std.tolist(),
        },
        "settings": job.settings(task),
        "space": dataclasses.asdict(job.space),
        "budget": None if job.limits is None else job.limits.given(),
        "notes": notes,
    }


def _proposals(queue: Queue) -> list[dict[str, Any]]:
    """What a search proposed, with the costs known before training."""
    assert queue.search is not None
    found = {}
    for trial in queue.search.store.trials():
        if "costs" in trial.user_attrs:
            found[json.dumps(trial.user_attrs["run"])] = {
                **trial.user_attrs["run"],
                "costs": trial.user_attrs["costs"],
                "fits": queue.search.limits.fit(trial.user_attrs["costs"]),
            }
    return list(found.values())


def _nothing(made: tables.Table, queue: Queue, limits: Limits | None) -> str:
    if limits is None:
        reasons = sorted({row.failed for row in made.rows if row.failed})
        return f"Expected one model at least to be exported, got none: {'; '.join(reasons)[:400]}"
    proposals = [one for one in _proposals(queue) if "failed" not in one["costs"]]
    text = ", ".join(f"{name} {value:g}" for name, value in limits.given().items())
    if not proposals:
        return f"Expected a model within {text}, got none that can be exported."
    near = min(proposals, key=lambda one: max(limits.excess(one["costs"]).values(), default=0.0))
    costs = ", ".join(f"{name} {near['costs'][name]}" for name in limits.given())
    name = Configuration(near["variant"], near["units"], near["activation"], near["rank"])
    return (
        f"Expected a model within {text}, got none of {len(proposals)} proposals; the nearest is {name} with "
        f"{costs}; try a larger --budget or smaller --units."
    )


def _work(job: Job, queue: Queue, workers: int, screen: Screen) -> None:
    """Until nothing is left to do; on the way out, however that happens, the workers are ended."""
    deaths = 0
    with Pool({"job": job.to_json()}) as pool, screen.live(*queue.progress()):
        for _ in range(workers):
            pool.start()
        counted = 0.0
        while pool.workers:
            ended = pool.ended()
            for worker, message in pool.messages(timeout=0.0 if ended else 0.3):
                if "error" in message:
                    raise ValueError(message["error"])
                screen.tell(worker.number, message)
                deaths = 0 if "done" in message else deaths
            if time.monotonic() - counted > 1:
                screen.count(*queue.progress())
                counted = time.monotonic()
            for worker in ended:
                deaths += worker.code < 0
                if deaths > DEATHS:
                    raise RuntimeError(
                        f"Expected workers to last, got {deaths} that {describe_exit(worker.code)} ended."
                    )
                _replace(pool, queue, worker)
        screen.count(*queue.progress())


def _replace(pool: Pool, queue: Queue, worker: Worker) -> None:
    """A new worker where one was ended by a signal, or made room."""
    from .worker import AGAIN

    if worker.code == 0:
        return
    if worker.code < 0:
        queue.crashed(worker.pid, describe_exit(worker.code))
    elif worker.code != AGAIN:
        raise RuntimeError(f"A worker ended ({describe_exit(worker.code)}); its last words: {worker.words()}")
    pool.start(worker.number)


def _bundle(job: Job, run: Run, sha256: str, out: Path, screen: Screen) -> None:
    """The winner's directory, unless it is there."""
    mark = out / "winner" / WINNER
    content = {**run.parameters, "sha256": sha256}
    if _says(mark, content):
        return
    request = {"run": run.parameters, "sha256": sha256, "out": str(out / "winner")}
    with Pool({"job": job.to_json(), "bundle": request}) as pool, screen.live(0, 1):
        pool.start()
        while pool.workers:
            ended = pool.ended()
            for worker, message in pool.messages(timeout=0.0 if ended else 0.3):
                if "error" in message:
                    raise RuntimeError(message["error"])
                screen.tell(worker.number, {"run": f"bundle of {run}", **message})
            for worker in ended:
                if worker.code:
                    raise RuntimeError(f"The winner's bundle failed ({describe_exit(worker.code)}): {worker.words()}")
        screen.count(1, 1)


def _says(mark: Path, content: dict[str, Any]) -> bool:
    """Whether a file has this content as JSON; one that cannot be read has not."""
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8")) == content)
    except (OSError, ValueError, RecursionError):
        return False


def _write(path: Path, text: str) -> None:
    """A file that appears whole."""
    with replaced_file(path) as new:
        new.write_text(text, encoding="utf-8")
