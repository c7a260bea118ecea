"""Order of the work and places of the values: loops over elements, joins in place, memory used again."""

from __future__ import annotations

import dataclasses

from .graph import Graph
from .simplify import reachable
from .values import Binary, Constant, Given, Joined, Linear, Slice, Softmax, Unary, Value

Element = (Unary, Binary)


@dataclasses.dataclass(eq=False)
class Block:
    """Memory: part of the scratch (`name` is empty; `offset` is set at the end) or an end's array.

    Attributes:
        first, last: steps between which it is in use.
    """

    name: str
    size: int
    first: int = 1 << 30
    last: int = -1
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value begins, in a block."""

    block: Block
    start: int = 0


@dataclasses.dataclass(eq=False)
class Step:
    """One piece of work: a loop over `values`, one matrix product, softmax or join, or a copy `target ← source`."""

    values: list[Value]
    copies: list[tuple[Place, Value]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Steps in order, places of the values that are in memory, and the bytes of scratch."""

    steps: list[Step]
    places: dict[int, Place]
    scratch: int

    def place(self, value: Value) -> Place:
        """Where an element-by-element readable value is."""
        base, start, _ = resolve(value)
        found = self.places[id(base)]
        return Place(found.block, found.start + start)


def resolve(value: Value) -> tuple[Value, int, int]:
    """The value that a slice is of, where it begins and its step."""
    if isinstance(value, Slice):
        return value.source, value.start, value.step
    return value, 0, 1


