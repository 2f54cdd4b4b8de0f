"""What reaches the terminal: one JSON value, or a table; never a control character that came with data.

Tables are for people. Programs ask for JSON, which is the API's answer as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import typer

from tidemill.cli.options import Output

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Columns",
    "clean",
    "complain_outcome",
    "console",
    "fields",
    "note",
    "print_json",
    "show_item",
    "show_page",
    "state_style",
    "when",
]

#: Column title to how a row's cell is made.
Columns = Mapping[str, Callable[[Mapping[str, Any]], Any]]

#: ECMA-48 control sequences (CSI), operating system commands (OSC) and other strings, and single escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x1b\\|\x9c|\x07|\Z)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
#: What JSON leaves as it is and a terminal may obey: C1 controls and marks of writing direction.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: Wide enough that nothing is cut where the output is not a terminal.
_PIPE_WIDTH = 10_000
_STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "upstream_failed": "red",
    "cancelled": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "live": "green",
    "stalled": "red",
    "degraded": "yellow",
}


def clean(value: object) -> str:
    """`value` as text of one line without escape sequences; other control characters show as escapes."""
    text = _ESCAPES.sub("", str(value))
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def fields(*names: str) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """Columns that show members as they are, under their own names."""
    return {name: itemgetter(name) for name in names}


def note(text: str) -> None:
    """Tell people something that is not part of the answer."""
    typer.echo(clean(text), err=True)


def print_json(value: object, *, one_line: bool = False) -> None:
    """Print `value` as one line of JSON, or indented on a terminal unless it is one of many."""
    import orjson

    options = orjson.OPT_INDENT_2 if sys.stdout.isatty() and not one_line else 0
    text = orjson.dumps(value, option=options).decode()
    typer.echo(_UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def console(*, stderr: bool = False) -> Console:
    """Where tables go."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False)


def show_page(page: Mapping[str, Any], output: Output, columns: Columns) -> None:
    """Print a list as the API gives it."""
    if output is Output.JSON:
        print_json(page)
        return
    _print_table(page["items"], columns)
    if page.get("next") is not None:
        note(f"there are more: --before {page['next']}")


def show_item(
    item: Mapping[str, Any], output: Output, *, tables: Mapping[str, Columns] | None = None
) -> None:
    """Print one thing: its fields, then its lists named in `tables` as tables."""
    if output is Output.JSON:
        print_json(item)
        return
    inner = tables or {}
    own = [{"field": name, "value": value} for name, value in item.items() if name not in inner]
    _print_table(own, fields("field", "value"), header=False)
    for name, columns in inner.items():
        if item.get(name):
            typer.echo(f"\n{name}")
            _print_table(item[name], columns)


def complain_outcome(outcome: Mapping[str, Any], output: Output) -> None:
    """Print what came of many things at once: how many were done, and why the others were not."""
    if output is Output.JSON:
        print_json(outcome)
        return
    typer.echo(f"done: {outcome['done']}")
    if outcome["failed"]:
        _print_table(outcome["failed"], fields("id", "code", "detail"))
    if outcome.get("next") is not None:
        note("there are more: ask again")


def state_style(value: object) -> str:
    """The colour of a state; none for other words."""
    return _STATE_STYLES.get(str(value), "")


def when(at: str | None) -> str:
    """An RFC 3339 time in local time, to the second."""
    if at is None:
        return ""
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return at


def _print_table(rows: Iterable[Mapping[str, Any]], columns: Columns, *, header: bool = True) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold")
    for title in columns:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*_cells([make(row) for make in columns.values()]))
    screen = console()
    with screen.capture() as captured:
        screen.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def _cells(values: Sequence[Any]) -> list[Any]:
    import orjson
    from rich.text import Text

    cells = []
    for value in values:
        if value is None:
            text = ""
        elif isinstance(value, bool | list | dict):
            text = orjson.dumps(value).decode()
        else:
            text = str(value)
        # A Text is taken as it is: data cannot bring markup.
        cells.append(Text(clean(text), style=state_style(value) if isinstance(value, str) else ""))
    return cells
