"""Subscriptions made by API as the store keeps them: the definition as written, and the secrets that sign.

1. A change is durable with the event that tells of it; the router and the lanes follow without a restart.
2. A secret is made here, shown once, and never again. While one takes over from another both sign.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from tidemill.api.parts import Parts
from tidemill.errors import NotFound, StateConflict
from tidemill.events import lifecycle
from tidemill.ids import new_id
from tidemill.project.made import InvalidSubscription, kafka_place, parse_request
from tidemill.storage.contract import MadeSubscription

__all__ = ["MAX_MADE", "Made", "all_made", "create", "delete", "find", "rotate", "update"]

#: Most subscriptions made by API.
MAX_MADE = 10_000
#: Most secrets that sign at once.
_MAX_SECRETS = 4
_SECRET_BYTES = 32
#: Beyond every position.
_NOW = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Made:
    """A subscription as it is kept."""

    id: str
    #: The object of CloudEvents Subscriptions with defaults applied, without its id.
    subscription: dict[str, Any]
    #: Matches events after this position.
    position: int
    #: A secret that was made by this very change, to be shown once.
    secret: str | None = field(default=None, repr=False)


async def all_made(parts: Parts) -> list[Made]:
    """Every one, by id."""
    return [_from(one) for one in await parts.store.subscriptions.at(_NOW)]


async def find(parts: Parts, name: str) -> Made:
    """One; raises `NotFound`, or `StateConflict` for one that is written in the project."""
    return _from(await _row(parts, name))


async def create(parts: Parts, written: object, *, by: str) -> Made:
    """Make a subscription; raises `InvalidSubscription` with everything that is wrong."""
    subscription, sign = _checked(parts, written)
    if len(await parts.store.subscriptions.at(_NOW)) >= MAX_MADE:
        raise StateConflict(f"there are {MAX_MADE} subscriptions; delete one first")
    secret = _new_secret() if sign else None
    kept = [] if secret is None else [_kept(parts, secret)]
    return await _put(parts, new_id(), "created", subscription, kept, by=by, secret=secret)


async def update(parts: Parts, name: str, written: object, *, by: str) -> Made:
    """Change a subscription; raises `InvalidSubscription`, `NotFound` and `StateConflict`."""
    row = await _row(parts, name)
    if isinstance(written, dict) and written.get("id") not in (None, name):
        raise InvalidSubscription([("/id", "is not the id of this subscription")])
    subscription, sign = _checked(parts, written)
    kept = orjson.loads(row.body).get("secrets") or [] if sign else []
    secret = _new_secret() if sign and not kept else None
    if secret is not None:
        kept = [_kept(parts, secret)]
    return await _put(parts, name, "updated", subscription, kept, by=by, secret=secret)


async def rotate(parts: Parts, name: str, *, overlap_seconds: float, by: str) -> Made:
    """Make a new secret; those before it sign beside it for `overlap_seconds`."""
    row = await _row(parts, name)
    body = orjson.loads(row.body)
    if not body.get("secrets"):
        raise StateConflict("the subscription does not sign; set protocolsettings.sign first")
    now = parts.clock.now_us()
    until = now + round(overlap_seconds * 1_000_000)
    earlier = [
        {**one, "until": min(until, one.get("until") or until)}
        for one in body["secrets"]
        if (one.get("until") or until) > now
    ]
    secret = _new_secret()
    kept = [_kept(parts, secret), *earlier][:_MAX_SECRETS]
    return await _put(parts, name, "updated", body["subscription"], kept, by=by, secret=secret)


async def delete(parts: Parts, name: str, *, by: str) -> Made:
    """Delete a subscription; what is pending for it is cancelled."""
    made = _from(await _row(parts, name))
    await parts.store.subscriptions.put(name, None, _event(parts, name, "deleted", made.subscription, by))
    return made


async def _put(
    parts: Parts,
    name: str,
    action: str,
    subscription: dict[str, Any],
    kept: list[dict[str, Any]],
    *,
    by: str,
    secret: str | None,
) -> Made:
    body = {"subscription": subscription, "secrets": kept, "by": by, "changed_at": parts.clock.now_us()}
    event = _event(parts, name, action, subscription, by)
    position = await parts.store.subscriptions.put(name, orjson.dumps(body), event)
    return Made(name, subscription, position, secret)


def _event(parts: Parts, name: str, action: str, subscription: dict[str, Any], by: str) -> Any:
    rule = {key: subscription[key] for key in ("source", "types", "filters") if key in subscription}
    return lifecycle.subscription_changed(
        subscription=name, action=action, revision=new_id(), rule=rule, by=by, at_us=parts.clock.now_us()
    )


async def _row(parts: Parts, name: str) -> MadeSubscription:
    if any(one.name == name for one in parts.project().subscriptions):
        raise StateConflict("the subscription is written in the project's files; change it there")
    row = await parts.store.subscriptions.get(name)
    if row is None:
        raise NotFound("subscription", name)
    return row


def _from(row: MadeSubscription) -> Made:
    return Made(row.id, orjson.loads(row.body)["subscription"], row.position)


def _checked(parts: Parts, written: object) -> tuple[dict[str, Any], bool]:
    """The subscription with defaults applied, and whether it signs."""
    request, settings = parse_request(written)
    if request.protocol == "KAFKA":
        _check_brokers(parts, request.sink)
    else:
        _check_host(parts, request.sink)
    found = request.model_dump(exclude_none=True, exclude={"id", "sinkcredential"})
    found["protocolsettings"] = settings.model_dump(exclude_none=True)
    return found, bool(getattr(settings, "sign", False))


def _check_brokers(parts: Parts, sink: str) -> None:
    brokers, _ = kafka_place(sink, None)
    ours = parts.settings.kafka_bootstrap_servers
    if ours is None:
        raise InvalidSubscription([("/protocol", "no broker is configured (kafka_bootstrap_servers)")])
    if brokers and set(brokers.split(",")) - set(ours.split(",")):
        raise InvalidSubscription([("/sink", "names other brokers than kafka_bootstrap_servers")])


def _check_host(parts: Parts, sink: str) -> None:
    """Say at once what a delivery would find out: names are looked up and checked at each delivery all the same."""
    host = urlsplit(sink).hostname or ""
    if parts.reaches(host):
        return
    raise InvalidSubscription(
        [("/sink", f"{host} is not public; name it in delivery_allowed_hosts to deliver there")]
    )


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")


def _kept(parts: Parts, secret: str) -> dict[str, Any]:
    return {"key": secret, "made_at": parts.clock.now_us()}
