"""What a task wrote somewhere else than here, told in the service's log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tidemill.executors.remote.request import Line
from tidemill.runs.attempts import Attempt

__all__ = ["tell_lines"]

logger = logging.getLogger(__name__)


def tell_lines(attempt: Attempt, lines: Sequence[Line], *, dropped: int, worker: str) -> None:
    """Log each line with the attempt's names; `dropped` is how many more there were."""
    facts = {
        "run_id": attempt.run_id,
        "task": attempt.task_id,
        "attempt": attempt.number,
        "worker": worker,
    }
    for line in lines:
        logger.info("task.said", extra={**facts, "severity": line.level, "line": line.text})
    if dropped:
        left_out = f"({dropped} more lines were left out)"
        logger.info("task.said", extra={**facts, "severity": "WARNING", "line": left_out})
