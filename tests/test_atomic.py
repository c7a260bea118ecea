"""Results that appear whole or not at all, and what killed processes leave."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from export_models import calibrated

from keras_gru_plus import atomic, cli_signals
from keras_gru_plus_export import contents, directory, fingerprint

Path = pathlib.Path

#: Begins to replace argv[1], says so and waits to be killed.
_HANGS = """
import sys, time
from keras_gru_plus_export.directory import replaced_directory
with replaced_directory(sys.argv[1], force=True) as folder:
    (folder / "part").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(out: Path, word: str, force: bool = False) -> None:
    with directory.replaced_directory(out, force) as folder:
        digest = "0" * 64
        atomic.write_files(
            folder, {"a/word": word.encode(), "report.json": json.dumps({"outputs": {"a/word": digest}}).encode()}
        )


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With directories exchanged, and as on file systems that cannot."""
    if request.param == "renamed":
        monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    return str(request.param)


def test_a_directory_is_replaced(way: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "one")
    with pytest.raises(FileExistsError, match="to be new or empty"):
        put(out, "two")
    put(out, "two", force=True)
    assert (out / "a" / "word").read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_a_killed_process_leaves_what_the_next_one_removes_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "one")
    (tmp_path / ".out.kgp-notours").mkdir()  # too short
    (tmp_path / ".out.kgp-12345678").mkdir()
    (tmp_path / ".out.kgp-12345678" / "mine").write_text("mine")
    others = names(tmp_path)
    with subprocess.Popen([sys.executable, "-c", _HANGS, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        put(out, "two", force=True)
        (theirs,) = set(names(tmp_path)) - set(others)
        assert (tmp_path / theirs / "new" / "part").is_file()
        process.kill()
    put(out, "three", force=True)
    assert names(tmp_path) == others
    assert (out / "a" / "word").read_text() == "three"


def test_a_result_that_was_moved_away_is_put_back(tmp_path: Path) -> None:
    out, space = tmp_path / "out", tmp_path / ".out.kgp-abcdefgh"
    put(out, "one")
    (space / "new").mkdir(parents=True)
    out.rename(space / "old")
    with pytest.raises(FileExistsError, match="to be new or empty"):
        put(out, "two")
    assert (out / "a" / "word").read_text() == "one"
    assert names(tmp_path) == ["out"]


def test_what_becomes_anothers_in_the_meantime_stays(way: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "one")

    def replace(report: str, meanwhile: str | None = None) -> None:
        with directory.replaced_directory(out, force=True) as folder:
            (folder / "report.json").write_text(report)
            if meanwhile:
                (out / "report.json").rename(out / meanwhile)

    with pytest.raises(OSError, match=r"to stay as it was .* removed files of the new one"):
        replace('{"outputs": {"gone": ""}}')
    assert (out / "a" / "word").read_text() == "one"
    with pytest.raises(FileExistsError, match="with other files"):
        replace("{}", meanwhile="mine")
    assert names(out) == ["a", "mine"]
    assert names(tmp_path) == ["out"]


def test_a_directory_that_cannot_be_replaced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileExistsError, match="the current directory; name a new one inside"):
        put(Path(), "one")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a" / "word").read_text() == "one"


def test_no_device_is_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="to be a file or new"), atomic.replaced_file(tmp_path / "pipe"):
        pass
    with pytest.raises(TypeError), atomic.replaced_file(tmp_path / "file") as new:
        new.write_bytes("half")  # type: ignore[arg-type]
    assert names(tmp_path) == ["pipe"]


def test_no_room_for_temporary_files_says_where() -> None:
    with pytest.raises(OSError, match=r"room for temporary files in .*set TMPDIR"), atomic.scratch():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_heeded_after_the_exchange(name: str, code: int, tmp_path: Path, monkeypatch: Any) -> None:
    number, place = signal.Signals[name], directory._place

    def signalled(*arguments: Any) -> None:
        signal.raise_signal(number)
        place(*arguments)

    monkeypatch.setattr(directory, "_place", signalled)
    monkeypatch.setattr(cli_signals, "_number", signal.SIGINT)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt, match="out' is written"), cli_signals.interrupts():
            put(tmp_path / "out", "one")
    finally:
        signal.signal(number, before)
    assert cli_signals.exit_code() == code
    assert names(tmp_path) == ["out"]


def test_a_bundle_that_was_changed_is_found(tmp_path: Path) -> None:
    put(tmp_path / "out", "one")
    (tmp_path / "out" / "more").write_text("more")
    assert contents.check(tmp_path / "out")[1] == ["a/word was changed", "more was added"]
    (tmp_path / "out" / "a" / "word").unlink()
    assert contents.check(tmp_path / "out")[1][0] == "a/word is missing"
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(ValueError, match="with hashes of the files"):
        contents.check(tmp_path / "out")


def test_an_archive_and_a_hash_of_a_model_do_not_tell_the_time(tmp_path: Path) -> None:
    model = calibrated("mgu")
    first, digest = fingerprint.archived(model), fingerprint.model_sha256(model)
    time.sleep(2.1)  # archives count in steps of two seconds
    assert fingerprint.archived(model) == first
    (tmp_path / "model.keras").write_bytes(first)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"date_saved" not in archive.read("metadata.json")
    loaded = fingerprint.keras.saving.load_model(tmp_path / "model.keras")
    assert fingerprint.model_sha256(loaded) == digest
    loaded.layers[1].weights[0].assign_add(np.full(loaded.layers[1].weights[0].shape, 1e-6, np.float32))
    assert fingerprint.model_sha256(loaded) != digest


def test_the_hash_of_samples_does_not_depend_on_batches() -> None:
    x = np.random.default_rng(0).normal(0, 1, (10, 3)).astype(np.float32)
    found = fingerprint.SamplesHash()
    for start in range(0, 10, 4):
        found.update({"x": x[start : start + 4]})
    assert found.hexdigest() == fingerprint.samples_sha256({"x": x})
    others = ({"y": x}, {"x": x[:9]}, {"x": x.reshape(5, 6)}, {"x": x.astype(np.float64)}, {"x": -x})
    assert len({fingerprint.samples_sha256(other) for other in ({"x": x}, *others)}) == 6
