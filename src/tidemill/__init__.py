"""Tidemill: durable, event-driven DAG runs. Public names only; nothing is defined here."""

from tidemill.dag.context import Context
from tidemill.dag.decorators import dag, task
from tidemill.dag.on import trigger
from tidemill.dag.policy import Cache, TriggerRule, WeightRule
from tidemill.dag.retry import Retry
from tidemill.errors import DoNotRetry, RetryAfter
from tidemill.events.event import Event

__all__ = [
    "Cache",
    "Context",
    "DoNotRetry",
    "Event",
    "Retry",
    "RetryAfter",
    "TriggerRule",
    "WeightRule",
    "dag",
    "task",
    "trigger",
]
