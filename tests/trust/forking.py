"""A script that imports TensorFlow once and forks for each run of pytest: a run takes seconds less.

It reads requests from standard input, one JSON object a line, and answers each with one line. A request: arguments
of pytest, its -k, variants of which tests with parameters are, the file to change and its text, seconds to wait.
Run inside a copy of the source tree, which it changes for the time of a run. It imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What takes long to import and does not belong to what is changed.
FIRST = ("hypothesis.extra.numpy", "keras", "pytest", "ai_edge_litert.interpreter", "flatbuffers")
IF_THERE = ("tflite_micro.runtime",)
#: A test's verdict is its exit code: pytest's own for failed tests, or for an error while collecting them.
PASSED, FAILED, INTERRUPTED = 0, 1, 2


def main() -> None:
    root = Path.cwd()
    sys.path[:0] = [str(root), str(root / "export"), str(root / "tests")]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in FIRST:
        importlib.import_module(name)
    for name in IF_THERE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in sys.argv[1:]:  # a module of models converted once for all: nothing of them depends on the package
        importlib.import_module(name).models()
    assert not any(name.startswith("keras_gru_plus") for name in sys.modules)
    gc.collect()
    gc.freeze()  # nothing of it is ever freed: a child need not look through it
    for line in sys.stdin:
        answers.write(json.dumps(_answered(json.loads(line))) + "\n")
        answers.flush()


def _answered(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as log, _changed(request.get("path"), request.get("source")):
        start = time.monotonic()
        child = os.fork()
        if not child:
            _tested(request, log)
        code = _waited(child, request["timeout"])
        log.seek(0)
        return {"code": code, "seconds": time.monotonic() - start, "log": log.read()[-2000:]}


@contextlib.contextmanager
def _changed(path: str | None, source: str | None) -> Iterator[None]:
    """The copy with another text in one file. Only runs without a change leave compiled files."""
    sys.dont_write_bytecode = path is not None
    if path is None or source is None:
        yield
        return
    file = Path(path)
    original = file.read_text()
    # A compiled file is taken for that of a text of the same size and second.
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*.pyc"):
        compiled.unlink()
    file.write_text(source)
    try:
        yield
    finally:
        file.write_text(original)


def _waited(child: int, seconds: float) -> int | None:
    """The child's exit code, negative for a signal; None where it had to be ended."""
    pidfd = os.pidfd_open(child)
    try:
        late = not select.select([pidfd], [], [], seconds)[0]
    finally:
        os.close(pidfd)
    if late:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return None if late else os.waitstatus_to_exitcode(status)


def _tested(request: dict[str, Any], log: Any) -> None:
    """The child's side: runs pytest and ends."""
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = INTERRUPTED
    try:
        import pytest

        sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True), sys.__stderr__
        arguments = [
            *request["tests"],
            "-k",
            request["chosen"],
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--tb=line",
            "-o",
            "addopts=-m 'not slow and not long'",
        ]
        arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        code = int(pytest.main(arguments, plugins=[Chosen(request["words"]), Runtimes()]))
    except BaseException:  # noqa: BLE001 (the parent reads it)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Chosen:
    """Leaves out tests whose parameters are of other variants."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def pytest_sessionstart(self) -> None:
        """A failure is enough: no search for the smallest one."""
        from hypothesis import Phase, settings

        settings.register_profile(
            "brief", settings.get_profile("repeatable"), phases=(Phase.explicit, Phase.generate)
        )
        settings.load_profile("brief")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.words:
            items[:] = [item for item in items if self._of_words(item)]

    def _of_words(self, item: Any) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        named = [parameters[key] for key in ("name", "variant") if key in parameters]
        names = [each["name"] if isinstance(each, dict) else str(each).partition(",")[0] for each in named]
        return not names or any(name in self.words for name in names)


class Runtimes:
    """Runs the interpreters in forks: each a process of its own still, without the imports."""

    def pytest_collection_finish(self) -> None:
        if host := sys.modules.get("keras_gru_plus_export.devices.host"):
            vars(host)["subprocess"] = Forks()


class Forks:
    """What the host's side uses of `subprocess`."""

    TimeoutExpired = subprocess.TimeoutExpired

    def run(self, command: list[str], *, timeout: float, **options: Any) -> Any:
        if command[0] != sys.executable:
            return subprocess.run(command, timeout=timeout, **options)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                _run_script(command[1], command[1:])
            code = _waited(child, timeout)
            out.seek(0)
            err.seek(0)
            if code is None:
                raise subprocess.TimeoutExpired(command, timeout)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _run_script(path: str, arguments: list[str]) -> None:
    """Runs a script as `python path …` would, and ends."""
    code = 1
    try:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False))
        sys.argv = arguments
        runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        if isinstance(end.code, str):
            sys.stderr.write(end.code)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
