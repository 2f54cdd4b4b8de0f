"""The HTTP server: uvicorn on a socket that is bound before anything else starts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from tidemill.errors import SettingsError

__all__ = ["HttpServer", "bind"]

_BACKLOG = 2048
#: Longest time open requests may take to end once a stop was asked for, in seconds.
_SHUTDOWN_SECONDS = 10


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises `SettingsError` when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


class HttpServer:
    """Serves one ASGI application."""

    def __init__(self, application: Any, listener: socket.socket) -> None:
        import uvicorn

        class Quiet(uvicorn.Server):
            """Leaves signals to the service."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        self._listener = listener
        self._server = Quiet(
            uvicorn.Config(
                application,
                http="httptools",
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    async def run(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._listener])

    async def wait_until_serving(self) -> None:
        """Return when requests are answered."""
        while not self._server.started:
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """Take no new connections; `run` returns when open requests have been answered."""
        self._server.should_exit = True
