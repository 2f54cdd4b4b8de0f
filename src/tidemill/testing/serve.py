"""`python -m tidemill.testing.serve`: `tidemill serve`, with a fault at a commit point.

    python -m tidemill.testing.serve --project DIR --port 0 --kill-at record.before_commit:7

Made for tests that kill a real server at a named point and look at what is on disk afterwards. Settings come
from the project and the environment as always; where the server answers stands in `.tidemill/server.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from tidemill import settings as settings_file
from tidemill.errors import DefinitionError, ProjectLocked, SettingsError, StorageError
from tidemill.service import Service
from tidemill.telemetry import logs
from tidemill.testing.faults import Fault, parse_kill

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT (0), or until a stage fails (1); 2 when the service cannot start."""
    options = _arguments().parse_args(argv)
    faults: list[Fault] = options.kill_at

    def probe(point: str) -> None:
        for fault in faults:
            fault(point)

    try:
        settings = settings_file.load(options.project, host=options.host, port=options.port)
        logs.configure(settings.log_format, settings.log_level)
        return uvloop.run(_serve(Service(options.project, settings, probe=probe)))
    except (DefinitionError, SettingsError, ProjectLocked, StorageError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command says why it does not start
        return 2


async def _serve(service: Service) -> int:
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(asked, service.ask_to_stop)
    await service.start()
    failed = await service.wait()
    await service.stop()
    return 0 if failed is None else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidemill.testing.serve", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path.cwd())
    parser.add_argument("--host", default=None)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument(
        "--kill-at", type=parse_kill, action="append", default=[], metavar="POINT[:N]", help="SIGKILL there"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
