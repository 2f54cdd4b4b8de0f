"""To and from the `cloudevents` package, and that nobody pays for it who does not ask."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.v1.event import CloudEvent

from tidemill.errors import EventRejected
from tidemill.events import sdk
from tidemill.events.event import Event

EVENT = Event(
    id="1",
    source="/s",
    type="t",
    subject="sub",
    time="2026-03-01T12:00:00.5Z",
    datacontenttype="application/json",
    dataschema="urn:x",
    data={"a": [1, None]},
    extensions={"x": "1", "y": True, "n": 3},
)


def test_to_sdk_carries_everything() -> None:
    converted = sdk.to_sdk(EVENT)

    assert converted.get_attributes() == {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "subject": "sub",
        "time": datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC),
        "datacontenttype": "application/json",
        "dataschema": "urn:x",
        "x": "1",
        "y": True,
        "n": 3,
    }
    assert converted.get_data() == {"a": [1, None]}


def test_to_sdk_invents_nothing() -> None:
    converted = sdk.to_sdk(Event(id="1", source="/s", type="t"))

    assert converted.get_attributes() == {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


@pytest.mark.parametrize("time", ["1998-12-31T23:59:60Z", "0000-01-01T00:00:00Z"])
def test_to_sdk_raises_for_times_that_datetime_does_not_know(time: str) -> None:
    with pytest.raises(ValueError, match=r"second|year"):
        sdk.to_sdk(Event(id="1", source="/s", type="t", time=time))


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00Z"),
        (datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-5))),
        "2026-03-01T01:02:03.000004-05:00"),
    ],
)  # fmt: skip
def test_from_sdk_reads_everything_and_leaves_the_object_alone(time: datetime, text: str) -> None:
    attributes: dict[str, Any] = {"id": "1", "source": "/s", "type": "t", "time": time, "x": 5, "none": None}
    converted = CloudEvent(attributes, {"a": 1})
    before = dict(converted.get_attributes())

    event = sdk.from_sdk(converted)

    assert event == Event(id="1", source="/s", type="t", time=text, data={"a": 1}, extensions={"x": 5})
    assert converted.get_attributes() == before


@pytest.mark.parametrize(
    ("attributes", "data", "code"),
    [
        ({"source": "not a uri"}, None, "invalid_cloudevent"),
        ({"id": "a\nb"}, None, "invalid_cloudevent"),
        ({"x": 1.5}, None, "invalid_cloudevent"),
        ({"x": {"a": 1}}, None, "invalid_cloudevent"),
        ({"abc\n": "x"}, None, "invalid_cloudevent"),
        ({}, {"a": float("nan")}, "number_out_of_range"),
        ({}, {"a": object()}, "invalid_cloudevent"),
    ],
)
def test_from_sdk_refuses_what_the_package_lets_pass(
    attributes: dict[str, Any], data: Any, code: str
) -> None:
    converted = CloudEvent({"id": "1", "source": "/s", "type": "t", **attributes}, data)

    with pytest.raises(EventRejected) as caught:
        sdk.from_sdk(converted)

    assert caught.value.code == code


def test_importing_our_module_does_not_import_the_package() -> None:
    check = """
import sys, tidemill.events.sdk
sys.exit(any(name.startswith("cloudevents") for name in sys.modules))
"""

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
