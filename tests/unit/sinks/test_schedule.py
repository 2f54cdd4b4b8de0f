"""When failed deliveries are tried again and when they are given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.sinks.schedule import (
    DELAYS,
    JITTER,
    GiveUp,
    TryAgain,
    decide_after,
    delay_after,
    failure_of,
)

MINUTE, HOUR = 60, 3600


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [
        (1, 5),
        (2, 5 * MINUTE),
        (3, 30 * MINUTE),
        (4, 2 * HOUR),
        (5, 5 * HOUR),
        (6, 10 * HOUR),
        (7, 14 * HOUR),
        (8, 20 * HOUR),
        (9, 24 * HOUR),
        (10, 24 * HOUR),
        (25, 24 * HOUR),
    ],
)
def test_delay_follows_the_standard_webhooks_schedule(attempt: int, seconds: int) -> None:
    assert delay_after(attempt, chance=0.5) == seconds


def test_schedule_spans_the_promised_hours() -> None:
    assert sum(DELAYS) / HOUR == pytest.approx(75.6, abs=0.05)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4.0), (0.25, 4.5), (0.5, 5.0), (0.75, 5.5)])
def test_chance_spreads_a_delay_by_a_fifth(chance: float, seconds: float) -> None:
    assert delay_after(1, chance=chance) == pytest.approx(seconds)


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_delay_is_never_below_the_schedule_nor_the_receivers_word(
    attempt: int, chance: float, retry_after: float | None
) -> None:
    delay = delay_after(attempt, chance=chance, retry_after=retry_after)

    base = DELAYS[min(attempt, len(DELAYS)) - 1]
    assert delay >= base * (1 - JITTER)
    assert delay >= min(retry_after or 0, 24 * HOUR)
    assert delay <= max(base * (1 + JITTER), 24 * HOUR)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, None) for status in (200, 201, 202, 204, 299)),
        *(
            (status, SinkUnavailable)
            for status in (101, 404, 408, 409, 425, 429, 500, 502, 503, 504, 507, 599, 700)
        ),
        *((status, SinkRefused) for status in (300, 301, 302, 304, 307, 308)),
        *(
            (status, SinkRefused)
            for status in (400, 401, 402, 403, 405, 406, 410, 411, 413, 415, 422, 431, 451)
        ),
    ],
)
def test_status_says_whether_time_may_cure_it(status: int, kind: type[Exception] | None) -> None:
    failure = failure_of(status, retry_after=7.0)

    assert type(failure) is (kind or type(None))
    if failure is not None:
        assert failure.status == status
    if isinstance(failure, SinkUnavailable):
        assert failure.retry_after == 7.0
    if isinstance(failure, SinkRefused):
        assert failure.gone is (status == 410)


UNREACHABLE = SinkUnavailable("cannot be reached")
OVERLOADED = SinkUnavailable("answered 503", status=503, retry_after=900)
REFUSED = SinkRefused("answered 400", status=400)
UNSENDABLE = SinkRefused("larger than the topic takes")
GONE = SinkRefused("answered 410", status=410, gone=True)


@pytest.mark.parametrize(
    ("failure", "attempt", "max_attempts", "verdict"),
    [
        (UNREACHABLE, 1, 10, TryAgain(5)),
        (UNREACHABLE, 9, 10, TryAgain(86_400)),
        (UNREACHABLE, 10, 10, GiveUp("attempts_exhausted")),
        (UNREACHABLE, 11, 10, GiveUp("attempts_exhausted")),
        (UNREACHABLE, 1, 1, GiveUp("attempts_exhausted")),
        (UNREACHABLE, 11, 12, TryAgain(86_400)),
        (OVERLOADED, 1, 10, TryAgain(900)),
        (OVERLOADED, 4, 10, TryAgain(7_200)),
        (OVERLOADED, 10, 10, GiveUp("attempts_exhausted")),
        (REFUSED, 1, 10, TryAgain(5)),
        (REFUSED, 2, 10, TryAgain(300)),
        (REFUSED, 3, 10, GiveUp("delivery_refused")),
        (REFUSED, 2, 2, GiveUp("delivery_refused")),
        (UNSENDABLE, 1, 10, GiveUp("delivery_refused")),
        (GONE, 1, 10, GiveUp("receiver_gone", disable=True)),
        (GONE, 5, 10, GiveUp("receiver_gone", disable=True)),
    ],
)
def test_verdict_after_a_failed_attempt(
    failure: SinkUnavailable | SinkRefused, attempt: int, max_attempts: int, verdict: TryAgain | GiveUp
) -> None:
    assert decide_after(failure, attempt, max_attempts=max_attempts, chance=0.5) == verdict


def test_retry_after_is_observed_up_to_a_day() -> None:
    asks_for_a_week = SinkUnavailable("answered 429", status=429, retry_after=7 * 24 * HOUR)

    assert decide_after(asks_for_a_week, 1, max_attempts=10, chance=0.5) == TryAgain(24 * HOUR)


@given(
    status=st.integers(100, 599) | st.none(),
    max_attempts=st.integers(1, 100),
    chance=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_every_delivery_ends_and_none_is_tried_more_often_than_its_answers_allow(
    status: int | None, max_attempts: int, chance: float, retry_after: float | None
) -> None:
    failure = SinkUnavailable("none") if status is None else failure_of(status, retry_after=retry_after)
    if failure is None:
        assert status is not None
        assert 200 <= status < 300
        return

    attempts, waited = 0, 0.0
    while True:
        attempts += 1
        verdict = decide_after(failure, attempts, max_attempts=max_attempts, chance=chance)
        if isinstance(verdict, GiveUp):
            break
        assert isinstance(verdict, TryAgain)
        assert 4 <= verdict.delay <= 24 * HOUR * (1 + JITTER)
        waited += verdict.delay

    assert verdict.disable == (status == 410)
    if status == 410:
        assert attempts == 1
    elif isinstance(failure, SinkRefused):
        assert attempts == min(3, max_attempts)
    else:
        assert attempts == max_attempts
    if max_attempts == 10 and isinstance(failure, SinkUnavailable):
        assert waited >= sum(DELAYS) * (1 - JITTER)
