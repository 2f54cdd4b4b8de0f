"""Who gets in: every route of the application against every kind of credential."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tidemill.api.auth import check_exposure
from tidemill.errors import SettingsError
from tidemill.settings import Settings

API = {"authorization": "Bearer api-secret"}
INGEST = {"authorization": "Bearer ingest-secret"}
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
        public = path.startswith("/health/")
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
