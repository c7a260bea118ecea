"""Runs files as runner.py does, but many in one process: a script for any Python from 3.8 with an interpreter.

Arguments: paths of runner.py and of interpreters.py. Each line of stdin is a JSON list of runner.py's arguments; each
is answered by a line, empty or what went wrong.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys


def serve(runner_path: str, interpreters_path: str) -> None:
    """Answers until stdin ends."""
    spec = importlib.util.spec_from_file_location("runner", runner_path)
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # interpreters print, and so does the runner
    for line in sys.stdin:
        sys.argv = [runner_path, "--interpreters", interpreters_path, *json.loads(line)]
        error = ""
        try:
            runner.main()
        except Exception as problem:  # noqa: BLE001 (whatever it is, the parent reports it)
            error = " ".join(f"{type(problem).__name__}: {problem}".split())
        answers.write(error + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
