"""What the catalogue says of a variant, against built layers and hand counts."""

import json

import pytest
from layers import NAMES, sizes
from typer.testing import CliRunner

import keras_gru_plus as kgp
from keras_gru_plus.catalogue import facts, plain
from keras_gru_plus.cli import app


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_states_are_those_of_a_layer(name):
    features, units = sizes(name)
    one = facts(kgp.variants.get(name), features, units)
    layer = kgp.GRUPlus(units, variant=name)
    layer.build((None, None, features))
    assert one.parameters == layer.count_params()
    assert list(one.states) == list(layer.state_size)
    assert one.equations, "a variant shows its equations"
    assert not any("\\" in equation for equation in one.equations), one.equations
    assert one.summary.endswith((".", ";"))
    assert one.source


@pytest.mark.parametrize(
    ("variant", "multiplies"),
    [
        ("mgu", 2 * (5 * 7 + 7 * 7) + 4 * 7),  # f h, then three of the interpolation
        ("gru", 3 * (5 * 7 + 7 * 7) + 5 * 7),  # r U h, its sum, three
        ({"name": "mgu", "rank": 2}, (5 * 2 + 2 * 14 + 2 * 7 * 7) + 4 * 7),
    ],
)
def test_multiplies_are_those_of_a_step(variant, multiplies):
    assert facts(kgp.variants.get(variant), 5, 7).multiplies == multiplies


def test_the_command_lists_all_and_shows_one():
    result = CliRunner().invoke(app, ["variants", "--json", "--features", "9", "--units", "8"])
    assert result.exit_code == 0
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert list(found) == list(kgp.VARIANTS)
    assert found["qrnn"]["scan"]
    assert found["mingru"]["bound"] is None  # linear by default
    shown = CliRunner().invoke(app, ["variants", "fastgrnn"])
    assert "h' = (ζ (1 - z) + ν) · c + z · h" in shown.stdout
    assert "Kusupati" in shown.stdout
    table = CliRunner().invoke(app, ["variants"], terminal_width=200)
    assert all(name in table.stdout for name in kgp.VARIANTS)


def test_bad_sizes_and_names_are_one_message(capfd):
    for arguments, message in (
        (["variants", "lstm"], "`variant` to be one of gru"),
        (["variants", "mgu", "--units", "0"], "`features` and `units` to be 1 or more"),
        (["variants", "grud", "--features", "4"], "values, as many mask columns"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert message in " ".join((result.stderr + capfd.readouterr().err).split())


def test_formulas_become_text():
    assert plain(r"z = \sigma(W_z x + b_z) \odot \sqrt{1 + 2 e^{-2}}") == "z = σ(W_z x + b_z) · √(1 + 2 e^(-2))"
