"""The service's side of one worker process: its socket, its output, and what it is about."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from tidemill.executors.process.frames import ALLOWANCE, Kind
from tidemill.executors.process.link import Link
from tidemill.executors.process.output import Output

__all__ = ["Owner", "Worker"]


class Owner(Protocol):
    """Whoever has the worker."""

    def ready(self, worker: Worker) -> None:
        """It waits for its first attempt."""

    def replied(self, worker: Worker, body: bytes, *, is_last: bool) -> None:
        """It has made its attempt."""

    def beaten(self, worker: Worker) -> None:
        """Its attempt is alive."""

    def confused(self, worker: Worker) -> None:
        """It says what nobody says."""


class Worker:
    """One process; it makes one attempt at a time."""

    def __init__(self, number: int, end: socket.socket, output: int, *, largest: int, owner: Owner) -> None:
        self.number = number
        #: 0 until it is there.
        self.pid = 0
        self.is_ready = False
        #: It takes no further attempt.
        self.is_ending = False
        self.idle_looks = 0
        #: Bundles that it was sent, by their digests.
        self.bundles: set[str] = set()
        #: Set once it was asked to end.
        self.killer: asyncio.TimerHandle | None = None
        self.output = Output(output)
        self._owner = owner
        self.link = Link(
            end, largest=largest, received=self._received, broken=lambda _reason: owner.confused(self)
        )

    def request(self, request: bytes, *, memory: int, cpu_seconds: float, heartbeat: float) -> None:
        """Hand it an attempt; 0 for no limit."""
        self.output.begin()
        self.link.send(Kind.REQUEST, ALLOWANCE.pack(memory, cpu_seconds, heartbeat), request)

    def close(self) -> None:
        """Let go of it; its output goes on to be read until it is gone."""
        if self.killer is not None:
            self.killer.cancel()
        self.link.close()

    def _received(self, kind: Kind, payload: bytes) -> None:
        match kind:
            case Kind.READY:
                self.is_ready = True
                self._owner.ready(self)
            case Kind.REPLY | Kind.LAST_REPLY:
                self._owner.replied(self, payload, is_last=kind is Kind.LAST_REPLY)
            case Kind.BEAT:
                self._owner.beaten(self)
            case Kind.REQUEST:
                self._owner.confused(self)
