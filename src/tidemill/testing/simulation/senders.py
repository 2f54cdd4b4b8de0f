"""Whoever has something to tell: by HTTP until it is answered, into a log with partitions, into a folder."""

from __future__ import annotations

import orjson

from tidemill.events.event import Event
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.door import Door
from tidemill.testing.simulation.faults import Faults
from tidemill.testing.simulation.observed import Answer, Observed
from tidemill.testing.simulation.outside import Folder, Stream, body_of, event_of
from tidemill.testing.simulation.scenario import Message

__all__ = ["Senders"]

#: Seconds between two attempts of a sender.
_RESEND_SECONDS = 1.5


class Senders:
    """One coroutine for each message."""

    def __init__(
        self,
        chance: Chance,
        faults: Faults,
        door: Door,
        observed: Observed,
        *,
        stream: Stream,
        folder: Folder,
    ) -> None:
        self.observed, self.faults = observed, faults
        self.loop, self.clock = door.loop, door.clock
        self._chance, self._door = chance, door
        self._stream, self._folder = stream, folder

    async def tell(self, message: Message) -> None:
        """Tell one message; over when it is safe, or lies where the service finds it."""
        draw = self._chance.stream("sender", message.number)
        await self.clock.sleep(message.at)
        event = event_of(message)
        self.observed.sent[event.source, event.id] = message.type
        match message.via:
            case "http":
                await self._post_until_safe(event)
                if draw.random() < 0.2 or self.faults.is_bad():
                    await self.clock.sleep(draw.uniform(0, 10))
                    await self._post_until_safe(event)
                if draw.random() < 0.05:
                    await self._post_until_safe(event_of(message, data={"number": -1, "key": message.key}))
            case "stream":
                self._produce(message)
                if draw.random() < 0.1:
                    place = (message.partition, len(self._stream.partitions[message.partition]))
                    self.observed.bad_records.append(place)
                    self._stream.add(message.partition, b"{no event", self.loop.now_us)
                if self.faults.is_bad():
                    await self.clock.sleep(draw.uniform(0, 5))
                    self._produce(message)
            case _:
                self._folder.files[f"{message.number}.csv"] = (1, message)

    def _produce(self, message: Message) -> None:
        self._stream.add(message.partition, body_of(message), self.loop.now_us + self.faults.delay_us())

    async def _post_until_safe(self, event: Event) -> None:
        """Send an event again and again, under one id, until the service has answered."""
        document = {
            "specversion": "1.0",
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "datacontenttype": "application/json",
            "data": event.data,
        }
        while True:
            await self.clock.sleep(self.faults.delay_us() / 1e6)
            answer = await self._door.post(orjson.dumps(document))
            if answer is not None and not self.faults.is_bad():  # else it was lost on its way
                status, body = answer
                if status == 202:
                    self.observed.answers.append(
                        Answer(
                            event.source,
                            event.id,
                            self.loop.now_us,
                            position=int(body["position"]),
                            duplicate=bool(body.get("duplicate")),
                        )
                    )
                    return
                if status == 409:
                    self.observed.reused.append((event.source, event.id))
                    return
            await self.clock.sleep(_RESEND_SECONDS)
