"""Drops what no runtime reads: internal names, descriptions, recorded ranges, what is unused; labels stay."""

from __future__ import annotations

from keras_gru_plus.runtime.file import LABELS

from .. import tflite
from ..tflite import ModelT


def strip(model: ModelT, *, keep_names: bool = False) -> None:
    """Applies the pass to the whole model; input and output names stay."""
    model.description = None
    model.metadata = [entry for entry in model.metadata or [] if tflite.text(entry.name) == LABELS] or None
    model.metadataBuffer = None
    for graph in model.subgraphs:
        graph.name = None
        kept = {*graph.inputs, *graph.outputs} if graph is model.subgraphs[0] else set()
        for index, tensor in enumerate(graph.tensors):
            if index not in kept and not keep_names:
                tensor.name = None
            tensor.shapeSignature = None
            if tensor.shape:
                tensor.hasRank = False  # which a shape says already
            if tensor.quantization is not None:
                tensor.quantization.min = tensor.quantization.max = None
                if tflite.grid(tensor) is None:
                    tensor.quantization = None
    tflite.compact(model)
