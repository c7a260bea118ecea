"""The passes of an export, each with its docstring and, where it changes operators, graphs from real conversions."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import drawing

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "export" / "keras_gru_plus_export"
#: Kept from one build to the next, by the content of everything that a conversion depends on.
CACHE = ROOT / "build" / "docs"
#: Pictures of more operators than these say less than words.
MOST_OPERATORS = 26


def page() -> str:
    """All passes in the order in which `convert` runs them."""
    graphs = recorded()
    return "\n\n".join(_section(name, graphs.get(name)) for name in order())


def order() -> list[str]:
    """The passes by name, as their calls stand in convert.py; those of float files last."""
    tree = ast.parse((PACKAGE / "convert.py").read_text(encoding="utf-8"))
    modules = {
        alias.name: (node.module or "").removeprefix("passes.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("passes.")
        for alias in node.names
    }
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        calls = [node for node in ast.walk(functions[name]) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            called = call.func.id if isinstance(call.func, ast.Name) else ""
            if called in modules:
                found.setdefault(modules[called])
            elif called in functions and called.startswith("_"):
                visit(called)

    for start in ("_finish", "_finish_float"):
        visit(start)
    files = {file.stem: ast.parse(file.read_text(encoding="utf-8")) for file in (PACKAGE / "passes").glob("*.py")}
    # Those that another module calls have their function's name; the rest are helpers.
    others = [
        name
        for name, tree in sorted(files.items())
        if any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)
    ]
    return list(dict.fromkeys([*(name for name in found if name in files), *others]))


def _section(name: str, graphs: dict[str, Any] | None) -> str:
    text = ast.get_docstring(ast.parse((PACKAGE / "passes" / f"{name}.py").read_text(encoding="utf-8"))) or ""
    text = re.sub(r"\b(2)\^(-?\d+)", r"\1<sup>\2</sup>", text).replace("*", r"\*")
    return "\n\n".join(part for part in (f"### {name}", text, _pictures(graphs) if graphs else "") if part)


def _pictures(graphs: dict[str, Any]) -> str:
    """Each subgraph that the pass changed, before and after."""
    parts = []
    names = [_names(side) for side in (graphs["before"], graphs["after"])]
    for place, pair in enumerate(itertools.zip_longest(graphs["before"], graphs["after"])):
        name = next(names[side][place] for side in (1, 0) if pair[side])
        if not _worth_seeing(*pair) or "condition" in name:
            continue
        gone, new = drawing.changed(*pair) if all(pair) else (set(), set())
        sides = "".join(
            f"<div><p>{side}</p>{drawing.draw(graph, marked, f'{name} {side}')}</div>"
            for side, graph, marked in zip(("before", "after"), pair, (gone, new))
            if graph
        )
        parts.append(f'<figure class="passes"><figcaption>{name}: {_how(graphs)}</figcaption>{sides}</figure>')
    return "\n\n".join(parts)


def _names(graphs: list[dict[str, Any]]) -> list[str]:
    """What each subgraph is to the one that calls it."""
    roles = {
        "cond": "condition of the loop",
        "body": "body of the loop",
        "then": "called graph",
        "else": "called graph",
    }
    names = ["main graph"] * len(graphs)
    for graph in graphs:
        for op in graph["operators"]:
            for role, index in op["calls"].items():
                names[index] = roles[role[:4]]
    return names


def _worth_seeing(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    """Whether operators or ends differ, in a graph that is small enough; a loop alone is shown by its body."""
    sizes = [len(graph["operators"]) for graph in (before, after) if graph]
    if max(sizes) > MOST_OPERATORS:
        return False
    if before is None or after is None:
        return before is None and max(sizes) > 1
    gone, new = drawing.changed(before, after)
    others = [graph["operators"][i]["name"] for graph, places in ((before, gone), (after, new)) for i in places]
    return bool(set(others) - {"WHILE"}) or _types(before) != _types(after)


def _types(graph: dict[str, Any]) -> list[str]:
    return [graph["tensors"][i]["type"] for i in [*graph["inputs"], *graph["outputs"]]]


def _how(graphs: dict[str, Any]) -> str:
    options = {"variant": "mgu", "recipe": "int8", **graphs["conversion"]}
    variant = options.pop("variant")
    return f"{variant}, " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in options.items())


def recorded() -> dict[str, Any]:
    """What graphs.py records, in a process of its own; anew where sources or versions changed."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(
        [*PACKAGE.rglob("*.py"), *(ROOT / "keras_gru_plus").rglob("*.py"), Path(__file__).parent / "graphs.py"]
    ):
        digest.update(file.read_bytes())
    kept = CACHE / f"graphs-{digest.hexdigest()[:16]}.json"
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths.strip(os.pathsep), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = Path(folder) / "graphs.json"
            command = [sys.executable, str(Path(__file__).parent / "graphs.py"), str(made)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"Recording the passes failed:\n{done.stderr[-3000:]}")
            for old in CACHE.glob("graphs-*.json"):
                old.unlink()
            made.rename(kept)
    content: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return content
