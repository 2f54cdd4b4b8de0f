"""When a failed delivery is tried again, and when it is given up: pure rules, no clock, no chance.

Rule 1. Delays follow the Standard Webhooks recommendation (`DELAYS`), spread by `JITTER`.
Rule 2. A receiver that names a time (`Retry-After`) is not asked earlier than that, up to
        `RETRY_AFTER_CEILING`, nor earlier than rule 1 says: a receiver that always answers "now" must not use
        up all attempts at once.
Rule 3. What the receiver's state may cure is tried `max_attempts` times; what it refuses is tried
        `REFUSED_ATTEMPTS` times (a deployment in progress, a key being changed); what it can never take,
        once.

====================================  ==================  ===========================
answer of the receiver                error               attempts
====================================  ==================  ===========================
none (resolve, connect, cut, hang)    `SinkUnavailable`   `max_attempts`
404 408 409 425 429 5xx, above        `SinkUnavailable`   `max_attempts`
3xx (never followed)                  `SinkRefused`       at most `REFUSED_ATTEMPTS`
400 401 403, every other 4xx          `SinkRefused`       at most `REFUSED_ATTEMPTS`
410                                   `SinkRefused` gone  1, the subscription is disabled
refused without an answer             `SinkRefused`       1 (a message that cannot be sent)
====================================  ==================  ===========================
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.errors import SinkRefused, SinkUnavailable

__all__ = [
    "DELAYS",
    "JITTER",
    "REFUSED_ATTEMPTS",
    "RETRYABLE_CLIENT_ERRORS",
    "RETRY_AFTER_CEILING",
    "Failure",
    "GiveUp",
    "TryAgain",
    "Verdict",
    "decide_after",
    "delay_after",
    "failure_of",
]

#: Seconds before the second and each further attempt (the first is immediate); the last one repeats.
DELAYS: tuple[int, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Share of a delay that chance may take away or add.
JITTER = 0.2
#: Attempts at a delivery that the receiver refuses.
REFUSED_ATTEMPTS = 3
#: Longest `Retry-After` that is observed, in seconds.
RETRY_AFTER_CEILING = 86_400.0
#: Client errors (4xx) that time may cure: those that Knative senders retry, and 425 (too early).
RETRYABLE_CLIENT_ERRORS = frozenset({404, 408, 409, 425, 429})

#: Why an attempt failed.
Failure = SinkUnavailable | SinkRefused


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The delivery stays pending and is due in `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The delivery becomes a dead letter with this code; `disable`: its subscription stops as well."""

    #: "attempts_exhausted", "delivery_refused" or "receiver_gone".
    code: str
    disable: bool = False


Verdict = TryAgain | GiveUp


def failure_of(status: int, *, retry_after: float | None = None) -> Failure | None:
    """What an HTTP `status` says of a delivery; None when it was accepted (2xx)."""
    if 200 <= status < 300:
        return None
    reason = f"the receiver answered {status}"
    if status >= 500 or status < 300 or status in RETRYABLE_CLIENT_ERRORS:
        return SinkUnavailable(reason, status=status, retry_after=retry_after)
    return SinkRefused(reason, status=status, gone=status == 410)


def decide_after(failure: Failure, attempt: int, *, max_attempts: int, chance: float) -> Verdict:
    """What follows failed `attempt` (from 1); `chance` in [0, 1) spreads the delay."""
    retry_after = None
    match failure:
        case SinkUnavailable():
            limit, code, retry_after = max_attempts, "attempts_exhausted", failure.retry_after
        case SinkRefused(gone=True):
            return GiveUp("receiver_gone", disable=True)
        case SinkRefused(status=None):
            return GiveUp("delivery_refused")
        case SinkRefused():
            limit, code = min(REFUSED_ATTEMPTS, max_attempts), "delivery_refused"
    if attempt >= limit:
        return GiveUp(code)
    return TryAgain(delay_after(attempt, chance=chance, retry_after=retry_after))


def delay_after(attempt: int, *, chance: float, retry_after: float | None = None) -> float:
    """Seconds to wait after failed `attempt` (from 1)."""
    scheduled = DELAYS[min(attempt, len(DELAYS)) - 1] * (1 + JITTER * (2 * chance - 1))
    return max(scheduled, min(retry_after or 0.0, RETRY_AFTER_CEILING))
