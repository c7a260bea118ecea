"""The child in which damaged and hostile files are opened: it may die, hang or grow without ending the check.

A case is a command line of `keras-gru-plus`, or the name of a public loader with its arguments. Both run inside of
the command's own handling of errors. One line of JSON in, one out.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import fuzz_seeds

#: Processor seconds (children's too) and bytes of resident memory that a case may take, and seconds of the clock on
#: the wall after which it hangs, on a machine that others use as well.
LONGEST, LARGEST, PATIENCE = 10.0, 2 << 30, 45.0
#: Address space of the child, which protects the machine: mapped is not used, and TensorFlow maps a lot.
ADDRESSES = 24 << 30
#: A worker that has grown so far is replaced, so that a case is not charged with what earlier ones left.
GROWN = 1400 << 20
#: What a file must never make happen, as Python's audit events name it.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect")


class Worker:
    """A child, started at its first case and again when it died, hung or has grown."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self._process: subprocess.Popen[str] | None = None
        self.started = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, arguments: list[str], text: str = "", planted: str = "") -> dict[str, Any]:
        """What a case came to: code, error (its message), wrong (None, or how it went wrong), seconds, bytes."""
        found = self._once(arguments, text, planted)
        if found["wrong"] is not None and self.started > 1:
            # Once more alone: a busy machine, or what earlier cases left, is not this case's fault.
            self.close()
            found = self._once(arguments, text, planted)
        if found["wrong"] is not None or found.get("resident", 0) > GROWN:
            self.close()
        return found

    def _once(self, arguments: list[str], text: str, planted: str) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()
        # Imports at the first case of a kind take seconds and are nobody's fault: the child says when it begins.
        process.stdin.write(json.dumps({"arguments": arguments, "text": text, "planted": planted}) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        watchdog = threading.Timer(PATIENCE, lambda: (late.set(), process.kill()))
        watchdog.start()
        line = process.stdout.readline()
        watchdog.cancel()
        if line.endswith("\n"):
            return dict(json.loads(line))
        code = process.wait()
        self.close()
        how = f"no end after {PATIENCE:g} s" if late.is_set() else f"the process ended with {code}"
        return {"code": code, "error": "", "wrong": how, "seconds": PATIENCE * late.is_set(), "bytes": 0}

    def _start(self) -> subprocess.Popen[str]:
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self.temporary.mkdir(exist_ok=True)
        # pytest puts the tests on the path of its own process only.
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.started += 1
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **quiet, "TMPDIR": str(self.temporary), "PYTHONPATH": os.pathsep.join(paths)},
        )
        return self._process

    def close(self) -> None:
        """Ends the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process = None


def _loader_keras_model(path: str) -> None:
    from keras_gru_plus_export.models import load_model

    load_model(path)


def _loader_data(model: str, path: str) -> None:
    from keras_gru_plus.quantization.data import Batches
    from keras_gru_plus_export.data import joined

    joined(list(Batches(_model(model), path, outputs=["classes"])))


def _loader_recording(path: str) -> None:
    from keras_gru_plus_export.extras.recording import load_recording

    load_recording(path)


def _loader_task(path: str, split: str) -> None:
    from keras_gru_plus_export.compare.tasks import load

    load(path, split=split or None).fingerprint()


def _loader_recipe(model: str, path: str) -> None:
    from keras_gru_plus.quantization import quantize_aware
    from keras_gru_plus_export.models import load_recipe

    quantize_aware(_model(model), load_recipe(path))


def _loader_runtime(path: str) -> None:
    from keras_gru_plus.runtime import load
    from keras_gru_plus.runtime.bench import samples

    model = load(path, trial=True)
    call = model.predict if model.mode == "sequence" else model.step
    for x in samples(model, 2):
        call(x)


def _loader_study(out: str, data: str, storage: str) -> None:
    from keras_gru_plus.cli_compare import _job_of
    from keras_gru_plus_export.compare import memory, table
    from keras_gru_plus_export.compare.job import Queue
    from keras_gru_plus_export.compare.page import render
    from keras_gru_plus_export.compare.run import _described

    job, task, notes = _job_of(**fuzz_seeds.OPTIONS, out=Path(out), data=data, storage=storage)
    queue = Queue(job, task)
    done, total = queue.progress()
    for store in queue.stores:
        store.running()
    for result in queue.results().values():
        if lacking := memory.missing(result):
            raise ValueError(f"Expected {lacking}")  # as `compare` says it
    made = table.make(queue.results(), task.metric, total, job.limits)
    plain = _described(job, task, notes) | table.to_json(made, queue.results())
    table.to_csv(made)
    render(made, plain)
    assert done <= total


_MODELS: dict[str, Any] = {}


def _model(path: str) -> Any:
    """A whole model, kept: what is damaged is its data."""
    from keras_gru_plus_export.models import load_model

    return _MODELS.setdefault(path, None) or _MODELS.__setitem__(path, load_model(path)) or _MODELS[path]


LOADERS: dict[str, Callable[..., None]] = {
    name.removeprefix("_loader_"): value for name, value in list(globals().items()) if name.startswith("_loader_")
}
_WARM = {"export": "bundle", "keras_model": "bundle", "data": "bundle", "recipe": "bundle", "recording": "bundle"}


def main() -> None:
    """Cases from stdin until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    seen: list[str] = []
    planted = ""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN or (event == "open" and planted and str(arguments[0]).startswith(planted)):
            seen.append(f"{event} {str(arguments)[:200]}")

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(audit)
    out, error = (open(os.memfd_create(name), "w+b", buffering=0) for name in ("out", "error"))  # noqa: SIM115
    os.dup2(out.fileno(), 1)
    os.dup2(error.fileno(), 2)
    for number, line in enumerate(sys.stdin, start=1):
        case = json.loads(line)
        planted = case["planted"]
        arguments = case["arguments"]
        _warm_up(arguments[0])
        seen.clear()
        for file in (out, error):
            file.seek(0)
            file.truncate()
        answers.write("begins\n")
        answers.flush()
        Path("/proc/self/clear_refs").write_text("5")
        start = _busy()
        code, wrong = _run(arguments, case["text"])
        seconds = _busy() - start
        error.seek(0)
        message = error.read(100_000).decode("utf-8", "replace").strip()
        peak = _status("VmHWM")
        wrong = wrong or _fault(code, message, seconds, peak, seen)
        if number % 50 == 0:
            gc.collect()  # takes a while with TensorFlow
        answer = {"code": code, "error": message[:600], "wrong": wrong, "seconds": seconds, "bytes": peak}
        answers.write(json.dumps({**answer, "resident": _status("VmRSS")}) + "\n")
        answers.flush()


