"""Checks and builds what a webhook source says of its endpoint: signature, access, limits, answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemill.project import mapping
from tidemill.project.endpoint import Access, AnswerSpec, HmacSignature, Preset, Rate, Signature, parse_rate
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.trigger_file import AnswerForm, HmacForm, LimitsForm, WebhookForm

__all__ = ["Endpoint", "build_endpoint", "check_endpoint"]

#: Fields that an answer may set: none that change how the answer is read, cached or trusted.
_ANSWER_HEADER = re.compile(r"x-[a-z0-9-]{1,60}\Z")
_NOT_OURS_TO_SET = frozenset(
    {"x-content-type-options", "x-frame-options", "x-xss-protection", "x-accel-redirect", "x-sendfile"}
)
_VALUE = re.compile(r"[\x20-\x7e]*\Z")
_NO_BODY = frozenset({204, 205})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The built parts, as `WebhookSource` takes them."""

    signature: Signature
    access: Access | None
    rate: Rate | None
    max_body_bytes: int | None
    answer: AnswerSpec | None


def check_endpoint(entry: Entry) -> None:
    """Note everything wrong with the endpoint that its structure alone does not show."""
    _check_auth(entry)
    _check_rate(entry)
    _check_answer(entry)


def build_endpoint(form: WebhookForm) -> Endpoint:
    """The endpoint of a form that passed its checks."""
    limits = form.limits or LimitsForm()
    return Endpoint(
        signature=_hmac(form.hmac) if form.hmac else Preset(form.signature or Preset.STANDARD),
        access=None if form.auth is None else Access(form.auth),
        rate=None if limits.rate is None else parse_rate(limits.rate, burst=limits.burst),
        max_body_bytes=limits.body_bytes,
        answer=None if form.answer is None else _answer(form.answer),
    )


def _hmac(form: HmacForm) -> HmacSignature:
    return HmacSignature(
        header=form.header.lower(), algorithm=form.algorithm, encoding=form.encoding, prefix=form.prefix
    )


def _answer(form: AnswerForm) -> AnswerSpec:
    return AnswerSpec(
        status=form.status,
        content_type=form.content_type,
        headers={
            name.lower(): mapping.compile_template(value, root="answer")
            for name, value in form.headers.items()
        },
        body=None if form.body is None else mapping.compile_template(form.body, root="answer"),
    )


def _check_auth(entry: Entry) -> None:
    has_secret = any(entry.get("webhook", name) is not None for name in ("secret", "secrets"))
    auth = entry.get("webhook", "auth")
    ways = [name for name in ("signature", "hmac") if entry.get("webhook", name) is not None]
    if len(ways) > 1:
        entry.problem("/webhook/hmac", "signature and hmac exclude each other; write one of them")
    if ways and not has_secret:
        entry.problem(f"/webhook/{ways[0]}", "a signature is verified with a secret; give secret or secrets")
    if auth == "signature" and not has_secret:
        entry.problem("/webhook/auth", "a signature is verified with a secret; give secret or secrets")
    if auth == "none" and has_secret:
        entry.problem("/webhook/auth", "'none' asks for nothing, but there is a secret; remove one of them")


def _check_rate(entry: Entry) -> None:
    written = entry.get("webhook", "limits", "rate")
    if isinstance(written, str):
        try:
            parse_rate(written)
        except ValueError as error:
            entry.problem("/webhook/limits/rate", f"'rate' {error}")
    elif written is None and entry.get("webhook", "limits", "burst") is not None:
        entry.problem("/webhook/limits/burst", "'burst' belongs to a rate; give rate too")


def _check_answer(entry: Entry) -> None:
    headers = entry.get("webhook", "answer", "headers")
    for name, written in headers.items() if isinstance(headers, dict) else ():
        at = pointer_to("webhook", "answer", "headers", name)
        lower = name.lower()
        if not _ANSWER_HEADER.match(lower) or lower in _NOT_OURS_TO_SET:
            entry.problem(at, f"header {name!r} cannot be set here; names begin with x-")
        template = _compile(entry, at, written)
        if template is not None and template.is_constant:
            value = template.evaluate(mapping.NOTHING)
            if not isinstance(value, str) or not _VALUE.match(value):
                entry.problem(at, f"the value of header {name!r} must be text of visible ASCII characters")
    body = entry.get("webhook", "answer", "body")
    if body is None:
        return
    template = _compile(entry, "/webhook/answer/body", body)
    if entry.get("webhook", "answer", "status") in _NO_BODY:
        entry.problem("/webhook/answer/body", "an answer with this status has no body; remove it")
    if entry.get("webhook", "answer", "content_type") == "application/xml" and (
        template is not None and not (template.is_constant and isinstance(body, str))
    ):
        # A value in the midst of markup could be markup itself.
        entry.problem("/webhook/answer/body", "an XML body is constant text, without values of the event")


def _compile(entry: Entry, at: str, written: object) -> mapping.Template | None:
    try:
        return mapping.compile_template(written, root="answer")
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem(at + pointer, message)
        return None
