"""The command: one message for whatever is wrong, nothing left behind, and pure JSON where it was asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from export_models import MODELS, calibrated, converted

import keras_gru_plus as kgp
from keras_gru_plus import cli
from keras_gru_plus_export import worker

Path = pathlib.Path
MESSAGE = re.compile(r"expected .*\bgot\b", re.IGNORECASE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command said and how it ended."""

    code: Any
    stdout: str
    stderr: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in this process."""
    monkeypatch.delenv("KGP_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: Any) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.app([str(argument) for argument in arguments])
        return Result(ended.value.code, *capfd.readouterr())

    return call


def tree(folder: Path) -> dict[str, str]:
    """Every file and directory below a folder, hidden ones too, with the files' hashes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "directory"
        for path in folder.rglob("*")
    }


def refused(result: Result) -> None:
    assert result.code == 2, result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("•")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert MESSAGE.search(lines[0]), lines[0]


# -- files -----------------------------------------------------------------------------------------


def _sequential(*layers: keras.layers.Layer, timesteps: int | None = 12) -> keras.Model:
    return keras.Sequential([keras.Input((timesteps, 5), name="signal"), *layers], name="small")


def _edited(source: Path, target: Path, old: str, new: str) -> None:
    """A copy of a .keras archive with another config."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as edited:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            edited.writestr(name, content)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of good and bad models and data."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(3)
    recurrent = kgp.GRUPlus(4, variant="mgu", name="gru")
    _sequential(recurrent, keras.layers.Dense(3, activation="softmax", name="classes")).save(folder / "float.keras")
    _sequential(kgp.GRUPlus(4), keras.layers.Dense(3), timesteps=None).save(folder / "open.keras")
    _sequential(keras.layers.LSTM(4), keras.layers.Dense(3)).save(folder / "lstm.keras")
    _sequential(keras.layers.LayerNormalization(), kgp.GRUPlus(4)).save(folder / "norm.keras")
    _sequential(kgp.GRUPlus(4, activation="gelu"), keras.layers.Dense(3)).save(folder / "gelu.keras")
    _sequential(kgp.GRUPlus(4, go_backwards=True)).save(folder / "backwards.keras")
    calibrated("gru").save(folder / "quantized.keras")
    wide = kgp.quantize_aware(keras.saving.load_model(folder / "open.keras"))
    x = MODELS["gru"].data(40, seed=0)["signal"]
    kgp.calibrate(wide, x)
    wide.save(folder / "open_quantized.keras")
    kgp.quantize_aware(keras.saving.load_model(folder / "float.keras"), "none").save(folder / "none.keras")

    (folder / "text.keras").write_text("no model")
    with zipfile.ZipFile(folder / "zip.keras", "w") as archive:
        archive.writestr("hello.txt", "hello")
    whole = (folder / "float.keras").read_bytes()
    (folder / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "directory.keras").mkdir()
    _edited(folder / "float.keras", folder / "class.keras", 'GRUPlus"', 'GRUMinus"')
    _edited(folder / "float.keras", folder / "variant.keras", '"variant": "mgu"', '"variant": "lgu"')

    y = np.arange(40) % 3
    arrays: dict[str, dict[str, Any]] = {
        "data": {"x": x, "y": y},
        "named": {"signal": x, "classes": y},
        "inputs": {"x": x},
        "shape": {"x": x[:, :, :2]},
        "empty": {"x": x[:0]},
        "nan": {"x": np.where(x > 2, np.nan, x)},
        "key": {"z": x},
        "text": {"x": np.full((4, 12, 5), "a")},
        "targets": {"x": x, "y": y[:-1]},
        "classes": {"x": x, "y": y + 1},
        "one_hot": {"x": x, "y": np.eye(5, dtype=int)[y]},
        "scalar": {"x": x, "y": np.float32(1)},
        "pickled": {"x": np.array([{"a": 1}], dtype=object)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "no.npz").write_text("no archive")
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object))
    np.save(folder / "sample.npy", x[0])
    packed = (folder / "data.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(packed[: len(packed) // 2])

    tflite = converted("gru", "sequence")
    (folder / "good.tflite").write_bytes(tflite)
    (folder / "empty.tflite").write_bytes(b"")
    (folder / "text.tflite").write_text("no model at all")
    (folder / "truncated.tflite").write_bytes(tflite[: len(tflite) // 2])
    (folder / "flipped.tflite").write_bytes(bytes([tflite[0] ^ 0x80]) + tflite[1:])
    return folder


#: Arguments of `export`, with files by their names, and words of the message.
BAD: dict[str, tuple[str, str]] = {
    "no model": ("missing.keras --calibrate data.npz", "missing.keras.*no file"),
    "text": ("text.keras --calibrate data.npz", "Keras archive.*text.keras"),
    "other archive": ("zip.keras --calibrate data.npz", "that Keras can load.*zip.keras"),
    "cut off": ("truncated.keras --calibrate data.npz", "truncated.keras"),
    "directory": ("directory.keras --calibrate data.npz", "a directory; load the model"),
    "other ending": ("data.npz", "ends in .keras"),
    "unknown class": ("class.keras --calibrate data.npz", "GRUMinus"),
    "unknown variant": ("variant.keras --calibrate data.npz", "one of gru, .*'lgu'"),
    "mode": ("float.keras --calibrate data.npz --mode loop", "`mode` to be one of sequence, step, .*got 'loop'"),
    "target": ("float.keras --calibrate data.npz --target avr", "`target` to be one of litert.*, got 'avr'"),
    "recipe": ("float.keras --calibrate data.npz --recipe int3", "`recipe` to be one of int8.*, got 'int3'"),
    "target of a float recipe": ("float.keras --recipe float16 --target tflm", "target 'litert' .*got 'tflm'"),
    "recipe of an unquantized model": ("none.keras --recipe int16x8", "own, 'none', got 'int16x8'"),
    "recipe of the model": ("quantized.keras --recipe int8_per_channel", "own, 'int8', got 'int8_per_channel'"),
    "unknown recipe of a quantized model": ("quantized.keras --recipe int3", "`recipe` to be one of"),
    "io": ("float.keras --calibrate data.npz --io uint8", "`io` to be one of int8, float, got 'uint8'"),
    "metric": ("float.keras --calibrate data.npz --metric f1", "`metric` to be one of accuracy, mae, got 'f1'"),
    "no calibration": ("float.keras", r"calibration data for the float model 'small', got none.*--calibrate"),
    "no data": ("float.keras --calibrate missing.npz", "missing.npz.*no file"),
    "no archive": ("float.keras --calibrate no.npz", "readable .npz archive"),
    "truncated archive": ("float.keras --calibrate truncated.npz", "readable .npz archive"),
    "pickled array": ("float.keras --calibrate objects.npy", "readable .npz archive of plain arrays or an .npy file"),
    "single sample": ("float.keras --calibrate sample.npy", r"got \(12, 5\), which is a single sample; give it as x"),
    "pickled": ("float.keras --calibrate pickled.npz", "readable .npz archive of plain arrays"),
    "text data": ("float.keras --calibrate text.npz", "numbers for input 'signal', got <U1"),
    "shape": ("float.keras --calibrate shape.npz", r"shape \(samples, 12, 5\) for input 'signal', got \(40, 12, 2\)"),
    "no samples": ("float.keras --calibrate empty.npz", "at least one, for every input, got"),
    "NaN": ("float.keras --calibrate nan.npz", "finite numbers for input 'signal', got NaN"),
    "key": ("float.keras --calibrate key.npz", r"keys signal \(or x\).*got z"),
    "too few targets": ("quantized.keras --evaluate targets.npz", "40 targets for output 'classes'.*got 39"),
    "a scalar as targets": ("quantized.keras --evaluate scalar.npz", "40 targets for output 'classes'.*got 0"),
    "a class too many": ("float.keras --calibrate inputs.npz --evaluate classes.npz", "classes from 0 to 2 .* got 3"),
    "wrong targets": ("quantized.keras --evaluate one_hot.npz", r"targets of shape \(40,\).*got \(40, 5\)"),
    "LSTM": ("lstm.keras --calibrate data.npz", "layers that can be quantized .*got LSTM"),
    "LayerNormalization": ("norm.keras --calibrate data.npz", "layers that can .*got LayerNorm.*; use BatchNorm"),
    "gelu": ("gelu.keras --calibrate data.npz", "gelu"),
    "cannot step": ("backwards.keras --calibrate inputs.npz --mode step", "reads the sequence backwards"),
    "open time": ("open_quantized.keras", "`timesteps` for input 'signal'.*got none.*--timesteps"),
    "other window": ("open.keras --calibrate inputs.npz --timesteps 9", "samples of 9 time steps .*, got 12"),
    "other window than the model": ("quantized.keras --timesteps 9", "`timesteps` to be the model's 12, got 9"),
    "other window than the data": ("open_quantized.keras --evaluate data.npz --timesteps 9", "9 time steps .*got 12"),
    "no window": ("open_quantized.keras --timesteps 0", "`timesteps` to be 1 or more, got 0"),
    "steps that do not divide": ("quantized.keras --steps-per-iteration 5", "to divide the steps .*got 5; try 1"),
    "steps of mode step": ("float.keras --mode step --steps-per-iteration 4", "be 1, or more .*got 4"),
    "labels": ("quantized.keras --evaluate data.npz --labels a,b", "4 labels, one for each output, got 2"),
}  # fmt: skip


def export_arguments(files: Path, text: str) -> list[str]:
    return [str(files / part) if re.search(r"\.\w+$", part) else part for part in text.split()]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_leaves_nothing(
    case: str, files: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    text, words = BAD[case]
    before = tree(files)
    result = run("export", *export_arguments(files, text), "--out", tmp_path / "deep" / "out")
    refused(result)
    assert re.search(words, result.stderr.replace("\n", " "), re.DOTALL)
    assert tree(tmp_path) == {}
    assert tree(files) == before


@pytest.mark.parametrize("case", ["not empty", "file", "parent is a file", "unwritable"])
def test_an_output_directory_that_cannot_be_is_refused_and_unchanged(
    case: str, files: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    if case == "not empty":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    elif case in ("file", "parent is a file"):
        out.write_text("mine")
        out = out / "below" if case == "parent is a file" else out
    else:  # not even root can write there
        out = Path("/proc/keras-gru-plus/out")
        if not Path("/proc").is_dir():
            pytest.skip("no /proc")
    before = tree(tmp_path)
    # Bad options must not do any harm either: --force replaces directories only.
    force = ["--force"] if case in ("file", "parent is a file") else []
    result = run("export", files / "quantized.keras", "--evaluate", files / "data.npz", "--out", out, *force)
    refused(result)
    assert "output directory" in result.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["missing", "empty", "text", "truncated", "flipped"])
def test_inspect_refuses_what_is_no_model(name: str, files: Path, run: Callable[..., Result]) -> None:
    refused(run("inspect", files / f"{name}.tflite"))
    refused(run("inspect", files / f"{name}.tflite", "--json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--variant", "lstm"), "`variant` to be one of gru, .*got 'lstm'"),
        (("--units", "0"), "`units` to be 1 or more, got 0"),
    ],
)
def test_demo_refuses_before_it_trains(
    arguments: tuple[str, ...], words: str, tmp_path: Path, run: Callable[..., Result]
) -> None:
    result = run("demo", "--quick", *arguments, "--out", tmp_path / "out")
    refused(result)
    assert re.search(words, result.stderr)
    assert tree(tmp_path) == {}


def test_a_converter_that_is_killed_is_one_message(
    files: Path, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = worker.Converter()
    monkeypatch.setattr(worker, "shared", own)

    def kill() -> None:
        while own.pid is None:
            time.sleep(0.005)
        os.kill(own.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    result = run("export", files / "quantized.keras", "--evaluate", files / "data.npz", "--out", tmp_path / "out")
    thread.join()
    assert result.code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "converter process died (SIGKILL)" in line
    assert "Traceback" not in result.stderr
    assert tree(tmp_path) == {}


def test_an_interrupt_is_code_130_and_leaves_nothing(
    files: Path, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker.shared, "convert", interrupted)
    result = run("export", files / "quantized.keras", "--evaluate", files / "data.npz", "--out", tmp_path / "out")
    assert (result.code, result.stdout) == (130, "")
    assert "Interrupted" in result.stderr
    assert tree(tmp_path) == {}


# -- what works ------------------------------------------------------------------------------------


def checked_report(out: Path, stdout: str) -> dict[str, Any]:
    """The JSON on stdout, after comparing it with the files."""
    report: dict[str, Any] = json.loads(stdout)
    assert report["schema_version"] == 1
    assert report == json.loads((out / "report.json").read_text("utf-8"))
    for file in report["files"]:
        assert hashlib.sha256((out / file["name"]).read_bytes()).hexdigest() == file["sha256"]
        assert (out / file["name"]).stat().st_size == file["analysis"]["file_bytes"]
    assert all(row["differing"] == 0 for row in report["verification"]["equalities"])
    assert "<html" in (out / "report.html").read_text("utf-8")
    assert (out.stat().st_mode & 0o777) == 0o755
    return report


def test_a_float_model_is_exported(files: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    out = tmp_path / "new" / "out"
    (tmp_path / "labels.txt").write_text("walk\nrun\n\nrest\n")
    result = run(
        *("export", files / "float.keras", "--calibrate", files / "inputs.npz", "--evaluate", files / "named.npz"),
        *("--out", out, "--labels", tmp_path / "labels.txt", "--json", "--steps-per-iteration", "4"),
    )
    assert result.code == 0, result.stderr
    report = checked_report(out, result.stdout)
    (file,) = report["files"]
    assert (file["steps_per_iteration"], file["analysis"]["loops"][0]["trip_count"]) == (4, 3)
    assert sorted(tree(out)) == ["model.tflite", "report.html", "report.json"]
    assert sorted(tree(tmp_path / "new")) == ["out", "out/model.tflite", "out/report.html", "out/report.json"]
    assert report["labels"] == ["walk", "run", "rest"]
    assert report["verification"]["metric"] == "accuracy"
    rows = {row["runtime"]: row for row in report["verification"]["results"]}
    assert {"float", "fake_quant", "litert", "litert-reference"} <= set(rows)
    y = np.load(files / "data.npz")["y"]
    x = np.load(files / "data.npz")["x"]
    prediction = keras.saving.load_model(files / "float.keras").predict(x, verbose=0).argmax(-1)
    assert rows["float"]["score"] == (prediction == y).mean()
    assert np.sum(report["verification"]["confusion"]["litert"]) == 40
    assert {(row["mode"], row["reference"]) for row in report["verification"]["equalities"]} == {("step", "sequence")}


def test_a_quantized_model_is_exported_and_force_replaces(
    files: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    arguments = ("export", files / "quantized.keras", "--out", out, "--mode", "stateful", "--force")
    foreign = run(*arguments)
    assert foreign.code == 2
    assert "earlier result" in foreign.stderr
    assert (out / "old.txt").read_text() == "old"
    (out / "report.json").write_text("{}")
    result = run(*arguments, "--json")
    assert result.code == 0, result.stderr
    report = checked_report(out, result.stdout)
    assert sorted(tree(tmp_path)) == ["out", "out/model.tflite", "out/report.html", "out/report.json"]
    assert (out / "model.tflite").read_bytes() == converted("gru", "stateful")
    assert "random numbers only" in report["warnings"][0]
    assert report["verification"]["metric"] is None
    again = run(*arguments)
    assert again.code == 0
    assert "model.tflite" in again.stdout
    assert f"wrote {out}" in again.stderr.replace("\n", "")
    assert (out / "model.tflite").read_bytes() == converted("gru", "stateful")


def test_data_beyond_the_grids_and_a_lower_score_are_warnings(
    files: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    x = 3 * np.load(files / "data.npz")["x"]
    model = calibrated("gru").float_model()
    np.savez(tmp_path / "wild.npz", x=x, y=model.predict(x, verbose=0))  # float is right by definition
    result = run(
        *("export", files / "quantized.keras", "--evaluate", tmp_path / "wild.npz", "--out", tmp_path / "out"),
        *("--json", "--io", "float"),
    )
    assert result.code == 0, result.stderr
    report = checked_report(tmp_path / "out", result.stdout)
    assert report["io"] == "float"
    assert report["verification"]["metric"] == "mae"
    worse, outside = report["warnings"][0], report["warnings"][-1]
    assert re.search(
        r"^On litert\b.* the int8 file has a mean absolute error of up to [\d.]+, float one of \S+:", worse
    )
    taps = {tap["key"]: tap for tap in report["taps"]}
    step = taps["signal/input"]["scale"]
    share = ((x > taps["signal/input"]["high"] + step / 2) | (x < taps["signal/input"]["low"] - step / 2)).mean()
    np.testing.assert_allclose(taps["signal/input"]["clipped"], share)
    wanted = (
        rf"ranges clip the evaluation data at .*signal/input \({100 * share:.2f} % of its values, by up to \d\d+ %"
    )
    assert re.search(wanted, outside)
    litert = next(row for row in report["verification"]["results"] if row["runtime"] == "litert")
    assert 0.9 < litert["agreement"] <= 1


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_stock_keras_model_is_adopted(files: Path, tmp_path: Path, run: Callable[..., Result], ending: str) -> None:
    x = np.load(files / "data.npz")["x"]
    model = _sequential(keras.layers.GRU(6, name="gru"), keras.layers.Dense(3, activation="softmax"))
    model.save(tmp_path / f"stock.{ending}")
    np.savez(tmp_path / "data.npz", x=x, y=model.predict(x, verbose=0).argmax(-1))
    data = tmp_path / "data.npz"
    arguments = ("--calibrate", data, "--evaluate", data, "--mode", "step", "--out", tmp_path / "out", "--json")
    result = run("export", tmp_path / f"stock.{ending}", *arguments)
    assert result.code == 0, result.stderr
    report = checked_report(tmp_path / "out", result.stdout)
    scores = {row["runtime"]: row["score"] for row in report["verification"]["results"]}
    assert scores["float"] == 1
    assert scores["litert"] > 0.9


def test_inspect_shows_a_file(files: Path, run: Callable[..., Result]) -> None:
    table = run("inspect", files / "good.tflite", "--operators")
    assert (table.code, table.stderr) == (0, "")
    assert "FULLY_CONNECTED" in table.stdout
    assert "no float tensors" in table.stdout
    plain = run("inspect", files / "good.tflite", "--json")
    assert (plain.code, plain.stderr) == (0, "")
    found = json.loads(plain.stdout)
    assert found["file_bytes"] == len(converted("gru", "sequence"))
    assert found["inputs"][0]["name"] == "signal"


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["inspect", "--help"], ["demo", "--help"]])
def test_help(arguments: list[str], run: Callable[..., Result]) -> None:
    result = run(*arguments)
    assert (result.code, result.stderr) == (0, "")
    assert "Usage" in result.stdout


def test_logging_and_stderr_are_as_before(files: Path, run: Callable[..., Result]) -> None:
    levels = [logging.getLogger(name).level for name in ("tensorflow", "absl")]
    stderr = sys.stderr
    run("inspect", files / "empty.tflite")
    assert [logging.getLogger(name).level for name in ("tensorflow", "absl")] == levels
    assert sys.stderr is stderr


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("keras-gru-plus")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_installed_command(files: Path, tmp_path: Path) -> None:
    version = command("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.strip() == importlib.metadata.version("keras-gru-plus")
    bad = command("export", files / "text.keras", "--out", tmp_path / "out")
    refused(Result(bad.returncode, bad.stdout, bad.stderr))
    unknown = command("export", files / "float.keras", "--out", tmp_path / "out", "--what")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "Traceback" not in unknown.stderr
    assert tree(tmp_path) == {}


def test_reports_need_no_keras() -> None:
    code = (
        "import sys, keras_gru_plus_export.report, keras_gru_plus_export.terminal, keras_gru_plus_export.html;"
        "import keras_gru_plus.cli;"
        "print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_demo_does_the_whole_job(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("demo", "--quick", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    report = checked_report(out, done.stdout)
    names = ["sequence.tflite", "step.tflite", "stateful.tflite"]
    assert [file["name"] for file in report["files"]] == names
    assert sorted(tree(out)) == sorted([*names, "float.keras", "quantized.keras", "report.html", "report.json"])
    assert {file["mode"] for file in report["files"]} == {"sequence", "step", "stateful"}
    rows = {row["runtime"]: row for row in report["verification"]["results"]}
    assert {"float", "fake_quant", "litert", "litert-reference", "tflm"} <= set(rows)
    assert all(0.2 < row["score"] <= 1 for row in rows.values() if row["reason"] is None), "7 classes, barely trained"
    compared = {(row["runtime"], row["mode"]) for row in report["verification"]["equalities"]}
    assert compared >= {(runtime, mode) for runtime in ("litert", "tflm") for mode in ("step", "stateful")}
    assert len(report["stages"]) == 4
    assert len(report["labels"]) == 7
    assert tree(tmp_path).keys() == {"out", *(f"out/{name}" for name in tree(out))}
