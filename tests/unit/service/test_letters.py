"""Dead letters of sources, read again as their sources read today."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.service.letters import decode_letter
from tidemill.settings import Settings
from tidemill.sources.kafka.records import Decoder
from tidemill.storage.contract import DeadLetter

SOURCES = "sources:\n  - name: topics\n    kafka: {topics: [orders]%s}\n"


def project(root: Path, extra: str) -> Project:
    (root / "triggers").mkdir()
    (root / "triggers" / "main.yaml").write_text(SOURCES % extra, "utf-8")
    return load(root, max_tasks=10)


def record_letter(value: bytes, headers: list[tuple[str, bytes]]) -> DeadLetter:
    """What the source keeps of a record that it refuses."""
    record: Any = SimpleNamespace(
        topic="orders",
        partition=3,
        offset=7,
        timestamp=1_700_000_000_000,
        key=b"k1",
        value=value,
        headers=headers,
    )
    decoder = Decoder(origin="topics", cluster="c1", event_type=None, max_body_bytes=1 << 20)
    with pytest.raises(EventRejected) as refused:
        decoder.decode(record)
    return decoder.dead_letter(record, refused.value, letter_id="l1", at=1)


def test_record_that_its_source_wraps_today_is_the_event_that_it_would_have_been(tmp_path: Path) -> None:
    letter = record_letter(b'{"n": 1}', [])
    given = project(tmp_path, ", type: order.placed")

    event = decode_letter(letter, project=lambda: given, settings=Settings())

    assert (event.id, event.source, event.type) == ("orders/3/7", "/kafka/c1/orders", "order.placed")
    assert (event.subject, event.data) == ("k1", {"n": 1})


def test_record_that_is_still_refused_is_refused_with_its_code(tmp_path: Path) -> None:
    letter = record_letter(b'{"n": 1}', [])
    given = project(tmp_path, "")

    with pytest.raises(EventRejected) as refused:
        decode_letter(letter, project=lambda: given, settings=Settings())

    assert refused.value.code == letter.code


def test_other_letters_are_events_in_json_and_not_of_our_own_types(tmp_path: Path) -> None:
    given = project(tmp_path, "")
    members = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a"}

    def decode(stage: str, body: bytes) -> Any:
        letter = DeadLetter(id="l", at=1, stage=stage, code="c", detail="", origin="o", body=body)
        return decode_letter(letter, project=lambda: given, settings=Settings(max_body_bytes=500))

    assert decode("files", json.dumps(members).encode()).id == "1"
    own = json.dumps({**members, "type": "dev.tidemill.schedule.tick.v1"}).encode()
    assert decode("schedule", own).type == "dev.tidemill.schedule.tick.v1"
    for stage, body, code in (
        ("kafka", own, "reserved_type"),
        ("files", b"orders/today.csv", "invalid_cloudevent"),
        ("kafka", b"{", "invalid_json"),
        ("kafka", b" " * 501, "payload_too_large"),
    ):
        with pytest.raises(EventRejected) as refused:
            decode(stage, body)
        assert refused.value.code == code
