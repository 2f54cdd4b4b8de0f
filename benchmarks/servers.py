"""Servers in processes of their own: the service, and a bare ASGI application on the same server."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["server"]


async def _bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body and says 202: what any service on this server pays at least."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    body = b'{"position":1,"duplicate":false}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve(kind: str, folder: Path, kafka: str | None) -> None:
    from tidemill.service import Service
    from tidemill.service.garbage import collect_rarely
    from tidemill.service.server import HttpServer, bind
    from tidemill.settings import load
    from tidemill.telemetry.logs import configure

    configure("console", "WARNING")
    if kind == "bare":
        collect_rarely()
        server = HttpServer(_bare, bind("127.0.0.1", 0))
        print(json.dumps({"port": server.port}), flush=True)
        await server.run()
        return
    if kind == "node":
        await _run_service(Service(folder, load(folder, port=0, log_level="WARNING")))
        return
    project = Path(__file__).parent / "project"
    settings = load(
        project,
        port=0,
        database=f"sqlite:{folder / 'serve.db'}",
        kafka_bootstrap_servers=kafka,
        max_tasks_per_dag=20_000,
        max_running_tasks=1024,
        log_level="WARNING",
    )
    await _run_service(Service(project, settings))


async def _run_service(service: Any) -> None:
    from tidemill.service.garbage import collect_rarely

    collect_rarely()
    await service.start()
    print(json.dumps({"port": int(service.url.rpartition(":")[2])}), flush=True)
    await service.wait()


@contextmanager
def server(
    kind: str, folder: Path, kafka: str | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """(port, process, seconds until ready) of a running server; stopped at the end."""
    command = [sys.executable, "-m", "benchmarks.servers", kind, str(folder), *([kafka] if kafka else [])]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            socket.create_connection(("127.0.0.1", port), 5).close()
            yield port, process, time.perf_counter() - begun
        finally:
            process.kill()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("folder", type=Path)
    parser.add_argument("kafka", nargs="?")
    given = parser.parse_args()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    runner.run(_serve(given.kind, given.folder, given.kafka))
