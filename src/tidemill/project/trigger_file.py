"""The format of `triggers/*.yaml`, as pydantic models; the published JSON Schema is made from them.

Only structure is checked here. What a definition means (names, DAGs, patterns, templates, examples) is
checked by `compile_*`; templates, filters and patterns are therefore plain JSON in these models. Nothing is
converted: a number is not text, text is not a number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from tidemill.project.admission_form import AdmissionForm
from tidemill.project.durations import Duration
from tidemill.project.moments import Moment

__all__ = [
    "ENTRIES",
    "NAME_PATTERN",
    "AnswerForm",
    "ArchiveForm",
    "DeriveEntry",
    "EnrichmentForm",
    "FileSetForm",
    "FilesForm",
    "HmacForm",
    "KafkaForm",
    "KafkaSinkForm",
    "PluginForm",
    "PostgresForm",
    "ScheduleForm",
    "SecretForm",
    "SourceEntry",
    "SubscriptionEntry",
    "TableForm",
    "TriggerEntry",
    "TriggersFile",
    "WebhookForm",
    "WebhookSinkForm",
]

#: Names stand in URLs, metrics and table keys.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

_TEMPLATE = {
    "description": 'Any value. A path ($.data.amount, $.data["odd key"]) gives the value there '
    "with its type; {$.data.x} inside text is text; $$ is a $; {path: $.data.x, default: 5} has a default.",
}
_PATTERN: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "Content pattern on the whole event: objects down to lists of alternatives.",
    "examples": [{"type": ["com.example.order.placed"], "data": {"amount": [{"numeric": [">", 0]}]}}],
}
_FILTERS: dict[str, Any] = {
    "type": "array",
    "description": "CloudEvents Subscriptions filters; an event matches when all of them do.",
    "items": {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "exact": {"type": "object", "description": "Attributes that equal the text."},
            "prefix": {"type": "object", "description": "Attributes that begin with the text."},
            "suffix": {"type": "object", "description": "Attributes that end with the text."},
            "all": {"type": "array", "minItems": 1, "description": "All of these filters match."},
            "any": {"type": "array", "minItems": 1, "description": "At least one of these filters matches."},
            "not": {"type": "object", "description": "This filter does not match."},
            "sql": {"type": "string", "description": "This CloudEvents SQL expression is true."},
        },
    },
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
Template = Annotated[Any, WithJsonSchema(_TEMPLATE)]
Filters = Annotated[list[Any], WithJsonSchema(_FILTERS)]
Pattern = Annotated[dict[str, Any], WithJsonSchema(_PATTERN)]
Cesql = Annotated[
    str, StringConstraints(min_length=1), Field(description="CloudEvents SQL expression on the attributes.")
]
Cel = Annotated[
    str,
    StringConstraints(min_length=1),
    Field(description="CEL expression on the event: type, data and so on."),
]
#: Partial CloudEvents in JSON form.
Example = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "required": ["type"]})]
TableName = Annotated[str, StringConstraints(pattern=r"^[^.\x00]{1,63}(\.[^.\x00]{1,63})?$")]
#: PostgreSQL's rule for replication slots.
SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,63}$")]
TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
TopicGlob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._*?-]{1,249}$")]


#: A name in a folder, or the end of one.
FileName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\x00]+$")]


class _Written(BaseModel):
    """What all parts of the format share: no unknown field, no conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _one_of(*names: str) -> ConfigDict:
    """Says in the published schema that exactly one of `names` is written (`check_choice` checks it)."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


_RULE: Any = [{"required": [name]} for name in ("filters", "pattern", "cesql", "cel")]


class SecretForm(_Written):
    """Where a secret is found: exactly one of a variable and a file. Its value is never written here."""

    model_config = _one_of("env", "file")

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="Name of the environment variable that holds it."
    )
    file: Text | None = Field(None, description="File that holds it, in the project folder or absolute.")


class HmacForm(_Written):
    """An HMAC of the raw body in one header field, for senders without a preset."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$")] = Field(
        description="Header field that carries the signature."
    )
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, StringConstraints(max_length=50)] = Field(
        "", description="What stands before the signature, such as sha256=."
    )


