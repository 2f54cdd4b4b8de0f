"""The command line: parses arguments, asks the API or runs the service, prints. Nothing is decided here.

Commands import what costs time inside themselves: `--help` and `match` load neither the API nor a client.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with."""
    from tidemill.cli.app import app

    app(prog_name="tidemill")
