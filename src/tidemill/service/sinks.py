"""Sinks of single subscriptions, built from their definitions and the settings; lanes of those made by API."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tidemill.clock import Clock
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.service.build_kafka import sink_security
from tidemill.settings import Settings
from tidemill.sinks import addresses
from tidemill.sinks.contract import Sink
from tidemill.sinks.handshake import Handshake
from tidemill.sinks.signature import SigningKey
from tidemill.sinks.webhook import WebhookSinkDelivery

if TYPE_CHECKING:
    from tidemill.sinks.kafka import KafkaProducer

__all__ = ["MadeLanes", "allowed_hosts", "reaches", "webhook_sink"]


def allowed_hosts(settings: Settings) -> list[str]:
    """The hosts that `delivery_allowed_hosts` names."""
    return [host.strip() for host in (settings.delivery_allowed_hosts or "").split(",") if host.strip()]


def reaches(host: str, settings: Settings) -> bool:
    """Whether a subscription made by API may be sent to `host`, as far as its text says; names are resolved later."""
    if addresses.is_named(host, allowed_hosts(settings)):
        return True
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return addresses.is_public(name)


def webhook_sink(
    spec: WebhookSink, secret: str | Sequence[str | SigningKey] | None, *, clock: Clock, settings: Settings
) -> WebhookSinkDelivery:
    """The sink of a webhook; raises `SettingsError` for a URL or a secret that cannot be used.

    A guarded one is asked for consent and reached at public addresses only, unless its host is allowed by name.
    """
    host = urlsplit(spec.url).hostname or ""
    is_named = spec.guarded and addresses.is_named(host, allowed_hosts(settings))
    handshake = None
    if spec.handshake and not is_named:
        origin = settings.delivery_origin or socket.gethostname()
        handshake = Handshake(spec.url, origin=origin, clock=clock)
    return WebhookSinkDelivery(
        spec,
        secret,
        timeout_seconds=settings.delivery_timeout_seconds,
        clock=clock,
        handshake=handshake,
        allows=addresses.is_public if spec.guarded and not is_named else addresses.is_allowed,
    )


class MadeLanes:
    """The sinks and lanes of subscriptions made by API, as the roster begins and ends them."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Settings,
        root: Path,
        add: Callable[[str, Callable[[], Awaitable[None]]], None],
        remove: Callable[[str], Awaitable[None]],
        deliver: Callable[[Subscription], Awaitable[None]],
    ) -> None:
        """`add` and `remove` begin and end a keyed stage; `deliver` is the work of a lane."""
        self.sinks: dict[str, Sink] = {}
        self._clock = clock
        self._settings = settings
        self._root = root
        self._add = add
        self._remove = remove
        self._deliver = deliver
        self._producer: KafkaProducer | None = None

    def begin(self, subscription: Subscription, keys: tuple[SigningKey, ...]) -> None:
        """See `Roster`."""
        match subscription.sink:
            case WebhookSink() as spec:
                sink: Sink = webhook_sink(spec, keys, clock=self._clock, settings=self._settings)
                self.sinks[subscription.name] = sink
            case KafkaSink() as spec:
                if self._settings.kafka_bootstrap_servers is not None:
                    self.sinks[subscription.name] = self._kafka(spec, self._settings.kafka_bootstrap_servers)
        self._add(f"sink {subscription.name}", partial(self._deliver, subscription))

    async def end(self, name: str) -> None:
        """See `Roster`."""
        await self._remove(f"sink {name}")
        sink = self.sinks.pop(name, None)
        if sink is not None:
            await sink.close()

    async def close(self) -> None:
        """Let go of all connections; the lanes have ended."""
        for sink in self.sinks.values():
            await sink.close()
        if self._producer is not None:
            await self._producer.close()

    def _kafka(self, spec: KafkaSink, bootstrap_servers: str) -> Sink:
        from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery  # a third of a second to import

        if self._producer is None:
            security = sink_security(self._settings, self._root)
            within = self._settings.delivery_timeout_seconds
            self._producer = KafkaProducer(bootstrap_servers, security=security, timeout_seconds=within)
        return KafkaSinkDelivery(spec, self._producer)