class LimitsForm(_Written):
    """What one endpoint takes at most."""

    rate: str | None = Field(
        None, description="Requests in a unit of time: 100/s, 600/m, 50/h; beyond it 429."
    )
    burst: int | None = Field(
        None, ge=1, le=1_000_000, description="Requests at once; the rate's count if not given."
    )
    body_bytes: int | None = Field(
        None, ge=1, description="Largest body, decoded; never above max_body_bytes."
    )


class AnswerForm(_Written):
    """What a sender is answered once its event is on disk."""

    status: int = Field(200, ge=200, le=299)
    content_type: Literal["application/json", "text/plain", "application/xml"] = "application/json"
    headers: dict[str, Template] = Field({}, description="Fields that begin with x-.")
    body: Template = Field(
        None, description="The body from $.event, $.position, $.duplicate and $.runs; none when not given."
    )


class WebhookForm(_Written):
    """`POST /webhooks/NAME` takes JSON or form posts and turns each into an event."""

    event: dict[str, Template] = Field(
        description="The event's attributes from $.body, $.headers and $.query; type is required.",
        json_schema_extra={"required": ["type"], "propertyNames": {"pattern": "^[a-z0-9]{1,64}$"}},
    )
    data: Template = Field(None, description="The event's data; the whole body when not given.")
    secret: SecretForm | None = Field(None, description="Secret that the sender signs with.")
    secrets: list[SecretForm] | None = Field(
        None, min_length=1, description="Several secrets, any of which may sign (for rotation)."
    )
    signature: Literal["standard", "github", "gitlab", "stripe", "slack"] | None = Field(
        None, description="How requests are signed; standard (Standard Webhooks) when there is a secret."
    )
    hmac: HmacForm | None = Field(None, description="How requests are signed, in place of signature.")
    auth: Literal["signature", "token", "none"] | None = Field(
        None,
        description="What a request must show: a signature (the default with a secret), the service's bearer "
        "token (the default without one; with a secret both), or none.",
    )
    limits: LimitsForm | None = None
    answer: AnswerForm | None = None


class FileSetForm(_Written):
    """Which files make a set: exactly one of parts, manifest and success."""

    model_config = _one_of("parts", "manifest", "success")

    parts: list[Text] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="Patterns of names such as {batch}-{part}.csv. Names in braces, other than part and count, make "
        "the set's key; each stands for some characters without a slash.",
    )
    count: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Files of a set; without it as many as {count} in a name says, else one for each pattern.",
    )
    manifest: Text | None = Field(
        None, description="Glob of files that list a set: lines of sha256sum or of names, or JSON."
    )
    success: FileName | None = Field(
        None,
        description="Name of the file that says that everything in its folder is there, such as _SUCCESS.",
    )


class ArchiveForm(_Written):
    """Files are moved when they are done with."""

    to: Text = Field(description="The folder, in the project folder or absolute.")
    when: Literal["announced", "succeeded"] = Field(
        "succeeded",
        description="announced: as soon as their event is in the log; succeeded: when every run that it started has "
        "succeeded (at least one).",
    )


