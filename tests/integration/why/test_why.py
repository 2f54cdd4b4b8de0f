"""Every event of a real service can be explained: what each trigger said of it, and what became of it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.why.trigger_scene import TRIGGERS, Scene, until, write

from tidemill.events.event import Event
from tidemill.service.offline import open_offline
from tidemill.settings import Settings
from tidemill.storage.contract import Append


async def test_run_is_explained_with_values_and_parameters(scene: Scene) -> None:
    position = await scene.send("order", n=5)

    one = await scene.why(position, "plain")

    assert (one["became"], one["explanation"]["matched"], one["explanation"]["failed"]) == ("run", True, [])
    assert (one["run"]["dag"], one["run"]["parameters"]) == ("take", {"n": 5})
    assert "data.n is 5" in "\n".join(one["explanation"]["lines"])
    assert one["now"]["tree"] == one["explanation"]["tree"]


async def test_event_that_does_not_match_says_what_failed_first(scene: Scene) -> None:
    position = await scene.send("order", n=1)

    found = await scene.get(f"events/{position}/why", limit=2)
    one = await scene.why(position, "plain")

    assert found["told"] == "no trigger took the event"
    assert (len(found["triggers"]), found["omitted"]) == (2, 5)
    assert one["became"] == "unmatched"
    assert one["explanation"]["failed"] == ["data.n is 1, wanted numeric > 1"]
    assert one["told"].endswith("data.n is 1, wanted numeric > 1")


async def test_duplicate_names_its_stage_key_and_first_event(scene: Scene) -> None:
    first = await scene.send("order.once", n=7)
    second = await scene.send("order.once", n=7)

    (step,) = (await scene.why(second, "once"))["steps"]

    assert (step["stage"], step["verdict"], step["key"]) == ("idempotency", "stopped", "7")
    assert f"position {first}" in step["told"]
    assert (await scene.why(first, "once"))["steps"][0]["verdict"] == "passed"


async def test_held_event_says_where_and_until_when(scene: Scene) -> None:
    first = await scene.send("order.calm", n=1)
    await scene.send("order.calm", n=2)
    last = await scene.send("order.calm", n=1)
    received = {p: (await scene.get(f"events/{p}"))["received_at"] for p in (first, last)}

    one = await scene.why(first, "calm")

    (step,) = one["steps"]
    assert (one["became"], step["verdict"], step["key"]) == ("held", "held", "1")
    assert "2 wait together" in step["told"]
    assert step["until"][11:13] != received[last][11:13]  # an hour after the last of its key
    assert step["until"][14:] == received[last][14:]
    assert one["run"] is None


async def test_event_that_waits_for_a_slot_names_the_run_that_has_it(scene: Scene) -> None:
    first = await scene.send("order.slots")
    second = await scene.send("order.slots")

    one, running = await scene.why(second, "slots"), (await scene.why(first, "slots"))["run"]

    assert one["became"] == "held"
    assert running["id"] in one["steps"][0]["told"]


async def test_paused_and_broken_are_told_from_their_disposition(scene: Scene) -> None:
    asleep = await scene.why(await scene.send("order.asleep"), "asleep")
    broken = await scene.why(await scene.send("order.broken"), "broken")

    assert asleep["became"] == "paused"
    assert "paused in its file" in asleep["told"]
    assert broken["became"] == "dead_lettered"
    assert "mapping_failed" in broken["told"]
    assert "$.data.missing" in broken["told"]


async def test_trigger_that_came_later_says_what_it_would_say_now(scene: Scene, root: Path) -> None:
    position = await scene.send("order.new")
    write(
        root,
        "triggers/u.yaml",
        "triggers:\n  - {name: late, dag: take, filters: [{exact: {type: order.new}}]}\n",
    )
    await scene.post("project/reload")
    after = await scene.send("order.new")

    one = await scene.why(position, "late")

    assert (one["became"], one["explanation"], one["now"]["matched"]) == ("absent", None, True)
    assert (await scene.why(after, "late"))["became"] == "run"


async def test_edit_does_not_change_what_was_said_then(scene: Scene, root: Path) -> None:
    position = await scene.send("order", n=5)
    write(root, "triggers/t.yaml", TRIGGERS.replace('">", 1', '">", 100'))
    await scene.post("project/reload")

    one = await scene.why(position, "plain")

    assert (one["explanation"]["matched"], one["now"]["matched"]) == (True, False)
    assert one["now"]["failed"] == ["data.n is 5, wanted numeric > 100"]


async def test_run_asked_for_by_hand_is_explained_without_a_rule(scene: Scene) -> None:
    answer = await scene.client.post("/api/v1/dags/take/runs", json={"parameters": {"n": 3}})

    found = await scene.get(f"events/{answer.json()['event']['position']}/why", limit=0)

    (one,) = found["triggers"]
    assert (one["trigger"], one["became"], one["explanation"]) == ("manual", "run", None)
    assert one["run"]["parameters"] == {"n": 3}


async def test_what_is_not_there_is_not_found(scene: Scene) -> None:
    position = await scene.send("order")

    unknown = await scene.client.get("/api/v1/events/99/why")
    nobody = await scene.client.get(f"/api/v1/events/{position}/why?trigger=nobody")

    assert (unknown.status_code, nobody.status_code) == (404, 404)


async def test_event_that_is_not_routed_yet_says_so(root: Path) -> None:
    async with open_offline(root, Settings()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "order", "data": {"n": 2}}
            headers = {"content-type": "application/cloudevents+json"}
            await client.post("/events", json=event, headers=headers)

            found = (await client.get("/api/v1/events/1/why?limit=0")).json()
            unmatched = (await client.get("/api/v1/events?unmatched=true")).json()

    (one,) = found["triggers"]
    assert (found["routed"], one["trigger"], one["became"]) == (False, "plain", "waiting")
    assert "not routed yet" in one["told"]
    assert "nothing is recorded" in found["told"]
    assert unmatched == {"items": [], "next": None}


async def test_latest_events_that_nothing_matches_are_known_before_that_is_recorded(scene: Scene) -> None:
    event = Event(id="1", source="/s", type="order.nobody")
    await scene.service.store.log.append(Append(events=[event]))

    found = await scene.get("events/1/why", trigger="plain")
    unmatched = await scene.get("events", unmatched=True)

    assert (found["routed"], found["triggers"][0]["became"]) == (False, "unmatched")
    assert [item["position"] for item in unmatched["items"]] == [1]


# ── events that nobody took ──


async def test_unmatched_events_are_found_page_by_page(scene: Scene) -> None:
    nobody = [await scene.send("order.nobody", n=n) for n in range(3)]
    await scene.send("order", n=5)
    await scene.send("order.calm", n=5)
    await scene.send("order.asleep")

    first = await scene.get("events", unmatched=True, limit=2)
    rest = await scene.get("events", unmatched=True, limit=2, before=first["next"])

    found = [item["position"] for page in (first, rest) for item in page["items"]]
    assert found == nobody[::-1]
    assert rest["next"] is None


async def test_events_that_tell_of_runs_are_unmatched_only_when_asked_for(scene: Scene) -> None:
    await scene.send("order", n=5)
    done = "dev.tidemill.run.succeeded.v1"
    await until(lambda: scene.get("events", type=done, unmatched=True), lambda page: page["items"])

    assert (await scene.get("events", unmatched=True))["items"] == []


# ── triggers ──


async def test_triggers_are_listed_with_what_became_of_events(scene: Scene) -> None:
    await scene.send("order", n=5)
    await scene.send("order.asleep")
    await scene.send("order.calm", n=5)

    items = {one["name"]: one for one in (await scene.get("triggers"))["items"]}
    shown = await scene.get("triggers/plain")

    assert items["plain"]["counts"] == {"run": 1}
    assert (items["asleep"]["state"], items["asleep"]["paused_by"]) == ("paused", "file")
    assert items["asleep"]["counts"] == {"paused": 1}
    assert items["calm"]["held"] == {"debounce": 1}
    assert (shown["file"], shown["line"], shown["since"]) == ("triggers/t.yaml", 3, 0)
    assert shown["written"]["parameters"] == {"n": "$.data.n"}


async def test_tried_event_starts_nothing(scene: Scene) -> None:
    tried = await scene.post("trials", {"event": {"type": "order", "data": {"n": 5}}})
    wrong = await scene.post("trials", {"event": {"type": "order.broken"}})
    named = await scene.post("trials", {"event": {"type": "order"}, "trigger": "calm"})

    (one,) = tried["triggers"]
    assert (one["trigger"], one["dag"], one["parameters"], tried["unmatched"]) == (
        "plain",
        "take",
        {"n": 5},
        6,
    )
    assert "mapping_failed" in wrong["triggers"][0]["problem"]
    assert named["triggers"][0]["explanation"]["failed"][0].startswith("type is")
    assert (await scene.get("events"))["items"] == []


async def test_recorded_event_is_tried_by_its_position(scene: Scene) -> None:
    position = await scene.send("order", n=5)

    tried = await scene.post("trials", {"position": position})

    assert tried["triggers"][0]["parameters"] == {"n": 5}
    assert len((await scene.get("runs"))["items"]) == 1


@pytest.mark.parametrize("body", [{}, {"event": {"type": "a"}, "position": 1}, {"event": {"type": ""}}])
async def test_trial_that_is_no_event_is_refused(scene: Scene, body: Any) -> None:
    answer = await scene.client.post("/api/v1/trials", json=body)

    assert answer.status_code == 422
