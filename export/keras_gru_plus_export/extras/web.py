"""Extra `web`: a page that runs the file in a browser, with LiteRT.js.

What the page needs to know of the file is in `model.json`, written here; all else is `templates/web` as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_gru_plus.runtime import file as runtime_file

from ..templating import TEMPLATES
from .context import Context
from .recording import Recording, of_samples

#: Version of `model.json`.
FORMAT = 1


def check_model(shapes: Iterable[tuple[int | None, ...]], recording: Recording | None) -> None:
    """Raises ValueError for a model that is not over one signal, or not over the recording's channels.

    Args:
        shapes: of the model's inputs, with the batch.
        recording: what will be played.
    """
    found = list(shapes)
    if len(found) != 1 or len(found[0]) != 3:
        raise ValueError(
            f"Expected a model with one input (timesteps, features) for a page that plays a signal, got {found}; "
            "leave out --with web."
        )
    if recording is not None and recording.x.shape[1] != found[0][2]:
        raise ValueError(
            f"Expected a recording with the model's {found[0][2]} features, got one of {recording.x.shape[1]}."
        )


def files(context: Context) -> dict[str, str | bytes]:
    """The folder `web`.

    Raises:
        ValueError: an input of indices.
    """
    file = runtime_file.read(context.data)
    (signal,) = (tensor for tensor in file.inputs if not tensor.is_state)
    if signal.dtype.startswith("int32"):
        raise ValueError(f"Expected a signal for a page that plays one, got indices ({signal.name!r}).")
    recording = context.recording or of_samples(context.samples[signal.name])
    made: dict[str, str | bytes] = {
        "public/model.tflite": context.data,
        "public/model.json": _model_json(context, file, recording),
        "public/recording.bin": recording.x.astype("<f4").tobytes(),
    }
    made |= {name: content for name, content in _templates() if name != "public/sw.js"}
    worker = (TEMPLATES / "web" / "public" / "sw.js").read_text(encoding="utf-8")
    digest = hashlib.sha256()
    for name in sorted(made):
        content = made[name]
        digest.update(name.encode() + (content.encode() if isinstance(content, str) else content))
    made["public/sw.js"] = worker.replace("{{ version }}", digest.hexdigest()[:12])
    return {f"web/{name}": content for name, content in made.items()}


def _templates() -> Iterator[tuple[str, str]]:
    root = TEMPLATES / "web"
    for path in sorted(root.rglob("*")):
        # A place where the page was tried has more than the page.
        if path.is_file() and not {"node_modules", "litert"}.intersection(path.relative_to(root).parts):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def _model_json(context: Context, file: runtime_file.File, recording: Recording) -> str:
    columns = zip(recording.channels, recording.units, recording.mean.tolist(), recording.std.tolist(), strict=True)
    content = {
        "format": FORMAT,
        "title": context.title,
        "mode": context.mode,
        "file": "model.tflite",
        "bytes": len(context.data),
        "inputs": [tensor.to_json() for tensor in file.inputs],
        "outputs": [tensor.to_json() for tensor in file.outputs],
        "labels": context.labels,
        "rate": recording.rate,
        "channels": [{"name": name, "unit": unit, "mean": mean, "std": std} for name, unit, mean, std in columns],
        "recording": {
            "file": "recording.bin",
            "title": recording.title,
            "note": recording.note,
            "segments": _segments(recording, context.labels),
        },
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _segments(recording: Recording, labels: list[str] | None) -> list[dict[str, Any]]:
    """Where the class changes, by name."""
    if recording.y is None:
        return []
    starts = [0, *(np.flatnonzero(np.diff(recording.y)) + 1).tolist()]
    classes = [int(recording.y[start]) for start in starts]
    if labels is not None and not set(classes) <= set(range(len(labels))):
        raise ValueError(f"Expected classes 0 to {len(labels) - 1} in the recording's y, got {sorted(set(classes))}.")
    return [
        {"start": start, "label": str(one) if labels is None else labels[one]}
        for start, one in zip(starts, classes, strict=True)
    ]
