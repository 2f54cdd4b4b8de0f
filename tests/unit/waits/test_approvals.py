"""Approvals over the API: forms, people, quorum, callbacks, races; and what becomes of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import SecretStr

from tidemill import approval, dag, task
from tidemill.api.application import create_application
from tidemill.api.callbacks import Callback, make_token, read_token
from tidemill.api.parts import Message, Parts, Receive, Scope, Send
from tidemill.settings import Settings
from tidemill.sources.pauses import SourcePauses
from tidemill.testing.harness import Harness

_TOKEN = "api-token-of-tests"


async def _closed(scope: Scope, receive: Receive, send: Send) -> Message:
    raise AssertionError("nothing comes in here")


@asynccontextmanager
async def api_of(harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    """The API over the harness' store, asked with a token."""
    store = harness.store
    parts = Parts(
        store=store,
        project=lambda: None,  # type: ignore[arg-type,return-value]
        ingest=_closed,  # type: ignore[arg-type]
        webhooks=_closed,  # type: ignore[arg-type]
        settings=Settings(api_token=SecretStr(_TOKEN)),
        clock=harness.clock,
        ready=lambda: True,
        pauses=SourcePauses(store.log, store.ledger, clock=harness.clock),
        statuses=list,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_application(parts)),
        base_url="http://localhost",
        headers={"authorization": f"Bearer {_TOKEN}"},
    ) as client:
        yield client


@asynccontextmanager
async def asking(dags: list[Any]) -> AsyncIterator[tuple[Harness, httpx.AsyncClient, str, str]]:
    """A run that asks: harness, API, run, approval."""
    async with Harness(dags=dags) as harness:
        run = await harness.start("publish", title="Publish it?")
        await harness.run_until_idle()
        async with api_of(harness) as client:
            page = (await client.get("/api/v1/approvals", params={"state": "open"})).json()
            yield harness, client, run, page["items"][0]["id"]


def yes(by: str, price: object = 3) -> dict[str, object]:
    return {"decision": "approve", "by": by, "data": {"price": price}}


