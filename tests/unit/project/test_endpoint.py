"""What a webhook source says of its endpoint: built as written, refused with its place."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.project.endpoint import Access, HmacSignature, Preset, Rate, parse_rate
from tidemill.project.mapping import answer_lookup

HEAD = "sources:\n  - name: x\n    webhook:\n      event: {type: a}\n"


def source_of(folder: Any, text: str) -> Any:
    folder.write("triggers/t.yaml", HEAD + indent(text, "      "))
    (source,) = folder.load().sources
    return source


def test_endpoint_without_a_word_is_behind_the_token(folder: Any) -> None:
    source = source_of(folder, "")

    assert source.needs_token
    assert (source.rate, source.max_body_bytes, source.answer) == (None, None, None)


@pytest.mark.parametrize("preset", list(Preset))
def test_endpoint_takes_each_preset_by_name(folder: Any, preset: Preset) -> None:
    source = source_of(folder, f"signature: {preset}\nsecret: {{env: S}}\n")

    assert source.signature is preset
    assert not source.needs_token


def test_endpoint_signs_as_standard_webhooks_unless_told_otherwise(folder: Any) -> None:
    assert source_of(folder, "secret: {env: S}\n").signature is Preset.STANDARD


def test_endpoint_takes_an_hmac_of_its_own(folder: Any) -> None:
    text = (
        "hmac: {header: X-Shop-Hmac, algorithm: sha512, encoding: base64, prefix: 'v1='}\nsecret: {env: S}\n"
    )

    assert source_of(folder, text).signature == HmacSignature(
        header="x-shop-hmac", algorithm="sha512", encoding="base64", prefix="v1="
    )


@pytest.mark.parametrize(
    ("text", "access", "needs_token"),
    [
        ("auth: none\n", Access.NONE, False),
        ("auth: token\n", Access.TOKEN, True),
        ("auth: token\nsecret: {env: S}\n", Access.TOKEN, True),
        ("auth: signature\nsecret: {env: S}\n", Access.SIGNATURE, False),
    ],
)
def test_endpoint_says_what_a_request_must_show(
    folder: Any, text: str, access: Access, needs_token: bool
) -> None:
    source = source_of(folder, text)

    assert (source.access, source.needs_token) == (access, needs_token)


def test_endpoint_has_limits(folder: Any) -> None:
    source = source_of(folder, "limits: {rate: 600/m, burst: 20, body_bytes: 1000}\n")

    assert source.rate == Rate(600, 60, 20)
    assert source.max_body_bytes == 1000


@pytest.mark.parametrize(
    ("text", "per_second", "per_minute", "burst"),
    [("100/s", 100, 6000, 100), ("90/m", 1.5, 90, 90), ("50/h", 50 / 3600, 1, 50)],
)
def test_rate_is_requests_in_a_unit_of_time(
    text: str, per_second: float, per_minute: int, burst: int
) -> None:
    rate = parse_rate(text)

    assert rate.per_second == pytest.approx(per_second)
    assert (rate.per_minute, rate.burst) == (per_minute, burst)


def test_endpoint_has_an_answer(folder: Any) -> None:
    source = source_of(
        folder,
        "answer: {status: 201, content_type: text/plain, headers: {X-Id: $.event.id}, body: 'at {$.position}'}\n",
    )
    root = answer_lookup(Event(id="7", source="/s", type="a"), 3, duplicate=False)

    assert (source.answer.status, source.answer.content_type) == (201, "text/plain")
    assert source.answer.headers["x-id"].evaluate(root) == "7"
    assert source.answer.body.evaluate(root) == "at 3"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("signature: github\n", "5: a signature is verified with a secret; give secret or secrets"),
        ("auth: signature\n", "5: a signature is verified with a secret; give secret or secrets"),
        (
            "auth: none\nsecret: {env: S}\n",
            "5: 'none' asks for nothing, but there is a secret; remove one of them",
        ),
        (
            "secret: {env: S}\nsignature: github\nhmac: {header: x}\n",
            "7: signature and hmac exclude each other; write one of them",
        ),
        (
            "limits: {rate: fast}\n",
            "5: 'rate' must be requests in a unit of time, such as 100/s, 600/m or 50/h",
        ),
        (
            "limits: {rate: 0/s}\n",
            "5: 'rate' must be requests in a unit of time, such as 100/s, 600/m or 50/h",
        ),
        ("limits: {burst: 5}\n", "5: 'burst' belongs to a rate; give rate too"),
        ("limits: {body_bytes: 0}\n", "5: 'body_bytes' must be at least 1"),
        ("answer: {status: 302}\n", "5: 'status' must be at most 299"),
        ("answer: {status: 199}\n", "5: 'status' must be at least 200"),
        ("answer: {status: 204, body: x}\n", "5: an answer with this status has no body; remove it"),
        (
            "answer: {content_type: text/html, body: x}\n",
            "5: 'content_type' must be 'application/json', 'text/plain' or 'application/xml'",
        ),
        (
            "answer: {content_type: application/xml, body: '<a>{$.event.id}</a>'}\n",
            "5: an XML body is constant text, without values of the event",
        ),
        (
            "answer: {headers: {Set-Cookie: a}}\n",
            "5: header 'Set-Cookie' cannot be set here; names begin with x-",
        ),
        (
            "answer: {headers: {location: a}}\n",
            "5: header 'location' cannot be set here; names begin with x-",
        ),
        (
            "answer: {headers: {x-content-type-options: a}}\n",
            "5: header 'x-content-type-options' cannot be set here; names begin with x-",
        ),
        (
            'answer: {headers: {x-a: "a\\r\\nb: c"}}\n',
            "5: the value of header 'x-a' must be text of visible ASCII characters",
        ),
        (
            "answer: {headers: {x-a: 5}}\n",
            "5: the value of header 'x-a' must be text of visible ASCII characters",
        ),
        (
            "answer: {body: $.data}\n",
            "5: $.data: an answer is made of $.event, $.position, $.duplicate and $.runs",
        ),
    ],
)
def test_endpoint_that_cannot_be_meant_is_one_problem_at_its_line(
    problems_of: Callable[[str], list[str]], text: str, problem: str
) -> None:
    assert problems_of(HEAD + indent(text, "      ")) == [problem]


def test_problem_with_a_secret_in_clear_never_repeats_it(problems_of: Callable[[str], list[str]]) -> None:
    found = problems_of(HEAD + "      signature: github\n      secret: canary\n")

    assert found
    assert "canary" not in str(found)
