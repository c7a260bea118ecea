"""What the documentation generates: commands, formulas, graphs. `make docs` builds the rest, strictly."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keras_gru_plus import cells, cli

BUILD = Path(__file__).parent.parent / "docs" / "build"


@pytest.fixture
def part(monkeypatch):
    """A module of the documentation's build by its name."""
    monkeypatch.syspath_prepend(BUILD)
    return importlib.import_module


def graph(operators: list[tuple[str, list[int], int]], shapes: list[str], inputs: list[int]) -> dict[str, Any]:
    """A graph as `graphs.snapshot` gives it; an operator is name, inputs and output."""
    return {
        "inputs": inputs,
        "outputs": [operators[-1][2]],
        "tensors": [{"type": kind, "shape": [1, 4], "constant": False} for kind in shapes],
        "operators": [{"name": name, "inputs": reads, "outputs": [output]} for name, reads, output in operators],
    }


def test_the_commands_have_all_options_that_help_shows(part):
    page = part("commands").page()
    for name, text in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE):
        shown = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        options = set(re.findall(r"--[a-z][a-z-]+", shown)) - {"--help"}
        assert options, name
        assert not [option for option in options if option not in text], name


def test_every_formula_of_the_variants_becomes_mathml(part):
    mathml = part("mathml")
    for name, cell in cells.VARIANTS.items():
        formulas = re.findall(r"\$\$(.+?)\$\$", cell.__doc__ or "", re.DOTALL)
        assert formulas, name
        for formula in formulas:
            made = mathml.mathml(formula, "block")
            assert "\\" not in made, (name, made)  # what the converter does not know it leaves as it is
            assert made.startswith("<math")
    assert "prime" in mathml.mathml("h' = z", "inline")


def test_colour_marks_what_a_pass_replaced(part):
    drawing = part("drawing")
    before = graph([("FULLY_CONNECTED", [0], 1), ("LOGISTIC", [1], 2), ("MUL", [2, 0], 3)], ["int8"] * 4, [0])
    after = graph(
        [
            ("FULLY_CONNECTED", [0], 1),
            ("CAST", [1], 2),
            ("ADD", [2], 3),
            ("GATHER", [3], 4),
            ("MUL", [4, 0], 5),
        ],
        ["int8", "int8", "int32", "int32", "int8", "int8"],
        [0],
    )
    assert drawing.changed(before, after) == ({1}, {1, 2, 3})
    assert drawing.changed(before, before) == (set(), set())


def test_boxes_of_a_picture_do_not_lie_on_each_other(part):
    operators = [(f"OPERATOR_{i}", [0, 1], 2 + i) for i in range(4)]
    operators += [("CONCATENATION", [2, 3, 4, 5, 0], 6), ("ADD", [6, 0], 7)]
    picture = part("drawing").draw(graph(operators, ["int8"] * 8, [0, 1]), {4}, "a test")
    box = r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)"'
    boxes = [tuple(map(float, found)) for found in re.findall(box, picture)]
    assert len(boxes) == len(operators) + 2 + 1
    for (x, y, width, height), (u, v, other, _) in itertools.combinations(boxes, 2):
        assert y + height < v or v + height < y or x + width < u or u + other < x
    assert picture.count('class="changed"') == 1
