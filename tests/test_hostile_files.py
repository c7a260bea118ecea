"""Files that mean harm or are damaged: the smallest of each kind that was found, and what is said of it."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_models
from trust import fuzz_seeds, hostile_models
from trust.fuzz_inputs import npy_of, npy_with, npz_of

import keras_gru_plus as kgp
from keras_gru_plus import runtime
from keras_gru_plus.arrays import DataError, read
from keras_gru_plus.quantization.recipe import Recipe
from keras_gru_plus.runtime import run as streams
from keras_gru_plus.runtime.rows import LONGEST_LINE, parsed
from keras_gru_plus_export import tflite
from keras_gru_plus_export.compare import memory
from keras_gru_plus_export.compare.run import _says
from keras_gru_plus_export.extras.recording import load_recording
from keras_gru_plus_export.models import ModelError, load_model

L = keras.layers

#: Name of a hostile model → what is said of it.
REASONS = {
    "CVE-2024-3660 bytecode": "Lambda layer, whose code is not run",
    "CVE-2025-1550 subprocess.run": "Could not locate function 'run'",
    "CVE-2025-8747 get_file": "Cannot deserialize `keras.utils.get_file`",
    "CVE-2025-9906 unsafe on": "Cannot deserialize `keras.config.enable_unsafe_deserialization`",
    "CVE-2025-9905 a Lambda in HDF5": "Lambda layer, whose code is not run",
    "CVE-2025-9905 a Lambda of Keras 2": "Lambda layer, whose code is not run",
    "CVE-2025-12058 StringLookup": "vocabulary file outside of the model archive",
    "CVE-2026-1462 TFSMLayer": "deserialization of a `TFSMLayer`",
    "CVE-2026-1669 external data, in .h5": "the data of 'kernel' lie in another file",
    "CVE-2026-1669 a link, in .h5": "its entry 'kernel' is a link to elsewhere",
    "CVE-2026-0897 a shape bomb": "promises 68719476736 bytes, and 0 are stored",
    "a million weights": r"its layers ask for \d+ bytes of weights, and \d+ are stored",
    "member '../canary'": "leads out of the archive",
    "a symbolic link": "is a symbolic link",
    "a bomb": r"would inflate from \d+ to \d+ bytes",
    "deeper than Keras goes": "more than 200 levels deep",
}


def test_hostile_models_are_refused_and_nothing_of_them_runs(tmp_path: Path) -> None:
    left = dict(REASONS)
    for name, ending, content in hostile_models.models(tmp_path):
        if name not in left:
            continue
        path = tmp_path / f"evil.{ending}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"^Expected a model that Keras can load.*{left.pop(name)}"):
            load_model(path)
        assert not list(tmp_path.glob("canary*")), name
    assert not left
    for name, content in fuzz_seeds.keras().items():
        path = tmp_path / name
        path.write_bytes(content)
        assert load_model(path).built, name


def _archive(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


ARRAYS = {
    "pickle": (npy_with(((1, 0), "|O", "(1,)", "False", 0)) + pickle.dumps([_Evil()]), "could run code"),
    "giant": (
        npy_with(((1, 0), "<f4", "(1000000000,)", "False", 9)),
        "promises 4000000000 bytes, .* and 9 are there",
    ),
    "giant inside": (npz_of({"x": npy_with(((1, 0), "<f4", "(1000000000,)", "False", 9))}), "promises 4000000000"),
    "of nothing": (npz_of({"x": npy_with(((1, 0), "|V0", "(1000000000,)", "False", 9))}), "promises 1000000000"),
    "bomb": (hostile_models.bomb("x.npy", b""), r"would inflate from \d+ to \d+ bytes.*save it without compression"),
    "path": (_archive(("../x.npy", npy_of(np.zeros(3)))), "leads out of the archive"),
    "no array": (_archive(("x", b"text")), "'x', which is no .npy file"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_checked_before_memory_is_taken(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content, reason = ARRAYS[name]
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(path)
    with pytest.raises(ValueError, match=f"^Expected a recording.*{reason}"):
        load_recording(path)
    assert capsys.readouterr().out == ""


def test_arrays_are_read_as_numpy_does(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b/c": np.array(["x", "yz"]), "none": np.zeros((0, 4))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read(tmp_path / "x.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    np.save(tmp_path / "x.npy", np.asfortranarray(arrays["a"]))
    np.testing.assert_array_equal(read(tmp_path / "x.npy"), arrays["a"])


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, "1" * 10_000, '{"overrides": {"gru": {"range": [-1' + "0" * 400 + ", 1]}}}"),
        *('{"bits": false}', '{"name": []}', '{"activation_bits": 8.0}'),
        '{"overrides": {"gru": {"percentile": NaN}}}',
    ],
)
def test_what_is_no_recipe_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected "):
        Recipe.from_json(text)


def test_a_line_without_an_end_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1,2\n" + "3," * LONGEST_LINE + "\n4,5\n1e39,0\n" + "6" * (LONGEST_LINE - 1))
    said: list[str] = []
    with streams.lines_of(str(path)) as lines:
        assert list(parsed(lines, 2, said.append)) == [(1, [1.0, 2.0]), (3, [4.0, 5.0])]
    assert said == [
        f"Expected less than {LONGEST_LINE} characters in line 2, got more.",
        "Expected a finite number in line 4, column 1, got '1e39'.",
        "Expected 2 columns in line 5, got 1.",
    ]
    path.write_bytes(b"\xef\xbb\xbf1\r\n2\r\n")  # a byte order mark is no header
    with streams.lines_of(str(path)) as lines:
        assert [row for _, row in parsed(lines, 1, None)] == [[1.0], [2.0]]


def _changed(name: str, change: Any) -> bytes:
    model = tflite.load(tiny_models.models()[name])
    change(model)
    return tflite.dump(model)


def test_a_trial_refuses_what_the_runtime_does_and_passes_the_rest() -> None:
    def wide(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if model.buffers[tensor.buffer].data is None:
                tensor.shape = [1, 40_000, 40_000]

    def no_batch(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].shape = []

    for change, reason in ((wide, "can run, got"), (no_batch, "batch dimension")):
        with pytest.raises(runtime.ModelError, match=reason):
            runtime.load(_changed("step", change), trial=True)
    for name, content in tiny_models.models().items():
        assert runtime.load(content, trial=True).mode in ("sequence", "step", "stateful"), name


@pytest.mark.slow
def test_a_loop_without_an_end_ends_the_trial() -> None:
    def endless(model: Any) -> None:
        loop = next(op for op in model.subgraphs[0].operators if tflite.op_name(model, op) == "WHILE")
        for tensor in tflite.while_parts(model, loop)[1].tensors:
            if tflite.type_name(tensor) == "int32" and tflite.is_constant(model, tensor):
                values = tflite.constant(model, tensor)
                if values.size == 1 and values.ravel()[0] == 1:
                    tflite.set_constant(model, tensor, np.zeros_like(values))

    with pytest.raises(runtime.ModelError, match=r"did not end within \d+ s in a trial"):
        runtime.load(_changed("sequence", endless), trial=True)


def test_labels_that_cannot_be_written_are_mended() -> None:
    from keras_gru_plus_export.passes.labels import labelled

    content = labelled(tiny_models.models()["step"], ["one", "two", "three"])
    damaged = content.replace(b'["one","two","three"]', b'["\\ud800","two","th"]')
    assert damaged != content
    assert runtime.load(damaged).labels == ("?", "two", "th")
    with pytest.raises(runtime.ModelError, match="labels that are no list"):
        runtime.load(content.replace(b'["one","two","three"]', b'{"one":"two","thr":4}'))


@pytest.mark.parametrize(
    "attributes",
    [
        *({"run": {}}, {"run": 3}, {"owner": {"machine": "x"}}, {"costs": 1}, {"result": []}),
        {"owner": {"machine": "", "pid": 10**400, "start": None}},
        *({"result": {"failed": 1}}, {"result": {"parameters": 1, "float": "x"}}),
        {"result": {"stock": {"way": {}}}},
    ],
)
def test_what_is_no_trial_of_a_comparison_is_said(attributes: dict[str, Any]) -> None:
    assert re.match(next(iter(attributes)), memory.fault(attributes) or "")
    assert memory.missing({}) == ["parameters"]
    assert memory.missing({"int8_validation": 0.5, "flash": 100, "parameters": 3}) == ["sha256"]


def test_a_storage_whose_writer_was_killed_is_no_damaged_one(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "live.db")
    base.execute("CREATE TABLE trials (id INTEGER, text TEXT)")
    base.execute("INSERT INTO trials VALUES (0, 'kept')")
    base.commit()
    base.execute("PRAGMA cache_size = 1")  # so that pages are written before the end of the transaction
    base.executemany("INSERT INTO trials VALUES (?, ?)", [(number, "x" * 500) for number in range(1, 2000)])
    killed = tmp_path / "study.db"
    shutil.copy(tmp_path / "live.db", killed)  # as a killed process leaves it: half written, with its journal
    shutil.copy(tmp_path / "live.db-journal", tmp_path / "study.db-journal")
    base.close()
    memory.check_sqlite(killed)
    with contextlib.closing(sqlite3.connect(killed)) as again:
        assert again.execute("SELECT * FROM trials").fetchall() == [(0, "kept")]


def test_a_database_that_computes_what_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE trials (x)")
    base.commit()
    memory.check_sqlite(path)
    base.execute("CREATE VIEW more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT i FROM n")
    base.commit()
    base.close()
    with pytest.raises(ValueError, match="a database with a view 'more'"):
        memory.check_sqlite(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b'{"a": 2}'])
def test_a_mark_that_cannot_be_read_says_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "winner.json"
    assert not _says(path, {"a": 1})
    path.write_bytes(content)
    assert not _says(path, {"a": 1})
    path.write_text(json.dumps({"a": 1}))
    assert _says(path, {"a": 1})


def test_a_nested_model_on_what_is_no_input_is_quantized() -> None:
    inside = keras.Input((12, 5))
    nested = keras.Model(inside, L.GRU(4)(L.Dense(4)(inside)), name="nested")
    signal = keras.Input((12, 5), name="signal")
    model = keras.Model(signal, L.Add()([nested(L.ReLU()(signal)), nested(signal)]))
    x = np.random.default_rng(0).normal(size=(16, 12, 5)).astype(np.float32)
    quantized = kgp.calibrate(kgp.quantize_aware(kgp.from_keras(model)), x)
    # Two steps of the coarsest of the grids in between, of about 1/64.
    np.testing.assert_allclose(quantized.predict(x, verbose=0), model.predict(x, verbose=0), atol=0.06)
