"""Who gets in: every route of the application against every kind of credential."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tidemill.api.auth import check_exposure
from tidemill.errors import SettingsError
from tidemill.project.endpoint import Access, Preset
from tidemill.project.mapping import compile_template
from tidemill.project.model import Secret, WebhookSource
from tidemill.settings import Settings

API = {"authorization": "Bearer api-secret"}
INGEST = {"authorization": "Bearer ingest-secret"}
#: What is answered without a token; callbacks by their signature alone.
PUBLIC = ("/health/", "/callbacks/approvals/")
TOKENS = {"api_token": "api-secret", "ingest_token": "ingest-secret"}


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """(method, path) of everything the application documents, with path parameters filled in."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            filled = path.replace("{position}", "1")
            for name in ("run_id", "dag_id", "letter_id", "name"):
                filled = filled.replace(f"{{{name}}}", "x")
            yield method.upper(), filled


async def ask(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> int:
    if path == "/api/v1/stream":
        # An endless answer cannot be read through this transport; a wrong parameter ends it behind the guard.
        path += "?after=x"
    return (await client.request(method, path, headers=headers)).status_code


async def test_guard_answers_every_route_as_the_matrix_says(serve: Callable[..., Any]) -> None:
    surface = serve(**TOKENS)
    found = list(routes(surface.app))
    client = surface.client

    for method, path in found:
        public = path.startswith(PUBLIC)
        intake = path == "/events" or path.startswith("/webhooks/")

        for wrong in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer "},
            {"authorization": "api-secret"},
            {"authorization": "Basic api-secret"},
            {"authorization": "Bearer api-secret-and-more"},
        ):
            answered = await ask(client, method, path, wrong)
            assert (answered == 401) is not public, (method, path, wrong)
        assert (await ask(client, method, path, INGEST) == 403) is not (intake or public), (method, path)
        assert await ask(client, method, path, INGEST) != 401, (method, path)
        assert await ask(client, method, path, API) not in (401, 403), (method, path)

    assert len(found) >= 18


async def test_a_callback_that_was_not_signed_here_is_not_found_whatever_token_is_given(
    serve: Callable[..., Any],
) -> None:
    client = serve(**TOKENS).client

    for headers in ({}, API, INGEST, {"authorization": "Bearer wrong"}):
        for path in ("/callbacks/approvals/x", "/callbacks/approvals/x.y", "/callbacks/approvals/W10.AAAA"):
            assert (await client.get(path, headers=headers)).status_code == 404
            body = {"decision": "approve"}
            assert (await client.post(path, headers=headers, json=body)).status_code == 404
    assert (await client.get("/callbacks/approvals")).status_code == 401
    assert (await client.get("/callbacks/other/x")).status_code == 401


async def test_walk_covers_every_route_that_there_is(serve: Callable[..., Any]) -> None:
    app = serve(**TOKENS).app

    documented = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    routed = {(method, route.path) for route in app.every_route for method in route.methods}

    assert documented == routed | {("POST", "/events"), ("POST", "/webhooks/{name}")}


async def test_ingest_token_opens_no_method_of_the_api(serve: Callable[..., Any]) -> None:
    surface = serve(**TOKENS)
    paths = {path for _, path in routes(surface.app)}
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE")

    reached = {
        (method, path)
        for path in paths
        if path != "/events" and not path.startswith((*PUBLIC, "/webhooks/"))
        for method in methods
        if (await surface.client.request(method, path, headers=INGEST)).status_code != 403
    }

    assert not reached


