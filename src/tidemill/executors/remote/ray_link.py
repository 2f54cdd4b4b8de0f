"""The service's end of its Ray driver: the process, and the calls under way in it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import orjson

from tidemill.errors import SettingsError
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_frames import Frames, Kind, Outgoing

__all__ = ["RayDriver", "RayLink", "require_ray"]

#: Longest time for the driver to end by itself when it is told to, in seconds.
_END_SECONDS = 10.0


def require_ray() -> None:
    """Raises `SettingsError` when Ray is not installed; it is not imported."""
    try:
        found = importlib.util.find_spec("ray")
    except ImportError:
        found = None
    if found is None:
        raise SettingsError("executor=\"ray\" needs an extra: pip install 'tidemill[ray]'")


class RayDriver:
    """A driver process; `path` is the socket that it serves."""

    def __init__(self) -> None:
        self.path = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, address: str, *, seconds: float) -> None:
        """Return when it has joined the cluster. Raises `SettingsError`."""
        self._folder = tempfile.TemporaryDirectory(prefix="tidemill-ray-")
        path = str(Path(self._folder.name, "s"))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidemill.executors.remote.ray_driver",
            address,
            path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the service
        )
        try:
            said = await asyncio.wait_for(self._first_line(), seconds)
        except BaseException as error:
            await self.end(at_once=True)
            if isinstance(error, TimeoutError):
                raise SettingsError(
                    f"ray_address: {address} did not let us in within {seconds:g} s; "
                    "this machine must be part of the cluster, or use ray://HOST:10001"
                ) from error
            raise
        if said.get("ready"):
            self.path = path
            return
        await self.end(at_once=True)
        raise SettingsError(f"ray_address: {address}: {said.get('error', 'Ray ended')}")

    async def end(self, *, at_once: bool = False) -> None:
        """The process leaves the cluster and ends."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            if at_once:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _END_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def _first_line(self) -> dict[str, object]:
        assert self._process is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in self._process.stdout:
            if line.startswith(b"{"):
                said: dict[str, object] = json.loads(line)
                return said
        return {}


class RayLink(asyncio.Protocol):
    """Calls under way in a driver; when it ends, all of them have failed."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._frames = Frames()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._started: dict[int, Callable[[], None]] = {}
        self._transport: asyncio.WriteTransport | None = None
        self._outgoing: Outgoing
        self._loop = asyncio.get_running_loop()

    def ask(
        self, kind: Kind, body: bytes = b"", *, started: Callable[[], None] | None = None
    ) -> tuple[int, asyncio.Future[bytes]]:
        """Number and answer of a call. Raises `ClusterFailure` when there is no driver."""
        if self._transport is None:
            raise _gone()
        call = next(self._numbers)
        answer = self._answers[call] = self._loop.create_future()
        answer.add_done_callback(lambda _: self._forget(call))
        if started is not None:
            self._started[call] = started
        self._outgoing.send(kind, call, body)
        return call, answer

    def stop(self, call: int) -> None:
        """See `Kind.STOP`."""
        if self._transport is not None:
            self._outgoing.send(Kind.STOP, call)

    async def close(self) -> None:
        """Nothing is under way any more, and nobody is told."""
        transport, self._transport = self._transport, None
        if transport is not None:
            # One turn for what was sent in this one, such as calls to stop.
            await asyncio.sleep(0)
            transport.close()
        self._fail()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._outgoing = Outgoing(self._transport)

    def data_received(self, data: bytes) -> None:
        for kind, call, body in self._frames.feed(data):
            if kind is Kind.STARTED:
                started = self._started.pop(call, None)
                if started is not None:
                    started()
                continue
            answer = self._answers.get(call)
            if answer is None or answer.done():
                continue
            if kind is Kind.REPLY:
                answer.set_result(body)
            else:
                facts = orjson.loads(body)
                answer.set_exception(
                    ClusterFailure(facts["kind"], facts["message"], permanent=facts["permanent"])
                )

    def connection_lost(self, exc: Exception | None) -> None:
        was_open, self._transport = self._transport is not None, None
        self._fail()
        if was_open:
            self._lost()

    def _forget(self, call: int) -> None:
        self._answers.pop(call, None)
        self._started.pop(call, None)

    def _fail(self) -> None:
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(_gone())
                answer.exception()  # seen, should nobody await it


def _gone() -> ClusterFailure:
    return ClusterFailure(
        "ClusterLost", "the connection to the cluster ended, and with it what was under way"
    )
