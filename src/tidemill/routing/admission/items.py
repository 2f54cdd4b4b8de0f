"""Events on their way through a trigger's admission: members, and the items in which they travel together. Pure.

An item has one lead, its newest event, which gives the run its identity and the following stages their keys; the
others are tagged with what joined them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.project.admission import Stage
from tidemill.storage.contract import DispositionKind, HeldEvent

__all__ = ["PLACES", "Item", "Member", "held_row", "merged", "restored"]

#: Place of each stage in the order, and of its key in `Member.keys`.
PLACES = {stage: place for place, stage in enumerate(Stage)}


class Member:
    """One event that matched and has no disposition yet."""

    __slots__ = (
        "at",
        "cancel_key",
        "correlation",
        "item",
        "keys",
        "parameters",
        "part",
        "position",
        "priority",
        "run",
        "size",
        "stage",
        "stored",
        "tag",
    )

    def __init__(
        self,
        position: int,
        at: int,
        run: str,
        *,
        keys: tuple[str, ...] = ("",) * len(PLACES),
        cancel_key: str = "",
        priority: int = 0,
        size: int = 0,
        part: int = -1,
        correlation: str = "",
    ) -> None:
        self.position = position
        #: When the log received it.
        self.at = at
        #: Id of the run that it starts when it leads.
        self.run = run
        #: By place of the stage.
        self.keys = keys
        self.cancel_key = cancel_key
        self.priority = priority
        #: Bytes of the event, where a batch counts them.
        self.size = size
        #: Which part of a join it is.
        self.part = part
        #: What everything that it causes is known together by.
        self.correlation = correlation
        #: What joined it to its lead; None for the lead.
        self.tag: DispositionKind | None = None
        #: Where it is held; None while it is not.
        self.stage: Stage | None = None
        self.item: Item | None = None
        #: True: the database has a row of it, or will have with what is being committed.
        self.stored = False
        #: The run's parameters where they are known already.
        self.parameters: Any = None


class Item:
    """Members that go on together, in the order of the log."""

    __slots__ = ("key", "lead", "members", "name", "since")

    def __init__(self, members: list[Member], lead: Member, since: int) -> None:
        self.members = members
        self.lead = lead
        #: Position of the member that was its first: what its rows are found together by.
        self.name = members[0].position
        #: When it came to the stage that holds it.
        self.since = since
        #: Key of the state that holds it.
        self.key = ""

    @property
    def priority(self) -> int:
        """That of its lead."""
        return self.lead.priority

    def has_key_at(self, stage: Stage) -> bool:
        """Whether it waits under the key that its lead has there."""
        return self.lead.keys[PLACES[stage]] == self.key

    def without(self, member: Member) -> None:
        """Take one member out; the newest of those that are left leads, if the lead is gone."""
        self.members.remove(member)
        if member is self.lead and self.members:
            self.lead = self.members[-1]
            self.lead.tag = None

    def absorb(self, other: Item, tag: DispositionKind) -> None:
        """Take the members of another item in; the newer of the two leads goes on leading."""
        older, newer = sorted((self.lead, other.lead), key=lambda member: member.position)
        older.tag = tag
        self.lead = newer
        sorts = self.members[-1].position > other.members[0].position
        self.members += other.members
        if sorts:
            self.members.sort(key=lambda member: member.position)
        for member in other.members:
            member.item = self
        other.members = []


def merged(items: Sequence[Item], tag: DispositionKind, since: int) -> Item:
    """The items as one; leads of all but the newest get `tag`."""
    if len(items) == 1:
        items[0].since = since
        return items[0]
    lead = max((item.lead for item in items), key=lambda member: member.position)
    for item in items:
        if item.lead is not lead:
            item.lead.tag = tag
    members = sorted((m for item in items for m in item.members), key=lambda member: member.position)
    return Item(members, lead, since)


def held_row(member: Member, trigger: str) -> HeldEvent:
    """The row of a held member."""
    item, stage = member.item, member.stage
    assert item is not None and stage is not None  # noqa: S101, PT018 - only what is held has a row
    body = {
        "at": member.at,
        "run": member.run,
        "keys": member.keys,
        "cancel": member.cancel_key,
        "priority": member.priority,
        "size": member.size,
        "part": member.part,
        "correlation": member.correlation,
        "tag": member.tag,
        "item": item.name,
        "since": item.since,
    }
    return HeldEvent(member.position, trigger, stage.value, item.key, orjson.dumps(body))


def restored(rows: Sequence[HeldEvent]) -> list[tuple[Stage, Item]]:
    """The items that these rows of one trigger say, each with its stage, in the order in which they came."""
    members: dict[tuple[str, str, int], list[Member]] = {}
    since: dict[tuple[str, str, int], int] = {}
    same: dict[tuple[str, ...], tuple[str, ...]] = {}  # many events have the same few keys
    for row in sorted(rows, key=lambda row: row.position):
        body = orjson.loads(row.body)
        member = Member(
            row.position,
            body["at"],
            body["run"],
            keys=same.setdefault(keys := tuple(body["keys"]), keys),
            cancel_key=body["cancel"],
            priority=body["priority"],
            size=body["size"],
            part=body["part"],
            correlation=body["correlation"],
        )
        member.tag = None if body["tag"] is None else DispositionKind(body["tag"])
        member.stored = True
        place = (row.stage, row.key, body["item"])
        members.setdefault(place, []).append(member)
        since[place] = body["since"]
    found = []
    for place, together in members.items():
        stage, key, name = place
        lead = next((member for member in together if member.tag is None), together[-1])
        lead.tag = None
        item = Item(together, lead, since[place])
        item.key, item.name = key, name
        found.append((Stage(stage), item))
    return sorted(found, key=lambda one: (one[1].since, one[1].lead.position))
