"""The project as one value: what the user's folders say, checked, immutable, replaced whole on reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from tidemill.dag.definition import Dag, Schedule
from tidemill.patterns.rule import Rule
from tidemill.project.admission import Admission
from tidemill.project.derivation import Derivation
from tidemill.project.door import Door
from tidemill.project.endpoint import Access, AnswerSpec, Preset, Rate, Signature
from tidemill.project.enrichment import Enrichment
from tidemill.project.mapping import Mapping as ParameterMapping
from tidemill.project.mapping import Template
from tidemill.project.plugins import SourcePlugin
from tidemill.project.upcast import Upcasts

__all__ = [
    "Archive",
    "FileSet",
    "FileSource",
    "KafkaSink",
    "KafkaSource",
    "PluginSource",
    "PostgresSource",
    "Project",
    "ScheduleSource",
    "Secret",
    "SourceSpec",
    "Subscription",
    "TableSource",
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
    #: Secrets, any of which may sign; empty: not signed.
    secrets: Sequence[Secret] = ()
    #: How requests are signed, where there are secrets.
    signature: Signature = Preset.STANDARD
    #: What a request must show; None: a signature where there are secrets, else the service's token.
    access: Access | None = None
    rate: Rate | None = None
    #: Largest body, decoded; None: as large as the service takes.
    max_body_bytes: int | None = None
    #: What senders are answered; None: the event's position as JSON.
    answer: AnswerSpec | None = None
    file: str = ""
    line: int = 0

    @property
    def needs_token(self) -> bool:
        """Whether a request must carry the service's bearer token (where it has one)."""
        if self.access is None:
            return not self.secrets
        return self.access is Access.TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """Which files make a set: exactly one of `parts`, `manifest` and `success`."""

    #: Patterns of names such as `{batch}-{part}.csv`; the set has `count` files, as many as `{count}` in a name
    #: says, or one for each pattern.
    parts: Sequence[str] = ()
    count: int | None = None
    #: Glob of files that list the files of a set.
    manifest: str | None = None
    #: Name of the file that says that everything in its folder is there.
    success: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where files go when they are done with."""

    #: Absolute.
    folder: Path
    #: Done with: their event is in the log, or every run that it started has succeeded.
    when: Literal["announced", "succeeded"] = "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A watched folder."""

    name: str
    #: Absolute.
    path: Path
    #: Globs relative to the folder (`**` crosses folders); a file matches when any does.
    include: Sequence[str] = ("**/*",)
    exclude: Sequence[str] = ()
    #: How a file is known to be complete: closed or renamed into place ("close"), closed only, renamed only,
    #: unchanged for `quiet`, a marker file beside it (its name + `marker`), its digest in a file beside it (its
    #: name + `checksum`), or its digest in a list of many (a file called `manifest`).
    complete: Literal["close", "close_write", "rename", "quiet", "marker", "checksum", "manifest"] = "close"
    quiet: timedelta = timedelta(seconds=1)
    marker: str = ".done"
    checksum: str = ".sha256"
    manifest: str = "SHA256SUMS"
    #: Files younger than this wait, whatever else says that they are complete.
    min_age: timedelta = timedelta(0)
    #: One event for several files that belong together; None: one for each file.
    file_set: FileSet | None = None
    #: Where files go when they are done with; None: they stay.
    archive: Archive | None = None
    #: How changes are noticed: as the file system allows, by its events, or by listing again and again.
    watch: Literal["auto", "events", "polling"] = "auto"
    #: How often the folder is listed where it tells nothing of changes.
    poll: timedelta = timedelta(seconds=2)
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
    #: Glob of further topics (* and ?), those made later included.
    topics_pattern: str | None = None
    #: Name of the cluster in the settings.
    cluster: str = "default"
    #: Brokers reached in clear text, in place of `cluster`.
    bootstrap_servers: str | None = None
    #: What `partitionkey` says: "none" leaves it, "partition" is TOPIC/PARTITION, "key" is always there.
    ordering: Literal["none", "partition", "key"] = "none"
    #: Where to begin in a partition that was never read.
    start: Literal["earliest", "latest"] = "earliest"
    #: What to do with records that are not CloudEvents: refuse (dead letter), or wrap the JSON value with
    #: this type.
    event_type: str | None = None
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSource:
    """A schedule whose ticks are events."""

    name: str
    schedule: Schedule
    event_type: str = "dev.tidemill.source.tick.v1"
    #: The event's `source` attribute.
    event_source: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSource:
    """A source of a kind that an installed package brings (entry points `tidemill.sources`)."""

    name: str
    #: Name of the entry point.
    kind: str
    plugin: SourcePlugin
    #: What stands under `config`, checked by the plug-in's model.
    config: BaseModel
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSource:
    """A PostgreSQL database whose changes are followed."""

    name: str
    url: Secret
    tables: Sequence[str]
    operations: Sequence[str]
    slot: str
    publication: str
    event_type: str | None
    event_source: str
    every: timedelta
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """A table that is asked for rows."""

    name: str
    url: Secret
    table: str
    #: Unique column.
    key: str
    #: Column that only grows; the key itself for an outbox.
    column: str
    #: True: rows are deleted once they are in the log.
    is_outbox: bool
    #: Begin with the rows that are there, or behind them.
    from_beginning: bool
    #: How far back rows are read again (numbers: in the column's unit; times: seconds).
    overlap: float
    #: Rows read, and appended in one transaction, at most.
    batch: int
    event_type: str
    event_source: str
    every: timedelta
    file: str = ""
    line: int = 0


SourceSpec = (
    WebhookSource | FileSource | KafkaSource | ScheduleSource | PluginSource | PostgresSource | TableSource
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which events start which DAG, with which parameters."""

    name: str
    rule: Rule
    dag: str
    #: Parameters from the event; None passes nothing.
    parameters: ParameterMapping | None = None
    #: Values looked up before the parameters are made (`$.enriched`).
    enrichments: Sequence[Enrichment] = ()
    paused: bool = False
    #: What stands between a matching event and its run; None starts one run for each at once.
    admission: Admission | None = None
    #: How many runs it may start in one chain of runs that start each other; None: as many as the hop limit lets it.
    loops: int | None = None
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
    #: Further secrets to sign with while receivers change from one to the other; each gives a signature.
    secrets: Sequence[Secret] = ()
    #: The receiver is asked whether it wants deliveries before the first one (HTTP webhooks, section 4.1).
    handshake: bool = False
    #: The url was not written by the project's owner: only public addresses, unless its host is allowed by name.
    guarded: bool = False


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
    #: (list, entry) of each entry of the trigger files, as written.
    written: Sequence[tuple[str, Any]] = ()
    #: Things that are allowed and probably not meant (a cycle of DAGs, for example).
    warnings: Sequence[str] = ()
    #: Compiled JSON Schemas of event data by `dataschema` (`jsonschema_rs` validators).
    schemas: Mapping[str, Any] = field(default_factory=dict)
    #: What sources ask of the data of events from outside.
    door: Door = field(default_factory=Door)
    #: Schemas by `$id` as written.
    written_schemas: Mapping[str, Any] = field(default_factory=dict)
    #: Ways from older schemas to newer ones.
    upcasts: Upcasts = field(default_factory=Upcasts)
    #: Events made of other events.
    derivations: Sequence[Derivation] = ()
