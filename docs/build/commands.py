"""The page of commands, from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

from typer.main import get_command

from keras_gru_plus.cli import app

PROGRAM = "keras-gru-plus"


def page() -> str:
    """Each command with its arguments and options."""
    group: Any = get_command(app)
    return "\n\n".join(_section(name, command) for name, command in group.commands.items())


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if not _is_option(p)]
    options = [p for p in command.params if _is_option(p) and not getattr(p, "hidden", False)]
    line = [PROGRAM, name]
    line += [_metavar(p) if p.required else f"[{_metavar(p)}]" for p in arguments]
    line += [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
    if len(options) > sum(p.required for p in options):
        line.append("[OPTIONS]")
    rows = [_row(p) for p in [*arguments, *options]]
    usage = f"```sh\n{' '.join(line)}\n```"
    table = "\n".join(["| | | default |", "|---|---|---|", *rows])
    return "\n\n".join([f"## {name}", _marked(command.help or ""), usage, table])


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper()


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts] if _is_option(parameter) else [_metavar(parameter)]
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default is None or default is False or default == [] or default == ():
        shown = ""
    else:
        shown = "on" if default is True else f"`{default}`"
    text = _marked(getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {text} | {shown} |"


def _marked(text: str) -> str:
    """Help text as Markdown: options in code, paragraphs kept."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)(?!`)", r"`\1`", part) for part in paragraphs)
