"""Trigger rules: from how the upstream tasks of a task ended to what becomes of it. Pure.

Names and meaning are Airflow's (`airflow.ti_deps.deps.trigger_rule_dep`), so that nobody learns them twice. What each
edge counts as (its kind, a branch that was not taken) is settled before it is counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tidemill.dag.policy import TriggerRule

__all__ = ["Counted", "Tally", "Verdict", "verdict"]


class Counted(StrEnum):
    """What an upstream task counts as."""

    SUCCESS = "success"
    FAILED = "failed"
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """What becomes of a task."""

    START = "start"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"


@dataclass(slots=True)
class Tally:
    """How many upstream tasks ended in which way; those that have not ended are not counted."""

    total: int
    success: int = 0
    failed: int = 0
    upstream_failed: int = 0
    skipped: int = 0

    def count(self, counted: Counted) -> None:
        """One more upstream task has ended."""
        setattr(self, counted, getattr(self, counted) + 1)

    @property
    def done(self) -> int:
        """Upstream tasks that have ended."""
        return self.success + self.failed + self.upstream_failed + self.skipped


def verdict(rule: TriggerRule, tally: Tally) -> Verdict | None:
    """What becomes of a task with this rule; None while that is open."""
    success, skipped, total = tally.success, tally.skipped, tally.total
    failed = tally.failed + tally.upstream_failed
    all_done = tally.done == total
    match rule:
        case TriggerRule.ALWAYS:
            return Verdict.START
        case TriggerRule.ALL_SUCCESS:
            if failed:
                return Verdict.UPSTREAM_FAILED
            return Verdict.SKIP if skipped else _start_if(success == total)
        case TriggerRule.ALL_FAILED:
            return Verdict.SKIP if success or skipped else _start_if(failed == total)
        case TriggerRule.ALL_DONE:
            return _start_if(all_done)
        case TriggerRule.ALL_SKIPPED:
            return Verdict.SKIP if success or failed else _start_if(skipped == total)
        case TriggerRule.ONE_SUCCESS:
            if success or not all_done:
                return _start_if(success > 0)
            return Verdict.SKIP if skipped == total else Verdict.UPSTREAM_FAILED
        case TriggerRule.ONE_FAILED:
            return _start_if(failed > 0) or (Verdict.SKIP if all_done else None)
        case TriggerRule.ONE_DONE:
            return _start_if(success + tally.failed > 0) or (Verdict.SKIP if all_done else None)
        case TriggerRule.NONE_FAILED:
            return Verdict.UPSTREAM_FAILED if failed else _start_if(all_done)
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            if failed:
                return Verdict.UPSTREAM_FAILED
            return Verdict.SKIP if skipped == total else _start_if(all_done)
        case TriggerRule.NONE_SKIPPED:
            return Verdict.SKIP if skipped else _start_if(all_done)
    assert_never(rule)


def _start_if(condition: bool) -> Verdict | None:
    return Verdict.START if condition else None
