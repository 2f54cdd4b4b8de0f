"""Stopping the HTTP server: a client is answered or refused, never cut off in between."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop

from tidemill.service.server import HttpServer, bind

_CLIENTS = 20
#: Longer than the server takes to notice that it was asked to stop.
_BUSY_SECONDS = 0.2
_REQUEST = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"


async def _application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _answer_of(client: socket.socket) -> bytes:
    with client:
        return client.recv(4096)[:12]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_server_answers_whoever_connected_before_it_stopped(run: Any) -> None:
    async def connect_and_stop() -> list[bytes]:
        server = HttpServer(_application, bind("127.0.0.1", 0))
        serving = asyncio.create_task(server.run())
        await server.wait_until_serving()
        port = server.port

        # The loop is busy, so that nobody takes these connections before the stop is noticed.
        server.stop()
        time.sleep(_BUSY_SECONDS)  # noqa: ASYNC251
        clients = [_connect(port) for _ in range(_CLIENTS)]
        for client in clients[1:]:
            client.sendall(_REQUEST)
        late = asyncio.get_running_loop().call_later(0.05, clients[0].sendall, _REQUEST)
        await serving

        late.cancel()
        with pytest.raises(ConnectionRefusedError):
            _connect(port)
        return [_answer_of(client) for client in clients]

    assert run(connect_and_stop()) == [b"HTTP/1.1 204"] * _CLIENTS