class FilesForm(_Written):
    """A watched folder: one event for each complete version of a file."""

    path: Text = Field(description="The folder, in the project folder or absolute.")
    include: list[Text] = Field(
        ["**/*"], min_length=1, description="Globs of files that count; ** crosses folders."
    )
    exclude: list[Text] = Field([], description="Globs of files that do not count.")
    complete: Literal["close", "close_write", "rename", "quiet", "marker", "checksum", "manifest"] = Field(
        "close",
        description="How a file is known to be complete: closed or renamed into place (close), only one of the two "
        "(close_write, rename), unchanged for the quiet time, a marker file beside it, its SHA-256 in a file beside "
        "it (checksum) or in a list of many (manifest).",
    )
    quiet: Duration = Field("1s", validate_default=True, description="How long a file must be unchanged.")
    marker: FileName = Field(".done", description="What a marker file's name adds to its file's name.")
    checksum: FileName = Field(".sha256", description="What a checksum file's name adds to its file's name.")
    manifest: FileName = Field(
        "SHA256SUMS", description="Name of the list of digests, in the file's folder or one above."
    )
    min_age: Duration | None = Field(None, description="Files younger than this wait, however complete.")
    set: FileSetForm | None = Field(None, description="One event for several files that belong together.")
    archive: ArchiveForm | None = Field(None, description="Where files go when they are done with.")
    watch: Literal["auto", "events", "polling"] = Field(
        "auto",
        description="How changes are noticed: as the file system allows, by its events, or by listing.",
    )
    poll: Duration = Field(
        "2s",
        validate_default=True,
        description="How often the folder is listed where its file system tells nothing of changes.",
    )
    type: Text | None = Field(
        None, description="The event's type; dev.tidemill.file.landed.v1 when not given."
    )
    source: Text | None = Field(None, description="The event's source; /tidemill/files/NAME when not given.")


