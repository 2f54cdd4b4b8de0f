"""RFC 3339, strictly, with days that exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.events import timestamp


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z", "2026-03-01t12:00:00z", "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00:00-00:00",
        "2026-03-01T12:00:00.1Z", "2026-03-01T12:00:00.123456789012Z", "2026-12-31T23:59:59+23:59",
        "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
        "1998-12-31T23:59:60Z", "1998-12-31T15:59:60.123-08:00", "1999-01-01T00:59:60+01:00",
        "2026-04-30T00:00:00Z",
    ],
)  # fmt: skip
def test_a_timestamp_has_no_problem(text: str) -> None:
    assert timestamp.problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "2026", "2026-03-01", "12:00:00Z", "2026-03-01T12:00:00", "2026-03-01 12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-3-1T12:00:00Z", "20260301T120000Z", "2026-03-01T12:00:00+0000", "2026-03-01T12:00:00+00",
        "2026-03-01T12:00:00.Z", "2026-03-01T12:00:00,5Z", "2026-03-01T24:00:00Z", "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:61Z", "2026-00-01T12:00:00Z", "2026-13-01T12:00:00Z", "2026-03-00T12:00:00Z",
        "2026-03-32T12:00:00Z", "2026-02-29T12:00:00Z", "1900-02-29T12:00:00Z", "2026-04-31T12:00:00Z",
        "2026-02-30T12:00:00Z", "2026-03-01T12:00:00+24:00", "2026-03-01T12:00:00+01:60",
        "2026-03-01T12:00:00Z\n",
        " 2026-03-01T12:00:00Z", "2026-03-01T12:00:00 Z", "2026-03-01T12:00:00ZZ", "-026-03-01T12:00:00Z",
        "12026-03-01T12:00:00Z", "\u0662026-03-01T12:00:00Z", "1998-12-31T23:58:60Z",
        "1998-12-31T23:59:60+01:00",
        "2026-W09-7T12:00:00Z", "1772366400", "now",
    ],
)  # fmt: skip
def test_what_is_no_timestamp_has_a_problem(text: str) -> None:
    assert timestamp.problem(text) is not None


_OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=st.just(UTC) | _OFFSETS))
def test_what_python_writes_is_a_timestamp(at: datetime) -> None:
    assert timestamp.problem(at.isoformat()) is None


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_days_exist_as_the_calendar_says(year: int, month: int, day: int) -> None:
    try:
        datetime(year, month, day, tzinfo=UTC)
        exists = True
    except ValueError:
        exists = False

    assert (timestamp.problem(f"{year:04}-{month:02}-{day:02}T00:00:00Z") is None) == exists
