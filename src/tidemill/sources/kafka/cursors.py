"""Names and values of a Kafka source's cursors, and which of them is a partition's. Pure.

1. `kafka/SOURCE/CLUSTER/TOPIC@ID/PARTITION` holds the next offset to be read. ID is the topic's own id: a topic that
   was made again under its name is another history, and nothing written for the earlier one can move its cursors.
2. Brokers that know no ids give a name without `@ID`; it is taken over by the id that is seen first.
3. A cursor that is done with keeps its last offset and says why (`17 recreated`, `17 adopted`): it is a number no more,
   and whoever still believes in it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aiokafka.structs import TopicPartition

__all__ = [
    "Cursor",
    "Mark",
    "cluster_prefix",
    "cursor_name",
    "mark",
    "read_cursors",
    "retired",
    "topic_prefix",
]

_RECREATED = "recreated"
_ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Cursor:
    """One cursor as the ledger has it."""

    name: str
    value: str
    topic: str
    #: The topic's id; "" where the brokers told none.
    topic_id: str
    partition: int

    @property
    def offset(self) -> int | None:
        """The next offset to be read; None once the cursor is done with."""
        return int(self.value) if self.value.isdigit() else None

    @property
    def is_of_a_lost_topic(self) -> bool:
        """Whether its topic was deleted while it was read."""
        return self.value.endswith(_RECREATED)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one partition of one topic stands."""

    #: Name of the cursor to move.
    name: str
    #: Its value; None: never read.
    value: str | None
    #: What was read under this name before, by an id that is not the topic's or by none; None: nothing that matters.
    earlier: Cursor | None = None
    #: Makes the places of records different from those in an earlier topic of the name; "" where there was none.
    incarnation: str = ""


def cluster_prefix(source: str, cluster: str) -> str:
    """What the names of all cursors of a source on one cluster begin with."""
    return f"kafka/{source}/{cluster}/"


def topic_prefix(source: str, cluster: str, topic: str) -> str:
    """What the names of a topic's cursors begin with (and those of topics whose names begin with its name)."""
    return f"{cluster_prefix(source, cluster)}{topic}"


def cursor_name(source: str, cluster: str, partition: TopicPartition, topic_id: str | None = None) -> str:
    """The cursor of one partition."""
    named = f"@{topic_id}" if topic_id else ""
    return f"{topic_prefix(source, cluster, partition.topic)}{named}/{partition.partition}"


def read_cursors(found: Mapping[str, str], source: str, cluster: str) -> Iterator[Cursor]:
    """The cursors among `found`, all of which begin with the cluster's prefix."""
    base = len(cluster_prefix(source, cluster))
    for name, value in found.items():
        topic, _, number = name[base:].rpartition("/")
        topic, _, topic_id = topic.partition("@")
        if topic and number.isdigit():
            yield Cursor(name, value, topic, topic_id, int(number))


def mark(
    cursors: Iterable[Cursor], source: str, cluster: str, partition: TopicPartition, *, topic_id: str | None
) -> Mark:
    """Where the partition stands, `cursors` being all of the source's on the cluster."""
    name = cursor_name(source, cluster, partition, topic_id)
    ours = [one for one in cursors if (one.topic, one.partition) == tuple(partition)]
    present = next((one for one in ours if one.name == name and one.offset is not None), None)
    others = [one for one in ours if one.name != name]
    live = [one for one in others if one.offset is not None]
    if topic_id is None:
        # Brokers that tell ids no more: what was read last under the name goes on.
        known = present or next(iter(live), None)
        return Mark(name, None) if known is None else Mark(known.name, known.value)
    is_second = any(one.is_of_a_lost_topic or (one.topic_id and one.offset is not None) for one in others)
    earlier = None if present is not None else next(iter(live), None)
    return Mark(name, None if present is None else present.value, earlier, topic_id if is_second else "")


def retired(cursor: Cursor, *, is_lost: bool) -> str:
    """The last value of a cursor: its topic is gone, or another cursor takes over."""
    return f"{cursor.value} {_RECREATED if is_lost else _ADOPTED}"
