"""Graphs of TFLite operators as SVG, coloured by the page's style sheet so that they suit light and dark mode."""

from __future__ import annotations

import collections
import difflib
from typing import Any
from xml.sax.saxutils import escape

WIDE, HIGH, GAP_X, GAP_Y = 6.6, 40, 18, 30
Graph = dict[str, Any]


def changed(before: Graph, after: Graph) -> tuple[set[int], set[int]]:
    """Operators of each graph that the other does not have, by position."""
    signatures = [[_signature(graph, op) for op in graph["operators"]] for graph in (before, after)]
    gone, new = set(range(len(signatures[0]))), set(range(len(signatures[1])))
    for block in difflib.SequenceMatcher(None, *signatures, autojunk=False).get_matching_blocks():
        gone -= set(range(block.a, block.a + block.size))
        new -= set(range(block.b, block.b + block.size))
    return gone, new


def _signature(graph: Graph, op: Graph) -> tuple[Any, ...]:
    return (op["name"], *(_label(graph, i) for i in [*op["inputs"], *op["outputs"]]))


def _label(graph: Graph, tensor: int) -> str:
    found = graph["tensors"][tensor]
    shape = "×".join(map(str, found["shape"])) or "1"
    return f"{found['type']} {shape}"


def draw(graph: Graph, marked: set[int], title: str) -> str:
    """One subgraph, top to bottom: a box for each operator with what it writes, pills for inputs and outputs.

    Args:
        graph: from `graphs.snapshot`.
        marked: operators to draw in colour, by position.
        title: what the picture shows, for those who do not see it.
    """
    nodes, edges = _nodes(graph)
    layers = _layers(nodes, edges)
    rows: list[list[int]] = [[] for _ in range(max(layers.values()) + 1)]
    for node, layer in layers.items():
        rows[layer].append(node)
    _order(rows, edges)
    widths = {node: WIDE * max(len(line) for line in lines) + 16 for node, (_, lines) in nodes.items()}
    total = max(sum(widths[n] for n in row) + GAP_X * (len(row) - 1) for row in rows)
    places: dict[int, tuple[float, float]] = {}
    for layer, row in enumerate(rows):
        x = (total - sum(widths[n] for n in row) - GAP_X * (len(row) - 1)) / 2
        for node in row:
            places[node] = (x + widths[node] / 2, layer * (HIGH + GAP_Y))
            x += widths[node] + GAP_X
    height = len(rows) * (HIGH + GAP_Y) - GAP_Y
    parts = [_curve(places[a], places[b]) for a, b in edges]
    for node, (kind, lines) in nodes.items():
        style = "changed" if kind == "operator" and node in marked else kind
        parts.append(_box(places[node], widths[node], lines, style))
    box = f"-2 -2 {total + 4:.0f} {height + 4:.0f}"
    size = f'style="width:{total + 4:.0f}px"'
    return f'<svg class="graph" role="img" aria-label="{escape(title)}" viewBox="{box}" {size}>{"".join(parts)}</svg>'


def _nodes(graph: Graph) -> tuple[dict[int, tuple[str, list[str]]], list[tuple[int, int]]]:
    """Boxes by number (operators by position, then inputs and outputs), and the arrows between them."""
    operators = graph["operators"]
    nodes: dict[int, tuple[str, list[str]]] = {}
    producer: dict[int, int] = {}
    for i, op in enumerate(operators):
        constants = [_label(graph, t) for t in op["inputs"] if graph["tensors"][t]["constant"]]
        second = ", ".join(dict.fromkeys(_label(graph, t) for t in op["outputs"])) or "–"
        if op["name"] == "GATHER" and constants and "256" in constants[0]:
            second += " from 256"
        nodes[i] = ("operator", [op["name"], second])
        producer |= dict.fromkeys(op["outputs"], i)
    edges: list[tuple[int, int]] = []
    for position, tensor in enumerate(graph["inputs"]):
        node = len(operators) + position
        nodes[node] = ("end", [f"in {position}", _label(graph, tensor)])
        producer[tensor] = node
    for i, op in enumerate(operators):
        edges += [(producer[t], i) for t in dict.fromkeys(op["inputs"]) if t in producer]
    for position, tensor in enumerate(graph["outputs"]):
        node = len(operators) + len(graph["inputs"]) + position
        nodes[node] = ("end", [f"out {position}", _label(graph, tensor)])
        if tensor in producer:
            edges.append((producer[tensor], node))
    return nodes, edges


def _layers(nodes: dict[int, Any], edges: list[tuple[int, int]]) -> dict[int, int]:
    """Each node one below the last of those that it reads; inputs just above their first reader."""
    layers = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for a, b in edges:
            layers[b] = max(layers[b], layers[a] + 1)
    sources = set(nodes) - {b for _, b in edges}
    for node in sources:
        below = [layers[b] for a, b in edges if a == node]
        layers[node] = min(below) - 1 if below else 0
    last = max(layers.values())
    sinks = {b for _, b in edges} - {a for a, _ in edges}
    return {node: last if node in sinks else layer for node, layer in layers.items()}


def _order(rows: list[list[int]], edges: list[tuple[int, int]]) -> None:
    """Sorts each row by where its neighbours are, down and up a few times, so that few arrows cross."""
    near: dict[int, list[int]] = collections.defaultdict(list)
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    for sweep in range(6):
        position = {node: (i + 0.5) / len(row) for row in rows for i, node in enumerate(row)}
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            row.sort(key=lambda node: sum(position[n] for n in near[node]) / max(1, len(near[node])))
            position |= {node: (i + 0.5) / len(row) for i, node in enumerate(row)}


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (u, v) = (start[0], start[1] + HIGH), end
    bend = max(12.0, (v - y) / 2)
    return f'<path class="edge" d="M{x:.1f},{y:.1f} C{x:.1f},{y + bend:.1f} {u:.1f},{v - bend:.1f} {u:.1f},{v:.1f}"/>'


def _box(place: tuple[float, float], width: float, lines: list[str], style: str) -> str:
    x, y = place
    corner = HIGH / 2 if style == "end" else 5
    texts = "".join(
        f'<text x="{x:.1f}" y="{y + 16 + 15 * i}" class="{"name" if i == 0 else "type"}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    box = f'<rect x="{x - width / 2:.1f}" y="{y}" width="{width:.1f}" height="{HIGH}" rx="{corner}"/>'
    return f'<g class="{style}">{box}{texts}</g>'
