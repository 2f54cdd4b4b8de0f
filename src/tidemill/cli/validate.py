"""`tidemill validate`: everything wrong in a project's files, with file and line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.options import ProjectOption
from tidemill.cli.terminal import clean, print_json

__all__ = ["validate"]


class Form(StrEnum):
    """How the verdict is printed."""

    TEXT = "text"
    JSON = "json"


def validate(
    project: ProjectOption = Path(),
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print the verdict.")] = Form.TEXT,
) -> None:
    """Check a project's definitions and settings: every problem with file and line; exit code 2 with any.

    Importing workflows runs the module-level code of their files.
    """
    verdict = _judge(project)
    if output is Form.JSON:
        print_json(verdict)
    else:
        _print_text(verdict)
    if not verdict["valid"]:
        raise typer.Exit(2)


def _judge(root: Path) -> dict[str, Any]:
    from tidemill.errors import DefinitionError, SettingsError
    from tidemill.project.load import load
    from tidemill.settings import Settings
    from tidemill.settings import load as load_settings

    problems: list[dict[str, Any]] = []
    verdict: dict[str, Any] = {"valid": False, "problems": problems, "warnings": []}
    try:
        max_tasks = load_settings(root).max_tasks_per_dag
    except SettingsError as error:
        problems.append(_problem("tidemill.toml", str(error)))
        max_tasks = Settings.model_fields["max_tasks_per_dag"].default
    try:
        project = load(root, max_tasks=max_tasks)
    except DefinitionError as error:
        problems += [_problem(one.file, one.message, one.line, one.column) for one in error.problems]
    except SettingsError as error:
        problems.append(_problem("", str(error)))
    else:
        verdict["warnings"] = list(project.warnings)
        verdict["dags"] = sorted(project.dags)
        verdict["triggers"] = [one.name for one in project.triggers]
        verdict["sources"] = [one.name for one in project.sources]
        verdict["subscriptions"] = [one.name for one in project.subscriptions]
    verdict["valid"] = not problems
    return verdict


def _problem(file: str, message: str, line: int = 0, column: int = 0) -> dict[str, Any]:
    return {"file": file, "line": line, "column": column, "message": message}


def _print_text(verdict: dict[str, Any]) -> None:
    for problem in verdict["problems"]:
        places = [problem["file"], problem["line"], problem["column"]]
        place = ":".join(str(part) for part in places if part)
        typer.echo(clean(": ".join(filter(None, [place, problem["message"]]))))
    for warning in verdict["warnings"]:
        typer.echo(clean(f"warning: {warning}"))
    if verdict["valid"]:
        kinds = ("dags", "triggers", "sources", "subscriptions")
        typer.echo("valid: " + ", ".join(_count(verdict[kind], kind) for kind in kinds))


def _count(names: list[str], kind: str) -> str:
    return f"{len(names)} {kind.removesuffix('s') if len(names) == 1 else kind}"
