"""Who may do what: one layer in front of every route, by exact path, default deny. Rules:

1. With tokens configured, every request but the two health checks, and those by a signed callback URL of an approval,
   carries `Authorization: Bearer TOKEN`.
2. The API token opens everything; the ingest token opens event intake and nothing else.
3. With no token configured everything is open, which is allowed on loopback only (`check_exposure`); then
   pages of other origins are kept out, because a browser on this machine can reach loopback for them.
4. Where a path leads (`surface`) is decided once, for this layer and for the dispatch behind it.
5. Two kinds of requests to intake need no token: those to a webhook whose definition asks for a signature or
   expressly for nothing, and, where `handshake_origins` names senders, the CloudEvents handshake (`OPTIONS`,
   which stores nothing).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from tidemill.errors import SettingsError
from tidemill.settings import Settings

__all__ = ["Guard", "Refusal", "Surface", "check_exposure", "is_handshake", "surface"]

#: Host header values remembered as local.
_MAX_KNOWN_HOSTS = 64
_PUBLIC = frozenset({"/health/live", "/health/ready"})
#: What follows is signed, and is the credential (`approvals`).
_CALLBACKS = "/callbacks/approvals/"
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="tidemill"'),)
_INVALID_TOKEN = ((b"www-authenticate", b'Bearer realm="tidemill", error="invalid_token"'),)


class Surface(StrEnum):
    """What a path belongs to."""

    PUBLIC = "public"
    EVENTS = "events"
    WEBHOOKS = "webhooks"
    API = "api"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    code: str
    detail: str
    headers: Sequence[tuple[bytes, bytes]] = ()


_UNAUTHORIZED = Refusal(401, "unauthorized", "a bearer token is needed", _CHALLENGE)
_WRONG_TOKEN = Refusal(401, "unauthorized", "the bearer token is not valid", _INVALID_TOKEN)
_INGEST_ONLY = Refusal(403, "forbidden", "the ingest token may only post events")
_FOREIGN_HOST = Refusal(403, "forbidden", "without a token the service answers to local names only")
_FOREIGN_ORIGIN = Refusal(403, "forbidden", "without a token pages of other origins are not answered")


def surface(path: str) -> Surface:
    """What `path` (decoded) belongs to."""
    if path == "/events":
        return Surface.EVENTS
    if path.startswith("/webhooks/"):
        return Surface.WEBHOOKS
    if path in _PUBLIC or path.startswith(_CALLBACKS):
        return Surface.PUBLIC
    return Surface.API


def is_handshake(method: str, headers: Sequence[tuple[bytes, bytes]], settings: Settings) -> bool:
    """Whether a request asks for permission to deliver here, and the settings let anybody ask."""
    return (
        method == "OPTIONS"
        and settings.handshake_origins is not None
        and any(name == b"webhook-request-origin" for name, _ in headers)
    )


def check_exposure(settings: Settings) -> None:
    """Raise `SettingsError` when these settings would leave something open that should not be."""
    api, ingest = _text(settings.api_token), _text(settings.ingest_token)
    for name, token in (("api_token", api), ("ingest_token", ingest)):
        if token is not None and (
            not token or not token.isascii() or not token.isprintable() or " " in token
        ):
            raise SettingsError(f"{name}: a token is made of visible ASCII characters without spaces")
    if ingest is not None and api is None:
        raise SettingsError(
            "ingest_token: without an api_token the rest of the API would be closed; set both"
        )
    if api is not None and api == ingest:
        raise SettingsError("ingest_token: it must differ from api_token, or it would open everything")
    if api is None and not _is_loopback(settings.host):
        raise SettingsError(
            f"host: {settings.host} is not a loopback address; to listen beyond this machine set api_token"
        )


class Guard:
    """Decides about one request at a time, by its headers."""

    def __init__(self, settings: Settings) -> None:
        self._api = _digest(settings.api_token)
        self._ingest = _digest(settings.ingest_token)
        self._is_open = self._api is None and self._ingest is None
        self._host = settings.host.lower()
        self._known_hosts: set[bytes] = set()

    def check(self, place: Surface, headers: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
        """The refusal of a request to `place`, None when it may go on."""
        if place is Surface.PUBLIC:
            return None
        if self._is_open:
            return self._check_origin(headers)
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1:
            return _UNAUTHORIZED
        scheme, _, token = given[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return _UNAUTHORIZED
        digest = hashlib.sha256(token.strip()).digest()
        # Both are compared always: the time taken tells nothing of which one was meant.
        is_api = self._api is not None and hmac.compare_digest(digest, self._api)
        is_ingest = self._ingest is not None and hmac.compare_digest(digest, self._ingest)
        if is_api:
            return None
        if not is_ingest:
            return _WRONG_TOKEN
        return None if place in (Surface.EVENTS, Surface.WEBHOOKS) else _INGEST_ONLY

    def _check_origin(self, headers: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
        host = origin = None
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        if host is not None and host not in self._known_hosts:
            if not self._is_local(host):
                return _FOREIGN_HOST
            if len(self._known_hosts) < _MAX_KNOWN_HOSTS:
                self._known_hosts.add(host)
        if origin is not None and origin.partition(b"://")[2] != host:
            return _FOREIGN_ORIGIN
        return None

    def _is_local(self, host: bytes) -> bool:
        """Whether a page of the public web can not be behind this name: addresses and names without a dot."""
        name = _host_name(host.decode("latin-1").lower())
        if name == self._host or "." not in name or name.endswith(".localhost"):
            return True
        return _address(name) is not None


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _text(token: SecretStr | None) -> str | None:
    return None if token is None else token.get_secret_value()


def _digest(token: SecretStr | None) -> bytes | None:
    text = _text(token)
    return None if text is None else hashlib.sha256(text.encode()).digest()
