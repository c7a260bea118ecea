import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from keras_gru_plus_export import contents
from keras_gru_plus_export.analyze import Analysis, GraphInfo, Loop, OperatorCount, OperatorInfo, TensorInfo
from keras_gru_plus_export.html import render
from keras_gru_plus_export.report import SCHEMA_VERSION, File, Report, Stage, TapRange
from keras_gru_plus_export.results import Equality, Result, Verification
from keras_gru_plus_export.terminal import show_analysis, show_report
from keras_gru_plus_export.tflite import Grid

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = '<script>alert("$x$ & [bold]")</script>'
TFLM = "0.dev20261023182759"


def tensor(name, *shape, type="int8", grid=None, subgraph=0):
    return TensorInfo(name, type, shape, grid, subgraph=subgraph)


def analysis(**changes):
    x = tensor("x", 1, 28, 28, grid=Grid((0.0429717,), (0,)))
    y = tensor("classes", 1, 2, grid=Grid((0.00390625,), (-128,)))
    weights = tensor("w", 2, 28, grid=Grid((0.0125, 0.0375), (0, 0)))
    dense = OperatorInfo("FULLY_CONNECTED", (x, weights, None), (y,), 1792)
    gate = OperatorInfo("LOGISTIC", (y,), (y,), 0)
    values = {
        "file_bytes": 8464,
        "weight_bytes": 4276,
        "table_bytes": 256,
        "other_bytes": 3932,
        "macs": 107_680,
        "loops": (Loop(0, 2, 28, 3840),),
        "inputs": (x,),
        "outputs": (y,),
        "resource_variables": 3,
        "float_tensors": (),
        "float_io": (),
        "operators": (
            OperatorCount(0, "FULLY_CONNECTED", ("int8", "int8", "-"), ("int8",), 1),
            OperatorCount(2, "LOGISTIC", ("int8",), ("int8",), 12),
        ),
        "graphs": (GraphInfo(0, "main", (dense,)), GraphInfo(2, "WHILE body", (gate,))),
    }
    return Analysis(**{**values, **changes})


def report(**changes):
    results = [
        Result("float", "3.15.1", 2000, 0.8465, 0.9931, 7, 0.447),
        Result("fake_quant", "3.15.1", 2000, 0.8431),
        Result("litert", "2.3.0", 2000, 0.8305, 0.9825, 2, 0.303, 0.5),
        Result("tflm", TFLM, 2000, 0.8425, 0.9875, 3, 0.351, 1.5),
        Result("tflite-runtime", reason="not installed"),
    ]
    equalities = [Equality(runtime, "step", "sequence", 16, 0) for runtime in ("litert", "tflm")]
    confusion = {"float": [[901, 102], [205, 792]], "litert": [[903, 100], [239, 758]]}
    layers = [
        {"name": "gru", "class": "GRUPlus", "variant": "mgu", "units": 32, "parameters": 3904},
        {"name": "classes", "class": "Dense", "activation": {"class_name": "HardSigmoid", "config": {"slope": 0.25}}},
    ]
    values = {
        "title": "wake word",
        "model": {"name": "wake", "parameters": 4069, "layers": layers},
        "recipe": {"name": "int8", "bits": 8, "weights": "per_tensor"},
        "target": "litert",
        "io": "int8",
        "files": [File("model.tflite", "sequence", analysis(), 6416, "e18a" * 16)],
        "verification": Verification("accuracy", "evaluation", results, equalities, confusion),
        "taps": [
            TapRange("x/input", "learned", -20.0, 19.84375, 0.15625, 0, -25.6, 12.25),
            TapRange("gru/z", "gate", 0.0, 0.99609375, 0.00390625, -128),
            TapRange("gru/h_diff", "learned", -0.01, 0.009921875, 0.000078125, 0, -0.005, 0.004),
            TapRange("x/last", "unit", -1.0, 0.9921875, 0.0078125, 0),
        ],
        "labels": ["quiet", "wake"],
        "stages": [Stage("float", 0.8465, "30 epochs"), Stage("calibrated", 0.8112), Stage("fine-tuned", 0.8431)],
        "warnings": ["On litert the int8 file loses 1.6 points."],
        "versions": {"python": "3.11.7", "tflite-micro": TFLM},
    }
    return Report(**{**values, **changes})


