"""Subscriptions that were made by API: the object of CloudEvents Subscriptions 0.1, checked and compiled. Pure.

1. What is not understood is refused: an unknown member, dialect, protocol or setting never means nothing.
2. No credential is taken. Deliveries are signed (`protocolsettings.sign`) with a secret that is made here.
3. The receiver's address is not the project owner's word: its sink is guarded, and asked by OPTIONS first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tidemill.errors import TidemillError
from tidemill.events import uri
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.rule import PatternError, Rule
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.project.subscription import header_faults, url_fault

__all__ = [
    "InvalidSubscription",
    "SubscriptionRequest",
    "build_made",
    "kafka_place",
    "parse_request",
    "rule_of",
]

Form = TypeVar("Form", bound=BaseModel)
_Text = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
#: Header fields that carry credentials.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


class InvalidSubscription(TidemillError):  # noqa: N818 - an answer, not an error of ours
    """A subscription is refused whole; `problems` holds (JSON pointer, sentence) of everything that is wrong."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{at or 'the subscription'}: {what}" for at, what in problems))


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HttpSettings(_Written):
    """`protocolsettings` of HTTP; all but headers and method are Tidemill's."""

    headers: dict[str, Annotated[str, StringConstraints(max_length=8192)]] = Field(
        {}, description="Header fields to add; credentials are refused."
    )
    method: Literal["POST"] = "POST"
    mode: Literal["structured", "binary"] = "structured"
    timeout: float | None = Field(None, gt=0, le=300, description="Longest time of one delivery, in seconds.")
    ordered: bool = Field(False, description="One at a time in log order; a failing delivery holds the rest.")
    max_attempts: int = Field(10, ge=1, le=100)
    sign: bool = Field(
        False, description="Sign as Standard Webhooks, with a secret that is made and shown once."
    )


class KafkaSettings(_Written):
    """`protocolsettings` of KAFKA; all but topicname and acks are Tidemill's."""

    topicname: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")] | None = None
    acks: Literal["all", "-1"] = Field("all", description="Every in-sync replica; nothing less is offered.")
    mode: Literal["structured", "binary"] = "structured"
    ordered: bool = False
    max_attempts: int = Field(10, ge=1, le=100)


class SubscriptionRequest(_Written):
    """A subscription as its maker writes it (CloudEvents Subscriptions 0.1, section 3.2.1)."""

    id: str | None = Field(None, description="Ignored: ids are given here.")
    source: _Text | None = Field(None, description="Only events of this source.")
    types: list[_Text] | None = Field(None, min_length=1, max_length=1000, description="Only these types.")
    filters: list[Any] | None = Field(None, description="All must hold; dialects as in docs/patterns.md.")
    config: dict[str, Any] | None = Field(None, description="Nothing is configurable: must be empty.")
    sink: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    protocol: str = Field(description="HTTP or KAFKA.")
    protocolsettings: dict[str, Any] | None = None
    sinkcredential: Any = Field(None, description="Refused: no credentials are kept.")


def parse_request(written: object) -> tuple[SubscriptionRequest, HttpSettings | KafkaSettings]:
    """The subscription and its settings; raises `InvalidSubscription` with every problem."""
    problems: list[tuple[str, str]] = []
    request = _parse(SubscriptionRequest, written, "", problems)
    if request is None:
        raise InvalidSubscription(problems)
    settings = _settings(request, problems)
    if request.config:
        problems.append(("/config", "nothing can be configured here; leave it out"))
    if request.sinkcredential is not None:
        problems.append(
            ("/sinkcredential", "no credentials are kept; sign deliveries with protocolsettings.sign instead")
        )
    if request.source is not None and not uri.is_reference(request.source):
        problems.append(("/source", "is no URI reference"))
    try:
        rule_of(request.model_dump(include={"source", "types", "filters"}))
    except PatternError as error:
        problems += [(f"/filters{_own(pointer, request)}", message) for pointer, message in error.problems]
    if problems or settings is None:
        raise InvalidSubscription(problems)
    return request, settings


def rule_of(written: Mapping[str, Any]) -> Rule:
    """The rule that `source`, `types` and `filters` of a subscription state together; raises `PatternError`."""
    return compile_filters([*_before(written), *(written.get("filters") or [])])


