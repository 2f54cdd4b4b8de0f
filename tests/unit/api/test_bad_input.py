"""Every documented route with input that nobody means: never a 500, and no answer that tells of the inside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest

TEXTS = [
    b"",
    b"-1",
    b"9" * 30,
    b"1e999",
    b"NaN",
    b"\x00",
    b"a\x00b",
    b"\xed\xa0\x80",
    b"\xff",
    b"../../etc/passwd",
    b"'; DROP TABLE events; --",
    b"%s{0}${x}",
    b"\r\nSet-Cookie: a=b",
    b"\x1b[31m",
    b"A" * 9_000,
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59-23:59",
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"1",
    b"{",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b'{"a":1,"a":2}',
    b"[" * 5_000,
    b'{"x":' * 5_000,
    b'{"a":"\\ud800"}',
    b"NaN",
    b'{"a":1e999}',
    b'{"a":' + b"9" * 5_000 + b"}",
]
VALUES: list[Any] = [
    None,
    "",
    "\ud800",
    "a\x00b",
    "\r\nX: y",
    -1,
    2**63,
    2**70,
    1e308,
    float("inf"),
    [],
    {},
    [None],
    ["\ud800"],
    {"a": {"b": []}},
    True,
    "A" * 9_000,
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    [{"exact": {"type": "\ud800"}}],
    [{"op": "add", "path": "/a", "value": 1}],
]
#: What an answer must not show: paths, versions, SQL, stacks.
INSIDE = re.compile(
    r"/src/|\.py\b|site-packages|Traceback|sqlite|SELECT |INSERT |0x[0-9a-f]{6}|pydantic|starlette|line \d+, in"
)


def filled(path: str, **given: str) -> str:
    for name in re.findall(r"{(\w+)}", path):
        path = path.replace(f"{{{name}}}", given.get(name, "1" if name == "position" else "x"))
    return path


def bodies(schema: dict[str, Any]) -> Iterator[bytes]:
    yield from BODIES
    base = dict.fromkeys(schema.get("required", ()), "x")
    for name in schema.get("properties", {}):
        for value in VALUES:
            yield json.dumps({**base, name: value}).encode()


def requests(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for text in map(quote_from_bytes, TEXTS):
                for name in re.findall(r"{(\w+)}", path):
                    yield method, filled(path, **{name: text.replace("/", "%2F")}), {}
                for parameter in operation.get("parameters", ()):
                    # An endless answer cannot be read through this transport.
                    if parameter["in"] == "query" and path != "/api/v1/stream":
                        yield method, f"{filled(path)}?{parameter['name']}={text}", {}
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content.get("schema", {})
                for body in bodies(schema):
                    yield (
                        method,
                        filled(path),
                        {"content": body, "headers": {"content-type": media_type}},
                    )


async def test_no_input_makes_a_route_fail_or_tell_of_the_inside(serve: Callable[..., Any]) -> None:
    surface = serve()
    await surface.append("1", "2", "3")
    client: httpx.AsyncClient = surface.client
    document = surface.app.openapi()

    wrong = []
    asked = 0
    for method, path, members in requests(document):
        answer = await client.request(method.upper(), path, **members)
        asked += 1
        if answer.status_code >= 500 or (answer.status_code >= 400 and INSIDE.search(answer.text)):
            wrong.append((method, path[:100], str(members)[:200], answer.status_code, answer.text[:200]))
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("application/problem+json"), (method, path)
            assert "set-cookie" not in answer.headers

    assert wrong == []
    assert asked > 1_000


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b'{"type":"a","type":"b"}', 400, "duplicate_key"),
        ("application/json", b'{"type":"\\ud800"}', 400, "invalid_unicode"),
        ("application/json", b'{"filters":' + b"[" * 100 + b"]" * 100 + b"}", 400, "json_too_deep"),
        ("text/plain", b"{}", 415, "unsupported_media_type"),
        ("application/json", b'{"rate":0}', 422, "invalid_request"),
        ("application/json", b'{"nosuch":0}', 422, "invalid_request"),
    ],
)
async def test_replay_is_read_as_strictly_as_events(
    serve: Callable[..., Any], content_type: str, body: bytes, status: int, code: str
) -> None:
    client = serve().client

    answer = await client.post("/api/v1/replays", content=body, headers={"content-type": content_type})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
