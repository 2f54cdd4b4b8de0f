"""What can bring events about in a project, and what is known of those events before there are any. Pure.

Whoever posts events or writes to Kafka may bring any type that is not reserved; that is known of them and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from tidemill.dag.definition import Dag
from tidemill.events import lifecycle
from tidemill.events.lifecycle import RESERVED_PREFIX, Type
from tidemill.patterns.analysis import Facts
from tidemill.patterns.condition import Alternative, Equals, Other, Prefix
from tidemill.project.derivation import Derivation
from tidemill.project.mapping import NOTHING, Template
from tidemill.project.model import (
    FileSource,
    KafkaSource,
    PluginSource,
    PostgresSource,
    Project,
    ScheduleSource,
    SourceSpec,
    TableSource,
    WebhookSource,
)

__all__ = ["COMPLETED", "Producer", "completions", "derived", "producers", "source_producer"]

#: States in which runs end.
COMPLETED = ("succeeded", "failed", "cancelled")
#: Events that a service itself appends, whatever the project says.
_OURS = (
    Type.DAG_REQUESTED,
    Type.RETRY_REQUESTED,
    Type.SOURCE_GAP,
    Type.SUBSCRIPTION_CHANGED,
    Type.TREE_COMPLETED,
    Type.ASSET_UPDATED,
    Type.ASSET_STALE,
    Type.ASSET_CHECK_FAILED,
)
_ANY_TYPE: Sequence[Alternative] = (Other((Prefix(RESERVED_PREFIX),), "any type that is not reserved"),)
#: What sources of changes tell of one operation.
_ROWS = {
    "insert": Type.ROW_INSERTED,
    "update": Type.ROW_UPDATED,
    "delete": Type.ROW_DELETED,
    "truncate": Type.TABLE_TRUNCATED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """One thing that brings events about."""

    #: "source", "derivation", "dag" or "service".
    kind: str
    name: str
    facts: Facts
    #: Whether it may bring any type from outside.
    is_open: bool = False
    file: str = ""
    line: int = 0


def producers(project: Project) -> Iterator[Producer]:
    """Everything that brings events about, each with one kind of event."""
    yield Producer(kind="service", name="http", facts={"type": _ANY_TYPE}, is_open=True)
    yield Producer(kind="service", name="tidemill", facts={"type": tuple(Equals(one.value) for one in _OURS)})
    for dag in project.dags.values():
        for state in COMPLETED:
            yield Producer(kind="dag", name=dag.dag_id, facts=completions(dag.dag_id, state))
        if dag.schedule is not None:
            yield _ticks(dag)
    for spec in project.sources:
        yield source_producer(spec)
    for derivation in project.derivations:
        yield derived(derivation)


def completions(dag: str, state: str) -> Facts:
    """What is known of the event that tells that a run of `dag` ended in `state`."""
    return {
        "type": (Equals(lifecycle.run_type(state)),),
        "source": (Equals(lifecycle.dag_source(dag)),),
        "datacontenttype": (Equals("application/json"),),
        "data.dag": (Equals(dag),),
        "data.state": (Equals(state),),
    }


def derived(derivation: Derivation) -> Producer:
    """What is known of the events that a derivation makes."""
    return Producer(
        kind="derivation",
        name=derivation.name,
        facts=_of_templates(derivation.attributes),
        file=derivation.file,
        line=derivation.line,
    )


def source_producer(spec: SourceSpec) -> Producer:
    """What is known of the events of a source."""
    facts, is_open = _of_source(spec)
    return Producer(
        kind="source", name=spec.name, facts=facts, is_open=is_open, file=spec.file, line=spec.line
    )


def _of_source(spec: SourceSpec) -> tuple[Facts, bool]:
    match spec:
        case WebhookSource():
            facts = _of_templates(spec.attributes)
            return facts, not spec.attributes["type"].is_constant
        case FileSource() | ScheduleSource() | TableSource():
            return _fixed((spec.event_type,), spec.event_source), False
        case PostgresSource():
            types = (
                [_ROWS[one].value for one in spec.operations]
                if spec.event_type is None
                else [spec.event_type]
            )
            return _fixed(types, spec.event_source), False
        case KafkaSource() | PluginSource():
            return {"type": _ANY_TYPE}, True
        case _:
            assert_never(spec)


def _ticks(dag: Dag) -> Producer:
    facts: Facts = {
        "type": (Equals(Type.SCHEDULE_TICK.value),),
        "source": (Equals(lifecycle.schedule_source(dag.dag_id)),),
        "subject": (Equals(dag.dag_id),),
    }
    return Producer(kind="dag", name=dag.dag_id, facts=facts)


def _fixed(types: Sequence[str], source: str) -> Facts:
    facts: dict[str, Sequence[Alternative]] = {"type": tuple(map(Equals, types))}
    if source:
        facts["source"] = (Equals(source),)
    return facts


def _of_templates(attributes: Mapping[str, Template]) -> Facts:
    facts: dict[str, Sequence[Alternative]] = {}
    for name in ("type", "source"):
        known = _of_template(attributes[name])
        if known is not None:
            facts[name] = known
    return {"type": _ANY_TYPE, **facts}


def _of_template(template: Template) -> Sequence[Alternative] | None:
    """What an attribute made by a template can be; None where nothing is known of it."""
    written = template.written
    if template.is_constant:
        return (Equals(str(template.evaluate(NOTHING))),)
    if isinstance(written, str) and not written.startswith("$"):
        before = written.partition("{$")[0].replace("$$", "$")
        return (Prefix(before),) if before else None
    return None
