"""Our own events: types, shapes, and ids that follow from what happened. Each is a valid CloudEvent."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tidemill.events import json_format, lifecycle
from tidemill.events.event import Event

AT = 1_772_366_400_123_456


def assert_valid(event: Event) -> None:
    assert json_format.decode(json_format.encode(event)) == event


def completed(**facts: Any) -> Event:
    return lifecycle.run_completed(
        **{
            "dag": "orders",
            "run_id": "run-1",
            "state": "succeeded",
            "version": "v1",
            "trigger": "on-order",
            "at_us": AT,
            "event_source": "/shop",
            "event_id": "e1",
            "result": b'{"rows":3}',
            "error": None,
            "parameters": b'{"day":"2026-03-01"}',
            "started_at": AT - 1_000_000,
            "queued_at": AT - 2_000_000,
            "correlation_id": "c1",
            "causation_id": "e1",
            "hop_count": 2,
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            **facts,
        }
    )


def test_run_completed_tells_the_whole_run() -> None:
    event = completed()

    assert_valid(event)
    assert (event.id, event.source, event.subject) == ("run-1/succeeded", "/tidemill/dags/orders", "run-1")
    assert (event.type, event.time) == ("dev.tidemill.run.succeeded.v1", "2026-03-01T12:00:00.123456Z")
    assert event.extensions == {
        "correlationid": "c1",
        "causationid": "e1",
        "hopcount": 2,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    assert event.data == {
        "run_id": "run-1",
        "dag": "orders",
        "version": "v1",
        "state": "succeeded",
        "trigger": "on-order",
        "event": {"source": "/shop", "id": "e1"},
        "parameters": {"day": "2026-03-01"},
        "result": {"rows": 3},
        "error": None,
        "queued_at": "2026-03-01T11:59:58.123456Z",
        "started_at": "2026-03-01T11:59:59.123456Z",
        "ended_at": "2026-03-01T12:00:00.123456Z",
    }


def test_run_completed_of_a_run_that_never_started_has_no_result() -> None:
    event = completed(
        state="cancelled", result=None, started_at=None, traceparent=None, error={"reason": "cancelled"}
    )

    assert_valid(event)
    assert "traceparent" not in event.extensions
    assert (event.data["result"], event.data["started_at"]) == (None, None)
    assert event.data["error"] == {"reason": "cancelled"}


@pytest.mark.parametrize("state", ["queued", "started", "waiting", "succeeded", "failed", "cancelled"])
def test_run_type_is_one_of_our_types(state: str) -> None:
    assert lifecycle.run_type(state) in set(lifecycle.Type)


def test_every_type_of_ours_has_the_reserved_prefix() -> None:
    assert all(kind.startswith(lifecycle.RESERVED_PREFIX) for kind in lifecycle.Type)


def test_names_that_are_no_uri_are_escaped_in_sources() -> None:
    event = completed(dag="a b/\u00e9")

    assert_valid(event)
    assert event.source == "/tidemill/dags/a%20b%2F%C3%A9"


def test_schedule_tick_is_one_event_per_dag_and_time() -> None:
    def tick(at: int) -> Event:
        return lifecycle.schedule_tick(
            dag="daily", scheduled_at_us=at, interval_start_us=at - 86_400_000_000, interval_end_us=at
        )

    event = tick(AT)

    assert_valid(event)
    assert (event, event.id) == (tick(AT), "daily/2026-03-01T12:00:00.123456Z")
    assert event.id != tick(AT + 1).id
    assert event.data == {
        "dag": "daily",
        "scheduled_at": "2026-03-01T12:00:00.123456Z",
        "interval_start": "2026-02-28T12:00:00.123456Z",
        "interval_end": "2026-03-01T12:00:00.123456Z",
    }


@pytest.mark.parametrize(("at", "time"), [(None, None), (AT, "2026-03-01T12:00:00.123456Z")])
def test_dag_requested_carries_parameters_and_who_asked(at: int | None, time: str | None) -> None:
    event = lifecycle.dag_requested(dag="orders", parameters={"a": 1}, id="key", by="ada", at_us=at)

    assert_valid(event)
    assert (event.id, event.source, event.time) == ("key", "/tidemill/dags/orders", time)
    assert event.data == {"dag": "orders", "parameters": {"a": 1}, "by": "ada"}


def test_retry_requested_names_the_run_to_take_over() -> None:
    event = lifecycle.retry_requested(dag="orders", run_id="r", parameters={}, id="key", by="ada")

    assert_valid(event)
    assert event.type == "dev.tidemill.run.retry_requested.v1"
    assert event.data == {"dag": "orders", "run_id": "r", "parameters": {}, "by": "ada"}


def landed(**facts: Any) -> Event:
    return lifecycle.file_landed(
        **{
            "type": "com.example.file",
            "source": "/inbox",
            "folder": "/data/inbox",
            "path": "2026/a b.csv",
            "inode": 7,
            "size": 12,
            "mtime_ns": AT * 1000 + 7,
            "digest": "ab",
            **facts,
        }
    )


def test_file_landed_tells_the_version_of_the_file() -> None:
    event = landed()

    assert_valid(event)
    assert (event.type, event.source, event.subject) == ("com.example.file", "/inbox", "2026/a b.csv")
    assert event.data == {
        "path": "2026/a b.csv",
        "name": "a b.csv",
        "size": 12,
        "mtime": "2026-03-01T12:00:00.123456Z",
        "digest": "ab",
        "folder": "/data/inbox",
    }


@pytest.mark.parametrize("change", [{"path": "b"}, {"inode": 8}, {"size": 13}, {"mtime_ns": AT * 1000 + 8}])
def test_file_landed_is_another_event_for_another_version(change: dict[str, Any]) -> None:
    assert landed(**change).id != landed().id


def test_file_landed_is_the_same_event_for_the_same_version() -> None:
    assert landed(digest="other").id == landed().id


@pytest.mark.parametrize(
    ("path", "shown", "subject"),
    [
        ("a\nb", "a\nb", "a%0Ab"),
        ("\u00e9", "\u00e9", "\u00e9"),
        (os.fsdecode(b"x\xff"), "x\\xff", "x\\xff"),
        ("d/" + "\n" * 4000, "d/" + "\n" * 4000, None),
    ],
)
def test_file_landed_copes_with_every_name(path: str, shown: str, subject: str | None) -> None:
    event = landed(path=path)

    assert_valid(event)
    assert (event.data["path"], event.subject) == (shown, subject)
    assert json.loads(json_format.encode(event))["data"]["path"] == shown
