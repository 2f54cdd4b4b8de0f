"""Bounds around the API's requests and answers: bodies limited in size and time, security headers on all."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException

from tidemill.api.parts import Message, Receive, Send

__all__ = ["BoundedReceive", "protect"]

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_NAMES = frozenset(name for name, _ in _SECURITY_HEADERS)


class BoundedReceive:
    """A `receive` that ends a body which is too large or too slow with 413 or 408."""

    def __init__(self, receive: Receive, *, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._size = 0
        self._deadline: float | None = None
        self._is_complete = False

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body did not come within {self._seconds:g} s", {"Connection": "close"}
            ) from error
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise HTTPException(413, f"the body is larger than {self._limit} bytes", {"Connection": "close"})
        self._is_complete = not message.get("more_body", False)
        return message


def protect(send: Send) -> Send:
    """A `send` that adds the security headers that an answer does not set itself."""

    async def send_protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers} & _NAMES
            headers.extend(pair for pair in _SECURITY_HEADERS if pair[0] not in given)
            message = {**message, "headers": headers}
        await send(message)

    return send_protected
