"""`tidemill approvals`: what people are asked, and deciding."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import orjson
import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Before, Limit, Output, group
from tidemill.cli.terminal import show_item, show_page, when

__all__ = ["app"]

app = group("Approvals: what people are asked, and deciding.")

_COLUMNS = {
    "id": lambda row: row["id"],
    "asked": lambda row: when(row["asked_at"]),
    "dag": lambda row: row["dag"],
    "task": lambda row: row["task"],
    "state": lambda row: row["state"],
    "title": lambda row: row["title"],
    "assignees": lambda row: ", ".join(row["assignees"]),
    "due": lambda row: when(row["due_at"]),
}
_DECISIONS = {
    "by": lambda row: row["by"],
    "decision": lambda row: row["decision"],
    "at": lambda row: when(row["at"]),
    "via": lambda row: row["via"],
    "data": lambda row: orjson.dumps(row["data"]).decode(),
}

ApprovalId = Annotated[str, typer.Argument(help="Id of the approval.", metavar="ID")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who decides; the user of this machine where it is not given.")
]


@app.command("list")
@asking
def list_approvals(
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only those that are open, approved, rejected, timed_out or cancelled."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only those of this run.")] = None,
    before: Before = None,
    limit: Limit = 50,
    *,
    to: To,
) -> None:
    """List what people are and were asked, newest first."""
    where = {"state": state, "run": run, "before": before, "limit": limit}
    show_page(to.ask(lambda server: server.get("approvals", **where)), to.output, _COLUMNS)


@app.command("show")
@asking
def show(approval_id: ApprovalId, *, to: To) -> None:
    """Show an approval with its form and what was said."""
    _show(to.ask(lambda server: server.get("approvals", approval_id)), to.output)


@app.command("approve")
@asking
def approve(
    approval_id: ApprovalId,
    data: Annotated[str | None, typer.Option("--data", help="What is filled in, as JSON.")] = None,
    by: ByOption = None,
    *,
    to: To,
) -> None:
    """Approve; the run goes on when enough have."""
    with failures_reported():
        filled = _parse(data)
    _decide(to, approval_id, {"decision": "approve", "data": filled, "by": by or getpass.getuser()})


@app.command("reject")
@asking
def reject(
    approval_id: ApprovalId,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    by: ByOption = None,
    *,
    to: To,
) -> None:
    """Reject; that ends the approval."""
    _decide(to, approval_id, {"decision": "reject", "reason": reason, "by": by or getpass.getuser()})


@app.command("link")
@asking
def link(
    approval_id: ApprovalId,
    by: Annotated[str, typer.Option("--by", help="For whom the link is.")],
    seconds: Annotated[int, typer.Option("--expires", help="How long it is good for, in seconds.")] = 604_800,
    *,
    to: To,
) -> None:
    """Make a URL by which one person decides once, without a token."""
    body = {"by": by, "expires_in_seconds": seconds}
    made = to.ask(lambda server: server.post("approvals", approval_id, "callbacks", body=body))
    show_item(made, to.output)


def _decide(to: To, approval_id: str, body: dict[str, Any]) -> None:
    answer = to.ask(lambda server: server.post("approvals", approval_id, "decision", body=body))
    _show(answer, to.output)


def _show(approval: dict[str, Any], output: Output) -> None:
    show_item(approval, output, tables={"decisions": _DECISIONS})


def _parse(data: str | None) -> Any:
    if data is None:
        return None
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise UsageFailed(f"--data is no JSON: {error}") from error
