"""The checker's look at replays: each original that was asked for is told again once, as it was."""

from __future__ import annotations

from collections import defaultdict

from tests.acceptance.evidence import Evidence, Line, Logged
from tests.acceptance.violations import Found, Violation, is_told_again, sent

__all__ = ["check_replays"]

#: What a replay changes or takes away, besides the id.
_MARKS = frozenset({"id", "replayid", "replayof", "replayto", "correlationid", "causationid", "hopcount"})


def check_replays(evidence: Evidence) -> Found:
    """Everything that is wrong with events that were told again."""
    told: dict[str, dict[int, list[Logged]]] = defaultdict(lambda: defaultdict(list))
    for event in evidence.events:
        if is_told_again(event):
            told[event.body["replayid"]][int(event.body["replayof"])].append(event)
    for order in sent(evidence, "replay"):
        found = told.pop(order["id"], {})
        for event in evidence.events:
            if _is_asked_for(event, order):
                yield from _check_original(event, order, found.pop(event.position, []))
        for position in found:
            yield Violation("replay_unexpected", f"{order['id']} told {position}")
    for name in told:
        yield Violation("replay_unexpected", f"nobody asked for {name}")


def _is_asked_for(event: Logged, order: Line) -> bool:
    in_reach = order["after"] < event.position <= order["until"]
    return in_reach and not is_told_again(event) and order.get("type", event.type) == event.type


def _check_original(event: Logged, order: Line, told: list[Logged]) -> Found:
    name = f"{order['id']} of {event.position}"
    if not told:
        yield Violation("replay_missing", name)
    for one in told[1:]:
        yield Violation("replay_doubled", f"{name} stands at {one.position}, too")
    for one in told:
        named = ",".join(order.get("triggers", ())) or None
        if (one.id, one.body.get("replayto")) != (f"{event.id}/replay/{order['id']}", named):
            yield Violation("replay_changed", f"{name} is {one.id} to {one.body.get('replayto')}")
        if one.position <= event.position or _kept(one) != _kept(event):
            yield Violation("replay_changed", f"{name}: {event.body} was told as {one.body}")


def _kept(event: Logged) -> dict[str, object]:
    return {name: value for name, value in event.body.items() if name not in _MARKS}
