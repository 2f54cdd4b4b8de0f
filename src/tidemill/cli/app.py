"""All commands in one place, in the order in which people meet them."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from tidemill.cli import (
    approvals,
    audit,
    cache,
    dags,
    dead_letters,
    events,
    init,
    match,
    migrate,
    nodes,
    plan,
    pools,
    reload,
    replays,
    runs,
    schemas,
    serve,
    sources,
    subscriptions,
    triggers,
    validate,
    why,
)

__all__ = ["app"]

app = typer.Typer(
    name="tidemill",
    help="Durable, event-driven DAG runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init", short_help="Make a new project.")(init.init)
app.command("serve", short_help="Serve a project.")(serve.serve)
app.command("validate", short_help="Check a project's files.")(validate.validate)
app.command("match", short_help="Say whether events match patterns.")(match.match)
app.command("audit", short_help="Prove that every event is accounted for.")(audit.audit)
app.command("reload", short_help="Read the project's folders now.")(reload.reload)
app.command("plan", short_help="Say what the project would start from recorded events.")(plan.plan)
events.app.command("why", short_help="Explain what became of an event.")(why.why)
events.app.command("why-not", short_help="Explain why a trigger started nothing.")(why.why_not)
events.app.command("replay", short_help="Tell recorded events again.")(replays.replay)
events.app.command("replays", short_help="List replays.")(replays.list_replays)
events.app.command("cancel-replay", short_help="Stop a replay.")(replays.cancel_replay)
app.add_typer(events.app, name="events")
app.add_typer(triggers.app, name="triggers")
app.add_typer(runs.app, name="runs")
app.add_typer(dags.app, name="dags")
app.add_typer(cache.app, name="cache")
app.add_typer(pools.app, name="pools")
app.add_typer(approvals.app, name="approvals")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(sources.app, name="sources")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(schemas.app, name="schemas")
app.add_typer(nodes.app, name="nodes")
app.command("migrate", short_help="Bring the database to the newest form.")(migrate.migrate)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tidemill {metadata.version('tidemill')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Durable, event-driven DAG runs."""
