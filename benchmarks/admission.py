"""What admission costs an event: the same events routed and committed with and without it."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path

from benchmarks.bench import FOLDER
from benchmarks.report import report
from tidemill import dag, task
from tidemill.clock import SystemClock
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import Project
from tidemill.routing.admission.gate import Gate
from tidemill.routing.dispositions import Routed, Routes
from tidemill.storage.contract import RouteBatch
from tidemill.storage.sqlite import open_store
from tidemill.testing.project import make_project

__all__ = ["a1"]

_EVENTS = 20_000
_BATCH = 512
_TRIGGER = """
triggers:
  - name: t
    dag: work
    filters: [{exact: {type: order}}]
    parameters: {value: $.data.n}
"""
#: What is measured; each is to cost at most 30 µs an event.
_SETTINGS = {
    "idempotency": "{idempotency: {key: $.data.n, ttl: 1h}}",
    "rate_limit": "{key: $.data.customer, rate_limit: {limit: 10000, period: 1h}}",
    "debounce": "{key: $.data.customer, debounce: {period: 1m}}",
    "batch": "{key: $.data.customer, batch: {size: 100, period: 1h}}",
    "throttle": "{throttle: {limit: 100, period: 1h}}",
    "concurrency": "{key: $.data.customer, concurrency: {limit: 10}}",
    "together": "{key: $.data.customer, idempotency: {key: $.data.n, ttl: 1h}, debounce: {period: 1m}, "
    "batch: {size: 100, period: 1h}, throttle: {limit: 10, period: 1m}, concurrency: {limit: 10}}",
}


@task
async def nothing(value: object) -> None:
    return None


@dag
def work(value: object) -> object:
    return nothing(value)


async def a1() -> None:
    """One line per setting: microseconds of processor time that it adds to routing and committing one event."""
    await _measure("")
    plain = min([await _measure("") for _ in range(3)])
    for name, admission in _SETTINGS.items():
        taken = min([await _measure(admission) for _ in range(2)])
        report(
            f"A1 {name}", taken - plain, "us/event", None, events=_EVENTS, batch=_BATCH, plain=round(plain, 3)
        )


async def _measure(admission: str) -> float:
    """Microseconds of processor time an event, of all threads."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        triggers = _TRIGGER + (f"    admission: {admission}\n" if admission else "")
        project = make_project(Path(folder), dags=[work], root=None, triggers=triggers)
        store = await open_store(Path(folder) / "t.db", clock=SystemClock())
        try:
            now = SystemClock().now_us()
            events = [
                LoggedEvent(
                    n,
                    now + n,
                    Event(id=str(n), source="/s", type="order", data={"n": n, "customer": n % 100}),
                )
                for n in range(1, _EVENTS + 1)
            ]
            gc.collect()
            begun = time.process_time()
            await _route(project, store, events)  # type: ignore[arg-type]
            return (time.process_time() - begun) / _EVENTS * 1e6
        finally:
            await store.close()


async def _route(project: Project, store: object, events: list[LoggedEvent]) -> None:
    routes = Routes(project, max_hops=16)
    gate = Gate(store, project, max_held=100_000)  # type: ignore[arg-type]
    await gate.load(Routed(), events[0].received_at)
    position = 0
    for start in range(0, len(events), _BATCH):
        routed, batch = Routed(), events[start : start + _BATCH]
        at = batch[-1].received_at
        for logged in batch:
            routes.route(logged, at, routed)
        if gate.is_used:
            await gate.work(routed, at)
            await gate.ring(routed, at, at)
        last = batch[-1].position
        await store.runs.route(  # type: ignore[attr-defined]
            RouteBatch(
                expected=position,
                cursor=last,
                dispositions=routed.dispositions,
                runs=routed.runs,
                deliveries=routed.deliveries,
                dead_letters=routed.dead_letters,
                admission=gate.changes(routed, at, at),
            )
        )
        gate.landed(at)
        position = last
