"""The page of extra `web`: what is written, and what a real browser makes of it, compared with LiteRT here."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import browser
import export_models
import numpy as np
import pytest

from keras_gru_plus.runtime.grid import Quantizer
from keras_gru_plus_export import export, tflite
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.extras import Context, web
from keras_gru_plus_export.extras.recording import Recording, load_recording, made

#: Where the tests leave pictures of the page, if anywhere.
PICTURES = os.environ.get("KGP_PICTURES")
NAMES = ("mgu", "mgu_hard", "gru", "gru_hard")
MODES = ("sequence", "step", "stateful")
LABELS = ["still", "walking", "running", "turning"]
needs_browser = pytest.mark.skipif(browser.unavailable() is not None, reason=str(browser.unavailable()))


def recorded(rows: int = 150) -> dict[str, np.ndarray]:
    """A signal in units of its own."""
    generator = np.random.default_rng(3)
    time = np.arange(rows)[:, None] / 50
    x = 2 * np.sin(2 * np.pi * time * generator.uniform(0.3, 3, 5) + generator.uniform(0, 6, 5))
    mean, std = generator.normal(0, 3, 5).astype("f"), generator.uniform(0.2, 5, 5).astype("f")
    noise = generator.normal(0, 0.5, x.shape)
    return {"x": ((x + noise) * std + mean).astype("f"), "y": np.arange(rows) // 40, "mean": mean, "std": std}


def written(folder: pathlib.Path, name: str, mode: str, recording: Recording, **options: str) -> pathlib.Path:
    data = export_models.converted(name, mode, **options)
    context = Context(data, mode, name, LABELS, {}, None, recording)
    for path, content in web.files(context).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / "web"


def on_litert(name: str, mode: str, recording: Recording, **options: str) -> dict[str, np.ndarray]:
    """What the page must give, `(invokes, …)`, by output."""
    data = export_models.converted(name, mode, **options)
    model = tflite.load(data)
    tensor = model.subgraphs[0].tensors[tflite.signature(model).inputs["signal"]]
    grid = tflite.grid(tensor)
    x = (recording.x - recording.mean) / recording.std
    if grid is not None:
        x = host.quantize(x, grid, tflite.dtype(tensor))
    windows = (
        np.lib.stride_tricks.sliding_window_view(x, 12, axis=0).swapaxes(1, 2) if mode == "sequence" else x[None]
    )
    found = host.run(data, {"signal": windows}, runtime="litert", mode=mode)
    return found if mode == "sequence" else {key: array[0] for key, array in found.items()}


def test_the_page_has_the_file_and_what_must_be_known_of_it(tmp_path: pathlib.Path) -> None:
    content = recorded()
    folder = written(tmp_path, "mgu", "step", made({**content, "rate": 25, "units": ["g"] * 5}, "recording"))
    public = folder / "public"
    info = json.loads((public / "model.json").read_text())
    assert (public / "model.tflite").read_bytes() == export_models.converted("mgu", "step")
    assert np.array_equal(np.fromfile(public / "recording.bin", "<f4").reshape(-1, 5), content["x"])
    names = [tensor["name"] for tensor in info["inputs"] + info["outputs"]]
    assert sorted(names) == ["classes", "signal", "state_gru", "state_gru"]
    model = tflite.load(export_models.converted("mgu", "step"))
    for tensor in info["inputs"]:
        grid = tflite.grid(model.subgraphs[0].tensors[tflite.signature(model).inputs[tensor["name"]]])
        assert grid is not None
        assert (tensor["scale"], tensor["zero_point"]) == (grid.scale, grid.zero_point)
    assert info["rate"] == 25
    assert [channel["mean"] for channel in info["channels"]] == content["mean"].tolist()
    assert info["recording"]["segments"] == [
        {"start": 40 * index, "label": label} for index, label in enumerate(LABELS)
    ]
    # All that the worker keeps is there, but for LiteRT.js, which npm brings.
    kept = [
        line.strip(' ",') for line in (public / "sw.js").read_text().split("FILES = [")[1].split("]")[0].split("\n")
    ]
    assert all((public / name).exists() for name in kept if name and "litert/" not in name)
    assert {path.name for path in public.iterdir()} - {"index.html", "sw.js"} <= set(kept)
    assert "{{" not in (public / "sw.js").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y": np.zeros(150)}, "Expected a recording with x and any of y"),
        ({"x": np.zeros((3, 2, 1))}, r"Expected x to be numbers \(timesteps, features\)"),
        ({"x": np.zeros((9, 5)), "mean": np.zeros(4)}, "Expected mean to have 5 entries"),
        ({"x": np.zeros((9, 5)), "std": np.zeros(5)}, "std above 0"),
        ({"x": np.zeros((9, 5)), "y": np.zeros(9)}, "Expected y to be a whole number"),
        ({"x": np.zeros((9, 4))}, "Expected a recording with the model's 5 features, got one of 4"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused_before_anything_is_done(
    content: dict[str, np.ndarray], message: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "recording.npz"
    np.savez(path, **content)
    with pytest.raises(ValueError, match=message):
        export(export_models.calibrated("mgu"), tmp_path / "out", extras=("web",), recording=path)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="node")
def test_the_page_quantizes_as_the_runtime_does() -> None:
    """Ties, saturation, a scale and a zero point of each feature, zero points far outside of int8."""
    x = np.concatenate([np.arange(-140, 140) + 0.5, np.random.default_rng(0).normal(0, 60, 320)]).astype("f")
    x = x.reshape(-1, 2)
    step, other = float(np.float32(0.7)), float(np.float32(1.3))
    tensors = [
        {"dtype": "int8", "scale": scale, "zero_point": point}
        for scale, point in ((1.0, 0), (step, 3), ([step, other], [3, -5]), ([other, step], [-900, 80]))
    ]
    script = """
        const { quantize, dequantize } = await import(process.argv[1]);
        const { x, tensors } = JSON.parse(process.argv[2]);
        const both = tensors.map((tensor) => {
          const integers = quantize(Float32Array.from(x), tensor, new Int8Array(x.length));
          return [Array.from(integers), Array.from(dequantize(integers, tensor))];
        });
        console.log(JSON.stringify(both));
    """
    argument = json.dumps({"x": x.ravel().tolist(), "tensors": tensors})
    module = (web.TEMPLATES / "web" / "public" / "quantization.js").as_uri()
    command = ["node", "--input-type=module", "-e", script, module, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for tensor, (integers, reals) in zip(tensors, json.loads(done.stdout), strict=True):
        scale, point = np.array(tensor["scale"]), np.array(tensor["zero_point"])
        wanted = Quantizer(scale, point, np.int8, x.shape)(x)
        assert len(np.unique(wanted)) > 50
        np.testing.assert_array_equal(np.reshape(integers, x.shape), wanted)
        np.testing.assert_allclose(np.reshape(reals, x.shape), (wanted - point) * scale, rtol=1e-6)


def test_a_page_is_for_one_signal(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="Expected a model with one input"):
        export(export_models.calibrated("mixed"), tmp_path / "out", extras=("web",))
    with pytest.raises(ValueError, match="add --with web"):
        export(export_models.calibrated("mgu"), tmp_path / "out", recording=tmp_path / "recording.npz")
    with pytest.raises(ValueError, match=r"Expected a recording \(.npz or .npy\)"):
        load_recording(tmp_path / "none.npz")


def errors(messages: list[dict[str, str]]) -> list[str]:
    return [message["text"] for message in messages if message["type"] in ("error", "warning")]


@pytest.mark.slow
@needs_browser
def test_the_browser_gives_the_integers_of_litert(tmp_path: pathlib.Path) -> None:
    recording = made(recorded(), "recording")
    cases: list[tuple[str, str, dict[str, str]]] = [(name, mode, {}) for name in NAMES for mode in MODES]
    cases += [("mgu_int16", "step", {}), ("mgu", "step", {"io": "float"}), ("gru", "sequence", {"target": "tflm"})]
    folders = [
        written(tmp_path / str(index), name, mode, recording, **options)
        for index, (name, mode, options) in enumerate(cases)
    ]
    browser.npm_install(folders[0])
    for folder in folders[1:]:
        shutil.copytree(folders[0] / "public" / "litert", folder / "public" / "litert")
    wanted = [on_litert(name, mode, recording, **options) for name, mode, options in cases]
    for old in (False, True):  # of a browser without relaxed SIMD one model is enough
        chosen = [index for index, (name, *_) in enumerate(cases) if not old or name == "gru"]
        answers = browser.drive("measure", *(folders[index] for index in chosen), old=old)
        assert all(("relaxed" in answer["runtime"]) != old for answer in answers)
        for index, answer in zip(chosen, answers, strict=True):
            assert errors(answer["messages"]) == []
            compare(str(cases[index]), answer["outputs"], wanted[index])


def compare(case: str, outputs: dict[str, list[list[int]]], wanted: dict[str, np.ndarray]) -> None:
    assert outputs.keys() == wanted.keys()
    for output, array in wanted.items():
        found = np.array(outputs[output])
        assert len(np.unique(found)) > 5
        gaps = np.abs(found - array.reshape(found.shape))
        print(
            f"{case}, {output}: {found.shape}, up to {gaps.max()} steps apart, {100 * (gaps > 0).mean():.2f} % differ"
        )
        assert gaps.max() == 0


@pytest.mark.slow
@needs_browser
def test_the_page_plays_and_works_without_a_network(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "recording.npz"
    content = recorded()
    channels = ["ax", "ay", "az", "wx", "wz"]
    np.savez(path, **content, rate=50, channels=channels, units=["g"] * 3 + ["rad/s"] * 2, title="A made signal")
    export(
        export_models.calibrated("gru"),
        tmp_path / "out",
        mode="step",
        evaluation=export_models.ALL["gru"].data(8, seed=3),
        labels=LABELS,
        extras=("web",),
        recording=path,
    )
    folder = tmp_path / "out" / "web"
    browser.npm_install(folder)
    found = browser.drive("play", folder)
    wanted = on_litert("gru", "step", load_recording(path))
    for outputs in (found["outputs"], found["offline"]["outputs"]):
        for name, array in wanted.items():
            np.testing.assert_array_equal(np.squeeze(outputs[name]), np.squeeze(array))
    assert found["status"].endswith("works offline")
    assert found["offline"]["status"].endswith("works offline")
    assert found["answer"] == LABELS[int(wanted["classes"][-1].argmax())]
    assert found["playing"] == "Pause"
    assert found["isolated"]
    assert found["latency"][0] < 20_000
    kept = {name.removeprefix("/") for name in found["files"]}
    assert any(name.endswith(".wasm") for name in kept)
    # The server is stopped on purpose: that nothing answers is all that may be said of it.
    assert [text for text in errors(found["messages"]) if "ERR_CONNECTION_REFUSED" not in text] == []
    rows, seconds = np.array(found["live"]["rows"]), found["live"]["seconds"]
    assert abs(len(rows) - 50 * seconds) < 8  # 60 events a second become 50 rows
    np.testing.assert_allclose(rows[:, [1, 2, 3]], [[0, -1, np.pi]] * len(rows), atol=1e-9)
    # Of a sine of 1 Hz, one row a fiftieth of a second.
    assert np.abs(np.diff(rows[5:, 0])).max() < 1.5 * 2 * np.pi / 50
    np.testing.assert_allclose(rows[:, 4], rows[:, 0] * np.pi / 2, atol=1e-9)


@pytest.mark.slow
@needs_browser
def test_what_is_missing_is_said_on_the_page(tmp_path: pathlib.Path) -> None:
    folder = written(tmp_path, "mgu", "step", made(recorded(), "recording"))
    assert "npm install" in browser.drive("open", folder)["status"]
    browser.npm_install(folder)
    (folder / "public" / "model.json").unlink()
    assert "Expected model.json beside the page, got 404" in browser.drive("open", folder)["status"]


@pytest.mark.slow
@needs_browser
def test_the_page_fits_a_phone_and_a_desk(tmp_path: pathlib.Path) -> None:
    folder = written(tmp_path, "mgu", "step", made(recorded(), "recording"))
    browser.npm_install(folder)
    pictures = browser.drive("shots", folder, pathlib.Path(PICTURES) if PICTURES else tmp_path / "pictures")
    assert len(pictures) == 4
    for picture in pictures:
        assert picture["scrollWidth"] == picture["width"]
        assert pathlib.Path(picture["path"]).stat().st_size > 20_000
