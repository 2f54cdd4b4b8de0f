"""How a command fails: one clear sentence per problem on standard error, and an exit code.

2: the command, the settings or the definitions must change (or another process holds the project). 1: anything
else. No traceback is shown for what a user can mend.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tidemill.cli.terminal import clean
from tidemill.errors import DefinitionError, ProjectLocked, SettingsError, TidemillError

__all__ = ["CommandFailed", "UsageFailed", "complain", "failures_reported"]


class CommandFailed(Exception):  # noqa: N818 - how a command ends
    """The command could not do what was asked; exit code 1."""

    code = 1


class UsageFailed(CommandFailed):
    """The command line itself must change; exit code 2."""

    code = 2


@contextmanager
def failures_reported() -> Iterator[None]:
    """What fails inside ends the command with its sentence and exit code."""
    try:
        yield
    except CommandFailed as error:
        complain(str(error))
        raise typer.Exit(error.code) from None
    except DefinitionError as error:
        for problem in error.problems:
            complain(str(problem))
        raise typer.Exit(2) from None
    except (SettingsError, ProjectLocked) as error:
        complain(str(error))
        raise typer.Exit(2) from None
    except TidemillError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def complain(text: str) -> None:
    """Print a problem to standard error; nothing in it can move the terminal's cursor."""
    for line in text.splitlines():
        typer.echo(f"error: {clean(line)}", err=True)
