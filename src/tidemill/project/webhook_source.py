"""Builds webhook sources: what event becomes of a request, and what the endpoint asks and answers."""

from __future__ import annotations

from tidemill.project.attribute_templates import compile_attributes, compile_data
from tidemill.project.endpoint_form import build_endpoint, check_endpoint
from tidemill.project.entry import Entry
from tidemill.project.mapping import Template
from tidemill.project.model import WebhookSource
from tidemill.project.secrets import build_secret, check_secret
from tidemill.project.trigger_file import WebhookForm

__all__ = ["Templates", "build_webhook", "check_webhook"]

#: Compiled attributes (None: they cannot be used) and data (None: the whole body).
Templates = tuple[dict[str, Template] | None, Template | None]


def check_webhook(entry: Entry) -> Templates:
    """The templates of a webhook, with everything wrong in it noted; nothing of it is there for other sources."""
    if isinstance(entry.get("webhook"), dict):
        _check_secrets(entry)
        check_endpoint(entry)
    attributes = compile_attributes(
        entry, "webhook", "event", root="request", defaults={"source": f"/webhooks/{entry.name}"}
    )
    return attributes, compile_data(entry, "webhook", "data", root="request")


def build_webhook(entry: Entry, form: WebhookForm, templates: Templates) -> WebhookSource | None:
    """The source of an entry that passed its checks."""
    attributes, data = templates
    if attributes is None:
        return None
    secrets = form.secrets or ([form.secret] if form.secret else [])
    endpoint = build_endpoint(form)
    return WebhookSource(
        name=entry.name,
        attributes=attributes,
        data=data,
        secrets=tuple(build_secret(secret) for secret in secrets),
        signature=endpoint.signature,
        access=endpoint.access,
        rate=endpoint.rate,
        max_body_bytes=endpoint.max_body_bytes,
        answer=endpoint.answer,
        file=entry.file,
        line=entry.line,
    )


def _check_secrets(entry: Entry) -> None:
    if entry.get("webhook", "secret") is not None and entry.get("webhook", "secrets") is not None:
        entry.problem(
            "/webhook/secrets", "secret and secrets exclude each other; write all of them as secrets"
        )
    check_secret(entry, "/webhook/secret", entry.get("webhook", "secret"))
    for at, secret in entry.items("webhook", "secrets"):
        check_secret(entry, at, secret)
