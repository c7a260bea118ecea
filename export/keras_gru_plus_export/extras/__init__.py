"""What a bundle has beside `model.tflite`: each extra is a file here that turns the finished file into sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .context import Context
from .recording import Recording, load_recording


def _standalone(context: Context) -> dict[str, str | bytes]:
    from .c import files

    return files(context)


def _arduino(context: Context) -> dict[str, str | bytes]:
    from .arduino import files

    return files(context)


def _esphome(context: Context) -> dict[str, str | bytes]:
    from .esphome import files

    return files(context)


def _web(context: Context) -> dict[str, str | bytes]:
    from .web import files

    return files(context)


#: Name for `extras=` and `--with` → its files, by path in the bundle.
EXTRAS: dict[str, Callable[[Context], dict[str, str | bytes]]] = {
    "c": _standalone,
    "arduino": _arduino,
    "esphome": _esphome,
    "web": _web,
}


def check_extras(extras: tuple[str, ...], mode: str, target: str, io: str) -> None:
    """Raises ValueError for an extra that there is not, or not in this mode."""
    for name in extras:
        if name not in EXTRAS:
            raise ValueError(f"Expected extras among {', '.join(EXTRAS)}, got {name!r}; see `export --help`.")
    if {"arduino", "esphome"}.intersection(extras) and (target != "tflm" or io != "int8"):
        raise ValueError(
            f"Expected target 'tflm' and io 'int8' for sources that run on TFLite Micro, got {target!r} and {io!r}; "
            "try --target tflm."
        )
    if "c" in extras and (mode != "step" or io != "int8"):
        raise ValueError(
            f"Expected mode 'step' and io 'int8' for standalone C, got {mode!r} and {io!r}; "
            "try --mode step, with which the C keeps the state."
        )


def recording_for(extras: tuple[str, ...], path: Any, shapes: Iterable[tuple[int | None, ...]]) -> Recording | None:
    """The recording that extra `web` plays, if one was given, checked with the model's input shapes.

    Raises:
        ValueError: a recording without `web`; one that cannot be read; a model that the page cannot play.
    """
    if "web" not in extras:
        if path is not None:
            raise ValueError("Expected extra 'web' for a recording, got it without; add --with web.")
        return None
    from .web import check_model

    recording = None if path is None else load_recording(path)
    check_model(shapes, recording)
    return recording


def extra_files(context: Context, extras: tuple[str, ...], target: str) -> dict[str, str | bytes]:
    """Files of all extras, and of what target `tflm` always has, by path in the bundle.

    Raises:
        ValueError: an extra cannot be made of this file; the message says why.
    """
    found: dict[str, str | bytes] = {}
    if target == "tflm":
        from .micro import files

        found |= files(context)
    for name in dict.fromkeys(extras):
        found |= EXTRAS[name](context)
    return found


__all__ = ["EXTRAS", "Context", "Recording", "check_extras", "extra_files", "recording_for"]
