"""`tidemill dags graph`: a DAG as a picture, for terminals, documents and reviews."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import Output
from tidemill.cli.terminal import print_json

if TYPE_CHECKING:
    from tidemill.dag.picture import Drawing

__all__ = ["graph"]


class PictureForm(StrEnum):
    """What the picture is made of."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


@asking
def graph(
    dag: Annotated[str, typer.Argument(help="Id of the DAG.", metavar="DAG")],
    form: Annotated[PictureForm, typer.Option("--format", help="What to print.")] = PictureForm.MERMAID,
    run: Annotated[
        str | None, typer.Option("--run", help="Show the states of this run's tasks.", metavar="ID")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="A version, or the beginning of one.", metavar="VERSION")
    ] = None,
    *,
    to: To,
) -> None:
    """Draw a DAG: its tasks, how they wait for each other, and what is not plain about them."""
    found = to.ask(lambda server: server.get("dags", dag, "graph", run=run, version=version))
    if to.output is Output.JSON:
        print_json(found)
        return
    from tidemill.dag import picture

    write = {PictureForm.SVG: picture.svg, PictureForm.MERMAID: picture.mermaid, PictureForm.DOT: picture.dot}
    typer.echo(write[form](_drawing(found)), nl=False)


def _drawing(found: Mapping[str, Any]) -> Drawing:
    from tidemill.dag.edges import EdgeKind
    from tidemill.dag.picture import Drawing, Line, Node

    places = {node["id"]: place for place, node in enumerate(found["nodes"])}
    return Drawing(
        title=found["title"],
        nodes=[
            Node(name=node["id"], kind=node["kind"], note=node["note"], state=node["state"])
            for node in found["nodes"]
        ],
        lines=[
            Line(
                above=places[edge["upstream"]],
                below=places[edge["downstream"]],
                kind=EdgeKind(edge["kind"]),
                label=edge["condition"],
            )
            for edge in found["edges"]
        ],
    )
