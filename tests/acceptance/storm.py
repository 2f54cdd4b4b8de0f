"""A storm of signed webhook deliveries, as GitHub sends them: many connections, and a third of what comes again."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import Iterator

from tests.acceptance.notes import Notes
from tests.acceptance.senders import Client

__all__ = ["Storm"]

_SOURCE = "/acceptance/github"


class Storm:
    """`total` deliveries over so many connections at once; every second one is delivered again by somebody else.

    Each is repeated until it is answered.
    """

    def __init__(self, client: Client, notes: Notes, *, secret: str, total: int) -> None:
        self._client = client
        self._notes = notes
        self._secret = secret.encode()
        self._numbers = self._deal(total)
        #: Answers that told a new event, and answers that told a known one.
        self.accepted = 0
        self.duplicates = 0

    async def run(self, connections: int = 64) -> None:
        """Return when everything is acknowledged."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(self._post())

    async def _post(self) -> None:
        for number in self._numbers:
            name, data = f"delivery-{number}", {"n": number}
            body = json.dumps(data).encode()
            digest = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers = {
                "content-type": "application/json",
                "x-github-event": "push",
                "x-github-delivery": name,
                "x-hub-signature-256": f"sha256={digest}",
            }
            self._notes.write(what="tried", source=_SOURCE, id=name)
            answer = await self._client.ask("POST", "/webhooks/github", content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            told = answer.json()
            self._notes.write(what="ack", source=_SOURCE, id=name, data=data, **told)
            if told["duplicate"]:
                self.duplicates += 1
            else:
                self.accepted += 1

    @staticmethod
    def _deal(total: int) -> Iterator[int]:
        """A third of what is sent was sent before: some at the same moment, some a while ago."""
        for number in itertools.islice(itertools.count(1), total):
            yield number
            if number % 2 == 0:
                yield number if number % 4 else number // 2
