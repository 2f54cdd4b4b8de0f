"""Options that many commands share, each with one name, one meaning and one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Before", "Limit", "Output", "OutputOption", "ProjectOption", "TokenOption", "UrlOption", "group"]


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


ProjectOption = Annotated[
    Path, typer.Option("--project", help="Project folder.", envvar="TIDEMILL_PROJECT", show_envvar=True)
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Server to ask; else the project's.", envvar="TIDEMILL_URL", show_envvar=True),
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", help="Bearer token of the API.", envvar="TIDEMILL_API_TOKEN", show_envvar=True),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most items.")]
Before = Annotated[
    str | None, typer.Option("--before", help="Only older ones than this: the `next` of the page before.")
]


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
