"""Schemas at the door and upcasters: which schema holds, what a violation means, how old events look new."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from tidemill.errors import SchemaViolation
from tidemill.events.event import Event
from tidemill.project.door import Door
from tidemill.project.mapping import event_lookup
from tidemill.project.schema_check import check_event, check_examples

V1, V2, V3 = "https://x.test/order/1", "https://x.test/order/2", "https://x.test/order/3"


def write(folder: Any, name: str, schema: Any) -> None:
    folder.write(f"schemas/{name}.json", orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())


def order(data: Any, *, schema: str | None = None, type: str = "order.placed", **members: Any) -> Event:  # noqa: A002
    return Event(id="1", source="/shop", type=type, data=data, dataschema=schema, **members)


def integer(name: str, **use: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}, "$id": name}
    return {**schema, "x-tidemill": use} if use else schema


def test_door_without_schemas_lets_everything_in(folder: Any) -> None:
    folder.load().door.check(order({"n": "text"}, schema=V1))


@pytest.mark.parametrize(
    ("event", "places"),
    [
        (order({"n": 1}, schema=V1), None),
        (order({"n": "canary"}, schema=V1), ["/data/n"]),
        (order({}, schema=V1), ["/data"]),
        (order(None, schema=V1), ["/data"]),
        (order(b"\x00", schema=V1), ["/data"]),
        (order("text", schema=V1, datacontenttype="text/plain"), ["/data"]),
        (order({"n": "x"}), None),
        (order({"n": "x"}, schema=V2), None),
    ],
)
def test_door_asks_for_the_schema_that_the_event_names(
    folder: Any, event: Event, places: list[str] | None
) -> None:
    write(folder, "v1", integer(V1))
    door = folder.load().door

    if places is None:
        door.check(event)
    else:
        with pytest.raises(SchemaViolation) as caught:
            door.check(event)
        assert [place for place, _ in caught.value.places] == places
        assert (caught.value.code, caught.value.status, caught.value.attribute) == (
            "schema_violation",
            422,
            places[0],
        )
        assert "canary" not in str(caught.value) + str(caught.value.places)


def test_door_asks_for_a_schema_of_the_type_where_the_event_names_none(folder: Any) -> None:
    write(folder, "v1", integer(V1, types=["order.placed"]))
    text = {"$id": V2, "properties": {"n": {"type": "string"}}, "x-tidemill": {"types": ["order.placed"]}}
    write(folder, "v2", text)
    write(folder, "other", {"$id": V3})
    door = folder.load().door

    door.check(order({"n": 1}))
    door.check(order({"n": "1"}))
    door.check(order({"n": []}, type="order.cancelled"))
    for event in (
        order({"n": []}),
        order({"n": "1"}, schema=V1),
        order({"n": []}, schema="urn:unknown"),
        order({"n": []}, schema=V3),
    ):
        with pytest.raises(SchemaViolation):
            door.check(event)


def test_schema_that_only_warns_lets_the_event_in_and_says_so(
    folder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "v1", integer(V1, on_violation="warn"))
    door = folder.load().door

    with caplog.at_level(logging.WARNING):
        door.check(order({"n": "canary"}, schema=V1))

    (record,) = [one for one in caplog.records if one.message == "event.unfit"]
    assert (record.schema, record.pointer) == (V1, "/data/n")  # type: ignore[attr-defined]
    assert "canary" not in str(vars(record))


def test_refusal_names_at_most_ten_places(folder: Any) -> None:
    write(folder, "v1", {"$id": V1, "items": {"type": "integer"}})

    found = folder.load().door.violation(order(["x"] * 50, schema=V1))

    assert len(found.places) == 10


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        (5, "'x-tidemill' must be a mapping of names to values"),
        ({"type": ["a"]}, "unknown field 'type'; did you mean 'types'?"),
        ({"types": "a"}, "'types' must be a list of event types"),
        ({"on_violation": "explode"}, "'on_violation' must be 'refuse' or 'warn'"),
        ({"upcast": {"to": V1}}, "'upcast' has 'to', the newer schema's $id, and 'data', a template"),
        (
            {"upcast": {"to": "https://x.test/order/9", "data": {}}},
            f"there is no schema 'https://x.test/order/9' to cast to; did you mean '{V1}'?",
        ),
        ({"upcast": {"to": V1, "data": {}}}, f"upcasts in a circle: {V1} → {V1}"),
    ],
)
def test_use_of_a_schema_that_cannot_be_meant_is_a_problem(folder: Any, use: Any, problem: str) -> None:
    write(folder, "v1", {"$id": V1, "x-tidemill": use})

    (found,) = folder.problems()

    assert found.startswith("schemas/v1.json:")
    assert problem in found


def test_upcast_with_a_path_that_can_lead_nowhere_is_a_problem_at_its_place(folder: Any) -> None:
    write(folder, "v1", {"$id": V1, "x-tidemill": {"upcast": {"to": V2, "data": {"n": "$.dta.n"}}}})
    write(folder, "v2", integer(V2))

    (found,) = folder.problems()

    assert found.startswith("schemas/v1.json:7: $.dta.n")


# ── upcasters ─────────────────────────────────────────────────────────────────────────────────────────────


def versions(folder: Any) -> None:
    """v1 {amount: text} → v2 {n: number in an object} → v3 {n, currency}."""
    write(
        folder,
        "v1",
        {"$id": V1, "x-tidemill": {"upcast": {"to": V2, "data": {"order": {"n": "$.data.amount"}}}}},
    )
    write(
        folder,
        "v2",
        {
            "$id": V2,
            "x-tidemill": {
                "upcast": {"to": V3, "data": {"n": "$.data.order.n", "currency": "EUR", "of": "$.id"}}
            },
        },
    )
    write(folder, "v3", integer(V3))


@pytest.mark.parametrize(
    "event",
    [
        order({"amount": 7}, schema=V1),
        order({"order": {"n": 7}}, schema=V2),
        order({"n": 7, "currency": "EUR", "of": "1"}, schema=V3),
    ],
)
def test_events_of_every_version_look_like_the_newest(folder: Any, event: Event) -> None:
    versions(folder)

    root = folder.load().upcasts.lookup(event_lookup(event))

    assert root["data"] == {"n": 7, "currency": "EUR", "of": "1"}
    assert root["dataschema"] == V3
    assert (root["id"], root["type"]) == ("1", "order.placed")
    assert root.whole()["data"] == root["data"]


def test_trigger_maps_what_was_cast_and_matches_what_was_sent(folder: Any) -> None:
    versions(folder)
    folder.write(
        "triggers/t.yaml",
        f"""
        triggers:
          - name: t
            dag: process_order
            pattern: {{dataschema: ["{V1}"], data: {{amount: [7]}}}}
            parameters: {{order: $.data, priority: $.data.n}}
            examples:
              match: [{{type: order.placed, dataschema: "{V1}", data: {{amount: 7}}}}]
        """,
    )
    (trigger,) = folder.load().triggers
    event = order({"amount": 7}, schema=V1)

    assert trigger.rule.matches(event)
    assert trigger.parameters.evaluate(event_lookup(event)) == {
        "order": {"n": 7, "currency": "EUR", "of": "1"},
        "priority": 7,
    }


# ── recorded events under changed schemas ─────────────────────────────────────────────────────────────────


def test_recorded_event_is_checked_as_the_door_would_and_cast_as_triggers_would(folder: Any) -> None:
    versions(folder)
    project = folder.load()

    assert check_event(project, order({"amount": 7}, schema=V1)) is None
    refused = check_event(project, order({"n": "x"}, schema=V3))
    missing = check_event(project, order({}, schema=V1))
    unfit = check_event(project, order({"amount": "x"}, schema=V1))

    assert refused is not None
    assert (refused.schema, refused.places[0][0]) == (V3, "/data/n")
    assert missing is not None
    assert "cannot be cast" in missing.places[0][1]
    assert unfit is not None
    assert (unfit.schema, unfit.places[0][0]) == (V3, "/data/n")


def test_recorded_events_of_our_own_are_never_blamed(folder: Any) -> None:
    write(folder, "v1", integer(V1, types=["dev.tidemill.run.succeeded.v1"]))

    assert check_event(folder.load(), order({}, type="dev.tidemill.run.succeeded.v1")) is None


def test_examples_of_a_schema_are_checked_against_it(folder: Any) -> None:
    write(folder, "v1", {**integer(V1), "examples": [{"n": 1}, {"n": "x"}]})

    (finding,) = check_examples(folder.load())

    assert (finding.schema, finding.places[0][0]) == (V1, "/examples/1/n")


def test_door_may_be_asked_without_a_project() -> None:
    assert Door().violation(order({}, schema=V1)) is None
