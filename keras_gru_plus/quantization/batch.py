"""One batch of data: which arrays are a model's inputs, and which its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .model import input_name
from .values import DataError, array_of, checked_input, checked_target, matches


@dataclass(frozen=True)
class Batch:
    """Samples side by side.

    Attributes:
        inputs: input name → `(samples, …)`, float32, or int32 for an input of integers; in the model's order.
        targets: output name → `(samples, …)`; empty if there are none.
    """

    inputs: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(
            {name: array[rows] for name, array in self.inputs.items()},
            {name: array[rows] for name, array in self.targets.items()},
        )


class Splitter:
    """Tells inputs from targets, by position or by name, in what `Batches` describes.

    Args:
        model: says names, shapes and types of the inputs.
        outputs: names of the model's outputs; None if targets are of no interest.
        unbatched: advice for someone who gives a single sample.
        loose_lists: a list that does not have an array for each input is read as a tuple: Keras does so, and other
            frameworks' loaders yield such batches.
    """

    def __init__(
        self, model: keras.Model, outputs: Sequence[str] | None, *, unbatched: str, loose_lists: bool
    ) -> None:
        self.outputs = outputs
        self._tensors = {input_name(tensor): tensor for tensor in model.inputs}
        self._input_keys = _keys(list(self._tensors), "x", model.input, model.inputs)
        self._output_keys = _keys(list(outputs), "y", model.output, model.outputs) if outputs else {}
        self._unbatched = unbatched
        self._loose_lists = loose_lists

    def split(self, data: Any) -> Batch:
        """Inputs and targets by their names; their values are not looked at yet.

        Raises:
            DataError: unknown or missing key, wrong shape, no samples, different numbers of them.
        """
        names, targets = list(self._tensors), None
        if self._loose_lists and isinstance(data, list) and has_arrays(data) and not _fits(data, names):
            data = tuple(data)
        if isinstance(data, tuple):
            if not 1 <= len(data) <= 3:
                raise DataError(
                    "Expected a tuple (inputs,), (inputs, targets) or (inputs, targets, sample weights), got one of "
                    f"{len(data)}."
                )
            data, targets = data[0], data[1] if len(data) > 1 else None
            if isinstance(data, dict):
                data, unknown = _named(data, self._input_keys)
                self._check_keys(data, unknown)
        elif isinstance(data, dict):
            given, data = data, {}
            data, rest = _named(given, self._input_keys)
            targets, unknown = _named(rest, self._output_keys)
            self._check_keys(data, unknown, given)
        if not isinstance(data, dict):
            arrays = list(data) if isinstance(data, list | tuple) and has_arrays(data) else [data]
            if len(arrays) != len(names):
                raise DataError(
                    f"Expected one array for each of the inputs {', '.join(names)}, got {len(arrays)}; "
                    "a dict names them, and a tuple is (inputs, targets)."
                )
            data = dict(zip(names, arrays))
        inputs = {name: self._shaped(name, array_of(f"for input {name!r}", data[name])) for name in names}
        lengths = [len(array) for array in inputs.values()]
        if len(set(lengths)) > 1 or not lengths[0]:
            raise DataError(f"Expected the same number of samples, at least one, for every input, got {lengths}.")
        return Batch(inputs, self._targets(targets, lengths[0]))

    def _check_keys(self, inputs: dict[str, Any], unknown: dict[str, Any], given: Any = None) -> None:
        """Refuses missing inputs and, where targets are of interest, keys that are neither."""
        names = list(self._tensors)
        if all(name in inputs for name in names) and not (unknown and self.outputs is not None):
            return
        wanted = f"{', '.join(names)}{'' if 'x' in names else ' (or x)'}"
        if self.outputs:
            wanted += f" and optionally {', '.join(self.outputs)}{'' if 'y' in self.outputs else ' (or y)'}"
        got = ", ".join(map(str, {**inputs, **unknown} if given is None else given))
        raise DataError(f"Expected data with the keys {wanted}, got {got or 'none'}.")

    def _shaped(self, name: str, array: np.ndarray) -> np.ndarray:
        """`array`, if it has the shape of an input; as in Keras, a last axis of size 1 may be left out."""
        expected = tuple(self._tensors[name].shape)[1:]
        if array.ndim and matches(array.shape[1:], expected):
            return array
        advice = ""
        if matches(array.shape, expected):
            advice = f", which is a single sample; {self._unbatched}"
        elif expected[-1:] == (1,) and array.ndim and matches(array.shape[1:], expected[:-1]):
            return array[..., np.newaxis]
        wanted = str(("samples", *("any" if size is None else size for size in expected))).replace("'", "")
        raise DataError(f"Expected data of shape {wanted} for input {name!r}, got {array.shape}{advice}.")

    def _targets(self, targets: Any, samples: int) -> dict[str, np.ndarray]:
        """Targets by output name."""
        if targets is None or not self.outputs:
            return {}
        if isinstance(targets, dict):
            named, unknown = _named(targets, self._output_keys)
            if unknown:
                raise DataError(
                    f"Expected targets for the outputs {', '.join(self.outputs)}, got {', '.join(map(str, targets))}."
                )
        elif isinstance(targets, list | tuple) and (len(self.outputs) > 1 or _fits(targets, self.outputs)):
            if len(targets) != len(self.outputs):
                raise DataError(
                    f"Expected targets for each of the outputs {', '.join(self.outputs)}, got {len(targets)}."
                )
            named = dict(zip(self.outputs, targets))
        else:
            named = {self.outputs[0]: targets}
        arrays = {
            name: array_of(f"as targets of output {name!r}", named[name])
            for name in self.outputs
            if named.get(name) is not None
        }
        for name, array in arrays.items():
            count = len(array) if array.ndim else 0
            if count != samples:
                raise DataError(f"Expected {samples} targets for output {name!r}, one for each sample, got {count}.")
        return arrays

    def checked(self, batch: Batch, first: int) -> Batch:
        """A batch of the inputs' types, with values that were looked at.

        Args:
            batch: from `split`.
            first: number of its first sample, for messages.

        Raises:
            DataError: see `checked_input`; NaN or infinity as targets.
        """
        return Batch(
            {name: checked_input(name, self._tensors[name], array, first) for name, array in batch.inputs.items()},
            {name: checked_target(name, array, first) for name, array in batch.targets.items()},
        )


def has_arrays(parts: Sequence[Any]) -> bool:
    """Whether some of `parts` are arrays or tensors, and not numbers or lists of them."""
    return any(hasattr(part, "__array__") for part in parts)


def _fits(parts: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether `parts` are one array for each name."""
    arrays = [hasattr(part, "__array__") or part is None for part in parts]
    return len(parts) == len(names) and all(arrays) and all(np.ndim(part) > 0 for part in parts if part is not None)


def _keys(names: list[str], short: str, structure: Any, tensors: list[Any]) -> dict[str, str]:
    """Key → name: the name itself, the key of a model built with a dict, and `short` for the first."""
    keys = {short: names[0]} if names else {}
    if isinstance(structure, dict):
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        keys |= {key: names[places[id(tensor)]] for key, tensor in structure.items() if id(tensor) in places}
    return keys | {name: name for name in names}


def _named(given: dict[str, Any], keys: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values by name, and what is left."""
    found: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in given.items():
        name = keys.get(key)
        if name is None or name in found:
            rest[key] = value
        else:
            found[name] = value
    return found, rest
