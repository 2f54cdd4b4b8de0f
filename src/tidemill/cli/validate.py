"""`tidemill validate`: everything wrong in a project's files, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.options import ProjectOption
from tidemill.cli.terminal import clean, print_json

if TYPE_CHECKING:
    from tidemill.project.remarks import Remark
    from tidemill.project.validation import Verdict

__all__ = ["validate"]


class Form(StrEnum):
    """How the verdict is printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def validate(
    project: ProjectOption = Path(),
    output: Annotated[
        Form, typer.Option("--output", "-o", "--format", help="How to print the verdict.")
    ] = Form.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
) -> None:
    """Check a project's definitions and settings: every problem with file and line; exit code 2 with any.

    Importing workflows runs the module-level code of their files. `sarif` is SARIF 2.1.0, `github` prints annotations
    of pull requests.
    """
    from tidemill.engine.demands import check_demands
    from tidemill.project.validation import judge

    verdict = judge(project, check_demands)
    is_valid = verdict.is_valid(strict=strict)
    match output:
        case Form.JSON:
            print_json(_as_json(verdict, is_valid=is_valid))
        case Form.SARIF:
            from tidemill.cli.sarif import sarif

            print_json(sarif(list(verdict.remarks), project))
        case Form.GITHUB:
            _print_annotations(verdict, project)
        case Form.TEXT:
            _print_text(verdict, is_valid=is_valid)
    if not is_valid:
        raise typer.Exit(2)


def _as_json(verdict: Verdict, *, is_valid: bool) -> dict[str, Any]:
    from tidemill.project.remarks import Severity

    return {
        "valid": is_valid,
        "problems": [_remark(one) for one in verdict.of(Severity.ERROR)],
        "warnings": [str(one) for one in verdict.of(Severity.WARNING)],
        "remarks": [{**_remark(one), "severity": one.severity.value} for one in verdict.remarks],
        **verdict.names,
    }


def _remark(remark: Remark) -> dict[str, Any]:
    return {
        "file": remark.file,
        "line": remark.line,
        "column": remark.column,
        "message": remark.message,
        "rule": remark.rule,
    }


def _print_annotations(verdict: Verdict, project: Path) -> None:
    from tidemill.cli.github import annotation

    prefix = Path() if project.is_absolute() else project
    for remark in verdict.remarks:
        typer.echo(clean(annotation(remark, prefix)))


def _print_text(verdict: Verdict, *, is_valid: bool) -> None:
    from tidemill.project.remarks import Severity

    for remark in verdict.remarks:
        severity = remark.severity
        mark = "" if severity is Severity.ERROR else f"{severity.value}: "
        typer.echo(clean(f"{mark}{remark} [{remark.rule}]"))
    if is_valid:
        kinds = ("dags", "triggers", "sources", "subscriptions")
        typer.echo("valid: " + ", ".join(_count(verdict.names, kind) for kind in kinds))


def _count(names: Mapping[str, list[str]], kind: str) -> str:
    known = names.get(kind, [])
    return f"{len(known)} {kind.removesuffix('s') if len(known) == 1 else kind}"
