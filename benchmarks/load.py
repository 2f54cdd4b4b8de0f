"""A load generator of few instructions: keep-alive connections that post and wait for the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["post_many"]


class _Connection(asyncio.Protocol):
    def __init__(self, following: Callable[[], bytes | None], done: asyncio.Future[None]) -> None:
        self._following = following
        self._done = done
        self._buffer = b""
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._post()

    def _post(self) -> None:
        request = self._following()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(body) < length:
            return
        self.failed += not head.startswith(b"HTTP/1.1 202")
        self._buffer = body[length:]
        self._post()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def post_many(
    port: int, path: str, bodies: Callable[[int], bytes], *, count: int, connections: int
) -> tuple[float, int]:
    """(seconds, failures) of posting `count` bodies over `connections`."""
    sent = 0

    def following() -> bytes | None:
        nonlocal sent
        if sent >= count:
            return None
        body = bodies(sent)
        sent += 1
        return (
            b"POST %b HTTP/1.1\r\nhost: bench\r\ncontent-type: application/cloudevents+json\r\n"
            b"content-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        )

    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    done = [loop.create_future() for _ in range(connections)]
    made = [
        await loop.create_connection(lambda one=one: _Connection(following, one), "127.0.0.1", port)  # type: ignore[misc]
        for one in done
    ]
    await asyncio.gather(*done)
    return time.perf_counter() - begun, sum(protocol.failed for _, protocol in made)
