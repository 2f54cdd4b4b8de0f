"""DAGs that wait, and harnesses that run them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tidemill import approval, dag, sleep, task, wait_for_event, wait_until
from tidemill.dag.declaration import DagDefinition


@task
async def order(number: int) -> dict[str, int]:
    return {"id": number}


@task
async def keep(value: Any = None) -> Any:
    return value


@dag
def paid(number: int) -> Any:
    known = order(number)
    event = wait_for_event(
        {"type": ["shop.payment"]},
        match={"data.order_id": known["id"]},
        timeout=timedelta(days=1),
        task_id="payment",
    )
    return keep(event)


@dag
def nap(seconds: float) -> Any:
    return keep(sleep(seconds))


@dag
def later(moment: str) -> Any:
    return keep(wait_until(moment))


@dag
def skipped() -> None:
    keep(wait_for_event({"type": ["never"]}, timeout=10, on_timeout="skip", task_id="w"))


@dag
def instead() -> Any:
    return wait_for_event({"type": ["never"]}, timeout=10, on_timeout={"nothing": True}, task_id="w")


@dag
def recent() -> Any:
    return wait_for_event({"type": ["news"]}, lookback=timedelta(minutes=5), task_id="w")


@dag
def publish(title: str) -> Any:
    form = {
        "type": "object",
        "properties": {"price": {"type": "integer"}},
        "required": ["price"],
    }
    return keep(
        approval(title, form=form, assignees=["ann", "bob", "cid"], quorum=2, timeout=3600, task_id="ask")
    )


@pytest.fixture
def dags() -> list[DagDefinition]:
    return [paid, nap, later, skipped, instead, recent, publish]
