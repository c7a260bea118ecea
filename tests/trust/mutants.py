"""Single deliberate errors in a source file, as the whole text of the file with the error in it.

Every error is one that a person could make: a sign, a constant, a swapped pair, a left-out step, a negated condition.
What no equation, no rewrite and no refusal depends on is left alone: names of taps and tensors, texts, annotations.
"""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Rewrite = Callable[[Any], ast.AST]


class Mutant(NamedTuple):
    """One error.

    Attributes:
        path: of the file, relative to the root.
        scope: class and function that hold it, "MGU.step".
        line: where it is.
        error: what was there, and what is there now.
        make: gives the file's text with the error.
    """

    path: str
    scope: str
    line: int
    error: str
    make: Callable[[], str]

    def __str__(self) -> str:
        return f"{self.path}, {self.scope}: {self.error}"


def mutants(path: str, source: str, points: Callable[[ast.AST], Iterator[Rewrite]]) -> list[Mutant]:
    """Every error that `points` offers for some node of the file, in the order of its lines.

    Args:
        path: to name the file.
        source: its text.
        points: for a node the rewrites of it, each of which may change the node (a copy) and returns what comes in
            its place.
    """
    tree = ast.parse(source)
    scopes, found = _scopes(tree), []
    for number, node in enumerate(ast.walk(tree)):
        if number not in scopes:
            continue
        before, seen = ast.unparse(node), set()
        for rewrite in points(node):
            after = ast.unparse(rewrite(copy.deepcopy(node)))
            if after != before and after not in seen:
                seen.add(after)
                make = functools.partial(_rewritten, source, number, rewrite)
                error = f"{_short(before)} → {_short(after)}"
                found.append(Mutant(path, scopes[number], node.lineno, error, make))  # type: ignore[attr-defined]
    return sorted(found, key=lambda mutant: mutant.line)


def _scopes(tree: ast.Module) -> dict[int, str]:
    """Number in `ast.walk` → scope, of the nodes that may be changed."""
    scope: dict[int, str] = {}

    replaced = _replaced_types(tree)

    def visit(node: ast.AST, name: str) -> None:
        if _fixed(node) or id(node) in replaced:
            return
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = f"{name}.{node.name}".lstrip(".")
        scope[id(node)] = name
        for field, value in ast.iter_fields(node):
            # The values of a message stand in for its text.
            if field in ("annotation", "returns", "decorator_list", "bases", "exc", "msg"):
                continue
            # The second of what has one entry: an error that runs into an exception and tests nothing.
            if field == "slice" and isinstance(value, ast.Constant):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, name)

    visit(tree, "")
    return {
        number: scope[id(node)]
        for number, node in enumerate(ast.walk(tree))
        if id(node) in scope and hasattr(node, "lineno")
    }


def _replaced_types(tree: ast.Module) -> set[int]:
    """Ids of the shapes and types given to `add_tensor` that `set_constant` replaces by the constant's."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        set_ones = {ast.unparse(call.args[1]) for call in calls if _called(call) == "set_constant"}
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and _called(node.value) == "add_tensor"
            ):
                graph, _, shape, kind = node.value.args[:4]
                if f"{ast.unparse(graph)}.tensors[{ast.unparse(node.targets[0])}]" in set_ones:
                    found |= {id(shape), id(kind)}
    return found


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _fixed(node: ast.AST) -> bool:
    """Whether nothing in it is part of what the code computes: imports, docstrings, declared names."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    targets = (
        node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    )
    return any(isinstance(target, ast.Name) and target.id in ("source", "__all__") for target in targets)


def _rewritten(source: str, number: int, rewrite: Rewrite) -> str:
    """The text with the rewrite at one node, by its number in `ast.walk`."""
    tree = ast.parse(source)
    node = next(node for i, node in enumerate(ast.walk(tree)) if i == number)
    parent, field, place = _place(tree, node)
    new = rewrite(node)
    if place is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[place] = new
    return ast.unparse(ast.fix_missing_locations(tree))


