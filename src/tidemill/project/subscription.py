"""Builds the subscriptions of a definition file: which events go to which receiver outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from tidemill.project.entry import Entry, pointer_to
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.project.rules import compile_rule
from tidemill.project.secrets import build_secret, check_secret
from tidemill.project.structure import check_choice, check_structure
from tidemill.project.trigger_file import KafkaSinkForm, SubscriptionEntry, WebhookSinkForm

__all__ = ["build_subscription", "header_faults", "url_fault"]

#: Field names (RFC 9110, section 5.6.2) and values (section 5.5) that can be sent.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?\Z")
#: Fields that every delivery sets by itself.
_SET_BY_US = frozenset(
    {"content-type", "content-length", "host", "transfer-encoding", "connection", "user-agent"}
)
_SET_BY_US_PREFIXES = ("ce-", "webhook-")
#: Fields that speak of one connection (RFC 9110, section 7.6.1), which is not theirs who name receivers.
_OF_CONNECTIONS = frozenset({"expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"})


def build_subscription(entry: Entry) -> Subscription | None:
    """The entry's subscription; None when something is wrong with it, with every problem noted."""
    before = len(entry.problems)
    form = check_structure(entry, SubscriptionEntry)
    rule = compile_rule(entry)
    check_choice(entry, "webhook", "kafka")
    _check_url(entry, entry.get("webhook", "url"))
    _check_headers(entry, entry.get("webhook", "headers"))
    check_secret(entry, "/webhook/secret", entry.get("webhook", "secret"))
    for at, written in entry.items("webhook", "secrets"):
        check_secret(entry, at, written)
    if entry.get("webhook", "secret") is not None and entry.get("webhook", "secrets") is not None:
        entry.problem("/webhook/secrets", "secret and secrets exclude each other; write one of them")
    if form is None or rule is None or len(entry.problems) > before:
        return None
    sink = _sink(form.webhook or form.kafka)
    return Subscription(
        name=form.name,
        rule=rule,
        sink=sink,
        ordered=form.ordered,
        max_attempts=form.max_attempts,
        file=entry.file,
        line=entry.line,
    )


def _sink(form: WebhookSinkForm | KafkaSinkForm | None) -> WebhookSink | KafkaSink:
    match form:
        case WebhookSinkForm():
            return WebhookSink(
                url=form.url,
                secret=build_secret(form.secret) if form.secret else None,
                secrets=tuple(build_secret(one) for one in form.secrets or ()),
                handshake=form.handshake,
                mode=form.mode,
                headers=dict(form.headers),
                timeout=form.timeout,
            )
        case KafkaSinkForm():
            return KafkaSink(topic=form.topic, mode=form.mode)
        case None:
            raise AssertionError("a subscription without a sink passed its check")


def _check_url(entry: Entry, url: object) -> None:
    if isinstance(url, str) and url and (fault := url_fault(url)) is not None:
        entry.problem("/webhook/url", f"'url' {fault}")


def url_fault(url: str) -> str | None:
    """What is wrong with the URL of a webhook; None when it can be used."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is no URL"
    if any(char <= " " or char == "\x7f" for char in url):
        return "holds a space or a control character"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be an absolute http or https URL"
    if parts.username is not None or parts.password is not None:
        return "holds a user or password; secrets are never written here"
    return None


def _check_headers(entry: Entry, headers: object) -> None:
    if not isinstance(headers, dict):
        return
    for name, value in headers.items():
        for fault in header_faults(name, value):
            entry.problem(pointer_to("webhook", "headers", name), fault)


def header_faults(name: str, value: object) -> Iterator[str]:
    """What is wrong with a header field that a delivery shall carry."""
    lower = name.lower()
    if not _HEADER_NAME.match(name):
        yield f"{name!r} is no header name"
    elif lower in _SET_BY_US or lower.startswith(_SET_BY_US_PREFIXES):
        yield f"header {name!r} is set by every delivery; remove it"
    elif lower in _OF_CONNECTIONS:
        yield f"header {name!r} is about the connection, which is ours; remove it"
    if isinstance(value, str) and not _HEADER_VALUE.match(value):
        yield f"the value of header {name!r} holds characters that cannot be sent"
