"""Results of other serializers between tasks, across restarts and maps; nothing that is stored is ever unpickled."""

from __future__ import annotations

import builtins
import io
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest
from tests.unit.engine.checks import check_store

from tidemill import dag, task
from tidemill.runs.rerun import Plan
from tidemill.testing.harness import MakeHarness


class Order(pydantic.BaseModel):
    number: int
    price: Decimal


@task(result="typed")
async def place(n: int) -> Order:
    return Order(number=n, price=Decimal("2.50"))


@task(result="tagged")
def stamp(order: Order) -> dict[str, Any]:
    assert isinstance(order, Order)
    return {"at": datetime(2024, 1, 1, tzinfo=UTC), "price": order.price, "bytes": b"\x00"}


@task
async def look(stamped: dict[str, Any], orders: list[Order]) -> list[str]:
    return [type(one).__name__ for one in (*stamped.values(), *orders)]


@dag
def flow() -> Any:
    orders = place.expand(n=[1, 2])
    return look(stamp(place.override(task_id="one")(7)), orders)


async def test_tasks_get_what_other_tasks_returned_also_of_maps(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[flow]) as harness:
        first = await harness.start("flow")
        await harness.run_until_idle()
        await harness.restart()
        again = await harness.rerun(first, Plan(from_tasks=["look"]))
        await harness.run_until_idle()

        run = await harness.run(again)
        assert run.state == "succeeded"
        assert run.result("look") == ["datetime", "Decimal", "bytes", "Order", "Order"]
        assert run.result("one") == {"number": 7, "price": "2.50"}
        assert run.result("stamp")["price"] == {"$type": "decimal", "value": "2.50"}
        await check_store(harness, ended=2)


async def test_result_that_does_not_fit_its_serializer_fails_the_attempt(
    tidemill_harness: MakeHarness,
) -> None:
    @task(result="tagged", retries=3)
    async def opaque() -> object:
        return object()

    @dag
    def broken() -> Any:
        opaque()

    async with tidemill_harness(dags=[broken]) as harness:
        asked = await harness.start("broken")
        await harness.run_until_idle()

        error = (await harness.run(asked)).tasks["opaque"].error
        assert error is not None
        assert (error.error_type, "has no tag" in error.message) == ("ResultNotJson", True)


async def test_edited_result_that_does_not_fit_fails_whoever_takes_it(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[flow]) as harness:
        first = await harness.start("flow")
        await harness.run_until_idle()

        again = await harness.rerun(first, Plan(edits={"one": {"number": "seven"}}))
        await harness.run_until_idle()

        run = await harness.run(again)
        assert run.states["stamp"] == "failed"
        assert run.tasks["stamp"].error is not None
        assert run.tasks["stamp"].error.error_type == "ValidationError"


async def test_nothing_that_is_stored_or_received_is_unpickled(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return builtins.open, (str(tmp_path / "owned"), "w")

    payload = pickle.dumps(Payload())
    unpickled: list[object] = []

    def refuse(*args: object, **kwargs: object) -> Any:
        unpickled.append(args)
        raise AssertionError("something was unpickled")

    @task(result="tagged", cache=True)
    async def carry(data: str) -> bytes:
        return payload

    @task
    def take(data: bytes) -> int:
        return len(data)

    @dag
    def carrying(data: str) -> Any:
        return take(carry(data))

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    settings = {"claim_check_url": f"file://{tmp_path}/kept", "claim_result_bytes": 10}
    async with tidemill_harness(dags=[carrying], **settings) as harness:
        first = await harness.start("carrying", data=payload.hex())
        await harness.run_until_idle()
        await harness.restart()
        second = await harness.start("carrying", data=payload.hex())
        await harness.rerun(first, Plan(from_tasks=["take"]))
        await harness.run_until_idle()

        assert (await harness.run(second)).result("take") == len(payload)
    assert unpickled == []
    assert not (tmp_path / "owned").exists()
    with pytest.raises(AssertionError):
        pickle.load(io.BytesIO(payload))
