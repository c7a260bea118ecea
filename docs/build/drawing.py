"""Graphs of TFLite operators as SVG, coloured by the page's style sheet so that they suit light and dark mode."""

from __future__ import annotations

import collections
import difflib
import itertools
from typing import Any
from xml.sax.saxutils import escape

#: Of a letter, of a box, between boxes and between layers, and of an arrow that passes a layer; in pixels.
WIDE, HIGH, GAP_X, GAP_Y, LANE = 7.0, 38, 14, 22, 10
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
    paths = _paths(edges, layers)
    links = list(dict.fromkeys(link for path in paths for link in itertools.pairwise(path)))
    rows: list[list[int]] = [[] for _ in range(max(layers.values()) + 1)]
    for node, layer in layers.items():
        rows[layer].append(node)
    _order(rows, links)
    widths = dict.fromkeys(layers, float(LANE))
    widths |= {node: WIDE * max(len(line) for line in lines) + 16 for node, (_, lines) in nodes.items()}
    centers = _centers(rows, widths, links)
    left = min(centers[node] - widths[node] / 2 for node in centers)
    total = max(centers[node] + widths[node] / 2 for node in centers) - left
    places = {node: (centers[node] - left, layers[node] * (HIGH + GAP_Y)) for node in centers}
    height = len(rows) * (HIGH + GAP_Y) - GAP_Y
    parts = [_arrow(places[a], places[b]) for a, b in links]
    parts += [_lane(places[node]) for node in layers if node not in nodes]
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


def _paths(edges: list[tuple[int, int]], layers: dict[int, int]) -> list[list[int]]:
    """Each arrow with a node in every layer that it passes, added to `layers`; arrows of one box share a lane."""
    lanes: dict[tuple[int, int], int] = {}
    paths = []
    for a, b in edges:
        path = [a]
        for layer in range(layers[a] + 1, layers[b]):
            if (a, layer) not in lanes:
                lanes[a, layer] = len(layers)
                layers[len(layers)] = layer
            path.append(lanes[a, layer])
        paths.append([*path, b])
    return paths


def _neighbours(links: list[tuple[int, int]]) -> dict[int, list[int]]:
    near: dict[int, list[int]] = collections.defaultdict(list)
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    return near


def _order(rows: list[list[int]], links: list[tuple[int, int]]) -> None:
    """Sorts each row by where its neighbours are, down and up a few times, so that few arrows cross."""
    near = _neighbours(links)
    for sweep in range(12):
        position = {node: (i + 0.5) / len(row) for row in rows for i, node in enumerate(row)}
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            row.sort(key=lambda node: sum(position[n] for n in near[node]) / max(1, len(near[node])))
            position |= {node: (i + 0.5) / len(row) for i, node in enumerate(row)}


def _centers(rows: list[list[int]], widths: dict[int, float], links: list[tuple[int, int]]) -> dict[int, float]:
    """Across the picture: each node near the middle of its neighbours, none over another."""
    lanes = {node for node in widths if widths[node] == LANE}
    straight = [link for link in links if lanes >= set(link)]
    near = _neighbours([*links, *straight * 5])  # a lane is to be straight first of all
    centers: dict[int, float] = {}
    for row in rows:
        x = -sum(widths[node] + GAP_X for node in row) / 2
        for node in row:
            centers[node] = x + widths[node] / 2
            x += widths[node] + GAP_X
    for sweep in range(24):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = [sum(centers[n] for n in near[node]) / max(1, len(near[node])) for node in row]
            forward, backward = list(wanted), list(wanted)
            for i in range(1, len(row)):
                apart = (widths[row[i - 1]] + widths[row[i]]) / 2 + GAP_X
                forward[i] = max(forward[i], forward[i - 1] + apart)
            for i in reversed(range(len(row) - 1)):
                apart = (widths[row[i]] + widths[row[i + 1]]) / 2 + GAP_X
                backward[i] = min(backward[i], backward[i + 1] - apart)
            centers |= {node: (a + b) / 2 for node, a, b in zip(row, forward, backward, strict=True)}
    return centers


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From below a box or lane to above the next."""
    (x, y), (u, v), bend = (start[0], start[1] + HIGH), end, GAP_Y / 2 + 4
    return f'<path class="edge" d="M{x:.1f},{y} C{x:.1f},{y + bend} {u:.1f},{v - bend} {u:.1f},{v}"/>'


def _lane(place: tuple[float, float]) -> str:
    """Past the boxes of one layer."""
    return f'<path class="edge" d="M{place[0]:.1f},{place[1]} v{HIGH}"/>'


def _box(place: tuple[float, float], width: float, lines: list[str], style: str) -> str:
    x, y = place
    corner = HIGH / 2 if style == "end" else 5
    texts = "".join(
        f'<text x="{x:.1f}" y="{y + 16 + 14 * i}" class="{"name" if i == 0 else "type"}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    box = f'<rect x="{x - width / 2:.1f}" y="{y}" width="{width:.1f}" height="{HIGH}" rx="{corner}"/>'
    return f'<g class="{style}">{box}{texts}</g>'
