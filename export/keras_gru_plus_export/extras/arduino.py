"""Extra `arduino`: the sources of target `tflm` as a sketch."""

from __future__ import annotations

import jinja2

from ..standalone.emit import c_name
from ..templating import TEMPLATES
from . import micro
from .context import Context


def files(context: Context) -> dict[str, str | bytes]:
    """A folder named like its sketch, as the Arduino IDE wants it, with everything that the sketch includes."""
    name = c_name(context.title)
    made = micro.files(context)
    copied = ("model.h", "op_resolver.h", "quantization.h", "golden.h")
    main = str(made["main.cc"]).replace("int main() {", "int RunGolden() {").replace("std::printf(", "Print(")
    declared = 'extern "C" void Print(const char* format, ...);\n\nnamespace {\n'
    sketch = jinja2.Template(
        (TEMPLATES / "micro" / "sketch.ino.j2").read_text(encoding="utf-8"), keep_trailing_newline=True
    ).render(title=context.title)
    return {
        **{f"{name}/{file}": made[file] for file in copied},
        f"{name}/model.cpp": made["model.cc"],
        f"{name}/golden.cpp": main.replace("namespace {\n", declared, 1),
        f"{name}/{name}.ino": sketch,
    }
