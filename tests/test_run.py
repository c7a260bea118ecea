"""`run`, `bench` and `watch`: what they compute, in pipes, and one message for whatever is wrong."""

from __future__ import annotations

import functools
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from export_models import MODELS, converted
from test_cli import Result, refused, run, tree  # noqa: F401 (a fixture)

from keras_gru_plus import runtime
from keras_gru_plus_export import tflite
from keras_gru_plus_export.devices import cortex_m55
from keras_gru_plus_export.passes.labels import labelled

LABELS = ["sit", "walk", "run", "drive"]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for mode in ("sequence", "step", "stateful"):
        (folder / f"{mode}.tflite").write_bytes(labelled(converted("gru", mode), LABELS))
    (folder / "mixed.tflite").write_bytes(converted("mixed", "step"))
    x = MODELS["gru"].data(3, seed=1)["signal"]
    np.save(folder / "samples.npy", x)
    np.save(folder / "one.npy", x[0])
    np.save(folder / "columns.npy", x[..., :4])
    np.save(folder / "nan.npy", np.where(x > 2, np.nan, x))
    np.save(folder / "rows.npy", x[:, :11])
    np.save(folder / "text.npy", np.full((12, 5), "a"))
    (folder / "no.npy").write_text("no array")
    lines = csv(x[0])
    (folder / "one.csv").write_text("a,b,c,d,e\n" + "\n".join(lines) + "\n")
    (folder / "columns.csv").write_text("\n".join([*lines[:3], "1,2,3,4"]))
    (folder / "nan.csv").write_text("\n".join([*lines[:3], "1,2,nan,4,5"]))
    (folder / "infinite.csv").write_text("1,2,3,inf,5")
    (folder / "text.csv").write_text("\n".join([lines[0], "", "1,2,walk,4,5"]))
    (folder / "half_header.csv").write_text("a,b,3,d,e\n")
    (folder / "text.tflite").write_text("no model at all")
    whole = (folder / "step.tflite").read_bytes()
    (folder / "truncated.tflite").write_bytes(whole[: len(whole) // 2])
    for name, change in (("unknown", _unknown), ("newer", _newer), ("states", _without_state)):
        model = tflite.load(whole)
        change(model)
        (folder / f"{name}.tflite").write_bytes(tflite.dump(model))
    return folder


def _unknown(model: tflite.ModelT) -> None:
    model.operatorCodes[0].builtinCode = tflite.OP.CUSTOM
    model.operatorCodes[0].customCode = b"Mine"


def _newer(model: tflite.ModelT) -> None:
    model.operatorCodes[0].version = 99


def _without_state(model: tflite.ModelT) -> None:
    model.signatureDefs[0].inputs[1].name = b"h"


def csv(x: np.ndarray) -> list[str]:
    return [",".join(map(str, row)) for row in x.tolist()]


def expected(files: Path, mode: str, x: np.ndarray) -> np.ndarray:
    model = runtime.load(files / f"{mode}.tflite")
    return model.predict(x[None]) if mode == "sequence" else np.array(list(model.stream(x)))


@pytest.mark.parametrize("mode", ["sequence", "step", "stateful"])
def test_tables_give_what_the_runtime_gives(mode: str, files: Path, tmp_path: Path, run: Run) -> None:  # noqa: F811
    model, samples = files / f"{mode}.tflite", np.load(files / "samples.npy")
    wanted = expected(files, mode, samples[0])
    done = run("run", model, "--input", files / "one.csv")
    assert (done.code, done.stderr) == (0, "")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_array_equal(np.float32([record["classes"] for record in records]), wanted)
    assert [record["label"] for record in records] == [LABELS[row.argmax()] for row in wanted]
    assert records[-1]["line"] == 13  # a header and twelve steps
    plain = run("run", model, "--input", files / "one.npy", "--format", "csv")
    np.testing.assert_array_equal(np.float32([line.split(",") for line in plain.stdout.splitlines()]), wanted)
    assert run("run", model, "--input", files / "samples.npy", "--output", tmp_path / "y.npy").code == 0
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(found[0], wanted[0] if mode == "sequence" else wanted)
    # Every sample from the initial state.
    last = expected(files, mode, samples[2])
    np.testing.assert_array_equal(found[2], last[0] if mode == "sequence" else last)
    assert run("run", model, "--input", files / "one.csv", "--output", tmp_path / "y.npy").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), wanted)
    assert sorted(tree(tmp_path)) == ["y.npy"]