def regression():
    results = [
        Result("float", "3.15.1", 50, 0.012344, 1.0, 1, 0.1),
        Result("fake_quant", "3.15.1", 50, 0.0124),
        Result("litert", "2.3.0", 50, 0.01251, 0.98, 2, 0.25),
    ]
    return report(verification=Verification("mae", "calibration", results, [], {}), stages=[], labels=None)


#: Figures of the tables, as a person would write them, that both terminal and page show.
FIGURES = [
    "wake word", "4,069", "84.65 %", "84.31 %", "-0.34", "83.05 %", "-1.60", "98.25 %", "98.75 %", "84.25 %", "-0.40",
    "99.31 %", TFLM, "2.3.0", "not installed", "81.12 %", "-3.53", "30 epochs", "8.46", "4.28", "4.19", "107,680",
    "6.42", "step = sequence on litert, tflm: 16 samples, 0 differing", "On litert the int8 file loses 1.6 points.",
]  # fmt: skip
#: Figures that only the page has room for.
PAGE_FIGURES = [
    "0.303", "0.351", "901", "758", "0.0429717", "-128", "0.15625", "-25.6 … 12.2", "128 %", "50 %", "7.8125e-05",
    "3,904", "HardSigmoid(slope=0.25)", "WHILE body × 28", "e18a" * 16, "12", "3.11.7", "1 × 28 × 28", "2,000",
]  # fmt: skip

#: What `inspect` says about a file.
INSPECTED = [
    "8,464 bytes = 4,276 weights + 256 tables + 3,932 rest", "107,680 per invoke", "3 kept between invokes", "-128",
    "28 iterations of subgraph 2, 3,840 MACs each", "1 × 28 × 28", "0.0429717", "int8, int8, -", "WHILE body × 28",
    "no float tensors",
]  # fmt: skip


def printed(show, *arguments, width=80, **keywords):
    file = io.StringIO()
    show(*arguments, Console(file=file, width=width), **keywords)
    return file.getvalue()


