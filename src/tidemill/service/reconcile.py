"""Compares a source with the outside, for the API: what its cursors say against what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from tidemill.errors import NotFound, StateConflict
from tidemill.project.model import KafkaSource, Project
from tidemill.service.build_kafka import source_connection
from tidemill.settings import Settings
from tidemill.storage.contract import Ledger

__all__ = ["reconcile_source", "reconciler"]


def reconciler(project: Callable[[], Project], ledger: Ledger, settings: Settings) -> Any:
    """`reconcile_source` of one service."""
    return partial(reconcile_source, project=project, ledger=ledger, settings=settings)


async def reconcile_source(
    name: str, *, project: Callable[[], Project], ledger: Ledger, settings: Settings
) -> Mapping[str, Any]:
    """The cluster's id, the partitions and the unknown topics, as plain values.

    Raises `NotFound`, and `StateConflict` for a source that cannot be compared or whose brokers do not answer.
    """
    now = project()
    spec = next((one for one in now.sources if one.name == name), None)
    if spec is None:
        raise NotFound("source", name)
    if not isinstance(spec, KafkaSource):
        raise StateConflict("only kafka sources can be reconciled")
    connection = source_connection(spec, settings, now.root)
    if isinstance(connection, str):
        raise StateConflict(connection)
    from aiokafka.errors import KafkaError  # the client costs a third of a second

    from tidemill.sources.kafka.reconcile import LOST, reconcile

    try:
        found = await reconcile(spec, ledger, connection=connection)
    except (KafkaError, OSError) as error:  # TimeoutError is an OSError
        reason = str(error) or type(error).__name__
        raise StateConflict(f"the brokers of {name} do not answer ({reason})") from error
    rows = [{**asdict(one), "is_lost": one.state in LOST} for one in found.partitions]
    return {"cluster": found.cluster, "partitions": rows, "unknown_topics": found.unknown_topics}
