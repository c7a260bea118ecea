"""What a bundle has beside `model.tflite`: each extra is a file here that turns the finished file into sources."""

from __future__ import annotations

from collections.abc import Callable

from .context import Context


def _standalone(context: Context) -> dict[str, str | bytes]:
    from .c import files

    return files(context)


def _arduino(context: Context) -> dict[str, str | bytes]:
    from .arduino import files

    return files(context)


def _esphome(context: Context) -> dict[str, str | bytes]:
    from .esphome import files

    return files(context)


#: Name for `extras=` and `--with` → its files, by path in the bundle.
EXTRAS: dict[str, Callable[[Context], dict[str, str | bytes]]] = {
    "c": _standalone,
    "arduino": _arduino,
    "esphome": _esphome,
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


__all__ = ["EXTRAS", "Context", "check_extras", "extra_files"]