class Page(HTMLParser):
    """Fails on tags that do not match, and collects what the tests ask about."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"<{tag}> repeats an attribute"
        self.links += [attributes[key] for key in ("src", "href", "xlink:href") if key in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def test_json_round_trip():
    whole = report()
    plain = json.loads(whole.json_text())
    assert next(iter(plain)) == "schema_version"
    assert plain["schema_version"] == SCHEMA_VERSION
    assert plain == json.loads(json.dumps(whole.to_json()))
    assert set(plain) == {"schema_version", *(field.name for field in dataclasses.fields(Report))}
    assert Stage(**plain["stages"][1]) == whole.stages[1]
    assert [TapRange(**tap) for tap in plain["taps"]] == whole.taps
    assert [Result(**row) for row in plain["verification"]["results"]] == whole.verification.results
    assert plain["files"][0]["analysis"]["inputs"][0]["grid"]["scales"] == [0.0429717]


def test_files_that_are_added_to_a_bundle_are_named_too(tmp_path):
    first = contents.write(tmp_path, report(), {"model.tflite": b"model"})
    second = contents.write(tmp_path, first, {"more/float.keras": b"weights"})
    assert list(second.outputs) == ["model.tflite", "more/float.keras", "report.html"]
    assert contents.check(tmp_path) == (json.loads(second.json_text()), [])


def test_page_shows_every_figure():
    text = Page(render(report())).text.replace("−", "-")
    assert not [figure for figure in FIGURES + PAGE_FIGURES if figure not in text]


def test_page_is_well_formed_and_needs_nothing_else():
    html = render(report())
    page = Page(html)
    assert page.tags.count("svg") == 3
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", re.sub(r' xmlns(:\w+)?="[^"]*"', "", html))


def test_page_has_the_same_bytes_for_the_same_report():
    assert render(report()) == render(report())


def test_pictures_take_their_colours_from_the_page():
    for svg in re.findall(r"<svg.*?</svg>", render(report()), re.DOTALL):
        assert "var(--" in svg
        assert "#0101" not in svg
        # What no style sets is drawn in black, which dark mode does not show.
        assert not re.search(r"#[0-9a-f]{6}", svg)


def test_names_of_users_are_text_everywhere():
    layers = [{"name": HOSTILE, "class": "GRUPlus", "variant": HOSTILE, "units": 1, "parameters": 1}]
    taps = [TapRange(f"{HOSTILE}/z", "gate", 0.0, 0.99609375, 0.00390625, -128)]
    ends = analysis(inputs=(tensor(HOSTILE, 1, 2),), float_tensors=(tensor(HOSTILE, 1, type="float32"),))
    hostile = report(
        title=HOSTILE,
        labels=[HOSTILE, "日本語"],
        model={"name": HOSTILE, "parameters": 1, "layers": layers},
        taps=taps,
        stages=[Stage(HOSTILE, 0.5, HOSTILE), Stage("日本語", 0.5)],
        warnings=[HOSTILE],
        files=[File(HOSTILE, "sequence", ends, None, HOSTILE)],
    )
    page = Page(render(hostile))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) > 10
    assert HOSTILE in printed(show_report, hostile)
    assert HOSTILE in printed(show_analysis, HOSTILE, ends)


def test_terminal_shows_every_figure_at_80_columns():
    text = printed(show_report, report())
    assert max(map(len, text.splitlines())) <= 80
    assert not [figure for figure in FIGURES if figure not in text]
    # In a pipe there are no colours, and nothing is cut.
    assert "…" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [30, 200])
def test_terminal_never_cuts_a_number(width):
    text = printed(show_report, report(), width=width)
    assert not [figure for figure in FIGURES if figure not in text]


def test_regression_shows_errors_not_percent():
    text = printed(show_report, regression())
    assert "MAE" in text
    assert "Accuracy" not in text
    assert "0.01251" in text
    assert "+0.00017" in text
    page = Page(render(regression())).text
    assert "int8 mean absolute error" in page
    assert "0.01251" in page
    assert "Confusion" not in page


def test_report_without_targets_or_runtimes_or_arena():
    rows = [Result("float", "3"), Result("fake_quant", "3"), Result("litert", reason="not installed")]
    bare = report(
        verification=Verification(None, "random", rows, [], {}),
        files=[File("model.tflite", "step", analysis(), None, "ab")],
        taps=[],
        stages=[],
        versions={},
    )
    text, page = printed(show_report, bare), Page(render(bare)).text
    assert "not installed" in text
    assert "not run on any runtime" in page
    assert "arena not measured" in page


@pytest.mark.parametrize(("target", "score"), [("tflm", "84.25"), ("litert", "83.05")])
def test_first_tile_is_of_the_targets_own_runtime(target, score):
    text = Page(render(report(target=target))).text
    assert text[text.index("int8 accuracy") :].split()[2] == score


def test_modes_that_differ_are_marked():
    verification = dataclasses.replace(
        report().verification, equalities=[Equality("tflm", "step", "sequence", 16, 3)]
    )
    broken = report(verification=verification)
    assert "step ≠ sequence on tflm: 16 samples, 3 differing" in printed(show_report, broken)
    assert '<li class="bad">step ≠ sequence' in render(broken)


def test_inspect_shows_what_is_in_a_file():
    text = printed(show_analysis, "model.tflite", analysis())
    assert not [figure for figure in INSPECTED if figure not in text]
    assert max(map(len, text.splitlines())) <= 80


def test_inspect_lists_operators_in_order_with_grids():
    text = printed(show_analysis, "model.tflite", analysis(), operators=True)
    listed = text[text.index("Subgraph 0: main") :]
    assert (
        listed.index("FULLY_CONNECTED  1,792 MACs")
        < listed.index("Subgraph 2: WHILE body")
        < listed.index("LOGISTIC")
    )
    assert "int8[1,28,28] 0.0429717 +0" in listed
    assert "int8[2,28] … +0" in listed
    assert "not given" in listed


def test_inspect_names_float_tensors():
    floats = analysis(
        float_tensors=(tensor("mul/scale", 1, 32, type="float32", subgraph=2),), loops=(Loop(0, 2, None, 5),)
    )
    text = printed(show_analysis, "model.tflite", floats)
    assert "subgraph 2: mul/scale float32[1,32]" in text
    assert "no float tensors" not in text
    assert "unknown number of iterations of subgraph 2" in text
    assert "WHILE body × unknown" in text