def _place(tree: ast.AST, node: ast.AST) -> tuple[ast.AST, str, int | None]:
    """The parent of a node, and where it is there."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                return parent, field, None
            if isinstance(value, list):
                for place, each in enumerate(value):
                    if each is node:
                        return parent, field, place
    raise AssertionError("a node outside the tree")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 110 else f"{line[:80]} … {line[-26:]}"


# -- errors of any code ----------------------------------------------------------------------------

_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_ARITHMETIC |= {ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult}
_OPPOSITE = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn}
_OPPOSITE |= {ast.NotIn: ast.In, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt}
_ONE_OFF = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def general(node: ast.AST) -> Iterator[Rewrite]:
    """Errors of any code: signs, constants, conditions, left-out statements."""
    if isinstance(node, ast.BinOp):
        yield from _binary(node)
    elif isinstance(node, ast.Compare):
        for table in (_OPPOSITE, _ONE_OFF):
            for place, operator in enumerate(node.ops):
                if type(operator) in table:
                    yield lambda n, p=place, t=table: _set_item(n, "ops", p, t[type(n.ops[p])]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield lambda n: n.operand
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield lambda n: ast.Constant(not n.value)
        elif isinstance(node.value, int):
            yield lambda n: ast.Constant(n.value + 1)
        elif isinstance(node.value, float):
            yield lambda n: ast.Constant(n.value + 0.5)
    elif isinstance(node, ast.IfExp):
        yield lambda n: ast.IfExp(test=n.test, body=n.orelse, orelse=n.body)
    elif (
        isinstance(node, ast.Raise | ast.AugAssign)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        or (isinstance(node, ast.Assign) and any(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets))
    ):
        yield lambda n: ast.Pass()
    yield from _negated_condition(node)


def _binary(node: ast.BinOp) -> Iterator[Rewrite]:
    joined = any(isinstance(end, ast.List | ast.ListComp | ast.Set | ast.Tuple) for end in (node.left, node.right))
    if type(node.op) in _ARITHMETIC and not joined:
        yield lambda n: ast.BinOp(n.left, _ARITHMETIC[type(n.op)](), n.right)
    else:  # of lists, sets and mappings one is left out
        yield lambda n: n.left
        yield lambda n: n.right


def _negated_condition(node: ast.AST) -> Iterator[Rewrite]:
    """Negates a condition that is no comparison (those have their own rewrites)."""
    fields = {ast.If: "test", ast.While: "test", ast.IfExp: "test"}
    for kind, field in fields.items():
        if isinstance(node, kind) and _plain(getattr(node, field)):
            yield lambda n, f=field: _set(n, f, ast.UnaryOp(ast.Not(), getattr(n, f)))
    lists = {ast.BoolOp: "values", ast.comprehension: "ifs"}
    for kind, field in lists.items():
        if isinstance(node, kind):
            for place, value in enumerate(getattr(node, field)):
                if _plain(value):
                    yield lambda n, f=field, p=place: _set_item(n, f, p, ast.UnaryOp(ast.Not(), getattr(n, f)[p]))


def _plain(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.NamedExpr)


def _set(node: Any, field: str, value: Any) -> Any:
    setattr(node, field, value)
    return node


def _set_item(node: Any, field: str, place: int, value: Any) -> Any:
    getattr(node, field)[place] = value
    return node


# -- errors of cells -------------------------------------------------------------------------------

#: Class attributes that list gates in the order of a weight's columns, or that say what the gates do.
_GATES = ("kernel", "recurrent_kernel", "recurrent_vector", "bias", "recurrent_bias", "mask_kernel")
_ROLES = ("keep_gates", "write_gates")


def of_cells(node: ast.AST) -> Iterator[Rewrite]:
    """Errors of an equation: terms, operands, gates and activations that are swapped or left out; and `general`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _name(node.func.value) == "a":
        yield from _operation(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        yield from _declaration(node)
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        taken_apart = isinstance(target, ast.Tuple) and len(target.elts) > 1
        if taken_apart and all(isinstance(e, ast.Name) for e in target.elts[:2]):
            yield lambda n: _set(n.targets[0], "elts", [*n.targets[0].elts[1::-1], *n.targets[0].elts[2:]]) and n
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        states = node.value.elts[1]
        if isinstance(states, ast.Tuple) and len(states.elts) > 1:
            yield (
                lambda n: (
                    _set(n.value.elts[1], "elts", [*n.value.elts[1].elts[1::-1], *n.value.elts[1].elts[2:]]) and n
                )
            )
    yield from general(node)


def _operation(node: ast.Call) -> Iterator[Rewrite]:
    kind = node.func.attr  # type: ignore[attr-defined]
    other = {"add": "sub", "sub": "add", "mul": "add", "gate": "candidate", "candidate": "gate"}.get(kind)
    if other:
        yield lambda n: _set(n.func, "attr", other) and n
    if kind in ("gate", "candidate"):  # no activation
        yield lambda n: _settled(n.args[1])
    if kind in ("sub", "interpolate"):  # the wrong way round: of a gate z it is 1 - z
        yield lambda n: _set(n, "args", [*n.args[:-2], *n.args[:-3:-1]] if n.func.attr == "sub" else _crossed(n.args))
    if kind in ("add", "sub", "mul", "gated", "state", "interpolate"):
        first = 2 if kind == "interpolate" else 1
        for kept in (first, first + 1):
            yield lambda n, k=kept: _settled(n.args[k])
    if kind == "linear":
        yield from _linear(node)


def _crossed(arguments: list[ast.expr]) -> list[ast.expr]:
    return [*arguments[:2], arguments[3], arguments[2], *arguments[4:]]


def _settled(value: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("a", ast.Load()), "settle", ast.Load()), [value], [])