async def test_method_that_a_path_does_not_take_is_405_with_those_that_it_does(
    serve: Callable[..., Any],
) -> None:
    surface = serve(**TOKENS)
    taken: dict[str, set[str]] = {}
    for method, path in routes(surface.app):
        taken.setdefault(path, set()).add(method)

    for path, methods in taken.items():
        if path.startswith("/webhooks/"):
            continue  # there is no such webhook: 404
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "PURGE"} - methods:
            answer = await surface.client.request(method, path, headers=API)
            allowed = set(answer.headers.get("allow", "").split(", "))
            assert (answer.status_code, allowed >= methods) == (405, True), (method, path, allowed)


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/health/",
        "/health/live/",
        "/health/live;x",
        "/health/live/x",
        "//health/live",
        "/HEALTH/LIVE",
        "/health/live.",
        "/api/v1/events/",
        "/api//v1/events",
        "/api/v1/..%2f..%2fhealth/live",
        "/Events",
        "/events/",
        "/webhooks",
        "/no/such/thing",
        "/subscriptions/",
        "//subscriptions",
        "/SUBSCRIPTIONS",
        "/subscriptions/x/",
        "/events/../subscriptions",
        "/webhooks/..%2fsubscriptions",
        "/webhooks/%2e%2e/api/v1/replays",
        "/health/live/../../api/v1/audit",
        "/api/v1/replays/",
        "/api/v1/project/reload;x",
        "/api/v1/openapi.json",
    ],
)
async def test_guard_asks_for_a_token_at_every_variant_of_a_path(
    serve: Callable[..., Any], path: str
) -> None:
    client = serve(**TOKENS).client

    answer = await client.get(path, headers={"host": "elsewhere.example."})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthorized"


async def test_guard_refuses_two_authorization_fields(serve: Callable[..., Any]) -> None:
    client = serve(**TOKENS).client

    answer = await client.get(
        "/api/v1/events",
        headers=[("authorization", "Bearer api-secret"), ("authorization", "Bearer wrong")],
    )

    assert answer.status_code == 401


async def test_guard_never_repeats_a_token(serve: Callable[..., Any]) -> None:
    client = serve(**TOKENS).client

    answer = await client.get("/api/v1/events", headers={"authorization": "Bearer canary-wrong"})

    assert "canary" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1:7070"}, 200),
        ({"host": "[::1]:7070"}, 200),
        ({"host": "tidemill:7070"}, 200),
        ({"host": "rebound.example:7070"}, 403),
        ({"host": "127.0.0.1.rebound.example"}, 403),
        ({"host": "localhost:7070", "origin": "http://localhost:7070"}, 200),
        ({"host": "localhost:7070", "origin": "https://page.example"}, 403),
        ({"host": "localhost:7070", "origin": "null"}, 403),
    ],
)
async def test_guard_without_tokens_keeps_foreign_pages_out(
    serve: Callable[..., Any], headers: dict[str, str], status: int
) -> None:
    client = serve().client

    answer = await client.get("/api/v1/runs", headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"host": "0.0.0.0"}, "loopback"),
        ({"host": "::"}, "loopback"),
        ({"host": "192.168.1.4"}, "loopback"),
        ({"host": "tidemill.example"}, "loopback"),
        ({"api_token": ""}, "api_token"),
        ({"api_token": "two words"}, "api_token"),
        ({"ingest_token": "only"}, "api_token"),
        ({"api_token": "same", "ingest_token": "same"}, "differ"),
    ],
)
def test_exposure_is_refused(settings: dict[str, str], word: str) -> None:
    given = Settings(**settings)  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match=word):
        check_exposure(given)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"host": "localhost"},
        {"host": "127.8.0.1"},
        {"host": "::1"},
        {"host": "0.0.0.0", "api_token": "a"},
        {"host": "0.0.0.0", "api_token": "a", "ingest_token": "b"},
    ],
)
def test_exposure_is_allowed(settings: dict[str, str]) -> None:
    check_exposure(Settings(**settings))  # type: ignore[arg-type]