def build_made(subscription: str, written: Mapping[str, Any]) -> Subscription:
    """The subscription as lanes and sinks take it; `written` was checked by `parse_request` when it was made."""
    request, settings = parse_request(written)
    match settings:
        case HttpSettings():
            sink: WebhookSink | KafkaSink = WebhookSink(
                url=request.sink,
                mode=settings.mode,
                headers=settings.headers,
                timeout=None if settings.timeout is None else timedelta(seconds=settings.timeout),
                handshake=True,
                guarded=True,
            )
        case KafkaSettings():
            sink = KafkaSink(topic=kafka_place(request.sink, settings.topicname)[1], mode=settings.mode)
    return Subscription(
        name=subscription,
        rule=rule_of(written),
        sink=sink,
        ordered=settings.ordered,
        max_attempts=settings.max_attempts,
    )


def kafka_place(sink: str, topic: str | None) -> tuple[str, str]:
    """(brokers, topic) of a sink such as `kafka://HOST:PORT/TOPIC` or `kafka:TOPIC`; both may be empty."""
    parts = urlsplit(sink)
    return parts.netloc, topic or parts.path.strip("/")


def _settings(
    request: SubscriptionRequest, problems: list[tuple[str, str]]
) -> HttpSettings | KafkaSettings | None:
    written = request.protocolsettings or {}
    match request.protocol:
        case "HTTP":
            http = _parse(HttpSettings, written, "/protocolsettings", problems)
            if (fault := url_fault(request.sink)) is not None:
                problems.append(("/sink", fault))
            for name, value in (http.headers if http is not None else {}).items():
                at = f"/protocolsettings/headers/{name}"
                problems += [(at, fault) for fault in header_faults(name, value)]
                if name.lower() in _CREDENTIALS:
                    problems.append((at, "credentials are not kept; use protocolsettings.sign"))
            return http
        case "KAFKA":
            kafka = _parse(KafkaSettings, written, "/protocolsettings", problems)
            _check_kafka(request.sink, kafka, problems)
            return kafka
        case _:
            problems.append(("/protocol", "is not supported; there are HTTP and KAFKA"))
            return None


def _check_kafka(sink: str, settings: KafkaSettings | None, problems: list[tuple[str, str]]) -> None:
    if not sink.startswith("kafka:"):
        problems.append(("/sink", "must be kafka:TOPIC or kafka://HOST:PORT/TOPIC"))
    elif settings is not None:
        try:
            brokers, topic = kafka_place(sink, settings.topicname)
        except ValueError:
            problems.append(("/sink", "is no URL"))
            return
        if "@" in brokers:
            problems.append(("/sink", "holds a user or password; no credentials are kept"))
        if not topic:
            problems.append(("/protocolsettings/topicname", "is missing"))
        elif (
            not all(sign.isascii() and (sign.isalnum() or sign in "._-") for sign in topic)
            or len(topic) > 249
        ):
            problems.append(("/sink", "names no topic: letters, digits, '.', '_' or '-' (at most 249)"))


def _parse(model: type[Form], written: object, at: str, problems: list[tuple[str, str]]) -> Form | None:
    try:
        return model.model_validate(written)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            pointer = at + "".join(f"/{part}" for part in found["loc"])
            message = "is not known here" if found["type"] == "extra_forbidden" else str(found["msg"])
            problems.append((pointer, f"{message[:1].lower()}{message[1:]}"))
        return None


def _before(written: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`source` and `types` as filters."""
    source, types = written.get("source"), written.get("types")
    found: list[dict[str, Any]] = [{"exact": {"source": source}}] if source else []
    if types:
        found.append({"any": [{"exact": {"type": one}} for one in types]})
    return found


def _own(pointer: str, request: SubscriptionRequest) -> str:
    """A pointer into the joined filters as one into those that were written."""
    shift = len(_before({"source": request.source, "types": request.types}))
    head, _, rest = pointer.lstrip("/").partition("/")
    if not head.isdecimal():
        return pointer
    return f"/{max(0, int(head) - shift)}" + (f"/{rest}" if rest else "")
