"""Tidemill: durable, event-driven DAG runs. Public names only; nothing is defined here."""

from tidemill.dag.context import Context
from tidemill.dag.decorators import branch, dag, short_circuit, task
from tidemill.dag.edges import chain, completion_of, failure_of, spawned, switch, when
from tidemill.dag.nested import run_dag
from tidemill.dag.on import trigger
from tidemill.dag.policy import Cache, TriggerRule, WeightRule
from tidemill.dag.retry import Retry
from tidemill.dag.waits import approval, sleep, wait_for_event, wait_until
from tidemill.errors import DoNotRetry, RetryAfter, Skip
from tidemill.events.event import Event

__all__ = [
    "Cache",
    "Context",
    "DoNotRetry",
    "Event",
    "Retry",
    "RetryAfter",
    "Skip",
    "TriggerRule",
    "WeightRule",
    "approval",
    "branch",
    "chain",
    "completion_of",
    "dag",
    "failure_of",
    "run_dag",
    "short_circuit",
    "sleep",
    "spawned",
    "switch",
    "task",
    "trigger",
    "wait_for_event",
    "wait_until",
    "when",
]