class KafkaForm(_Written):
    """Kafka topics read by a consumer group. At least one of topics and topics_pattern."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["topics"]}, {"required": ["topics_pattern"]}]}
    )

    topics: list[TopicName] | None = Field(None, min_length=1, description="Topics to read.")
    topics_pattern: TopicGlob | None = Field(
        None,
        description="Also every topic whose name fits, those made later included: * is any text, ? one character.",
    )
    cluster: Name | None = Field(
        None, description="Cluster of the settings (kafka_clusters); default when not given."
    )
    bootstrap_servers: Text | None = Field(
        None, description="Brokers as host:port,host:port, reached in clear text, in place of cluster."
    )
    ordering: Literal["none", "partition", "key"] = Field(
        "none",
        description="What partitionkey says of each event: the record's key where it is text (none), the partition as "
        "TOPIC/PARTITION, or always the key. Triggers put runs in order by it (admission).",
    )
    group: Text = Field("tidemill", description="Consumer group.")
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where to begin in a partition that was never read."
    )
    type: Text | None = Field(
        None, description="Type given to records that are no CloudEvents; without it they are dead letters."
    )


class ScheduleForm(_Written):
    """A schedule whose ticks are events: exactly one of cron, every and at."""

    model_config = _one_of("cron", "every", "at")

    cron: Text | None = Field(
        None, description="Five fields, six with seconds first, or an alias such as @daily."
    )
    every: Duration | None = Field(None, description="Interval, counted from start_date, else from 1970.")
    at: Moment | None = Field(None, description="One moment.")
    timezone: Text = Field("UTC", description="Where cron fields are read (IANA name).")
    start_date: Moment | None = Field(None, description="When the first interval may begin.")
    end_date: Moment | None = Field(None, description="When the last interval may begin.")
    catchup: bool = Field(
        False, description="True: every tick since start_date is told, also those long over."
    )
    misfire: Literal["skip", "one", "all"] | None = Field(
        None,
        description="What becomes of ticks that were missed: none is told, the latest (when not given), or all (when "
        "not given and catchup is true).",
    )
    jitter: Duration | None = Field(
        None, description="Ticks are told up to this much later, always the same for the same tick."
    )
    type: Text | None = Field(
        None, description="The event's type; dev.tidemill.source.tick.v1 when not given."
    )
    source: Text | None = Field(
        None, description="The event's source; /tidemill/sources/NAME when not given."
    )


class PluginForm(_Written):
    """A source of a kind that an installed package brings."""

    kind: Name = Field(description="Name of the package's entry point in the group tidemill.sources.")
    config: dict[str, Any] = Field({}, description="What the plug-in's own model takes.")


class PostgresForm(_Written):
    """Rows of a PostgreSQL database that change, told by logical replication."""

    url: SecretForm = Field(description="Where postgresql://USER:PASSWORD@HOST:PORT/NAME is found.")
    tables: list[TableName] = Field(min_length=1, description="Tables to follow, as schema.table or table.")
    operations: list[Literal["insert", "update", "delete", "truncate"]] = Field(
        ["insert", "update", "delete", "truncate"], min_length=1, description="Changes that become events."
    )
    slot: SlotName | None = Field(None, description="Replication slot; tidemill_NAME when not given.")
    publication: SlotName | None = Field(
        None, description="Publication, made when it is not there; the slot's name when not given."
    )
    type: Text | None = Field(
        None, description="The events' type; dev.tidemill.row.inserted.v1 and so on when not given."
    )
    source: Text | None = Field(
        None, description="The events' source; /tidemill/postgres/NAME when not given."
    )
    every: Duration = Field(
        "500ms", validate_default=True, description="Time between two looks while nothing changes."
    )


class TableForm(_Written):
    """Rows of a table of any database that SQLAlchemy speaks to, asked for now and then."""

    url: SecretForm = Field(description="Where the SQLAlchemy URL is found.")
    table: TableName = Field(description="The table, as schema.table or table.")
    key: Text = Field("id", description="Unique column.")
    column: Text | None = Field(None, description="Column that only grows; the key when not given.")
    outbox: bool = Field(False, description="True: rows are deleted once they are in the log, in any order.")
    start: Literal["beginning", "end"] = Field(
        "beginning", description="Whether rows that are there already become events."
    )
    overlap: float = Field(
        0, ge=0, description="How far back rows are read again: seconds for times, else in the column's unit."
    )
    batch: int = Field(500, ge=1, le=10_000, description="Rows read at once at most.")
    type: Text | None = Field(None, description="The events' type; dev.tidemill.row.read.v1 when not given.")
    source: Text | None = Field(None, description="The events' source; /tidemill/tables/NAME when not given.")
    every: Duration = Field("5s", validate_default=True, description="Time between two looks.")


class SourceEntry(_Written):
    """Where events come from: exactly one of webhook, files, kafka, schedule, postgres, table and plugin."""

    model_config = _one_of("webhook", "files", "kafka", "schedule", "postgres", "table", "plugin")

    name: Name
    webhook: WebhookForm | None = None
    files: FilesForm | None = None
    kafka: KafkaForm | None = None
    schedule: ScheduleForm | None = None
    postgres: PostgresForm | None = None
    table: TableForm | None = None
    plugin: PluginForm | None = None


class Examples(_Written):
    """Events that must match and must not, checked whenever the project is loaded."""

    match: list[Example] = []
    no_match: list[Example] = []


class EnrichmentForm(_Written):
    """A value that a function of the project looks up: $.enriched.NAME in the templates beside it."""

    function: Text = Field(description="MODULE:FUNCTION of the workflows folder, declared with async def.")
    arguments: dict[str, Template] = Field({}, description="Its named arguments from the event.")
    ttl: Duration | None = Field(
        "5m", validate_default=True, description="How long an answer holds; null: never."
    )
    max_entries: int = Field(1000, ge=1, le=1_000_000, description="Most answers kept.")
    timeout: Duration = Field("5s", validate_default=True, description="Longest time a look-up may take.")
    default: Template = Field(
        None, description="The value where the look-up fails; without it the event is a dead letter then."
    )


class TriggerEntry(_Written):
    """Which events start which DAG. At least one of filters, pattern, cesql, cel; all must match."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _RULE})

    name: Name
    filters: Filters | None = None
    pattern: Pattern | None = None
    cesql: Cesql | None = None
    cel: Cel | None = None
    dag: Text = Field(description="Id of the DAG to run.")
    parameters: dict[str, Template] | None = Field(None, description="The DAG's parameters from the event.")
    enrich: dict[str, EnrichmentForm] | None = Field(
        None, description="Values looked up before the parameters are made, by name."
    )
    paused: bool = Field(False, description="True: matching events are recorded as paused and start nothing.")
    loops: Literal["ignore", "avoid"] | Annotated[int, Field(ge=1, le=1000)] = Field(
        "ignore",
        description="What to do with an event that runs of this trigger have led to: ignore that (only the hop limit "
        "holds), avoid starting again, or start at most so many runs in one chain.",
    )
    admission: AdmissionForm | None = Field(
        None, description="What stands between a matching event and its run."
    )
    examples: Examples = Examples()


