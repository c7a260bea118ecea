"""Damaged and odd files, as hypothesis strategies: each example is data that its text repeats."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

Change = tuple[Any, ...]
Strategy = st.SearchStrategy[Any]

_PLACE = st.floats(0, 1)
_WORDS = st.sampled_from([0, 1, 2, 3, 4, 7, 16, 127, 128, 255, 65535, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1])
_ONE = st.one_of(
    st.tuples(st.just("flip"), _PLACE, st.integers(0, 7)),
    st.tuples(st.just("flip"), _PLACE, st.integers(0, 7)),
    st.tuples(st.just("byte"), _PLACE, st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2C, 0x0A])),
    st.tuples(st.just("word"), _PLACE, _WORDS),
    st.tuples(st.just("cut"), _PLACE),
    st.tuples(st.just("delete"), _PLACE, st.integers(1, 64)),
    st.tuples(st.just("insert"), _PLACE, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("splice"), _PLACE, _PLACE, st.integers(1, 256)),
    st.tuples(st.just("repeat"), _PLACE, st.integers(1, 64), st.integers(2, 64)),
)
#: Changes of bytes.
CHANGES = st.lists(_ONE, min_size=1, max_size=5)


def changed(content: bytes, changes: list[Change]) -> bytes:
    """Bytes after each of the changes."""
    data = bytearray(content)
    for kind, place, *rest in changes:
        at = int(place * max(len(data) - 1, 0))
        if not data:
            break
        if kind == "flip":
            data[at] ^= 1 << rest[0]
        elif kind == "byte":
            data[at] = rest[0]
        elif kind == "word":
            data[at : at + 4] = struct.pack("<I", rest[0])
        elif kind == "cut":
            del data[at:]
        elif kind == "delete":
            del data[at : at + rest[0]]
        elif kind == "insert":
            data[at:at] = rest[0]
        elif kind == "splice":
            source = int(rest[0] * (len(data) - 1))
            data[at : at + rest[1]] = data[source : source + rest[1]]
        else:
            data[at:at] = data[at : at + rest[0]] * rest[1]
    return bytes(data)


#: What JSON may hold where something else is expected.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 3, 7, 16, 10**6, 10**9, 2**31, -(2**63), 10**400]),
    st.sampled_from([0.5, -0.0, 1e308, math.inf, -math.inf, math.nan, 1e-320]),
    st.sampled_from(
        ["", "relu", "mgu", "float64", "int8", "string", "tanh", "nonsense", "../x", "x" * 300, "\ud800"]
    ),
    st.lists(st.integers(-1, 9), max_size=4),
    st.dictionaries(st.sampled_from(["class_name", "config", "module", "a", ""]), st.integers(-1, 9), max_size=2),
)
_JSON_ONE = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 10**6), ODD),
    st.tuples(st.just("set"), st.integers(0, 10**6), ODD),
    st.tuples(st.just("remove"), st.integers(0, 10**6)),
    st.tuples(st.just("move"), st.integers(0, 10**6), st.integers(0, 10**6)),
    st.tuples(st.just("wrap"), st.integers(0, 10**6), st.sampled_from([1, 3, 300, 3000])),
    st.tuples(st.just("rename"), st.integers(0, 10**6), st.sampled_from(["", "x", "units", "name", "config"])),
)
#: Changes of a JSON value.
JSON_CHANGES = st.lists(_JSON_ONE, min_size=1, max_size=4)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    for part in todo:
        keys = part.keys() if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        found += [(part, key) for key in keys]
        todo += [part[key] for key in keys]
    return found


def changed_json(text: str | bytes, changes: list[Change]) -> str:
    """A JSON text after each of the changes; the last may make it deeper than Python can write, as text."""
    value = json.loads(text)
    wrapped: list[tuple[str, int]] = []
    for kind, place, *rest in changes:
        places = _places(value)
        if not places:
            break
        holder, key = places[place % len(places)]
        if kind == "set":
            holder[key] = rest[0]
        elif kind == "remove":
            del holder[key]
        elif kind == "move":
            # A copy, since a value inside of itself is no JSON.
            source, name = places[rest[0] % len(places)]
            holder[key] = json.loads(json.dumps(source[name]))
        elif kind == "rename" and isinstance(holder, dict):
            holder[rest[0]] = holder.pop(key)
        elif kind == "wrap":
            mark = f"wrapped {len(wrapped)}"
            wrapped.append((mark, rest[0]))
            holder[key] = mark
    text = json.dumps(value)
    for mark, depth in wrapped:
        text = text.replace(json.dumps(mark), "[" * depth + "1" + "]" * depth)
    return text


def changed_archive(content: bytes, member: str, change: Callable[[bytes], bytes], deflated: bool) -> bytes:
    """A ZIP archive with one member's content changed, its sums right again."""
    found = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(found, "w", how) as copy:
        for name in archive.namelist():
            inside = archive.read(name)
            copy.writestr(name, change(inside) if name == member else inside)
    return found.getvalue()


