"""Which server a command asks, and how: one HTTP client for reads and writes, whoever answers.

1. `--url` or `TIDEMILL_URL` names the server.
2. Else the project's note names the server that runs for it.
3. Where none runs, the same API answers in this process, on the project's store, opened for this one command.
   Who can open the store needs no token. What is written so is durable; the server routes it when it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from tidemill.cli.failures import CommandFailed, UsageFailed, failures_reported
from tidemill.cli.server import Server
from tidemill.errors import ProjectLocked
from tidemill.service.note import find_note

if TYPE_CHECKING:
    import httpx

    from tidemill.settings import Settings

__all__ = ["Target", "ask"]

#: Longest time one request may take, in seconds; an answer may wait for routing.
_TIMEOUT_SECONDS = 30.0
#: How long to wait while another command has the project's store, in seconds.
_PATIENCE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.05
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - only compared
#: What makes a folder a project.
_MARKS = ("workflows", "triggers", "tidemill.toml", ".tidemill")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Target:
    """What the command line says of the server to ask."""

    project: Path
    url: str | None = None
    token: str | None = None


def ask(target: Target, work: Callable[[Server], Awaitable[Answer]]) -> Answer:
    """What `work` gives when it is handed the server; ends the command when something fails."""

    async def connected() -> Answer:
        async with _connect(target) as server:
            return await work(server)

    with failures_reported():
        return asyncio.run(connected())


@contextlib.asynccontextmanager
async def _connect(target: Target) -> AsyncIterator[Server]:
    if target.url is not None:
        async with _client(target.url, target.token) as client:
            yield Server(client, target.url)
        return
    root = target.project
    if not root.is_dir():
        raise UsageFailed(f"the project folder {root} does not exist; make one with `tidemill init`")
    if not any((root / mark).exists() for mark in _MARKS):
        raise UsageFailed(f"{root.resolve()} is no Tidemill project; give --project DIR or --url URL")
    from tidemill.settings import load

    settings = load(root)
    token = target.token or (settings.api_token.get_secret_value() if settings.api_token else None)
    found = find_note(root)
    if found is not None and found.is_held:
        async with _client(found.url, token) as client:
            yield Server(client, found.url)
        return
    async with _open(root, settings, token) as server:
        yield server


@contextlib.asynccontextmanager
async def _open(root: Path, settings: Settings, token: str | None) -> AsyncIterator[Server]:
    """The server in this process; the real one when it came up meanwhile."""
    import httpx

    from tidemill.service.offline import open_offline

    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                app = await stack.enter_async_context(open_offline(root, settings))
            except ProjectLocked as error:
                found = find_note(root)
                if found is not None and found.is_held:
                    client = await stack.enter_async_context(_client(found.url, token))
                    yield Server(client, found.url)
                    return
                if loop.time() > deadline:
                    raise CommandFailed(f"{error}, and no server of the project answers") from error
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                continue
            # Who can open the store needs no token of its own.
            own = settings.api_token.get_secret_value() if settings.api_token else None
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost", headers=_headers(own)
            )
            await stack.enter_async_context(client)
            yield Server(client, None)
            return


def _client(url: str, token: str | None) -> httpx.AsyncClient:
    import httpx

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UsageFailed(f"{url} is no address of a server; it looks like http://HOST:PORT")
    return httpx.AsyncClient(
        base_url=url,
        headers=_headers(token),
        timeout=_TIMEOUT_SECONDS,
        # A proxy has no way to this machine's loopback.
        trust_env=parts.hostname not in _LOOPBACK,
    )


def _headers(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not token.isascii() or not token.isprintable():
        raise UsageFailed("the token holds characters that cannot be sent")
    return {"authorization": f"Bearer {token}"}
