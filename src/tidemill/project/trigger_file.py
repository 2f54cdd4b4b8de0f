"""The format of `triggers/*.yaml`, as pydantic models; the published JSON Schema is made from them.

Only structure is checked here. What a definition means (names, DAGs, patterns, templates, examples) is
checked by `compile_*`; templates, filters and patterns are therefore plain JSON in these models. Nothing is
converted: a number is not text, text is not a number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from tidemill.project.durations import Duration

__all__ = [
    "ENTRIES",
    "NAME_PATTERN",
    "FilesForm",
    "KafkaForm",
    "KafkaSinkForm",
    "SecretForm",
    "SourceEntry",
    "SubscriptionEntry",
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
        },
    },
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
Template = Annotated[Any, WithJsonSchema(_TEMPLATE)]
Filters = Annotated[list[Any], WithJsonSchema(_FILTERS)]
Pattern = Annotated[dict[str, Any], WithJsonSchema(_PATTERN)]
#: Partial CloudEvents in JSON form.
Example = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "required": ["type"]})]
TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class _Written(BaseModel):
    """What all parts of the format share: no unknown field, no conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _one_of(*names: str) -> ConfigDict:
    """Says in the published schema that exactly one of `names` is written (`check_choice` checks it)."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


_RULE: Any = [{"required": ["filters"]}, {"required": ["pattern"]}]


class SecretForm(_Written):
    """Where a secret is found: exactly one of a variable and a file. Its value is never written here."""

    model_config = _one_of("env", "file")

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="Name of the environment variable that holds it."
    )
    file: Text | None = Field(None, description="File that holds it, in the project folder or absolute.")


class WebhookForm(_Written):
    """`POST /webhooks/NAME` takes JSON or form posts and turns each into an event."""

    event: dict[str, Template] = Field(
        description="The event's attributes from $.body, $.headers and $.query; type is required.",
        json_schema_extra={"required": ["type"], "propertyNames": {"pattern": "^[a-z0-9]{1,64}$"}},
    )
    data: Template = Field(None, description="The event's data; the whole body when not given.")
    secret: SecretForm | None = Field(
        None, description="Standard Webhooks secret that the sender signs with."
    )
    secrets: list[SecretForm] | None = Field(
        None, min_length=1, description="Several secrets, any of which may sign (for rotation)."
    )


class FilesForm(_Written):
    """A watched folder: one event for each complete version of a file."""

    path: Text = Field(description="The folder, in the project folder or absolute.")
    include: list[Text] = Field(
        ["**/*"], min_length=1, description="Globs of files that count; ** crosses folders."
    )
    exclude: list[Text] = Field([], description="Globs of files that do not count.")
    complete: Literal["close", "quiet", "marker"] = Field(
        "close",
        description="How a file is known to be complete: closed or renamed into place, unchanged for the "
        "quiet time, or a marker file beside it.",
    )
    quiet: Duration = Field("1s", validate_default=True, description="How long a file must be unchanged.")
    marker: Text = Field(".done", description="What a marker file's name adds to its file's name.")
    type: Text | None = Field(
        None, description="The event's type; dev.tidemill.file.landed.v1 when not given."
    )
    source: Text | None = Field(None, description="The event's source; /tidemill/files/NAME when not given.")


class KafkaForm(_Written):
    """Kafka topics read by a consumer group."""

    topics: list[TopicName] = Field(min_length=1, description="Topics to read.")
    group: Text = Field("tidemill", description="Consumer group.")
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where to begin in a partition that was never read."
    )
    type: Text | None = Field(
        None, description="Type given to records that are no CloudEvents; without it they are dead letters."
    )


class SourceEntry(_Written):
    """Where events come from: exactly one of webhook, files and kafka."""

    model_config = _one_of("webhook", "files", "kafka")

    name: Name
    webhook: WebhookForm | None = None
    files: FilesForm | None = None
    kafka: KafkaForm | None = None


class Examples(_Written):
    """Events that must match and must not, checked whenever the project is loaded."""

    match: list[Example] = []
    no_match: list[Example] = []


class TriggerEntry(_Written):
    """Which events start which DAG. At least one of filters and pattern; with both, both must match."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _RULE})

    name: Name
    filters: Filters | None = None
    pattern: Pattern | None = None
    dag: Text = Field(description="Id of the DAG to run.")
    parameters: dict[str, Template] | None = Field(None, description="The DAG's parameters from the event.")
    paused: bool = Field(False, description="True: matching events are recorded as paused and start nothing.")
    examples: Examples = Examples()


class WebhookSinkForm(_Written):
    """Deliveries are posted to a URL."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] = Field(
        description="http or https."
    )
    secret: SecretForm | None = Field(None, description="Standard Webhooks secret to sign with.")
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
    webhook: WebhookSinkForm | None = None
    kafka: KafkaSinkForm | None = None
    ordered: bool = Field(
        False, description="True: one at a time, in log order; a failing delivery holds the rest."
    )
    max_attempts: int = Field(
        10, ge=1, le=100, description="Attempts before a delivery becomes a dead letter."
    )


class TriggersFile(_Written):
    """Sources, triggers and subscriptions of a Tidemill project; each list may be left out."""

    sources: list[SourceEntry] | None = None
    triggers: list[TriggerEntry] | None = None
    subscriptions: list[SubscriptionEntry] | None = None


#: Model of one entry of each list of a file.
ENTRIES: dict[str, type[SourceEntry] | type[TriggerEntry] | type[SubscriptionEntry]] = {
    "sources": SourceEntry,
    "triggers": TriggerEntry,
    "subscriptions": SubscriptionEntry,
}
