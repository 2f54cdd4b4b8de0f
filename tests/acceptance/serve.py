"""Starts the service as `tidemill serve` does; `--kill-at POINT:N` ends it by SIGKILL at the N-th such commit point.

Points are `append`, `route`, `record`, `deliver` and `statement`, each `.before_commit` or `.after_commit`.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from tidemill.errors import TidemillError
from tidemill.service import Service
from tidemill.settings import load
from tidemill.telemetry.logs import configure


def killer(point: str) -> Callable[[str], None]:
    wanted, _, text = point.partition(":")
    left = int(text or 1)

    def probe(reached: str) -> None:
        nonlocal left
        if reached == wanted:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return probe


async def serve(root: Path, port: int, kill_at: str | None) -> None:
    service = Service(root, load(root, port=port), probe=killer(kill_at) if kill_at else None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.ask_to_stop)
    await service.start()
    failed = await service.wait()
    await service.stop()
    if failed:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kill-at")
    given = parser.parse_args()
    configure("console", "INFO")
    try:
        uvloop.run(serve(given.project, given.port, given.kill_at))
    except TidemillError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
