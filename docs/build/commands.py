"""The page of commands, from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

from typer.main import get_command

from keras_gru_plus.cli import app


def page(program: str = "keras-gru-plus") -> str:
    """Each command with its arguments and options."""
    group: Any = get_command(app)
    context = group.make_context(program, [], resilient_parsing=True)
    parts = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        parts.append(f"## {program} {name}")
        parts.append(_plain(command.help or ""))
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        names = [p.make_metavar(context) if p.required else f"[{p.human_readable_name.strip('[]')}]" for p in arguments]
        needed = [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
        parts.append(f"```sh\n{' '.join([program, name, *names, *needed, '[OPTIONS]'])}\n```")
        rows = [_row(parameter) for parameter in [*arguments, *options] if not getattr(parameter, "hidden", False)]
        parts.append("\n".join(["| | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.human_readable_name.strip("[]").upper()]
    default = parameter.default
    if parameter.required:
        shown = "needed"
    elif default is None or default is False or default == () or default == []:
        shown = ""
    else:
        shown = "on" if default is True else f"`{default}`"
    help_text = _plain(getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {shown} | {help_text} |"


def _plain(text: str) -> str:
    """Help text as Markdown: words in capitals with underscores and stars stand as they are."""
    text = re.sub(r"(?<![`\w])(--[a-z-]+)", r"`\1`", " ".join(text.split()) if "\n\n" not in text else text.strip())
    return text
