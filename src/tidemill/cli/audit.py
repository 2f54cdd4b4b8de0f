"""`tidemill audit`: proves that every recorded event is accounted for."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import clean, fields, print_json, show_page

__all__ = ["audit"]

_NUMBERS = ("events", "unmatched", "matched", "held", "unexplained", "wrong")
_COLUMNS = fields("position", "trigger", "finding")


@asking
def audit(
    after: Annotated[int, typer.Option("--after", min=0, help="Only events above this position.")] = 0,
    *,
    to: To,
) -> None:
    """Work out anew what had to become of every event in the log, and compare it with what is recorded.

    Exit code 0: everything balances; 1: something does not, and is listed.
    """
    found = to.ask(lambda server: _audit(server, after))
    if to.output is Output.JSON:
        print_json(found)
    else:
        if found["findings"]:
            show_page({"items": found["findings"], "next": None}, to.output, _COLUMNS)
        became = ", ".join(f"{count} {kind}" for kind, count in found["dispositions"].items()) or "none"
        typer.echo(clean(f"{found['events']} events, {found['unmatched']} of them taken by no trigger"))
        typer.echo(clean(f"{found['matched']} matches = dispositions ({became}) + {found['held']} held"))
        if found["unexplained"]:
            typer.echo(f"{found['unexplained']} events could not be checked: their definitions are not kept")
        typer.echo("everything balances" if not found["wrong"] else f"{found['wrong']} do not balance")
    if found["wrong"]:
        raise typer.Exit(1)


async def _audit(server: Server, after: int) -> dict[str, Any]:
    total: Counter[str] = Counter(dict.fromkeys(_NUMBERS, 0))
    kinds: Counter[str] = Counter()
    findings: list[Any] = []
    while True:
        page = await server.get("audit", after=after)
        total.update({name: page[name] for name in _NUMBERS})
        kinds.update(page["dispositions"])
        findings += page["findings"]
        after = page["last"]
        if page["complete"]:
            return {**total, "last": after, "dispositions": dict(sorted(kinds.items())), "findings": findings}
