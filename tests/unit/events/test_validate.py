"""Attribute rules of CloudEvents 1.0.2, each with what keeps it and what breaks it; limits at -1, 0, +1."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events import validate
from tidemill.events.event import Event

VALID: dict[str, Any] = {"id": "1", "source": "/s", "type": "com.example.t"}
#: 8 KiB in one, two, three and four bytes a character.
WIDTHS = ["a", "\u00e9", "\u20ac", "\U0001f600"]


def create(**attributes: Any) -> Event:
    return validate.create(**{**VALID, **attributes})


def refusal(**attributes: Any) -> EventRejected:
    with pytest.raises(EventRejected) as caught:
        create(**attributes)
    return caught.value


def test_create_keeps_every_attribute_as_it_was_written() -> None:
    written: dict[str, Any] = {
        "id": " 1 ",
        "source": "HTTP://Example.com",
        "type": "T",
        "subject": "\u00e9 s",
        "time": "2026-03-01t12:00:00.10+01:00",
        "datacontenttype": "Application/JSON",
        "dataschema": "urn:x#y",
        "data": {"a": [1, "2", None]},
        "extensions": {"text": "", "yes": True, "count": -3, "0": "digit"},
    }

    event = validate.create(**written)

    assert {name: getattr(event, name) for name in written} == written
    assert event.attribute("specversion") == "1.0"
    assert event.attribute("count") == -3
    assert event.attribute("absent") is None


@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 1, True, b"x", ["x"], {}])
def test_create_refuses_required_attributes_that_are_no_text(name: str, value: object) -> None:
    refused = refusal(**{name: value})

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name)


@pytest.mark.parametrize("name", ["subject", "time", "datacontenttype", "dataschema"])
@pytest.mark.parametrize("value", ["", 1, True, b"x", ["x"], {}])
def test_create_refuses_optional_attributes_that_are_no_text(name: str, value: object) -> None:
    refused = refusal(**{name: value})

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name)


@pytest.mark.parametrize("name", ["id", "type", "subject", "extension"])
@pytest.mark.parametrize(
    "character",
    ["\x00", "\x1f", "\n", "\t", "\x7f", "\x85", "\x9f", "\ud800", chr(0xDFFF), "\ufdd0", "\ufdef", "\ufffe",
     "\uffff", "\U0001fffe", "\U0010ffff"],
)  # fmt: skip
def test_create_refuses_forbidden_characters(name: str, character: str) -> None:
    value = f"a{character}b"
    refused = refusal(extensions={name: value}) if name == "extension" else refusal(**{name: value})

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name)
    assert refused.detail.isprintable()


@pytest.mark.parametrize(
    "text",
    [" ", "a b", "\u00a0", "\u200b", "\u2028", "\ufdcf", "\ufdf0", "\ufffd", "\U0001f600", "\ue000",
     "\u0378", "\xad",
     "<script>", "'; DROP TABLE", "\u202e"],
)  # fmt: skip
def test_create_accepts_every_other_character(text: str) -> None:
    assert create(id=text, type=text, subject=text, extensions={"x": text}).id == text


@pytest.mark.parametrize("name", ["id", "type", "subject", "extension"])
@pytest.mark.parametrize("character", WIDTHS)
def test_create_limits_attributes_to_8_kib_of_utf8(name: str, character: str) -> None:
    def attempt(size: int) -> Event:
        width = len(character.encode())
        value = character * (size // width) + "a" * (size % width)
        return create(extensions={name: value}) if name == "extension" else create(**{name: value})

    assert attempt(8191)
    assert attempt(8192)
    with pytest.raises(EventRejected, match="longer than 8192 bytes"):
        attempt(8193)


@pytest.mark.parametrize(
    ("name", "prefix"), [("source", "/"), ("dataschema", "urn:"), ("datacontenttype", "text/")]
)
def test_create_limits_other_attributes_to_8_kib(name: str, prefix: str) -> None:
    assert create(**{name: prefix.ljust(8191, "a")})
    assert create(**{name: prefix.ljust(8192, "a")})
    assert "longer than 8192 bytes" in refusal(**{name: prefix.ljust(8193, "a")}).detail


def test_create_limits_time_to_8_kib() -> None:
    time = "2026-03-01T12:00:00."

    assert create(time=time.ljust(8191, "1") + "Z")
    assert "longer than 8192 bytes" in refusal(time=time.ljust(8192, "1") + "Z").detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "a b"),
        ("source", "/\u00e9"),
        ("dataschema", "/relative"),
        ("dataschema", "#"),
        ("time", "2026-02-30T00:00:00Z"),
        ("time", "yesterday"),
        ("datacontenttype", "json"),
        ("datacontenttype", "application/json\n"),
    ],
)
def test_create_refuses_attributes_that_break_their_grammar(name: str, value: str) -> None:
    refused = refusal(**{name: value})

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name)


@pytest.mark.parametrize(
    "name",
    ["", "A", "camelCase", "with_underscore", "with-dash", "with.dot", "abc\n", "\u00e9", "\u0661", "a b",
     "data", "id",
     "specversion", "time", "data_base64", 7],
)  # fmt: skip
def test_create_refuses_extension_names_that_break_the_rule(name: Any) -> None:
    refused = refusal(extensions={name: "x"})

    assert refused.code == "invalid_cloudevent"
    assert (refused.attribute or "").isascii()


def test_create_limits_extension_names_to_64_characters() -> None:
    assert create(extensions={"a" * 63: 1})
    assert create(extensions={"a" * 64: 1})
    assert refusal(extensions={"a" * 65: 1}).code == "invalid_cloudevent"


def test_create_limits_extensions_to_64() -> None:
    assert create(extensions={f"x{index}": index for index in range(63)})
    assert create(extensions={f"x{index}": index for index in range(64)})
    assert "at most 64" in refusal(extensions={f"x{index}": index for index in range(65)}).detail


def test_create_does_not_count_absent_extensions() -> None:
    event = create(extensions={f"x{index}": None for index in range(100)})

    assert event.extensions == {}


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (2**31 - 2, True),
        (2**31 - 1, True),
        (2**31, False),
        (-(2**31) + 1, True),
        (-(2**31), True),
        (-(2**31) - 1, False),
        (1.0, False),
        ([], False),
        ({}, False),
        (b"x", False),
    ],
)
def test_create_accepts_extension_values_of_three_types(value: Any, accepted: bool) -> None:
    if accepted:
        assert create(extensions={"x": value}).extensions == {"x": value}
    else:
        assert refusal(extensions={"x": value}).attribute == "x"


@pytest.mark.parametrize("data", [{}, [], 1, True, 1.5])
def test_create_wants_text_or_bytes_for_media_types_that_are_not_json(data: object) -> None:
    assert refusal(datacontenttype="text/plain", data=data).attribute == "data"
    assert create(datacontenttype="application/x+json", data=data).data == data


def test_create_refuses_data_without_an_exact_json_text() -> None:
    assert refusal(data=float("nan")).code == "number_out_of_range"
    assert refusal(data={"a": object()}).code == "invalid_cloudevent"


@pytest.mark.parametrize(
    ("version", "code"),
    [("0.3", "unsupported_specversion"), ("1.0.2", "unsupported_specversion"), ("",
     "unsupported_specversion"),
     (None, "invalid_cloudevent"), (1.0, "invalid_cloudevent"), (1, "invalid_cloudevent")],
)  # fmt: skip
def test_check_specversion_refuses_other_versions(version: object, code: str) -> None:
    with pytest.raises(EventRejected) as caught:
        validate.check_specversion(version)

    assert (caught.value.code, caught.value.attribute) == (code, "specversion")


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("dev.tidemill.run.succeeded.v1", True),
        ("dev.tidemill.", True),
        ("dev.tidemill", False),
        ("dev.tidemillx.a", False),
        ("com.dev.tidemill.a", False),
    ],
)
def test_refuse_reserved_refuses_our_own_types(kind: str, refused: bool) -> None:
    event = create(type=kind)

    if refused:
        with pytest.raises(EventRejected) as caught:
            validate.refuse_reserved(event)
        assert caught.value.code == "reserved_type"
    else:
        validate.refuse_reserved(event)