def planned(graph: Graph) -> Plan:
    """The plan of a simplified graph."""
    return _Planner(graph).plan()


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values = reachable([value for _, value in (*graph.outputs, *graph.states)])
        self.steps: list[Step] = []
        self.at: dict[int, int] = {}
        self.places: dict[int, Place] = {}
        self.old: dict[str, Value] = {v.name: v for v in self.values if isinstance(v, Given) and v.state}

    def plan(self) -> Plan:
        for value in self.values:
            self._schedule(value)
        self.end = len(self.steps)
        self.readers = self._readers()
        self._place_ends()
        self._place_joins()
        self._place_rest()
        final = self._final_copies()
        scratch = self._layout()
        return Plan([*self.steps, *final], self.places, scratch)

    # -- order -------------------------------------------------------------------------------------

    def _schedule(self, value: Value) -> None:
        if isinstance(value, Linear | Softmax | Joined):
            self.at[id(value)] = len(self.steps)
            self.steps.append(Step([value]))
        elif isinstance(value, Element):
            ready = max(self._ready(operand, value.size) for operand in value.parents())
            for index in range(len(self.steps) - 1, ready - 1, -1):
                first = self.steps[index].values[0]
                if isinstance(first, Element) and first.size == value.size:
                    break
            else:
                index = len(self.steps)
                self.steps.append(Step([]))
            self.steps[index].values.append(value)
            self.at[id(value)] = index

    def _ready(self, operand: Value, size: int) -> int:
        """The first step that can use an operand."""
        base, _, _ = resolve(operand)
        if isinstance(base, Given | Constant):
            return 0
        same = base is operand and isinstance(base, Element) and base.size == size
        return self.at[id(base)] + (not same)

    def _readers(self) -> dict[int, list[tuple[int, bool]]]:
        """For each value the steps that read it from memory, and whether element by element from its start."""
        found: dict[int, list[tuple[int, bool]]] = {}
        for value in self.values:
            if isinstance(value, Slice):
                continue
            step = self.at.get(id(value), 0)
            for operand in value.parents():
                base, _, _ = resolve(operand)
                inside = base is operand and isinstance(base, Element) and self.at[id(base)] == step
                if not (inside and isinstance(value, Element)):
                    aligned = isinstance(value, Element) and base is operand
                    found.setdefault(id(base), []).append((step, aligned))
        for end, value in (*self.graph.outputs, *self.graph.states):
            base, _, _ = resolve(value)
            if base is not self.old.get(end.name):
                found.setdefault(id(base), []).append((self.end, False))
        return found

    # -- places ------------------------------------------------------------------------------------

    def _place_ends(self) -> None:
        for value in self.values:
            if isinstance(value, Given):
                self.places[id(value)] = Place(Block(value.name + ("" if value.state else " input"), value.size))
        for end, value in self.graph.states:
            old = self.old.get(end.name)
            if not isinstance(value, Linear | Softmax | Unary | Binary) or id(value) in self.places:
                continue
            step = self.at[id(value)]
            element = isinstance(value, Element)
            readers = [] if old is None else self.readers.get(id(old), [])
            if all(at < step or (at == step and aligned and element) for at, aligned in readers):
                block = Block(end.name, end.size) if old is None else self.places[id(old)].block
                self.places[id(value)] = Place(block)
        for end, value in self.graph.outputs:
            if not isinstance(value, Given | Slice | Constant) and id(value) not in self.places:
                self.places[id(value)] = Place(Block(end.name + " output", end.size))

    def _place_joins(self) -> None:
        earlier: list[Joined] = []
        for value in self.values:
            if not isinstance(value, Joined):
                continue
            step = self.at[id(value)]
            taken = self._taken_over(value, earlier)
            kept: set[int] = set()
            if id(value) not in self.places:
                block = Block("", value.size) if taken is None else self.places[id(taken)].block
                self.places[id(value)] = Place(block)
                if taken is not None:
                    kept = {index for index, one in enumerate(value.values) if _same_part(taken, value, index)}
            whole, start = self.places[id(value)], 0
            for index, one in enumerate(value.values):
                place = Place(whole.block, whole.start + start)
                start += one.size
                if index in kept:
                    continue
                if isinstance(one, Linear | Softmax | Unary | Binary) and id(one) not in self.places:
                    self.places[id(one)] = place
                    self._used(whole.block, self.at[id(one)])
                else:
                    self.steps[step].copies.append((place, one))
                    self._used(whole.block, step)
            for at, _ in self.readers.get(id(value), []):
                self._used(whole.block, at)
            self._used(whole.block, step)
            for one in value.values:
                if id(one) in self.places and self.places[id(one)].block is whole.block:
                    for at, _ in self.readers.get(id(one), []):
                        self._used(whole.block, at)
            earlier.append(value)

    def _taken_over(self, value: Joined, earlier: list[Joined]) -> Joined | None:
        """A join whose memory is free again before this one is written, and which has a part that this one has."""
        written = [self.at[id(one)] for one in value.values if id(one) in self.at and id(one) not in self.places]
        first = min([self.at[id(value)], *written])
        for other in reversed(earlier):
            block = self.places[id(other)].block
            free = not block.name and block.size == value.size and block.last < first
            if free and any(_same_part(other, value, index) for index in range(len(value.values))):
                return other
        return None

    def _place_rest(self) -> None:
        for value in self.values:
            needed = isinstance(value, Linear | Softmax | Unary | Binary) and id(value) in self.readers
            if needed and id(value) not in self.places:
                block = Block("", value.size)
                self.places[id(value)] = Place(block)
                self._used(block, self.at[id(value)])
                for at, _ in self.readers[id(value)]:
                    self._used(block, at)

    @staticmethod
    def _used(block: Block, step: int) -> None:
        block.first, block.last = min(block.first, step), max(block.last, step)

    def _final_copies(self) -> list[Step]:
        """Copies to outputs, then to states: none overwrites what another still reads."""
        waiting = []
        for kind, ends in (("output", self.graph.outputs), ("state", self.graph.states)):
            for end, value in ends:
                base, start, _ = resolve(value)
                name = end.name if kind == "state" else f"{end.name} output"
                there = self.places.get(id(base))
                if there is None or (there.block.name, there.start + start) != (name, 0):
                    waiting.append((Place(Block(name, end.size)), value))
        done = []
        while waiting:
            sources = [resolve(value)[0] for _, value in waiting]
            free = next(
                (
                    index
                    for index, (target, value) in enumerate(waiting)
                    if not any(
                        isinstance(source, Given) and source.state and source.name == target.block.name
                        for other, source in enumerate(sources)
                        if other != index
                    )
                ),
                None,
            )
            if free is None:
                raise ValueError("Expected states that do not change places with each other, got such")
            done.append(Step([], [waiting.pop(free)]))
        return done

    def _layout(self) -> int:
        """Offsets of the scratch blocks, the large ones first, so that none overlaps one in use at its time."""
        blocks = list({id(p.block): p.block for p in self.places.values() if not p.block.name}.values())
        placed: list[Block] = []
        for block in sorted(blocks, key=lambda one: -one.size):
            near = [b for b in placed if b.first <= block.last and block.first <= b.last]
            candidates = sorted([0, *(b.offset + b.size for b in near)])
            block.offset = next(
                offset
                for offset in candidates
                if all(offset + block.size <= b.offset or b.offset + b.size <= offset for b in near)
            )
            placed.append(block)
        return max((block.offset + block.size for block in placed), default=0)


def _same_part(one: Joined, other: Joined, index: int) -> bool:
    """Whether part `index` of `other` is a part of `one` at the same place; only what was copied stays as it was."""
    place, start = 0, sum(value.size for value in other.values[:index])
    for value in one.values:
        if place == start:
            return resolve(value) == resolve(other.values[index]) and value.size == other.values[index].size
        place += value.size
    return False
