"""The format of a trigger's `admission`, as pydantic models; structure only (`admission_build` checks what it means).

Templates, filters and patterns are plain JSON here. Nothing is converted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from tidemill.project.durations import Duration

__all__ = ["MAX_EVENTS", "AdmissionForm"]

#: Most events of one run, most entries of a window.
MAX_EVENTS = 10_000

_KEY: dict[str, Any] = {
    "description": "A template such as $.data.customer: events with the same value share one state. The "
    "admission's own key when not given.",
}
_RULE: dict[str, Any] = {
    "type": "object",
    "description": "As a trigger says which events match: filters, pattern, or both.",
}

Key = Annotated[Any, WithJsonSchema(_KEY)]
Rule = Annotated[Any, WithJsonSchema(_RULE)]
Limit = Annotated[int, Field(ge=1, le=MAX_EVENTS)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class _Written(BaseModel):
    """No unknown field, no conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class IdempotencyForm(_Written):
    """Events with a key that was seen before are duplicates. At least one of ttl and while_running."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["ttl"]}, {"required": ["while_running"]}]}
    )

    key: Key = None
    ttl: Duration | None = Field(None, description="How long after the first event.")
    while_running: bool = Field(
        False, description="As long as an event with the key waits or its run has not ended."
    )


class RateLimitForm(_Written):
    """At most so many events in any period; the rest is dropped."""

    limit: Limit = Field(description="Events that go on.")
    period: Duration
    key: Key = None


class JoinForm(_Written):
    """Events of several kinds that start one run together."""

    of: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=100,
        description="The kinds: each has a name, and filters or a pattern. An event is of the first that fits.",
        json_schema_extra={"items": {"type": "object", "required": ["name"]}},
    )
    need: Literal["all", "any", "sequence", "absence"] | Annotated[int, Field(ge=1, le=100)] = Field(
        "all",
        description="all of the kinds, any, so many, all in their sequence, or the first and none of the others.",
    )
    window: Duration = Field(description="How long an event waits for the others.")
    lateness: Duration | None = Field(
        None, description="How long after the start further events still count to the run."
    )
    lookback: Duration | None = Field(
        None, description="For absence: how long before the first kind the others count as come."
    )
    expiry: Literal["drop", "start"] = Field(
        "drop",
        description="What is done when the window of an event ends: drop it, or start with what is there.",
    )
    key: Key = None


class DebounceForm(_Written):
    """One run when events have ceased."""

    period: Duration = Field(description="How long there must be no further event.")
    max_wait: Duration | None = Field(None, description="Longest time after the first event.")
    key: Key = None


class BatchForm(_Written):
    """One run for many events."""

    period: Duration = Field(description="Longest time after the first event.")
    size: Limit = Field(MAX_EVENTS, description="Events at which the run starts at once.")
    bytes: Annotated[int, Field(ge=1, le=64 << 20)] | None = Field(
        None, description="Bytes of events that are not passed, as they are in the log."
    )
    key: Key = None


class ThrottleForm(_Written):
    """At most so many starts in any period; the rest waits."""

    limit: Limit = Field(description="Starts.")
    period: Duration
    key: Key = None


class ConcurrencyForm(_Written):
    """At most so many runs that have not ended."""

    limit: Limit = Field(description="Runs.")
    when_full: Literal["queue", "drop", "cancel_running", "coalesce"] = Field(
        "queue", description="What becomes of an event when all slots are taken."
    )
    key: Key = None


class CancelOnForm(BaseModel):
    """Events that cancel what waits and what runs under the same key; written as a trigger's rule is."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    key: Key = None
    their_key: Annotated[
        Any, WithJsonSchema({"description": "The key, read from the cancelling event; key when not given."})
    ] = None


class AdmissionForm(_Written):
    """What stands between a matching event and its run. Any of it goes together; the order is always the same."""

    key: Annotated[
        Any,
        WithJsonSchema({"description": "Key of every part that names none; without it all share one state."}),
    ] = None
    paused: Literal["drop", "buffer"] = Field(
        "drop",
        description="What a paused trigger does: record events as paused, or keep them until it goes on.",
    )
    idempotency: IdempotencyForm | None = None
    rate_limit: RateLimitForm | None = None
    join: JoinForm | None = None
    debounce: DebounceForm | None = None
    batch: BatchForm | None = None
    throttle: ThrottleForm | None = None
    concurrency: ConcurrencyForm | None = None
    priority: Annotated[
        Any,
        WithJsonSchema(
            {"description": "A whole number or a template that gives one; the highest starts first."}
        ),
    ] = None
    cancel_on: CancelOnForm | None = None
    reduce: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        "last",
        description="What $ is for a run of several events: first, last, all ($.data lists their data), merge "
        "(their data as one object), or MODULE:FUNCTION in workflows/, which makes $.data.",
    )
