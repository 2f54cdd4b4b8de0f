"""Schedules and watched folders in definition files: what they become, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.project.model import Archive, FileSet, FileSource, ScheduleSource
from tidemill.project.name_pattern import NamePattern, NamePatternError


def write(folder: Any, source: str) -> None:
    folder.write("triggers/sources.yaml", f"sources:\n  - name: one\n    {source}\n")


def test_schedules_become_what_they_say(folder: Any) -> None:
    folder.write(
        "triggers/sources.yaml",
        """
        sources:
          - name: close
            schedule: {cron: "15 30 18 * * 1-5", timezone: Europe/Berlin, misfire: skip, jitter: 90s, type: com.x}
          - name: beat
            schedule: {every: 1m, start_date: 2026-01-01, end_date: "2026-02-01T12:00+01:00", catchup: true}
          - name: once
            schedule: {at: "2031-01-01T00:00:00+01:00", source: /own}
        """,
    )

    close, beat, once = folder.load().sources

    assert isinstance(close, ScheduleSource)
    assert (close.schedule.cron, close.schedule.timezone, close.schedule.policy) == (
        "15 30 18 * * 1-5",
        "Europe/Berlin",
        "skip",
    )
    assert (close.schedule.jitter, close.event_type, close.event_source) == (
        timedelta(seconds=90),
        "com.x",
        "/tidemill/sources/close",
    )
    assert isinstance(beat, ScheduleSource)
    assert (beat.schedule.interval, beat.schedule.start_date, beat.schedule.end_date) == (
        timedelta(minutes=1),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 1, 11, tzinfo=UTC),
    )
    assert (beat.schedule.policy, beat.event_type) == ("all", "dev.tidemill.source.tick.v1")
    assert isinstance(once, ScheduleSource)
    assert (once.schedule.at, once.event_source) == (datetime(2030, 12, 31, 23, tzinfo=UTC), "/own")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{}", "one of cron, every or at is missing"),
        ("{cron: '@daily', every: 1m}", "cron and every exclude each other"),
        ("{cron: '@fortnightly'}", "cron '@fortnightly' is not an alias"),
        ("{cron: '61 * * * *'}", "cron '61 * * * *' is not a cron expression (bad minute)"),
        ("{every: 10ms}", "every must be 1 second to 100 years"),
        ("{every: 1m, timezone: Berlin}", "timezone 'Berlin' is not an IANA name"),
        ("{every: 1m, misfire: two}", "'misfire' must be 'skip', 'one' or 'all'"),
        ("{every: 1m, catchup: true, misfire: one}", "catchup tells every missed tick"),
        ("{every: 1m, jitter: 2d}", "jitter must be a timedelta of at most a day"),
        ("{at: soon}", "'at': must be a date or a time"),
        ("{at: 2026-01-01, start_date: 2025-01-01}", "at is one moment"),
        ("{every: 1m, type: dev.tidemill.x}", "are Tidemill's own"),
        ("{every: 1m, sart_date: 2025-01-01}", "did you mean 'start_date'?"),
    ],
)
def test_wrong_schedules_are_refused_with_file_and_line(folder: Any, written: str, message: str) -> None:
    write(folder, f"schedule: {written}")

    (problem,) = folder.problems()

    assert problem.startswith("triggers/sources.yaml:")
    assert message in problem


@pytest.mark.parametrize("name", ["http", "schedule"])
def test_names_of_sources_that_are_always_there_are_refused(folder: Any, name: str) -> None:
    folder.write("triggers/sources.yaml", f"sources: [{{name: {name}, schedule: {{every: 1m}}}}]")

    (problem,) = folder.problems()

    assert "is a source that is always there" in problem


def test_folders_become_what_they_say(folder: Any) -> None:
    folder.write(
        "triggers/sources.yaml",
        """
        sources:
          - name: parts
            files:
              path: in
              complete: rename
              min_age: 5s
              watch: polling
              poll: 500ms
              set: {parts: ["{day}/{part}.csv"], count: 4}
              archive: {to: in/done, when: announced}
          - name: sums
            files: {path: /spool, complete: manifest, manifest: MD, archive: {to: /var/done}}
        """,
    )

    parts, sums = folder.load().sources

    assert isinstance(parts, FileSource)
    assert (parts.complete, parts.min_age, parts.watch, parts.poll) == (
        "rename",
        timedelta(seconds=5),
        "polling",
        timedelta(milliseconds=500),
    )
    assert parts.file_set == FileSet(parts=("{day}/{part}.csv",), count=4)
    assert parts.archive == Archive(folder=folder.root / "in" / "done", when="announced")
    assert parts.event_type == "dev.tidemill.file.set_landed.v1"
    assert isinstance(sums, FileSource)
    assert (sums.manifest, sums.event_type) == ("MD", "dev.tidemill.file.landed.v1")
    assert sums.archive is not None
    assert sums.archive.when == "succeeded"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{path: in, archive: {to: ../out}}", "the archive leads out of the project"),
        ("{path: in/deep, archive: {to: in}}", "the archive holds the watched folder"),
        ("{path: in, set: {}}", "one of parts, manifest or success is missing"),
        ("{path: in, set: {success: _S, manifest: m}}", "exclude each other"),
        ("{path: in, set: {parts: ['{a}.csv']}}", "how many files make the set?"),
        ("{path: in, set: {parts: ['{a}-{count}.csv'], count: 2}}", "count stands in the names already"),
        ("{path: in, set: {parts: ['{a}.csv', '{b}.csv']}}", "must have the same names in braces"),
        ("{path: in, set: {parts: ['{a}.x', '{a}.y', '{a}.z'], count: 2}}", "less than one file for each"),
        ("{path: in, set: {parts: ['plain.csv'], count: 2}}", "there is no name in braces"),
        ("{path: in, set: {parts: ['{A}.csv'], count: 2}}", "lower-case letters"),
        ("{path: in, set: {success: _S, count: 2}}", "count goes with parts"),
        ("{path: in, complete: checksum, set: {success: _S}}", "a set has a manifest of its own"),
        ("{path: in, complete: done}", "'complete' must be"),
        ("{path: in, marker: a/b}", "'marker'"),
    ],
)
def test_wrong_folders_are_refused_with_file_and_line(folder: Any, written: str, message: str) -> None:
    write(folder, f"files: {written}")

    (problem,) = folder.problems()

    assert problem.startswith("triggers/sources.yaml:")
    assert message in problem


@pytest.mark.parametrize(
    ("pattern", "name", "holes"),
    [
        ("{a}-{part}.csv", "7-1.csv", {"a": "7", "part": "1"}),
        ("{a}-{part}.csv", "7-1-2.csv", {"a": "7", "part": "1-2"}),
        ("{a}-{part}.csv", "-1.csv", None),
        ("{a}-{part}.csv", "7-.csv", None),
        ("{a}-{part}.csv", "x/7-1.csv", None),
        ("in/{a}/{part}", "in/7/1", {"a": "7", "part": "1"}),
        ("in/{a}/{part}", "in/7/8/1", None),
        ("{part}-of-{count}", "1-of-12", {"part": "1", "count": "12"}),
        ("{part}-of-{count}", "1-of-many", None),
        ("{a}--{b}", "x---y", {"a": "x", "b": "-y"}),
        ("{a}aa", "aa", None),
    ],
)
def test_name_patterns_take_names_apart(pattern: str, name: str, holes: dict[str, str] | None) -> None:
    assert NamePattern(pattern).match(name) == holes


@pytest.mark.parametrize("written", ["{a}{b}", "{a}x{a}", "{}", "{a", "a}", "{a b}", ""])
def test_patterns_that_mean_nothing_are_refused(written: str) -> None:
    with pytest.raises(NamePatternError):
        NamePattern(written)
