"""What nearly every command is given: which server to ask and how to print, as four options that are written once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from tidemill.cli.connection import Target, ask
from tidemill.cli.options import Output, OutputOption, ProjectOption, TokenOption, UrlOption
from tidemill.cli.server import Server

__all__ = ["To", "asking"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class To:
    """Whom a command asks, and how it prints the answer."""

    target: Target
    output: Output

    def ask(self, work: Callable[[Server], Awaitable[Answer]]) -> Answer:
        """What `work` gives when it is handed the server; ends the command when something fails."""
        return ask(self.target, work)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options --project, --url, --token and --output last, in place of its argument `to`."""

    @wraps(command)
    def asked(*, project: Path, url: str | None, token: str | None, output: Output, **given: Any) -> None:
        command(**given, to=To(Target(project, url, token), output))

    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "to"]
    kept = signature.replace(parameters=[*own, *_OPTIONS])
    asked.__signature__ = kept  # type: ignore[attr-defined]  # what the command line is made of
    asked.__annotations__ = {one.name: one.annotation for one in kept.parameters.values()}
    return asked


_OPTIONS = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, annotation, default in (
        ("project", ProjectOption, Path()),
        ("url", UrlOption, None),
        ("token", TokenOption, None),
        ("output", OutputOption, Output.TABLE),
    )
]
