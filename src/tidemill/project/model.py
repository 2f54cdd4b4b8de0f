"""The project as one value: what the user's folders say, checked, immutable, replaced whole on reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from tidemill.dag.definition import Dag
from tidemill.patterns.rule import Rule
from tidemill.project.mapping import Mapping as ParameterMapping
from tidemill.project.mapping import Template

__all__ = [
    "FileSource",
    "KafkaSink",
    "KafkaSource",
    "Project",
    "Secret",
    "SourceSpec",
    "Subscription",
    "Trigger",
    "WebhookSink",
    "WebhookSource",
]


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is found; its value is read at start and never shown."""

    #: "env" or "file".
    kind: Literal["env", "file"]
    #: Variable name, or path relative to the project folder.
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSource:
    """`POST /webhooks/NAME` takes plain JSON or form posts and turns each into a CloudEvent."""

    name: str
    #: Attribute name to template; `type` and `source` are always there, `id` when the sender gives one.
    attributes: Mapping[str, Template]
    #: What becomes the event's data; None takes the whole body.
    data: Template | None = None
    #: Standard Webhooks secrets, any of which may sign; empty: not signed.
    secrets: Sequence[Secret] = ()
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A watched folder."""

    name: str
    #: Absolute.
    path: Path
    #: Globs relative to the folder (`**` crosses folders); a file matches when any does.
    include: Sequence[str] = ("**/*",)
    exclude: Sequence[str] = ()
    #: How a file is known to be complete: closed or renamed into place, unchanged for `quiet`, or a marker
    #: file beside it (its name + `marker`).
    complete: Literal["close", "quiet", "marker"] = "close"
    quiet: timedelta = timedelta(seconds=1)
    marker: str = ".done"
    event_type: str = "dev.tidemill.file.landed.v1"
    #: The event's `source` attribute.
    event_source: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSource:
    """Kafka topics read by a consumer group."""

    name: str
    topics: Sequence[str]
    group: str
    #: Where to begin in a partition that was never read.
    start: Literal["earliest", "latest"] = "earliest"
    #: What to do with records that are not CloudEvents: refuse (dead letter), or wrap the JSON value with
    #: this type.
    event_type: str | None = None
    file: str = ""
    line: int = 0


SourceSpec = WebhookSource | FileSource | KafkaSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which events start which DAG, with which parameters."""

    name: str
    rule: Rule
    dag: str
    #: Parameters from the event; None passes nothing.
    parameters: ParameterMapping | None = None
    paused: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink:
    """Deliveries are posted to `url`, signed as Standard Webhooks when there is a secret."""

    url: str
    secret: Secret | None = None
    #: "structured" sends application/cloudevents+json, "binary" the data with ce- headers.
    mode: Literal["structured", "binary"] = "structured"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSink:
    """Deliveries are produced to `topic`, keyed by the event's subject."""

    topic: str
    mode: Literal["structured", "binary"] = "structured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which events are delivered to which receiver."""

    name: str
    rule: Rule
    sink: WebhookSink | KafkaSink
    #: True: one at a time in log order (a failing delivery holds back the rest); False: as fast as it goes.
    ordered: bool = False
    max_attempts: int = 10
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Everything the user's folders say."""

    root: Path
    dags: Mapping[str, Dag]
    triggers: Sequence[Trigger]
    subscriptions: Sequence[Subscription]
    sources: Sequence[SourceSpec]
    #: Hash of everything above; dispositions are explained against it.
    version: str
    #: Things that are allowed and probably not meant (a cycle of DAGs, for example).
    warnings: Sequence[str] = ()
    #: Compiled JSON Schemas of event data by `dataschema` (`jsonschema_rs` validators).
    schemas: Mapping[str, Any] = field(default_factory=dict)