async def test_a_quorum_of_people_lets_the_run_go_on_with_what_was_filled_in(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        path = f"/api/v1/approvals/{asked}/decision"

        first = await client.post(path, json=yes("ann"))
        await harness.run_until_idle()
        between = (await harness.run(run)).state
        second = await client.post(path, json=yes("bob", 4))
        await harness.run_until_idle()

        assert (first.status_code, first.json()["state"], between) == (200, "open", "waiting")
        assert (second.status_code, second.json()["state"]) == (200, "approved")
        found = (await harness.run(run)).result("keep")
        assert (found["by"], found["data"]) == (["ann", "bob"], {"price": 4})


async def test_a_decision_is_checked_before_it_counts(dags: list[Any]) -> None:
    async with asking(dags) as (_, client, _run, asked):
        path = f"/api/v1/approvals/{asked}/decision"

        wrong_form = await client.post(path, json=yes("ann", "much"))
        stranger = await client.post(path, json=yes("eve"))
        nobody = await client.post(path, json=yes(""))
        unknown = await client.post("/api/v1/approvals/none/decision", json=yes("ann"))

        assert (wrong_form.status_code, wrong_form.json()["code"]) == (422, "invalid_form")
        assert wrong_form.json()["problems"][0]["location"] == "/price"
        assert (stranger.status_code, stranger.json()["code"]) == (403, "not_assigned")
        assert nobody.status_code == 422
        assert unknown.status_code == 404
        assert (await client.get(f"/api/v1/approvals/{asked}")).json()["decisions"] == []


async def test_who_decides_twice_or_too_late_is_told(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, _run, asked):
        path = f"/api/v1/approvals/{asked}/decision"
        await client.post(path, json=yes("ann"))
        await harness.advance(1)

        again = await client.post(path, json=yes("ann", 9))
        await client.post(path, json=yes("bob"))
        late = await client.post(path, json=yes("cid"))

        assert (again.status_code, late.status_code) == (409, 409)


async def test_one_who_rejects_fails_the_task_for_good(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        body = {"decision": "reject", "by": "bob", "reason": "too dear"}

        answer = await client.post(f"/api/v1/approvals/{asked}/decision", json=body)
        await harness.run_until_idle()

        found = await harness.run(run)
        assert answer.json()["state"] == "rejected"
        assert found.state == "failed"
        assert getattr(found.tasks["ask"].error, "error_type", None) == "Rejected"
        assert getattr(found.tasks["ask"].error, "message", None) == "rejected by bob: too dear"


async def test_an_approval_that_may_be_rejected_skips_what_is_below() -> None:
    @task
    async def publish(given: Any) -> Any:
        return given

    @dag
    def gentle() -> None:
        publish(approval("ok?", on_reject="skip", task_id="ask"))

    async with Harness(dags=[gentle]) as harness:
        run = await harness.start("gentle")
        await harness.run_until_idle()
        async with api_of(harness) as client:
            (asked,) = (await client.get("/api/v1/approvals")).json()["items"]
            await client.post(f"/api/v1/approvals/{asked['id']}/decision", json={"decision": "reject"})
        await harness.run_until_idle()

        found = await harness.run(run)
        assert found.tasks["publish"].state == "skipped"


async def test_nobody_in_time_times_it_out(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        await client.post(f"/api/v1/approvals/{asked}/decision", json=yes("ann"))

        await harness.advance(3600)

        found = await harness.run(run)
        assert getattr(found.tasks["ask"].error, "error_type", None) == "WaitTimedOut"
        late = await client.post(f"/api/v1/approvals/{asked}/decision", json=yes("bob"))
        assert late.status_code == 409
        assert (await client.get(f"/api/v1/approvals/{asked}")).json()["state"] == "timed_out"


async def test_many_decisions_at_once_have_one_effect(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        path = f"/api/v1/approvals/{asked}/decision"
        bodies = [yes("ann"), yes("bob"), {"decision": "reject", "by": "cid"}, yes("ann", 5)]

        answers = await asyncio.gather(*(client.post(path, json=body) for body in bodies))
        await harness.run_until_idle()

        view = (await client.get(f"/api/v1/approvals/{asked}")).json()
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert view["state"] in ("approved", "rejected")
        assert (await harness.run(run)).state == {"approved": "succeeded", "rejected": "failed"}[
            view["state"]
        ]


async def test_cancelling_the_run_ends_the_approval(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        await harness.cancel(run)
        await harness.run_until_idle()

        assert (await client.get(f"/api/v1/approvals/{asked}")).json()["state"] == "cancelled"


async def test_a_callback_decides_once_without_a_token(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, run, asked):
        urls = {}
        for by in ("ann", "bob"):
            made = await client.post(f"/api/v1/approvals/{asked}/callbacks", json={"by": by})
            urls[by] = made.json()["url"]
        client.headers.pop("authorization")
        body = {"decision": "approve", "data": {"price": 1}}

        shown = await client.get(urls["ann"])
        wrong = await client.post(urls["ann"], json={"decision": "approve", "data": {}})
        named = await client.post(urls["ann"], json={**body, "by": "bob"})
        first = await client.post(urls["ann"], json=body)
        again = await client.post(urls["ann"], json=body)
        seen = await client.get(urls["ann"])
        second = await client.post(urls["bob"], json=body)
        over = await client.post(urls["bob"], json=body)
        await harness.run_until_idle()

        assert (shown.status_code, shown.json()["decisions"]) == (200, [])
        assert (wrong.status_code, named.status_code) == (422, 422)
        assert (first.status_code, again.status_code, seen.status_code) == (200, 409, 409)
        assert (second.status_code, over.status_code) == (200, 409)
        assert (await harness.run(run)).result("keep")["by"] == ["ann", "bob"]
        assert (await client.get("/api/v1/approvals")).status_code == 401


async def test_a_callback_ends_with_its_time_its_approval_and_a_wrong_signature(dags: list[Any]) -> None:
    async with asking(dags) as (harness, client, _run, asked):
        path = f"/api/v1/approvals/{asked}/callbacks"
        short = (await client.post(path, json={"by": "ann", "expires_in_seconds": 60})).json()["url"]
        long = (await client.post(path, json={"by": "bob"})).json()["url"]
        stranger = await client.post(path, json={"by": "eve"})
        body = {"decision": "approve", "data": {"price": 1}}
        await harness.advance(60)

        expired = await client.post(short, json=body)
        forged = [await client.post(long[:-4] + end, json=body) for end in ("AAAA", "", "é", "....")]
        await client.post(f"/api/v1/approvals/{asked}/decision", json={"decision": "reject", "by": "cid"})
        ended = await client.post(long, json=body)

        assert stranger.status_code == 409
        assert (expired.status_code, expired.json()["code"]) == (410, "callback_expired")
        assert {answer.status_code for answer in forged} == {404}
        assert (ended.status_code, ended.json()["code"]) == (410, "approval_ended")


def test_a_token_verifies_with_its_secret_only() -> None:
    callback = Callback("a", "änn", 17)

    token = make_token(b"s" * 32, callback)

    assert read_token(b"s" * 32, token) == callback
    assert read_token(b"t" * 32, token) is None
    assert read_token(b"s" * 32, token.replace(".", "")) is None
