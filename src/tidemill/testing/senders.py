"""What comes into a harness: events, files, requests, records, and what people ask for.

Under chaos every message comes in the end: whoever sends tries again, as producers do, with the same identity.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from tidemill.errors import NotFound, StoreUnavailable
from tidemill.events import validate
from tidemill.events.event import JSON, Event
from tidemill.events.lifecycle import dag_requested, retry_requested
from tidemill.ids import run_id
from tidemill.runs.rerun import Plan
from tidemill.storage.contract import Append, RunSummary
from tidemill.testing.arrivals import Answer, SourceError
from tidemill.testing.receivers import Receiver
from tidemill.testing.stillness import let_run
from tidemill.testing.stubs import Stub
from tidemill.testing.world import HarnessError, World

__all__ = ["Senders"]

T = TypeVar("T")

#: Times that a sender tries before it gives up.
_TRIES = 1000
_JSON = {"content-type": "application/json"}

_Way = Callable[[], Coroutine[Any, Any, Any]]


class Senders(World):
    """See `Harness`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: Messages that wait for a later one.
        self._overtaken: list[_Way] = []
        #: Messages whose delay is over.
        self._due: deque[_Way] = deque()
        self._delayed = 0
        self._offsets: dict[tuple[str, int], int] = {}

    # ── messages ──

    async def send(self, event: Event | None = None, /, **attributes: Any) -> int:
        """Append an event, as a source does, and return its position in the log.

        `send(type="com.example.order", data={...})` makes one; `id` and `source` are made where not given. Under chaos
        an event may still be on its way; its position is 0 then.
        """
        if event is None:
            event = validate.create(**{"id": self._ids.next(), "source": "/test", **attributes})
        validate.refuse_reserved(event)
        return await self._come(partial(self._append, event)) or 0

    async def drop(self, path: str | Path, content: bytes | str = b"", *, moved: bool = False) -> Path:
        """Write a file into a watched folder, as a program that closes it does; `moved` into place instead.

        `path` is what it would be in the project (`inbox/orders.csv`); where it is in the harness's folder is returned.
        The file lands as the source's `complete` says: at once where closing is enough, else as time passes.
        """
        await let_run(asyncio.get_running_loop())  # the source has come up
        place = self._alive.arrivals.drop(path, content, moved=moved)
        if self.misfortune is not None and self.misfortune.comes_twice():
            self._alive.arrivals.drop(path, content, moved=moved)
        return place

    async def webhook(
        self,
        source: str,
        body: bytes | None = None,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        signed: bool = True,
    ) -> Answer:
        """Post to a webhook source through its real endpoint and return the answer.

        `body` as it is, or `json` as JSON. Where the source asks for a signature and its secret can be read, the
        request is signed with it; `signed=False` leaves that to `headers`.
        """
        raw = orjson.dumps(json) if body is None else body
        fields = {**_JSON, **{name.lower(): value for name, value in (headers or {}).items()}}

        async def post() -> Answer:
            request = self._alive.arrivals.webhook(source, raw, fields, query=query, signed=signed)
            return self._or_again(await self._unless_crashed(request))

        return await self._insist_twice(post)

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post to `/events` through the real endpoint (CloudEvents, in any mode) and return the answer."""

        async def post() -> Answer:
            return self._or_again(await self._unless_crashed(self._alive.arrivals.post(body, headers)))

        return await self._insist_twice(post)

    async def record(
        self,
        source: str,
        value: bytes | None = None,
        *,
        json: Any = None,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        topic: str | None = None,
        partition: int = 0,
        offset: int | None = None,
    ) -> int:
        """Give a Kafka source a record, without a broker, and return the position of its event; 0 for a dead letter.

        The offset is the partition's next one unless given: the same offset again is the same record.
        """
        place = (topic or source, partition)
        number = self._offsets.get(place, 0) if offset is None else offset
        self._offsets[place] = max(self._offsets.get(place, 0), number + 1)
        raw = orjson.dumps(json) if value is None and json is not None else value

        async def come() -> int:
            with self._alive.as_stage():
                appended = await self._unless_crashed(
                    self._alive.arrivals.record(
                        source,
                        raw,
                        key=key,
                        headers=headers or {},
                        topic=topic,
                        partition=partition,
                        offset=number,
                    )
                )
            return 0 if appended is None else appended.position

        return await self._come(come) or 0

    # ── people ──

    async def start(self, dag: str, /, **parameters: JSON) -> str:
        """Ask for a run of `dag` by hand and return its id; the run exists once the harness has run."""
        event = dag_requested(dag=dag, parameters=parameters, id=self._ids.next(), by="test")
        return await self._ask(event, "manual")

    async def retry(self, run: str) -> str:
        """Ask for a run that takes over what `run` has done, and return its id."""
        earlier = await self._summary(run)
        parameters = orjson.loads(earlier.parameters)
        event = retry_requested(
            dag=earlier.dag, run_id=run, parameters=parameters, id=self._ids.next(), by="test"
        )
        return await self._ask(event, "retry")

    async def rerun(
        self,
        run: str,
        plan: Plan | None = None,
        *,
        parameters: Mapping[str, JSON] | None = None,
        version: str | None = None,
    ) -> str:
        """Ask for a run that makes `run` again as far as `plan` says, all of it without one, and return its id.

        `parameters` are those of the new run, the earlier one's without them; `version` is the DAG's, where it is not
        the one that is loaded.
        """
        earlier = await self._summary(run)
        event = retry_requested(
            dag=earlier.dag,
            run_id=run,
            parameters=orjson.loads(earlier.parameters) if parameters is None else dict(parameters),
            id=self._ids.next(),
            by="test",
            rerun=(plan or Plan()).as_json(),
            version=version,
        )
        return await self._ask(event, "retry")

    async def cancel(self, run: str) -> None:
        """Ask to cancel a run."""

        async def ask() -> None:
            await self._unless_crashed(self.store.runs.request(run, "cancel", "test"))

        await self._insist(ask)

    # ── what stands in for the rest ──

    def stub(self, task: str, /, **answer: Any) -> Stub:
        """Stand in for the task `DAG.TASK` from now on, in every run, and return what keeps its calls.

        `returns=` a value, `raises=` an error, or `calls=` a function with the task's arguments; without any, the task
        returns None. `times=` limits it to that many calls. A later stub of the same task takes its place.
        """
        return self._stubs.add(task, self.project.dags, **answer)

    def unstub(self, task: str, /) -> None:
        """The task is called again."""
        self._stubs.remove(task)

    def answer(
        self, subscription: str, status: int | None, *, times: int = 1, retry_after: str | None = None
    ) -> None:
        """What the receiver of a subscription answers the next `times`: a status, or None where it cannot be reached.

        Receivers accept everything else.
        """
        self._receiver(subscription).answers.extend([(status, retry_after)] * times)

    def _receiver(self, subscription: str) -> Receiver:
        try:
            return self._receivers[subscription]
        except KeyError:
            names = ", ".join(self._receivers) or "none"
            raise SourceError(f"there is no subscription {subscription!r}; these are: {names}") from None

    # ── how messages come ──

    async def _come(self, way: _Way) -> Any:
        """What a message gives that comes now; None for one that comes later."""
        fate = self.misfortune
        if fate is None:
            return await way()
        if fate.is_overtaken():
            self._overtaken.append(way)
            return None
        if seconds := fate.delay():
            self._delayed += 1
            self.clock.call_later(seconds, partial(self._due.append, way))
            return None
        given = await self._insist_twice(way)
        await self._hand_in_overtaken()
        return given

    async def _hand_in(self) -> None:
        await self._hand_in_overtaken()
        while self._due:
            await self._insist_twice(self._due.popleft())
            self._delayed -= 1

    async def _hand_in_overtaken(self) -> None:
        while self._overtaken:
            await self._insist_twice(self._overtaken.pop(0))

    async def _insist_twice(self, way: Callable[[], Coroutine[Any, Any, T]]) -> T:
        given = await self._insist(way)
        if self.misfortune is not None and self.misfortune.comes_twice():
            await self._insist(way)
        return given

    async def _insist(self, way: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What it gives; under chaos it is tried until it does."""
        if self.misfortune is None:
            return await way()
        for _ in range(_TRIES):
            try:
                return await way()
            except StoreUnavailable:
                continue
            except HarnessError:
                if not await self._revive():
                    raise
        raise HarnessError(f"a message was not taken in {_TRIES} tries")

    def _or_again(self, answer: Answer) -> Answer:
        """The answer; under chaos one that asks the sender to come again raises."""
        if self.misfortune is not None and answer.status >= 500:
            raise StoreUnavailable(f"answered {answer.status}")
        return answer

    @property
    def _is_busy(self) -> bool:
        return super()._is_busy or self._delayed > 0

    async def _ask(self, event: Event, trigger: str) -> str:
        async def ask() -> str:
            logged = await self.store.log.get(await self._append(event))
            assert logged is not None  # noqa: S101 - it was just appended
            return run_id(trigger, event.source, event.id, logged.received_at)

        return await self._insist(ask)

    async def _append(self, event: Event) -> int:
        (answer,) = await self._unless_crashed(self.store.log.append(Append(events=[event])))
        return answer.position

    async def _summary(self, run: str) -> RunSummary:
        summary = await self.store.runs.get(run)
        if summary is None:
            raise NotFound("run", run)
        return summary
