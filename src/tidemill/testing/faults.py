"""Faults at the store's commit points, for tests that ask what is lost or doubled.

Each fault is a `probe` for `open_store`: it is called in the database's thread with the name of the commit
point, `KIND.before_commit` or `KIND.after_commit`, where KIND is one of `append`, `route`, `record`,
`deliver` and `statement`. A commit that carries several kinds passes the points of each of them.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable

__all__ = [
    "COMMIT_KINDS",
    "COMMIT_POINTS",
    "CommitFault",
    "CrashAt",
    "CrashAtTask",
    "DiskIsFull",
    "FailCommits",
    "Fault",
    "FillDisk",
    "KillAt",
    "LoseAnswers",
    "parse_kill",
]

Fault = Callable[[str], None]

COMMIT_KINDS = ("append", "route", "record", "deliver", "statement")
#: Every name that a probe is called with.
COMMIT_POINTS = tuple(f"{kind}.{side}_commit" for kind in COMMIT_KINDS for side in ("before", "after"))


class CommitFault(sqlite3.OperationalError):
    """The database fails: nobody is told whether the commit was made."""


class DiskIsFull(CommitFault):
    """The disk has no room for the commit."""

    #: As SQLite names it, for whoever asks the error.
    sqlite_errorname = "SQLITE_FULL"

    def __init__(self) -> None:
        super().__init__("database or disk is full")


class FailCommits:
    """The disk refuses: `times` passages of `point` raise an I/O error, after `skip` that go well.

    Before the commit nothing is stored; after it everything is and only the answer is lost.
    """

    def __init__(self, point: str, times: int = 1, *, skip: int = 0) -> None:
        self._point = _checked(point)
        self._skip = skip
        #: Failures still to come.
        self.left = times
        #: Failures so far.
        self.failed = 0

    def __call__(self, point: str) -> None:
        if point != self._point or not self.left:
            return
        if self._skip:
            self._skip -= 1
            return
        self.left -= 1
        self.failed += 1
        raise self._error()

    def _error(self) -> CommitFault:
        return CommitFault("disk I/O error")


class LoseAnswers(FailCommits):
    """The commits of `kind` reach the disk and their answers are lost: the store says that they failed."""

    def __init__(self, kind: str, times: int = 1, *, skip: int = 0) -> None:
        super().__init__(f"{kind}.after_commit", times, skip=skip)


class FillDisk(FailCommits):
    """The disk is full for `times` commits of `kind` (after `skip` that go well): they store nothing."""

    def __init__(self, kind: str, times: int = 1, *, skip: int = 0) -> None:
        super().__init__(f"{kind}.before_commit", times, skip=skip)

    def _error(self) -> CommitFault:
        return DiskIsFull()


class KillAt:
    """The process is killed (SIGKILL, nothing is tidied) at the `n`-th passage of `point`."""

    def __init__(self, point: str, n: int = 1) -> None:
        self._point = _checked(point)
        self._left = n

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


class CrashAt:
    """The process of a `Harness` dies at the `n`-th passage of `point`: no later commit passes."""

    class Crashed(BaseException):
        """Goes through everything that catches errors, as a crash does."""

    def __init__(self, point: str, n: int = 1) -> None:
        self._point = _checked(point)
        self._left = n

    @property
    def has_crashed(self) -> bool:
        """True once the point was passed."""
        return self._left <= 0

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
        if self.has_crashed:
            raise self.Crashed


class CrashAtTask:
    """The process of a `Harness` dies as the `n`-th attempt of `DAG.TASK` begins: its start is on disk, and no more."""

    def __init__(self, task: str, n: int = 1) -> None:
        self.task = task
        self._left = n

    @property
    def has_crashed(self) -> bool:
        """True once the attempt was to begin."""
        return self._left <= 0

    def begins(self, dag_id: str, task_id: str) -> bool:
        """Whether the attempt begins; False when the process dies of it."""
        if f"{dag_id}.{task_id}" == self.task:
            self._left -= 1
        return not self.has_crashed

    def __call__(self, point: str) -> None:
        if self.has_crashed:
            raise CrashAt.Crashed


def parse_kill(text: str) -> KillAt:
    """`POINT` or `POINT:N` as a fault, as on the command line; raises `ValueError` when it is neither."""
    point, colon, count = text.partition(":")
    if colon and not (count.isdecimal() and int(count)):
        raise ValueError(f"{count!r} is not a count from 1")
    return KillAt(point, int(count) if colon else 1)


def _checked(point: str) -> str:
    if point not in COMMIT_POINTS:
        raise ValueError(f"{point!r} is no commit point; these are: {', '.join(COMMIT_POINTS)}")
    return point