# ── webhooks that need no token ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, make_project: Callable[..., Any]) -> Any:
    """Four webhooks: signed, signed with the token as well, open to everybody, and one that says nothing."""
    monkeypatch.setenv("HOOK_SECRET", "a secret")
    attributes = {
        name: compile_template(value, root="request") for name, value in {"type": "x", "source": "/x"}.items()
    }

    def hook(name: str, **members: Any) -> WebhookSource:
        secrets = [Secret(kind="env", place="HOOK_SECRET")] if members.pop("signed", False) else []
        return WebhookSource(
            name=name, attributes=attributes, secrets=secrets, signature=Preset.GITHUB, **members
        )

    return make_project(
        sources=(
            hook("signed", signed=True),
            hook("both", signed=True, access=Access.TOKEN),
            hook("open", access=Access.NONE),
            hook("plain"),
        )
    )


def signed(body: bytes) -> dict[str, str]:
    digest = hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}


@pytest.mark.parametrize(
    ("path", "bare", "with_signature", "with_token", "with_both"),
    [
        ("/webhooks/signed", 401, 202, 401, 202),
        ("/webhooks/both", 401, 401, 401, 202),
        ("/webhooks/open", 202, 202, 202, 202),
        ("/webhooks/plain", 401, 401, 202, 202),
        ("/webhooks/unknown", 401, 401, 404, 404),
        ("/webhooks/signed/", 401, 401, 404, 404),
        ("/webhooks/SIGNED", 401, 401, 404, 404),
        ("/webhooks/open%2f", 401, 401, 404, 404),
        ("/events", 401, 401, 415, 415),
        ("/api/v1/events", 401, 401, 403, 403),
    ],
)
async def test_webhook_with_a_signature_needs_no_token_and_everything_else_does(
    serve: Callable[..., Any],
    hooks: Any,
    path: str,
    bare: int,
    with_signature: int,
    with_token: int,
    with_both: int,
) -> None:
    client = serve(project=hooks, **TOKENS).client
    body = b"{}"
    plain = {"content-type": "application/json"}

    answers = [
        await client.post(path, content=body, headers=fields)
        for fields in (plain, signed(body), {**plain, **INGEST}, {**signed(body), **INGEST})
    ]

    assert [each.status_code for each in answers] == [bare, with_signature, with_token, with_both]


async def test_signed_webhook_is_reached_by_any_name_where_there_is_no_token(
    serve: Callable[..., Any], hooks: Any
) -> None:
    client = serve(project=hooks).client
    tunnel = {"host": "tunnel.example.com"}

    taken = await client.post("/webhooks/signed", content=b"{}", headers={**signed(b"{}"), **tunnel})
    others = [
        await client.post(path, content=b"{}", headers=tunnel) for path in ("/webhooks/plain", "/events")
    ]

    assert taken.status_code == 202
    assert [each.status_code for each in others] == [403, 403]


@pytest.mark.parametrize("path", ["/events", "/webhooks/signed", "/webhooks/plain"])
async def test_handshake_needs_no_token_where_the_settings_offer_it(
    serve: Callable[..., Any], hooks: Any, path: str
) -> None:
    asked = {"webhook-request-origin": "a.example"}

    offered = await serve(project=hooks, handshake_origins="a.example", **TOKENS).client.options(
        path, headers=asked
    )

    assert offered.status_code == 200
    assert offered.headers["webhook-allowed-origin"] == "a.example"


@pytest.mark.parametrize(
    ("method", "path", "fields", "origins"),
    [
        ("OPTIONS", "/events", {"webhook-request-origin": "a.example"}, None),
        ("OPTIONS", "/events", {}, "*"),
        ("POST", "/events", {"webhook-request-origin": "a.example"}, "*"),
        ("OPTIONS", "/api/v1/runs", {"webhook-request-origin": "a.example"}, "*"),
        ("OPTIONS", "/metrics", {"webhook-request-origin": "a.example"}, "*"),
    ],
)
async def test_handshake_opens_nothing_else(
    serve: Callable[..., Any], method: str, path: str, fields: dict[str, str], origins: str | None
) -> None:
    client = serve(handshake_origins=origins, **TOKENS).client

    assert (await client.request(method, path, headers=fields)).status_code == 401
