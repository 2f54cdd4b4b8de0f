"""The whole HTTP surface as one ASGI application: guard, then intake past the framework, then FastAPI.

Nothing is decided here but the order of layers: header block, authentication, dispatch; for the API also a
bounded body and security headers. Event intake pays for none of FastAPI's layers.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import FastAPI

from tidemill.api import (
    analysis,
    approvals,
    audit,
    auth,
    cache,
    cloud_subscriptions,
    dag_versions,
    dags,
    dead_letters,
    events,
    graph,
    marks,
    migration,
    nodes,
    openapi,
    operations,
    past,
    pools,
    problems,
    progress,
    project,
    replays,
    reruns,
    run_diff,
    runs,
    sources,
    stream,
    subscriptions,
    triggers,
    why,
)
from tidemill.api.auth import Refusal, Surface
from tidemill.api.bounds import BoundedReceive, protect
from tidemill.api.parts import Parts, Receive, Scope, Send

__all__ = ["Application", "create_application"]

#: Largest header block, in bytes of names and values.
_MAX_HEADER_BYTES = 64 << 10
_HEADERS_TOO_LARGE = Refusal(
    431,
    "headers_too_large",
    f"the header fields are larger than {_MAX_HEADER_BYTES} bytes",
    ((b"connection", b"close"),),
)

#: Modules with routes, in the order in which the description lists them.
_ROUTED = (
    audit,
    project,
    past,
    events,
    why,
    replays,
    triggers,
    runs,
    run_diff,
    migration,
    reruns,
    progress,
    marks,
    dags,
    dag_versions,
    graph,
    analysis,
    cache,
    approvals,
    dead_letters,
    sources,
    pools,
    subscriptions,
    cloud_subscriptions,
    stream,
    nodes,
    operations,
)


class Application(FastAPI):
    """FastAPI behind a guard, with event intake beside it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            title="Tidemill",
            version=metadata.version("tidemill"),
            description="Post events, read the log and the runs, steer runs.",
            openapi_url="/api/v1/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self.parts = parts
        self._guard = auth.Guard(parts.settings)
        self._body_limit = parts.settings.max_body_bytes
        self._body_seconds = parts.settings.body_timeout_seconds
        problems.install(self)
        for module in _ROUTED:
            self.include_router(module.router)
        #: Routes of all modules; the framework keeps them by module.
        self.every_route = [route for module in _ROUTED for route in module.router.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})
            case _:
                await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The description of every route, intake included."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi())
        return self.openapi_schema

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if _size(headers) > _MAX_HEADER_BYTES:
            await problems.send_refusal(send, _HEADERS_TOO_LARGE)
            return
        place = auth.surface(scope["path"])
        refusal = self._guard.check(place, headers)
        if refusal is not None and not self._is_open(place, scope):
            await problems.send_refusal(send, refusal)
        elif place is Surface.EVENTS:
            await self.parts.ingest(scope, receive, send)
        elif place is Surface.WEBHOOKS:
            await self.parts.webhooks(scope, receive, send)
        else:
            bounded = BoundedReceive(receive, limit=self._body_limit, seconds=self._body_seconds)
            await self._serve(scope, bounded, protect(send))

    def _is_open(self, place: Surface, scope: Scope) -> bool:
        """Whether a request that brings no token goes on: a webhook that asks for none, or a handshake."""
        if place is Surface.WEBHOOKS and self.parts.is_open_webhook(scope["path"]):
            return True
        is_intake = place in (Surface.EVENTS, Surface.WEBHOOKS)
        return is_intake and auth.is_handshake(scope["method"], scope["headers"], self.parts.settings)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception:
            # Logged and answered by the handler in `problems`; raised again by the framework only for servers
            # that do neither.
            return


def create_application(parts: Parts) -> Application:
    """The application that the server runs."""
    return Application(parts)


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size