def test_several_inputs_stand_side_by_side_and_several_outputs_are_an_npz(
    files: Path,
    tmp_path: Path,
    run: Run,  # noqa: F811
) -> None:
    data = {name: array[0] for name, array in MODELS["mixed"].data(1, seed=2).items()}
    np.save(tmp_path / "x.npy", np.concatenate(list(data.values()), -1))
    done = run("run", files / "mixed.tflite", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npz")
    assert (done.code, done.stderr) == (0, "")
    model = runtime.load(files / "mixed.tflite")
    wanted = [model.step({name: array[t] for name, array in data.items()}) for t in range(12)]
    with np.load(tmp_path / "y.npz") as found:
        for name in ("gate", "positive", "per_step"):
            np.testing.assert_array_equal(found[name], [row[name] for row in wanted])
    refused(run("run", files / "mixed.tflite", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"))


def test_a_file_with_a_hop_takes_its_lines_together(files: Path, tmp_path: Path, run: Run) -> None:  # noqa: F811
    data = tiny_models.models()["hop"]
    (tmp_path / "hop.tflite").write_bytes(data)
    x = np.random.default_rng(1).normal(0, 0.4, (7, tiny_models.FEATURES)).astype(np.float32)
    (tmp_path / "x.csv").write_text("\n".join(csv(x)))
    done = run("run", tmp_path / "hop.tflite", "--input", tmp_path / "x.csv")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["line"] for record in records] == [2, 4, 6]
    assert done.stderr == "1 lines at the end are less than the 2 of an invoke and were left out.\n"
    wanted = list(runtime.load(data).stream(x[:6].reshape(3, 2, -1)))
    np.testing.assert_array_equal(np.float32([record["y"] for record in records]), wanted)


#: Model, input, further arguments, and words of the message.
BAD: dict[str, tuple[str, str, str, str]] = {
    "columns": ("step", "columns.csv", "", "5 columns in line 4, got 4"),
    "NaN": ("step", "nan.csv", "", "finite number in line 4, column 3, got 'nan'"),
    "infinity": ("step", "infinite.csv", "", "finite number in line 1, column 4, got 'inf'"),
    "text": ("step", "text.csv", "", "finite number in line 3, column 3, got 'walk'"),
    "text in the first line": ("step", "half_header.csv", "", "number in line 1, column 1, got 'a'"),
    "no input": ("step", "none.csv", "", "`--input` to be .*none.csv', which is no file"),
    "columns of an array": ("step", "columns.npy", "", r"\(rows, 5\) or .*got float32 \(3, 12, 4\)"),
    "NaN in an array": ("step", "nan.npy", "", r"finite numbers, got nan at \[\d"),
    "text in an array": ("step", "text.npy", "", "numbers of shape .*got <U1"),
    "rows of an array": ("sequence", "rows.npy", "", "Expected 12 rows for each invoke, got 11"),
    "no array": ("step", "no.npy", "", r"a \.npy file with an array of numbers, got"),
    "no model": ("text", "one.csv", "", "identifier TFL3"),
    "missing model": ("missing", "one.csv", "", "missing.tflite.*No such file"),
    "cut off": ("truncated", "one.csv", "", "damaged or cut short"),
    "unknown operator": ("unknown", "one.csv", "", "that litert .* can run, got: .*Mine"),
    "newer operator": ("newer", "one.csv", "", "can run, got: .*version.*newer"),
    "states missing": ("states", "one.csv", "", "every state to be an input and an output .*state_gru"),
    "format": ("step", "one.csv", "--format xml", "`--format` to be json or csv, got 'xml'"),
    "on error": ("step", "one.csv", "--on-error ask", "`--on-error` to be stop or skip, got 'ask'"),
    "runtime": ("step", "one.csv", "--runtime lite", "`runtime` to be one of auto, litert.*got 'lite'"),
    "threads": ("step", "one.csv", "--threads 0", "`threads` to be 1 or more, got 0"),
    "output": ("step", "one.csv", "--output y.txt", r"`--output` to be a \.npy .*got 'y.txt'"),
    "a stream to a file": ("step", "one.csv", "--stream --output y.npy", r"to be - \(stdout\) with --stream"),
    "a directory that is not": (
        "step",
        "one.csv",
        "--output none/y.npy",
        "in a directory that exists, got 'none/y.npy'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_leaves_nothing(
    case: str,
    files: Path,
    tmp_path: Path,
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, source, options, words = BAD[case]
    monkeypatch.chdir(tmp_path)
    result = run("run", files / f"{model}.tflite", "--input", files / source, *options.split())
    assert (result.code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(words, line), line
    assert tree(tmp_path) == {}


# -- pipes -----------------------------------------------------------------------------------------


def started(*arguments: Any) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("keras-gru-plus")
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # A shell that runs the tests in the background has its children ignore interrupts.
    pipes["preexec_fn"] = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([program, *map(str, arguments)], bufsize=0, **pipes)


def line_of(process: subprocess.Popen[bytes], seconds: float = 20) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    assert ready, "no answer"
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def test_a_stream_answers_each_line_at_once_skips_bad_ones_and_ends_with_its_input(files: Path) -> None:
    x = np.load(files / "one.npy")
    process = started("run", files / "step.tflite", "--input", "-", "--stream", "--on-error", "skip")
    assert process.stdin is not None
    wanted = expected(files, "step", x)
    for number, text in enumerate(csv(x), start=1):
        if number == 3:  # noise on the line
            process.stdin.write(b"1,2,\xff\xfe,4,5\n1,2\n")
        process.stdin.write(text.encode() + b"\n")
        found = line_of(process)
        assert found["line"] == number + 2 * (number >= 3)
        np.testing.assert_array_equal(np.float32(found["classes"]), wanted[number - 1])
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest) == (0, b"")
    lines = errors.decode().splitlines()
    assert lines[0].startswith("Expected a finite number in line 3, column 3, got ")
    assert lines[1] == "Expected 5 columns in line 4, got 2. Skipped."
    assert len(lines) == 2


def test_a_stream_stops_at_a_bad_line_with_what_it_had(files: Path) -> None:
    process = started("run", files / "stateful.tflite", "--input", "-", "--stream")
    assert process.stdin is not None
    process.stdin.write(b"1,2,3,4,5\n")
    assert line_of(process)["line"] == 1
    rest, errors = process.communicate(b"1,2,walk,4,5\n1,2,3,4,5\n", timeout=20)
    assert (process.returncode, rest) == (2, b"")
    assert errors.decode() == "error: Expected a finite number in line 2, column 3, got 'walk'.\n"


def test_a_reader_that_goes_away_and_an_interrupt_end_it_quietly(files: Path) -> None:
    process = started("run", files / "step.tflite", "--input", "-", "--stream")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"1,2,3,4,5\n")
    line_of(process)
    process.stdout.close()
    process.stdin.write(b"1,2,3,4,5\n" * 10)
    process.stdin.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert (errors.read(), process.wait(20)) == (b"", 0)

    process = started("run", files / "step.tflite", "--input", "-", "--stream")
    assert process.stdin is not None
    process.stdin.write(b"1,2,3,4,5\n")
    line_of(process)
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=20)
    assert (process.returncode, rest, said) == (130, b"", b"")


def test_watch_draws_signal_and_classes(files: Path) -> None:
    process = started("watch", files / "step.tflite")
    text = "\n".join([*csv(np.load(files / "one.npy")), "1,2", ""])
    shown, errors = process.communicate(text.encode(), timeout=20)
    assert process.returncode == 0, errors
    screen = shown.decode()
    assert "signal[4]" in screen
    assert "▁" in screen
    assert "█" in screen
    assert all(label in screen for label in LABELS)
    assert "step on litert: 12 invokes" in screen
    assert errors.decode().startswith("1 bad lines were skipped")
    process = started("watch", files / "step.tflite", "--on-error", "stop")
    _, errors = process.communicate(b"1,2\n", timeout=20)
    assert process.returncode == 2
    assert errors == b"error: Expected 5 columns in line 1, got 2.\n"


# -- bench -----------------------------------------------------------------------------------------


def test_bench_measures(files: Path, run: Run) -> None:  # noqa: F811
    start = time.perf_counter()
    result = run("bench", files / "sequence.tflite", "--rate", "50", "--seconds", "0.2", "--json", "--threads", "2")
    assert (result.code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    times = found["microseconds"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"] < 1e6 * (time.perf_counter() - start)
    assert found["invokes"] * times["mean"] == pytest.approx(2e5, rel=0.5)
    assert found["invokes_per_second"] == pytest.approx(1e6 / times["mean"], rel=0.01)
    assert found["real_time_factor"] == pytest.approx(12 / 50 / (1e-6 * times["mean"]), rel=0.01)
    assert (found["mode"], found["runtime"], found["threads"], found["timesteps_per_invoke"]) == (
        "sequence",
        "litert",
        2,
        12,
    )
    assert 1e7 < found["resident_bytes"] < 1e11
    table = run("bench", files / "step.tflite", "--seconds", "0.1", "--runtime", "tflm")
    assert re.search(r"runtime +tflm", table.stdout)
    assert "real time factor" not in table.stdout
    for options, words in (
        (("--seconds", "0"), "`seconds` to be above 0, got 0"),
        (("--rate", "-1"), "`rate` to be above 0, got -1"),
        (("--device", "avr"), "`--device` to be cortex-m55, got 'avr'"),
    ):
        bad = run("bench", files / "step.tflite", *options)
        refused(bad)
        assert words in bad.stderr


@pytest.mark.skipif(not cortex_m55.available(), reason=str(cortex_m55.unavailable()))
def test_bench_counts_instructions_on_an_emulated_device(files: Path, run: Run) -> None:  # noqa: F811
    result = run("bench", files / "step.tflite", "--device", "cortex-m55", "--json")
    assert (result.code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["instructions"] > 1000
    assert found["arena_bytes"] > 1000
    refused(run("bench", files / "text.tflite", "--device", "cortex-m55"))


@pytest.mark.parametrize("command", ["run", "bench", "watch"])
def test_help(command: str, run: Run) -> None:  # noqa: F811
    result = run(command, "--help")
    assert (result.code, result.stderr) == (0, "")
    assert "Usage" in result.stdout
    assert os.environ["COLUMNS"] == "200"