def _warm_up(name: str) -> None:
    import keras_gru_plus.cli  # noqa: F401

    if name in _WARM:
        import keras_gru_plus_export.bundle
    if name in ("study", "task", "compare"):
        import keras_gru_plus_export.compare.run  # noqa: F401


def _run(arguments: list[str], text: str) -> tuple[int, str | None]:
    """Exit code, and a traceback if there was one."""
    from keras_gru_plus import cli

    stdin = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape")), "utf-8")
    try:
        if arguments[0] in LOADERS:
            with cli._job("export"):
                LOADERS[arguments[0]](*arguments[1:])
            return 0, None
        cli.app(arguments)
        return 0, None
    except SystemExit as ended:
        return int(ended.code or 0), None
    except BaseException as error:  # noqa: BLE001 (a traceback is what is looked for)
        if type(error).__name__ == "Exit":  # typer's, of a loader
            return int(error.exit_code), None  # type: ignore[attr-defined]
        return 1, traceback.format_exc()[-1500:]
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin = stdin


def _fault(code: int, message: str, seconds: float, peak: int, seen: list[str]) -> str | None:
    if seen:
        return f"a file made it do {seen[0]}"
    if seconds > LONGEST:
        return f"took {seconds:.1f} s"
    if peak > LARGEST:
        return f"took {peak / 2**20:.0f} MiB"
    if code not in (0, 2):
        return f"exit code {code}: {message[-300:]}"
    said = message.count("error:")
    if code == 2 and ("Traceback" in message or not said or "Expected" not in message or len(message) > 3000):
        return f"no clear message: {message[:800]}"
    return None


def _busy() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
