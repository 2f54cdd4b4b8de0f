"""Dead letters by API: listed, shown whole, edited, redriven, discarded, each with who and why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.patterns.filters import compile_filters
from tidemill.project.model import Subscription, Trigger, WebhookSink
from tidemill.storage.contract import DeadLetter

EVENT = Event(id="e1", source="/shop", type="order.placed", data={"n": 1})
PATCH = {"content-type": "application/json-patch+json"}
RULE = compile_filters([{"exact": {"type": "order.placed"}}])


def letter(number: int = 1, **members: Any) -> DeadLetter:
    given: dict[str, Any] = {
        "id": f"0{number}",
        "at": 1_000_000,
        "stage": "kafka",
        "code": "invalid_json",
        "detail": "no",
        "origin": "topics",
        "body": json_format.encode(EVENT),
    }
    return DeadLetter(**{**given, **members})


@pytest.fixture
def surface(serve: Callable[..., Any], make_project: Callable[..., Any]) -> Any:
    subscription = Subscription(name="s", rule=RULE, sink=WebhookSink(url="https://receiver.example/"))
    return serve(
        project=make_project(subscriptions=[subscription], triggers=[Trigger(name="t", rule=RULE, dag="d")])
    )


async def edit(surface: Any, patch: Any, number: int = 1, **where: str) -> Any:
    return await surface.client.patch(
        f"/api/v1/dead-letters/0{number}", content=json.dumps(patch), headers=PATCH, params=where
    )


async def do(surface: Any, what: str, number: int = 1, **body: Any) -> Any:
    return await surface.client.post(f"/api/v1/dead-letters/0{number}/{what}", json=body)


async def show(surface: Any, number: int = 1) -> Any:
    return (await surface.client.get(f"/api/v1/dead-letters/0{number}")).json()


async def test_edited_event_is_a_new_version_and_the_original_stays(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(body=b"\xff no event")])
    event = {"specversion": "1.0", "id": "e9", "source": "/shop", "type": "order.placed"}

    first = await edit(surface, [{"op": "add", "path": "", "value": event}], by="ana", reason="was broken")
    second = await edit(surface, [{"op": "add", "path": "/data", "value": 7}], by="bob")

    assert (first.status_code, second.status_code) == (200, 200)
    shown = await show(surface)
    assert base64.b64decode(shown["body"]) == b"\xff no event"
    assert json.loads(base64.b64decode(shown["current"])) == {**event, "data": 7}
    assert [(one["number"], one["kind"], one["by"], one["reason"]) for one in shown["actions"]] == [
        (1, "edited", "ana", "was broken"),
        (2, "edited", "bob", ""),
    ]
    assert shown["actions"][1]["detail"] == {"patch": [{"op": "add", "path": "/data", "value": 7}]}


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([{"op": "remove", "path": "/nothing"}], "invalid_patch"),
        ({"op": "remove"}, "invalid_patch"),
        ([{"op": "remove", "path": "/id"}], "invalid_event"),
        ([{"op": "replace", "path": "/source", "value": "no uri"}], "invalid_event"),
        ([{"op": "replace", "path": "/type", "value": "dev.tidemill.run.succeeded.v1"}], "invalid_event"),
        ([{"op": "add", "path": "/Upper", "value": "x"}], "invalid_event"),
    ],
)
async def test_edit_that_makes_no_event_is_refused_and_changes_nothing(
    surface: Any, patch: Any, code: str
) -> None:
    await surface.store.dead_letters.add([letter()])

    answer = await edit(surface, patch)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await show(surface))["actions"] == []


async def test_event_that_was_logged_keeps_its_identity(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(stage="routing", origin="t", position=1)])

    answer = await edit(surface, [{"op": "replace", "path": "/id", "value": "other"}])

    assert answer.status_code == 422
    assert answer.json()["problems"][0]["location"] == "id"


async def test_source_letter_is_read_again_and_appended_once(surface: Any) -> None:
    await surface.store.dead_letters.add([letter()])

    answers = [await do(surface, "redrive", by="ana") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert surface.store.log.head == 1
    shown = await show(surface)
    assert (shown["state"], shown["redrives"]) == ("redriven", 1)
    assert shown["actions"][0]["detail"] == {"source": "/shop", "id": "e1"}


async def test_source_letter_that_is_refused_again_stays_open(surface: Any) -> None:
    await surface.append("e1", type="other")
    await surface.store.dead_letters.add([letter(1, body=b"{"), letter(2)])

    broken, reused = await do(surface, "redrive", 1), await do(surface, "redrive", 2)

    assert (broken.status_code, broken.json()["code"]) == (400, "invalid_json")
    assert (reused.status_code, reused.json()["code"]) == (409, "id_reused")
    assert [(await show(surface, number))["state"] for number in (1, 2)] == ["open", "open"]


async def test_routing_letter_is_told_to_its_trigger_alone(surface: Any) -> None:
    await surface.append("e1")
    await surface.store.dead_letters.add([letter(stage="routing", origin="t", position=1)])

    await do(surface, "redrive")

    again = (await surface.store.log.get(2)).event
    assert (again.id, again.source, again.data) == ("e1/redrive/01", "/shop", {"n": 1})
    assert again.extensions == {
        "correlationid": "e1",
        "replayid": "letter-01",
        "replayof": "1",
        "replayto": "t",
    }


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"stage": "routing", "origin": "gone", "position": 1}, "no trigger 'gone'"),
        ({"stage": "delivery", "origin": "gone", "position": 1}, "no subscription 'gone'"),
    ],
)
async def test_letter_of_what_is_gone_is_not_redriven(
    surface: Any, members: dict[str, Any], says: str
) -> None:
    await surface.store.dead_letters.add([letter(**members)])

    answer = await do(surface, "redrive")

    assert answer.status_code == 409
    assert says in answer.json()["detail"]


async def test_routing_letter_whose_event_no_longer_matches_is_not_redriven(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(stage="routing", origin="t", position=1)])
    await edit(surface, [{"op": "replace", "path": "/type", "value": "other"}])

    answer = await do(surface, "redrive")

    assert (answer.status_code, surface.store.log.head) == (409, 0)


async def test_settled_letters_are_neither_edited_nor_discarded(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(1), letter(2)])
    await do(surface, "redrive", 1)
    await do(surface, "discard", 2, reason="old")
    again = await do(surface, "discard", 2, reason="old")

    patch = [{"op": "add", "path": "/data", "value": 1}]
    refused = [
        await edit(surface, patch, 1),
        await edit(surface, patch, 2),
        await do(surface, "discard", 1, reason="x"),
        await do(surface, "redrive", 2),
    ]
    assert again.status_code == 200
    assert [answer.status_code for answer in refused] == [409] * 4
    assert [len((await show(surface, number))["actions"]) for number in (1, 2)] == [1, 1]


async def test_many_are_redriven_and_one_that_fails_stops_no_other(surface: Any) -> None:
    good = [
        letter(n, body=json_format.encode(Event(id=f"e{n}", source="/shop", type="a"))) for n in range(1, 5)
    ]
    await surface.store.dead_letters.add([*good, letter(5, body=b"{"), letter(6, code="other", body=b"{")])

    first = await surface.client.post(
        "/api/v1/redrives", json={"code": "invalid_json", "limit": 3, "by": "ana"}
    )
    rest = await surface.client.post(
        "/api/v1/redrives", json={"code": "invalid_json", "before": first.json()["next"]}
    )

    assert first.json() == {
        "done": 2,
        "failed": [{"id": "05", "code": "invalid_json", "detail": first.json()["failed"][0]["detail"]}],
        "next": "03",
    }
    assert (rest.json()["done"], rest.json()["next"]) == (2, None)
    states = (await surface.client.get("/api/v1/dead-letters", params={"state": "open"})).json()["items"]
    assert [one["id"] for one in states] == ["06", "05"]


async def test_many_are_discarded_with_a_reason_only(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(1), letter(2, origin="other")])

    without = await surface.client.post("/api/v1/discards", json={"origin": "topics"})
    done = await surface.client.post(
        "/api/v1/discards", json={"origin": "topics", "reason": "test\x1b[2J data"}
    )

    assert without.status_code == 422
    assert done.json()["done"] == 1
    assert [(await show(surface, number))["state"] for number in (1, 2)] == ["discarded", "open"]
    assert (await show(surface))["actions"][0]["reason"] == "test [2J data"


async def test_letters_are_listed_by_what_is_asked_for(surface: Any) -> None:
    await surface.store.dead_letters.add([letter(1), letter(2, stage="routing"), letter(3, origin="x")])
    await do(surface, "discard", 1, reason="old")

    async def ids(**where: str) -> list[str]:
        answer = await surface.client.get("/api/v1/dead-letters", params=where)
        return [one["id"] for one in answer.json()["items"]]

    assert await ids(state="open") == ["03", "02"]
    assert await ids(stage="kafka") == ["03", "01"]
    assert await ids(stage="kafka", state="discarded", code="invalid_json", origin="topics") == ["01"]
    assert (await surface.client.get("/api/v1/dead-letters", params={"state": "odd"})).status_code == 422
