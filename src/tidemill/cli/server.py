"""The API as commands ask it: JSON out, JSON in, and every error as one sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tidemill.cli.failures import CommandFailed

if TYPE_CHECKING:
    import httpx

__all__ = ["AnswerFailed", "Server"]

_API = "/api/v1/"


class AnswerFailed(CommandFailed):
    """The server refused; `status` is the HTTP status."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class Server:
    """One server, real or in this process."""

    def __init__(self, client: httpx.AsyncClient, url: str | None) -> None:
        self._client = client
        #: Where it answers; None when this process does, because no server runs.
        self.url = url

    @property
    def is_offline(self) -> bool:
        """Whether nothing routes or runs what is asked for now."""
        return self.url is None

    async def get(self, *path: str, **where: Any) -> Any:
        """The JSON answer of `/api/v1/PATH`; conditions that are None are left out."""
        given = {name: value for name, value in where.items() if value is not None}
        return await self._send("GET", _API + "/".join(quote(part, safe="") for part in path), params=given)

    async def post(self, *path: str, body: object = None) -> Any:
        """The JSON answer of a POST to `/api/v1/PATH`."""
        return await self._send("POST", _API + "/".join(quote(part, safe="") for part in path), json=body)

    async def put(self, *path: str, body: object = None) -> Any:
        """The JSON answer of a PUT to `/api/v1/PATH`."""
        return await self._send("PUT", _API + "/".join(quote(part, safe="") for part in path), json=body)

    async def delete(self, *path: str, **where: Any) -> Any:
        """The JSON answer of a DELETE to `/api/v1/PATH`; conditions that are None are left out."""
        given = {name: value for name, value in where.items() if value is not None}
        return await self._send(
            "DELETE", _API + "/".join(quote(part, safe="") for part in path), params=given
        )

    async def patch(self, *path: str, content: bytes, **where: Any) -> Any:
        """The JSON answer of a JSON Patch (RFC 6902) to `/api/v1/PATH`."""
        return await self._send(
            "PATCH",
            _API + "/".join(quote(part, safe="") for part in path),
            content=content,
            params=where,
            headers={"content-type": "application/json-patch+json"},
        )

    async def post_event(self, content: bytes, content_type: str) -> Any:
        """The answer of event intake; the events are on disk then."""
        return await self._send("POST", "/events", content=content, headers={"content-type": content_type})

    async def stream(self, **where: Any) -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
        """Position and event, as they are committed from now on; goes on where a connection broke."""
        import asyncio

        import httpx
        import orjson

        position: int | None = None
        while True:
            headers = {} if position is None else {"last-event-id": str(position)}
            try:
                async with self._client.stream(
                    "GET", _API + "stream", params=where, headers=headers, timeout=None
                ) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                        raise _failure(answer)
                    async for name, identity, data in _messages(answer):
                        position = int(identity)
                        if name != "gap":
                            yield position, orjson.loads(data)
            except httpx.HTTPError as error:
                raise CommandFailed(_unreachable(self.url, error)) from error
            await asyncio.sleep(1)

    async def _send(self, method: str, path: str, **request: Any) -> Any:
        import httpx
        import orjson

        try:
            answer = await self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise CommandFailed(_unreachable(self.url, error)) from error
        if not answer.is_success:
            raise _failure(answer)
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise CommandFailed(f"what answers at {self.url} is no Tidemill server") from None


async def _messages(answer: httpx.Response) -> AsyncIterator[tuple[str, str, str]]:
    """Event name, id and data of each server-sent event."""
    name = identity = data = ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        match field:
            case "event":
                name = value
            case "id":
                identity = value
            case "data":
                data = value
            case "" if data:
                yield name, identity, data
                name = identity = data = ""


def _unreachable(url: str | None, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"the server at {url} cannot be asked ({reason}); is it running?"


def _failure(answer: httpx.Response) -> AnswerFailed:
    """The sentence of a problem document."""
    import orjson

    try:
        problem = orjson.loads(answer.content)
        sentence = str(problem["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        sentence = f"the server answered {answer.status_code} {answer.reason_phrase}"
        return AnswerFailed(answer.status_code, sentence)
    places = [_place(one) for one in problem.get("problems") or [] if isinstance(one, dict)]
    if places:
        sentence = f"{sentence}: {'; '.join(places)}"
    elif problem.get("attribute") is not None:
        sentence = f"{sentence} ({problem['attribute']})"
    return AnswerFailed(answer.status_code, sentence)


def _place(one: Mapping[str, Any]) -> str:
    detail = str(one.get("detail", ""))
    if "index" in one:
        return f"event {one['index']}: {detail}"
    return f"{one['location']}: {detail}" if one.get("location") else detail
