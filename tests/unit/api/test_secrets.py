"""Secrets of every kind, each with a mark: no answer, log line, metric, event or kept row of another kind shows one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.patterns.filters import compile_filters
from tidemill.project.endpoint import Preset
from tidemill.project.mapping import compile_template
from tidemill.project.model import Secret, Subscription, WebhookSink, WebhookSource

CANARY = "CANARYcanary4711"
TOKENS = {"api_token": f"api-{CANARY}", "ingest_token": f"ingest-{CANARY}"}
API = {"authorization": f"Bearer api-{CANARY}"}


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, make_project: Callable[..., Any]) -> Any:
    """A signed webhook, one whose secret cannot be used, and a subscription with a secret and a token in its URL."""
    monkeypatch.setenv("HOOK_SECRET", f"hook {CANARY}")
    monkeypatch.setenv("BROKEN_SECRET", f"whsec_*{CANARY}*")
    attributes = {
        name: compile_template(value, root="request") for name, value in {"type": "x", "source": "/x"}.items()
    }
    return make_project(
        sources=(
            WebhookSource(
                name="signed",
                attributes=attributes,
                secrets=[Secret(kind="env", place="HOOK_SECRET")],
                signature=Preset.GITHUB,
            ),
            WebhookSource(
                name="broken",
                attributes=attributes,
                secrets=[Secret(kind="env", place="BROKEN_SECRET")],
                signature=Preset.STANDARD,
            ),
        ),
        subscriptions=(
            Subscription(
                name="written",
                rule=compile_filters([{"exact": {"type": "x"}}]),
                sink=WebhookSink(
                    url=f"https://receiver.example/in?token={CANARY}",
                    secret=Secret(kind="env", place="HOOK_SECRET"),
                    headers={"x-key": CANARY},
                ),
            ),
        ),
    )


async def test_no_secret_is_shown_anywhere(
    serve: Callable[..., Any], project: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    surface = serve(project=project, database=f"postgresql://u:{CANARY}@db/x", **TOKENS)
    client = surface.client
    asked = {"sink": "https://receiver.example/in", "protocol": "HTTP", "protocolsettings": {"sign": True}}
    made = (await client.post("/subscriptions", json=asked, headers=API)).json()
    rotated = (await client.post(f"/api/v1/subscriptions/{made['id']}/secrets", json={}, headers=API)).json()
    keys = [made["signingsecret"], rotated["signingsecret"]]

    texts = [repr(surface.parts.settings), str(surface.parts.settings)]
    texts += [repr(await surface.store.subscriptions.get(made["id"]))]
    for path in ("/webhooks/signed", "/webhooks/broken", "/events"):
        for headers in ({}, API, {**API, "x-hub-signature-256": "sha256=00"}):
            answer = await client.post(
                path, content=b"{}", headers={**headers, "content-type": "application/json"}
            )
            texts += [answer.text, str(answer.headers)]
    for path, operations in surface.app.openapi()["paths"].items():
        for method in operations:
            for name in (made["id"], "written", "signed", "broken", "1"):
                filled = re.sub(r"{\w+}", name, path)
                if filled == "/api/v1/stream" or filled.endswith("/secrets") or method == "delete":
                    continue
                answer = await client.request(
                    method.upper(), filled, headers={**API, "content-type": "application/json"}, content=b"{}"
                )
                texts += [answer.text, str(answer.headers)]
                if "{" not in path:
                    break
    texts += [
        json.dumps([record.getMessage(), *map(repr, vars(record).values())])
        for record in caplog.records
        if not record.name.startswith(("aiosqlite", "asyncio"))
    ]
    events = await surface.store.log.read(0, 1_000)
    texts += [repr(one) for one in events]

    shown = [text[:300] for text in texts for secret in (CANARY, *keys) if secret in text]
    assert shown == []
    assert len(events) >= 2
