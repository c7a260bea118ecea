"""Drives the page of an export in a real browser: what `tests/test_web.py` and `benchmarks/platforms.py` use."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

EXAMPLE = pathlib.Path(__file__).parent


def chromium() -> str | None:
    """Path of the browser: CHROMIUM, or one that is installed."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def unavailable() -> str | None:
    """Why the page cannot be tried here; None if it can."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    missing += [] if chromium() else ["chromium"]
    return f"not installed: {', '.join(missing)} (apt-get install chromium nodejs npm)" if missing else None


def npm_install(folder: pathlib.Path) -> None:
    """`npm install` as a user runs it; what it downloads is kept in npm's own cache."""
    command = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)


@functools.cache
def driver() -> pathlib.Path:
    """`drive.mjs` with what it needs, installed once."""
    with open(EXAMPLE / "package.json", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be at it
        if not (EXAMPLE / "node_modules" / "playwright-core").is_dir():
            npm_install(EXAMPLE)
    return EXAMPLE / "drive.mjs"


def drive(command: str, *arguments: pathlib.Path, old: bool = False, timeout: float = 300) -> Any:
    """The answer of `drive.mjs`; `old` makes the browser one without relaxed SIMD."""
    environment = {**os.environ, "CHROMIUM": str(chromium()), **({"OLD_BROWSER": "1"} if old else {})}
    words = ["node", str(driver()), command, *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"Expected {command} to work in the browser, got: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])[command]
