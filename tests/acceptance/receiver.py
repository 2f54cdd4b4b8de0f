"""A webhook receiver that writes down everything and sometimes refuses a message once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator

from tests.acceptance.notes import Notes, now_us

__all__ = ["Receiver", "receiving"]

#: One message of so many is refused the first time, and one is cut off after it was read.
_MOOD = 60


class Receiver:
    """Accepts each message at the second try at the latest."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._refused: set[str] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        #: Refuse now and then; the sender comes again five seconds later.
        self.is_moody = True
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._connections.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._connections.discard(writer)
            writer.close()

    def close(self) -> None:
        """Cut every connection."""
        for writer in list(self._connections):
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        request, *fields = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = request.split(" ")[1]
        status = self._status(path, headers.get("webhook-id", ""))
        encoded = base64.b64encode(body).decode("ascii")
        self._notes.write(path=path, headers=headers, body=encoded, status=status, at=now_us())
        if not status:
            writer.transport.abort()
            return False
        writer.write(f"HTTP/1.1 {status} Said So\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        return True

    def _status(self, path: str, message_id: str) -> int:
        """0: cut the connection."""
        mood = int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:4], "big") % _MOOD
        if not self.is_moody or path != "/completions" or mood > 1 or message_id in self._refused:
            return 204
        self._refused.add(message_id)
        return 503 if mood else 0


@contextlib.asynccontextmanager
async def receiving(notes: Notes) -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback."""
    receiver = Receiver(notes)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.close()
        await server.wait_closed()
