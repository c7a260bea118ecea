"""How layers act on time: whether a model can run hop by hop, with states for what its layers remember."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Frame:
    """The time axis of a tensor.

    Attributes:
        stride: input time steps for one of its own.
        past: steps of the past that stand in front of those of a hop (padding that a layer without causal padding
            of its own is about to consume).
    """

    stride: int = 1
    past: int = 0


#: (layer, frame of its input) → frame of its output, None for one without a time axis, or why it cannot stream.
Timing = Any


def each_step(layer: Any, frame: Frame) -> Frame | str:
    """Every time step by itself."""
    return frame


def whole_window(layer: Any, frame: Frame) -> Frame | str:
    """All time steps at once."""
    return "needs the whole window at once"


def convolution_timing(layer: Any, frame: Frame) -> Frame | str:
    """Causal, or with the zeros of a padding layer in front."""
    size, stride, dilation = layer.kernel_size[0], layer.strides[0], layer.dilation_rate[0]
    past = (size - 1) * dilation
    if layer.padding == "causal" or past == 0:
        consumed = 0
    elif layer.padding == "valid" and frame.past == past:
        consumed = past
    else:
        instead = "padding='causal'" if len(layer.kernel_size) == 1 and _has_causal(layer) else None
        instead = instead or f"ZeroPadding of {past} steps in front and padding='valid'"
        return f"reads later time steps (padding={layer.padding!r}); use {instead}"
    if frame.past != consumed:
        return f"has {frame.past} steps of padding in front, not the {past} that it reads"
    return Frame(frame.stride * stride)


def _has_causal(layer: Any) -> bool:
    return "Depthwise" not in type(layer).__name__


def pooling_timing(layer: Any, frame: Frame) -> Frame | str:
    """Windows that lie within a hop."""
    size, stride = (value if isinstance(value, int) else value[0] for value in (layer.pool_size, layer.strides))
    if size > stride:
        return f"pools windows of {size} that overlap (strides={stride}); use strides of at least {size}"
    if layer.padding != "valid" and size > 1:
        return f"pads its windows (padding={layer.padding!r}); use padding='valid'"
    return replace(frame, stride=frame.stride * stride)


def global_pooling_timing(layer: Any, frame: Frame) -> Frame | str:
    """Never ends."""
    return "pools over a time that has no end; take the last output of a recurrent layer"


def padding_timing(layer: Any, frame: Frame) -> Frame | str:
    """Zeros in front, which a stream has before its first step."""
    before, after = layer.padding[0] if isinstance(layer.padding[0], tuple) else layer.padding
    if after:
        return "pads behind the last time step, which a stream does not have"
    return replace(frame, past=frame.past + before)


def permute_timing(layer: Any, frame: Frame) -> Frame | str:
    """Leaves time where it is, or does not."""
    return frame if layer.dims[0] == 1 else "moves the time axis"


def reshape_timing(layer: Any, frame: Frame) -> Frame | str:
    """Keeps the time steps apart, or does not."""
    kept = layer.output.shape[1] == layer.input.shape[1] and layer.output.shape[1] is not None
    return frame if kept and len(layer.output.shape) > 2 else "needs the whole window at once"


def backwards_too(layer: Any, frame: Frame) -> Frame | str:
    """From the end of the window."""
    return "reads the sequence backwards as well"


def recurrent_timing(layer: Any, frame: Frame) -> Frame | str | None:
    """A state instead of the window."""
    if layer.go_backwards:
        return "reads the sequence backwards"
    return frame if layer.return_sequences else None


#: What may have steps of the past in front of its input.
TAKES_PAST = (convolution_timing, padding_timing)
