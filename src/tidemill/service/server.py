"""The HTTP server: uvicorn on a socket that is bound before anything else starts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection, Iterator
from typing import Any

from tidemill.errors import SettingsError

__all__ = ["HttpServer", "bind"]

_BACKLOG = 2048
#: Longest time open requests may take to end once a stop was asked for, in seconds.
_SHUTDOWN_SECONDS = 10
#: Longest time that a connection which was just opened may take to bring its request, once a stop was asked for.
_FIRST_REQUEST_SECONDS = 0.5
_POLL_SECONDS = 0.01


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
            """Leaves signals to the service, and no client without an answer that was not refused before."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                still_open = [each.dup() for each in sockets or ()]
                for server in self.servers:
                    server.close()
                for each in sockets or ():
                    each.close()
                loop = asyncio.get_running_loop()
                for connection in _accept_waiting(still_open):
                    await loop.connect_accepted_socket(self._protocol, connection)
                # The base class cuts every connection without a request under way, also one opened a moment ago.
                await _wait_for_first_requests(self.server_state.connections)
                await super().shutdown()

            def _protocol(self) -> asyncio.Protocol:
                make: Any = self.config.http_protocol_class
                protocol: asyncio.Protocol = make(
                    config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                )
                return protocol

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
        while not self._server.started:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """Take no new connections; `run` returns when open requests have been answered."""
        self._server.should_exit = True


def _accept_waiting(listeners: list[socket.socket]) -> list[socket.socket]:
    """Connections that the system has made and nobody has taken yet; the listeners are closed right after.

    Closing a listener resets them: to the client that is a request cut off, not one refused.
    """
    found: list[socket.socket] = []
    for listener in listeners:
        with listener, contextlib.suppress(OSError):
            while True:
                found.append(listener.accept()[0])
    for connection in found:
        connection.setblocking(False)
    return found


async def _wait_for_first_requests(connections: Collection[Any]) -> None:
    """Return when each connection has brought a request, or has had its time for it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _FIRST_REQUEST_SECONDS
    while any(each.cycle is None for each in connections) and loop.time() < until:  # noqa: ASYNC110 - no event either
        await asyncio.sleep(_POLL_SECONDS)
