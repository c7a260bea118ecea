"""The command `compare`: what it refuses, and whole comparisons that are killed, shared and limited."""

from __future__ import annotations

import csv
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from test_compare import arrays

from keras_gru_plus import cli
from keras_gru_plus_export import contents

COMMAND = [sys.executable, "-m", "keras_gru_plus.cli", "compare"]
#: Two variants, two seeds, some seconds each.
TINY = ["--split", "50,25,25", "--variants", "gru,mgu", "--units", "4", "--activations", "smooth", "--seeds", "2"]
TINY += ["--epochs", "2", "--fine-tuning", "1", "--device", "host", "--no-baselines"]


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "swings.npz"
    np.savez(path, **arrays())
    return path


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "arguments", "words"),
    [
        ("swings.npz", ["--variants", "gru,lgu"], r"`--variants` to be all or some of .* got lgu"),
        ("swings.npz", ["--budget", "flash=16q"], "unit k, M, B, kB, MB, KiB, MiB or none for flash, got '16q'"),
        ("swings.npz", ["--budget", "insns=9k"], "emulated Cortex-M55 for a budget"),
        ("swings.npz", ["--budget", "flash=9k", "--baselines"], "a layer of Keras'"),
        ("swings.npz", ["--units", "8..x"], "`--units` to be numbers"),
        ("swings.npz", ["--seeds", "0"], "`--seeds` to be 1 or more, got 0"),
        ("swings.npz", ["--epochs", "0"], "`--epochs` to be 1 or more, got 0"),
        ("swings.npz", ["--percentile", "101"], "`--percentile` to be above 0, up to 100, got 101"),
        ("swings.npz", ["--sampler", "grid"], "`--sampler` to be one of tpe, nsga2, got 'grid'"),
        ("swings.npz", ["--split", "70,30"], "three shares that make 100"),
        ("swings.npz", ["--storage", "here.txt"], r"`--storage` to be a \.db or \.journal file"),
        ("digits.csv", [], r"digits, watch, spoken, mnist, ecg, keywords, demand or a \.npz file, got 'digits\.csv'"),
        ("key.npz", ["--split", "50,25,25"], "Expected x and y in key.npz for `--split`, got x_test, y_test"),
    ],
)
def test_bad_input_is_one_message(
    data: str, arguments: list[str], words: str, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("KGP_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    np.savez("swings.npz", **arrays())
    np.savez("key.npz", x_test=1, y_test=1)
    before = sorted(tmp_path.iterdir())
    options = TINY if data == "swings.npz" else []
    with pytest.raises(SystemExit) as ended:
        cli.app(["compare", data, "--out", "out", *options, *arguments])
    stdout, stderr = capfd.readouterr()
    assert (ended.value.code, stdout) == (2, "")
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert re.search(words, line), line
    assert sorted(tmp_path.iterdir()) == before


def test_other_files_and_other_comparisons_are_left_alone(npz: Path, tmp_path: Path, capfd: Any):
    from keras_gru_plus_export.compare.store import Store

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    other = tmp_path / "other"
    other.mkdir()
    Store(str(other / "study.db"), "compare", {"fingerprint": "another"}, ["maximize"])
    for out, words in ((tmp_path / "mine", "other files"), (other, "fingerprint 'another' there")):
        for more in [], ["--force"]:
            if more and out == other:
                continue
            with pytest.raises(SystemExit) as ended:
                cli.app(["compare", str(npz), "--out", str(out), *TINY, *more])
            assert ended.value.code == 2
            assert words in capfd.readouterr().err.replace("\n", " ")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


# -- whole comparisons -----------------------------------------------------------------------------


def run(npz: Path, out: Path, *more: str, code: int = 0) -> str:
    """Runs a command to its end; what it said on stdout."""
    done = subprocess.run([*COMMAND, str(npz), "--out", str(out), *more], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout


def results(out: Path) -> tuple[str, Any]:
    """What must not depend on how it came about."""
    plain = json.loads((out / "compare.json").read_text())
    plain.pop("times")
    return (out / "compare.csv").read_text(), plain


@pytest.fixture(scope="module")
def whole(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted comparison by one worker."""
    out = tmp_path_factory.mktemp("whole") / "out"
    start = time.monotonic()
    run(npz, out, *TINY, "--workers", "1")
    (out.parent / "seconds").write_text(str(time.monotonic() - start))
    return out


@pytest.mark.slow
def test_a_comparison_from_end_to_end(whole: Path, npz: Path, tmp_path: Path):
    from keras_gru_plus import runtime
    from keras_gru_plus_export.compare import tasks

    text, plain = results(whole)
    rows = list(csv.DictReader(text.splitlines()))
    assert sorted(row["variant"] for row in rows) == ["gru", "mgu"]
    assert all(row["seeds"] == "2" and float(row["accuracy_int8_half_width_%"]) >= 0 for row in rows)
    page = (whole / "compare.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    # The winner's file scores on LiteRT what the table says.
    winner = plain["winner"]
    result = next(r["result"] for r in plain["runs"] if {k: r[k] for k in winner} == winner)
    assert contents.check(whole / "winner")[1] == []
    model = runtime.load(whole / "winner" / "model.tflite", "litert")
    assert os.path.getsize(whole / "winner" / "model.tflite") == result["flash"]
    test = tasks.load(str(npz), split="50,25,25").data.test
    guesses = []
    for window in test.x:
        model.reset()
        guesses.append([model.step(x) for x in window][-1].argmax())
    assert (np.array(guesses) == test.y).mean() == pytest.approx(result["runtimes"]["litert"])
    # Once more is nothing but reading.
    again = json.loads(run(npz, whole, *TINY, "--json"))
    assert {key: value for key, value in again.items() if key != "times"} == plain


@pytest.mark.slow
def test_two_workers_give_the_same_table(whole: Path, npz: Path, tmp_path: Path):
    place = tmp_path / "shared.journal"
    out = tmp_path / "out"
    run(npz, out, *TINY, "--workers", "2", "--storage", str(place))
    assert results(out) == results(whole)


def in_training(out: Path) -> bool:
    """Whether a worker is at a model; for a directory in which nothing was killed yet."""
    if not (out / "study.db").is_file():
        return False
    try:
        study = optuna.load_study(study_name="compare", storage=f"sqlite:///{out / 'study.db'}")
    except (KeyError, sqlalchemy.exc.OperationalError):  # not there yet, or being made
        return False
    return any(trial.state == optuna.trial.TrialState.RUNNING for trial in study.get_trials(deepcopy=False))


@pytest.mark.slow
def test_killed_again_and_again_it_gives_the_same_table(whole: Path, npz: Path, tmp_path: Path):
    rng, out = random.Random(0), tmp_path / "out"
    seconds = float((whole.parent / "seconds").read_text())
    for kill in range(6):
        process = subprocess.Popen(
            [*COMMAND, str(npz), "--out", str(out), *TINY, "--workers", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not kill and not in_training(out):
            assert process.poll() is None
            time.sleep(0.05)
        try:
            process.wait(timeout=seconds * rng.uniform(0.3, 0.9) if kill else 0.1)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    run(npz, out, *TINY, "--workers", "2")
    assert results(out) == results(whole)
    study = optuna.load_study(study_name="compare", storage=f"sqlite:///{out / 'study.db'}")
    assert any("result" not in trial.user_attrs for trial in study.get_trials()), "no kill hit a model in training"


@pytest.mark.slow
def test_interrupted_it_writes_what_is_done(npz: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = [*COMMAND, str(npz), "--out", str(out), *TINY, "--workers", "1"]
    # A shell that started the tests in the background had interrupts ignored, which children inherit.
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "preexec_fn": heeds}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stderr is not None
    said = ""
    while "done" not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in rest
    plain = results(out)[1]
    assert 1 <= plain["runs_done"] < plain["runs_total"] == 4
    assert "Not finished" in (out / "compare.html").read_text()


@pytest.mark.slow
def test_two_budgets_pick_two_models_that_fit(tmp_path: Path):
    search = ["--variants", "gru,mgu", "--units", "2,24", "--activations", "saturating", "--seeds", "1"]
    search += ["--epochs", "6", "--fine-tuning", "1", "--device", "host", "--trials", "4", "--workers", "2"]
    winners = []
    for limit in (3600, 9000):
        out = tmp_path / str(limit)
        run(Path("digits"), out, *search, "--budget", f"flash={limit}")
        plain = json.loads((out / "compare.json").read_text())
        assert (out / "winner" / "model.tflite").stat().st_size <= limit
        assert all(row["costs"]["flash"] <= limit and row["fits"] for row in plain["rows"])
        outside = {proposal["units"] for proposal in plain["proposals"] if not proposal["fits"]}
        assert outside == ({24} if limit == 3600 else set())
        winners.append(plain["winner"]["units"])
    assert winners == [2, 24]
    nothing = [*COMMAND, "digits", "--out", str(tmp_path / "none"), *search, "--budget", "flash=100"]
    done = subprocess.run(nothing, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the nearest is" in done.stderr