def _linear(node: ast.Call) -> Iterator[Rewrite]:
    """A missing operand, or the columns of the gates in another order."""
    operands = len(node.args) - 2 + len(node.keywords)
    for place in range(2, len(node.args)):
        if operands > 1:
            yield lambda n, p=place: _set_item(n, "args", p, ast.Constant(None))
    for place in range(len(node.keywords)):
        if operands > 1:
            yield lambda n, p=place: _set(n, "keywords", [*n.keywords[:p], *n.keywords[p + 1 :]])
    gates = node.args[1]
    if isinstance(gates, ast.Tuple) and len(gates.elts) > 1:
        yield lambda n: _set(n.args[1], "elts", n.args[1].elts[::-1]) and n
    window = next((k.value for k in node.keywords if isinstance(k.value, ast.Tuple)), None)
    if window is not None:
        yield lambda n: next(_set(k.value, "elts", k.value.elts[::-1]) for k in n.keywords) and n


def _declaration(node: ast.Assign | ast.AnnAssign) -> Iterator[Rewrite]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names, value = [_name(target) for target in targets], node.value
    if isinstance(value, ast.Tuple) and set(names) & {*_GATES}:
        if len(value.elts) > 1:
            yield lambda n: _set(n.value, "elts", n.value.elts[::-1]) and n
        if {*_GATES} >= {*names} and len(names) > 1:  # one of the weights without the last gate
            yield lambda n: _set(n.value, "elts", n.value.elts[:-1]) and n
    if isinstance(value, ast.Tuple) and value.elts and set(names) & {*_ROLES}:
        yield lambda n: _set(n.value, "elts", []) and n
    if isinstance(value, ast.Tuple) and len(value.elts) > 1 and set(names) & {"states", "frozen"}:
        yield lambda n: _set(n.value, "elts", n.value.elts[::-1]) and n
    if isinstance(value, ast.Dict) and "offsets" in names:
        yield lambda n: _set(n, "value", ast.Dict([], []))
    if "bound" in names and isinstance(value, ast.Constant):
        yield lambda n: _set(n, "value", ast.Constant(1.0 if n.value.value is None else None))
    if isinstance(value, ast.Constant) and {"activation", "recurrent_activation"} & set(names):
        yield lambda n: _set(n, "value", ast.Constant("hard_sigmoid" if n.value.value != "hard_sigmoid" else "tanh"))


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


# -- errors of passes ------------------------------------------------------------------------------


def of_passes(node: ast.AST) -> Iterator[Rewrite]:
    """Wrong operators, types, scales and zero points, and `general`."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        if _name(node.value) == "OP":
            yield lambda n: _set(n, "attr", "MUL" if n.attr == "ADD" else "ADD")
        elif _name(node.value) == "TYPE":
            yield lambda n: _set(
                n, "attr", {"INT8": "INT16", "INT32": "INT64", "FLOAT32": "FLOAT16"}.get(n.attr, "INT8")
            )
        elif node.attr == "scale":
            yield lambda n: ast.BinOp(n, ast.Mult(), ast.Constant(2.0))
        elif node.attr == "zero_point":
            yield lambda n: ast.BinOp(n, ast.Add(), ast.Constant(1))
        elif node.attr in ("scales", "zero_points"):
            yield lambda n: ast.Subscript(n, ast.Slice(None, ast.Constant(0), None), ast.Load())
    if isinstance(node, ast.Constant) and node.value in _KINDS:
        yield lambda n: ast.Constant("ADD" if n.value != "ADD" else "MUL")
    yield from general(node)


_KINDS = ("RESHAPE", "QUANTIZE", "DEQUANTIZE", "LESS", "ADD", "CONCATENATION", "STRIDED_SLICE", "GATHER")
