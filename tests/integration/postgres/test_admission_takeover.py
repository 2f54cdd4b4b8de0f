"""Two routers on one database: whoever decides on what another one has changed is refused, and nothing is doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.postgres.conftest import Opener

from tidemill import dag, task
from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.routing.router import Router
from tidemill.storage.contract import Append, DispositionKind, RunFilter
from tidemill.storage.postgres import PostgresStore
from tidemill.testing.project import make_project

pytestmark = pytest.mark.postgres

_PATIENCE = 20


@task
async def keep(value: Any) -> Any:
    return value


@dag
def take(value: Any) -> Any:
    return keep(value)


def project(folder: Path, admission: str) -> Project:
    triggers = (
        "triggers:\n  - name: t\n    dag: take\n    filters: [{exact: {type: x}}]\n"
        f"    parameters: {{value: $.data}}\n    admission: {admission}\n"
    )
    return make_project(folder, dags=[take], root=None, triggers=triggers)


async def wait_for_held(store: PostgresStore, count: int) -> None:
    async with asyncio.timeout(_PATIENCE):
        while sum((await store.admissions.counts()).values()) != count:  # noqa: ASYNC110 - another process tells of nothing
            await asyncio.sleep(0.005)


async def test_timer_of_a_router_that_was_overtaken_is_refused(open_node: Opener, tmp_path: Path) -> None:
    one, two = await open_node(), await open_node()
    made = project(tmp_path, "{debounce: {period: 300ms}}")
    await one.log.append(Append(events=[Event(id=str(n), source="/s", type="x", data=n) for n in range(3)]))

    first = asyncio.ensure_future(Router(one, made, clock=SystemClock(), max_hops=16).run())
    await wait_for_held(one, 3)
    # It goes on, and does not know that it is not alone any more.
    second = asyncio.ensure_future(Router(two, made, clock=SystemClock(), max_hops=16).run())
    await wait_for_held(two, 0)
    done, pending = await asyncio.wait([first, second], timeout=5, return_when=asyncio.FIRST_COMPLETED)
    for router in pending:
        router.cancel()

    (refused,) = done
    error = refused.exception()
    assert isinstance(error, CursorMoved)
    assert error.name == "admission"
    found = [(await two.runs.dispositions(position))[0] for position in (1, 2, 3)]
    assert [one.kind for one in found] == [
        DispositionKind.DEBOUNCED_INTO,
        DispositionKind.DEBOUNCED_INTO,
        DispositionKind.RUN,
    ]
    assert len(await two.runs.list(RunFilter(), before=None, limit=10)) == 1


async def test_router_that_takes_over_goes_on_with_what_waits(open_node: Opener, tmp_path: Path) -> None:
    one, two = await open_node(), await open_node()
    made = project(tmp_path, "{key: $.data, batch: {size: 4, period: 1h}, concurrency: {limit: 1}}")
    events = [Event(id=str(n), source="/s", type="x", data=n % 2) for n in range(8)]
    await one.log.append(Append(events=events[:5]))
    first = asyncio.ensure_future(Router(one, made, clock=SystemClock(), max_hops=16).run())
    await wait_for_held(one, 5)
    await one.abandon()
    first.cancel()

    await two.log.append(Append(events=events[5:]))
    second = asyncio.ensure_future(Router(two, made, clock=SystemClock(), max_hops=16).run())
    await wait_for_held(two, 0)
    second.cancel()

    runs = await two.runs.list(RunFilter(), before=None, limit=10)
    assert sorted(run.position for run in runs) == [7, 8]
    assert len(await two.admissions.open_runs(after="", limit=10)) == 2