class DeriveEntry(_Written):
    """Which events become which other event. At least one of filters, pattern, cesql, cel; all must match."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _RULE})

    name: Name
    filters: Filters | None = None
    pattern: Pattern | None = None
    cesql: Cesql | None = None
    cel: Cel | None = None
    event: dict[str, Template] = Field(
        description="The new event's attributes from the matching one; type is required.",
        json_schema_extra={"required": ["type"], "propertyNames": {"pattern": "^[a-z0-9]{1,64}$"}},
    )
    data: Template = Field(
        None, description="The new event's data; that of the matching event when not given."
    )
    enrich: dict[str, EnrichmentForm] | None = Field(
        None, description="Values looked up before the event is made, by name."
    )
    paused: bool = Field(False, description="True: nothing is made of matching events.")
    examples: Examples = Examples()


class WebhookSinkForm(_Written):
    """Deliveries are posted to a URL."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] = Field(
        description="http or https."
    )
    secret: SecretForm | None = Field(None, description="Standard Webhooks secret to sign with.")
    secrets: list[SecretForm] | None = Field(
        None, min_length=1, max_length=8, description="Several secrets, each of which signs (for rotation)."
    )
    handshake: bool = Field(
        False, description="True: the receiver is asked by OPTIONS whether it wants deliveries."
    )
    mode: Literal["structured", "binary"] = "structured"
    headers: dict[str, Annotated[str, StringConstraints(max_length=8192)]] = Field(
        {}, description="Header fields to add. Never a secret."
    )
    timeout: Duration | None = Field(None, description="Longest time one delivery may take.")


class KafkaSinkForm(_Written):
    """Deliveries are produced to a topic, keyed by subject."""

    topic: TopicName
    mode: Literal["structured", "binary"] = "structured"


class SubscriptionEntry(_Written):
    """Which events are delivered to which receiver: exactly one of webhook and kafka."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": _RULE, "oneOf": [{"required": ["webhook"]}, {"required": ["kafka"]}]}
    )

    name: Name
    filters: Filters | None = None
    pattern: Pattern | None = None
    cesql: Cesql | None = None
    cel: Cel | None = None
    webhook: WebhookSinkForm | None = None
    kafka: KafkaSinkForm | None = None
    ordered: bool = Field(
        False, description="True: one at a time, in log order; a failing delivery holds the rest."
    )
    max_attempts: int = Field(
        10, ge=1, le=100, description="Attempts before a delivery becomes a dead letter."
    )


class TriggersFile(_Written):
    """Sources, triggers, subscriptions and derived events of a Tidemill project; each list may be left out."""

    sources: list[SourceEntry] | None = None
    triggers: list[TriggerEntry] | None = None
    subscriptions: list[SubscriptionEntry] | None = None
    derive: list[DeriveEntry] | None = None


#: Model of one entry of each list of a file.
ENTRIES: dict[str, type[SourceEntry] | type[TriggerEntry] | type[SubscriptionEntry] | type[DeriveEntry]] = {
    "sources": SourceEntry,
    "triggers": TriggerEntry,
    "subscriptions": SubscriptionEntry,
    "derive": DeriveEntry,
}