_DTYPES = st.sampled_from(
    ["<f4", "<f8", "<f2", "<i4", "<i8", "|u1", "|b1", "<c8", "<U3", "|S2", "<M8[s]", "|V3", ">f4"]
)
_SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 5, 6, 10, 12]), max_size=4).map(tuple)
_FILL = st.sampled_from(["zeros", "normal", "nan", "huge", "integers", "index"])
#: An array, as (type, shape, what is in it).
ARRAYS = st.tuples(_DTYPES, st.one_of(st.just((4, 10, 6)), st.just((4,)), _SHAPES), _FILL)
_KEYS = st.sampled_from(
    [
        *[
            "x",
            "y",
            "x_train",
            "y_train",
            "x_test",
            "y_test",
            "rate",
            "channels",
            "units",
            "mean",
            "std",
            "title",
            "note",
            "signal",
            "classes",
        ],
        "",
        "a/b",
        "ü",
    ]
)
#: Arrays by name.
NAMED = st.dictionaries(_KEYS, ARRAYS, max_size=5)


def array_of(drawn: tuple[str, tuple[int, ...], str]) -> np.ndarray[Any, Any]:
    """The array of an example of `ARRAYS`."""
    kind, shape, fill = drawn
    generator = np.random.default_rng(len(shape))
    made = {
        "zeros": np.zeros(shape),
        "normal": generator.normal(size=shape),
        "nan": np.where(generator.random(shape) < 0.1, np.nan, 1.0),
        "huge": np.full(shape, 3e300),
        "integers": generator.integers(-(2**40), 2**40, shape),
        "index": np.arange(math.prod(shape)).reshape(shape) % 3,
    }[fill]
    with np.errstate(all="ignore"):
        try:
            return np.asarray(made).astype(np.dtype(kind))
        except (TypeError, ValueError):
            return np.zeros(shape, np.dtype(kind))


def npy_of(array: np.ndarray[Any, Any]) -> bytes:
    """An `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz_of(arrays: dict[str, bytes], deflated: bool = False) -> bytes:
    """An `.npz` archive of `.npy` files by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


#: Headers of `.npy` files that promise what is not there, or are no headers.
HEADERS = st.tuples(
    st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]),
    st.sampled_from(["<f4", "|O", "<f8", "|V0", "<U0", "|V2147483647", "[('a', '<f4')]", "nonsense", "<f4'*2#"]),
    st.sampled_from(["(4, 10, 6)", "(10**9,)", "(1000000000, 1000000000)", "(-1,)", "()", "(2**70,)", "x", "(" * 90]),
    st.sampled_from(["False", "True", "None"]),
    st.integers(0, 2000),
)


def npy_with(header: tuple[tuple[int, int], str, str, str, int]) -> bytes:
    """An `.npy` file with a header as drawn, and some bytes."""
    (major, minor), descr, shape, order, count = header
    quoted = descr if descr.startswith("[") else repr(descr)
    text = f"{{'descr': {quoted}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if major == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([major, minor]) + length + text + bytes(count)


_CELLS = st.sampled_from(
    [
        "1",
        "-0.5",
        "1e39",
        "1e400",
        "nan",
        "inf",
        "",
        " ",
        '"1"',
        '"',
        "x",
        "0x1",
        "1_0",
        "١",
        "\ufeff1",
        "\0",
        "1;2",
        "é",
    ]
)
_ROW = st.one_of(
    st.lists(st.sampled_from(["1", "-0.25", "3e-5"]), min_size=6, max_size=6),
    st.lists(_CELLS, max_size=8),
)
#: CSV, as (rows, end of a line, codec, with a byte order mark).
TABLES = st.tuples(
    st.lists(_ROW, max_size=30),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.sampled_from(["utf-8", "utf-16", "latin1"]),
    st.booleans(),
)


def csv_of(table: tuple[list[list[str]], str, str, bool]) -> bytes:
    """The bytes of an example of `TABLES`."""
    rows, end, codec, mark = table
    text = end.join(",".join(row) for row in rows) + end
    return (b"\xef\xbb\xbf" if mark else b"") + text.encode(codec, "replace")


#: Nearly recipes.
RECIPES = st.one_of(
    st.dictionaries(
        st.sampled_from(["name", "bits", "weights", "activation_bits", "overrides", "other"]),
        st.one_of(
            ODD,
            st.sampled_from(["per_tensor", "per_channel", "int8", 8, 16]),
            st.dictionaries(
                st.sampled_from(["gru", "*", "classes/kernel", "[", "*/h_pre"]),
                st.dictionaries(
                    st.sampled_from(["weights", "percentile", "range", "x"]),
                    st.one_of(ODD, st.sampled_from(["per_channel", 99, [-1, 1], [-(10**400), 1], [0, 0], [-1, "1"]])),
                    max_size=3,
                ),
                max_size=2,
            ),
        ),
        max_size=4,
    ).map(json.dumps),
    st.recursive(ODD, lambda inner: st.lists(inner, max_size=3)).map(json.dumps),
    st.sampled_from(["[" * 5_000, "1" * 5000, "", "\ufeff{}", '{"bits": 8, "bits": 16}', "{'bits': 8}", "\0"]),
)
